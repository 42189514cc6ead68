"""OpenCV as a second opinion: agrees about every picture we write, objects to others."""

import io

import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.convert import decoders
from maskmill.pipeline.convert.decoders import confirm_picture
from maskmill.pipeline.masks.registry import MASK_FORMATS
from maskmill.schemas.errors import ErrorCode, MaskFailure
from maskmill.schemas.labels import LabelMap

LABELS = LabelMap.from_names("two", ["background", "cat"])
MANY = LabelMap.from_names("many", ["background", *(f"c{number}" for number in range(300))])


@pytest.mark.parametrize("name", MASK_FORMATS)
def test_opencv_sees_what_we_wrote(name: str) -> None:
    mask = np.random.default_rng(0).integers(0, 2, (17, 23)).astype(np.uint8)
    assert confirm_picture(MASK_FORMATS[name].encode(mask, LABELS), f"a{name}")


def test_sixteen_bits() -> None:
    mask = np.arange(300, dtype=np.uint16).reshape(15, 20)
    assert confirm_picture(MASK_FORMATS["indexed"].encode(mask, MANY), "a.png")


def test_transparent_pictures_are_left_alone() -> None:
    stream = io.BytesIO()
    Image.new("RGBA", (3, 3), (1, 2, 3, 0)).save(stream, "PNG")
    assert not confirm_picture(stream.getvalue(), "a.png")


def test_pixels_that_differ_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    data = MASK_FORMATS["indexed"].encode(np.zeros((4, 4), np.uint8), LABELS)
    other = np.ones((4, 4), np.uint8)
    monkeypatch.setattr(decoders.cv2, "imdecode", lambda *_: other)
    with pytest.raises(MaskFailure, match="other pixels") as caught:
        confirm_picture(data, "a.png")
    assert caught.value.code is ErrorCode.CORRUPT
