"""The CVAT function under CVAT's own driver: its SDK annotates a task of a server on loopback."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import maskmill
from maskmill.cvat_function import create
from maskmill.pipeline.masks.polygons import rings_to_mask
from maskmill.pipeline.models.registry import MODELS
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap
from tests.cvat_double import CvatDouble, cvat_double
from tests.pipeline.prelabel.pointwise_network import pointwise_spec
from tests.sick_images import draw_picture

auto_annotation = pytest.importorskip("cvat_sdk.auto_annotation")
core = pytest.importorskip("cvat_sdk.core.client")
masks = pytest.importorskip("cvat_sdk.masks")

LABELS = LabelMap.from_names("five", ["ground", "cat", "dog", "car", "tree"])
SETTINGS = {"model": "pointwise", "untrained": True, "segments": "component"}
SIZES = {"a.png": (30, 44), "b.png": (51, 38), "c.png": (30, 44)}
"""Height and width of the frames of a task."""


@pytest.fixture(scope="module")
def model() -> Iterator[maskmill.Model]:
    """A network that is done at once, and sees every class in a picture."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "pointwise", pointwise_spec(LABELS))
        yield maskmill.load_model("pointwise", untrained=True, segments="component")


@pytest.fixture(scope="module")
def pictures() -> dict[str, bytes]:
    rng = np.random.default_rng(5)
    found = {}
    for name, size in SIZES.items():
        stream = io.BytesIO()
        Image.fromarray(draw_picture(rng, (size[1], size[0]))).save(stream, "PNG")
        found[name] = stream.getvalue()
    return found


@pytest.fixture
def cvat(pictures: dict[str, bytes], model: maskmill.Model) -> Iterator[CvatDouble]:
    """A server whose task has our labels, in another order."""
    names = [entry.name for entry in model.labels.classes if not entry.is_background]
    with cvat_double(pictures, SIZES, [(name, "any") for name in reversed(names)]) as one:
        yield one


def annotate(cvat: CvatDouble, cache: Path, **settings: object) -> list[dict[str, object]]:
    """The shapes that CVAT's own driver sends."""
    client = core.Client(cvat.url, config=core.Config(cache_dir=cache), check_server_version=False)
    function = create(**SETTINGS)
    with client:
        auto_annotation.annotate_task(client, 7, function, **settings)
    ((method, path, document),) = cvat.sent
    assert (method, path.split("?")[0].rstrip("/")) == ("PATCH", "/api/tasks/7/annotations")
    assert "action=create" in path
    assert document["tags"] == []
    return document["shapes"]


def frames_of(shapes: list[dict[str, object]]) -> list[int]:
    return [shape["frame"] for shape in shapes]


def test_cvats_driver_sends_the_masks_of_prelabel(
    cvat: CvatDouble, pictures: dict[str, bytes], model: maskmill.Model, tmp_path: Path
) -> None:
    shapes = annotate(cvat, tmp_path)
    names = {101 + number: name for number, (name, _) in enumerate(cvat.labels)}
    for frame, (name, data) in enumerate(pictures.items()):
        height, width = SIZES[name]
        drawn = np.zeros((height, width), np.uint8)
        mine = [shape for shape in shapes if shape["frame"] == frame]
        for shape in mine:
            assert (shape["type"], shape["source"]) == ("mask", "auto")
            inside = masks.decode_mask(shape["points"], image_width=width, image_height=height)
            assert not drawn[inside].any()
            drawn[inside] = model.labels.index_of(names[shape["label_id"]])
            assert 0 < shape.get("score", 1) <= 1
        labelled = model.label(Image.open(io.BytesIO(data)))
        assert np.array_equal(drawn, labelled.mask)
        assert len(mine) == len(labelled.segments)
        assert [shape.get("score") for shape in mine] == [
            None if one.score is None else round(one.score, 6) for one in labelled.segments
        ]
    assert set(frames_of(shapes)) == {0, 1, 2}


def test_polygons_and_thresholds_are_cvats_to_ask_for(
    cvat: CvatDouble, pictures: dict[str, bytes], model: maskmill.Model, tmp_path: Path
) -> None:
    shapes = annotate(cvat, tmp_path, conv_mask_to_poly=True, conf_threshold=0.0)
    assert {shape["type"] for shape in shapes} == {"polygon"}
    for frame, (name, data) in enumerate(pictures.items()):
        rings = [
            np.array(shape["points"]).reshape(-1, 2) for shape in shapes if shape["frame"] == frame
        ]
        drawn = rings_to_mask(rings, SIZES[name], name=name)
        sure = [
            one
            for one in model.label(Image.open(io.BytesIO(data))).segments
            if one.score is not None
        ]
        exact = model.label(Image.open(io.BytesIO(data))).mask
        wanted = np.isin(exact, [one.class_index for one in sure])
        assert (drawn & wanted).sum() / (drawn | wanted).sum() > 0.97
    cvat.sent.clear()
    assert annotate(cvat, tmp_path, conf_threshold=1.0) == []


def test_labels_that_the_task_lacks_are_refused_by_cvat(
    pictures: dict[str, bytes], model: maskmill.Model, tmp_path: Path
) -> None:
    with cvat_double(pictures, SIZES, [("person", "mask")]) as one:
        with pytest.raises(auto_annotation.BadFunctionError, match="cat"):
            annotate(one, tmp_path)
        assert one.sent == []


def test_without_the_sdk_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cvat_sdk", None)
    with pytest.raises(SettingsError, match=r"pip install 'maskmill\[cvat\]'"):
        create(**SETTINGS)


def test_settings_are_those_of_load_model() -> None:
    with pytest.raises(SettingsError, match="no model 'resnet'"):
        create(model="resnet")
    with pytest.raises(TypeError, match="no setting batch_size"):
        create(batch_size=3)
