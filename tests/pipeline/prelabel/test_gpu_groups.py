"""Groups of a GPU are planned over a whole block, by shape: ten shapes are ten short groups."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.segmenter import Segmenter
from maskmill.pipeline.prelabel.parcels import Item, Parcel, pack, unpack
from maskmill.pipeline.prelabel.plan import default_group_size
from maskmill.pipeline.prelabel.predict import PredictMasks
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.views.preparation import NetworkPicture, prepare

SPEC = MODELS["deeplabv3_mobilenet_v3_large"]
GROUP = default_group_size("cuda", SPEC.preprocessing)
SHAPES = 10


class Counting(nn.Module):
    """A small network that notes how many pictures of which shape it was shown at once."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Conv2d(3, 21, 3, stride=16)
        self.seen: list[tuple[int, tuple[int, int]]] = []

    def forward(self, pixels: Tensor) -> Tensor:
        self.seen.append((len(pixels), tuple(pixels.shape[2:])))
        return self.layer(pixels)


@dataclass
class Settings:
    """What gives an operator its network."""

    flip: bool
    network: Counting = field(default_factory=Counting)

    def load(self, _: RunLayout) -> Segmenter:
        one = segmenter()
        one.network = self.network
        return one


@cache
def segmenter() -> Segmenter:
    return Segmenter(SPEC, None, precision="fp32", group_size=GROUP, untrained=True)


def photographs(count: int) -> list[NetworkPicture]:
    """The shapes take turns, as in a folder in no order."""
    noise = np.random.default_rng(4)
    sizes = [(32, 40 + 4 * (number % SHAPES)) for number in range(count)]
    return [
        prepare(noise.integers(0, 256, (*size, 3), dtype=np.uint8), SPEC.preprocessing.sized(32))
        for size in sizes
    ]


def predicted(folder, pictures, *, flip: bool = False) -> tuple[Counting, list[np.ndarray]]:
    settings = Settings(flip)
    predict = PredictMasks(layout=RunLayout(str(folder)), session="s", settings=settings)
    items = tuple(
        Item(image_id=number, key=f"{number}.png", uri="", output=f"{number}", pictures=(picture,))
        for number, picture in enumerate(pictures, 1)
    )
    (parcel,) = unpack(predict(pack([Parcel(0, items)])))
    return settings.network, [view.grid for item in parcel.items for view in item.views]


@pytest.mark.parametrize(("count", "flip"), [(128, False), (SHAPES, False), (64, True)])
def test_pictures_of_one_shape_share_groups_over_the_whole_block(tmp_path, count, flip):
    network, _ = predicted(tmp_path, photographs(count), flip=flip)
    shown = Counter(picture.network_hw for picture in photographs(count))
    each = 2 if flip else 1
    assert len(shown) == SHAPES
    assert {number for number, _ in network.seen} == {GROUP}
    assert Counter(hw for _, hw in network.seen) == {
        hw: -(-each * number // GROUP) for hw, number in shown.items()
    }
    assert GROUP * len(network.seen) <= each * count + SHAPES * (GROUP - 1) <= 2 * each * count


def test_a_picture_is_labelled_the_same_alone_and_among_others(tmp_path):
    pictures = photographs(13)
    _, together = predicted(tmp_path / "together", pictures)
    assert len(together) == 13
    for number, (picture, grid) in enumerate(zip(pictures, together, strict=True)):
        _, (alone,) = predicted(tmp_path / str(number), [picture])
        assert np.array_equal(alone, grid)
