"""One bad entry of a document costs that entry, with a sentence of its own."""

import json
from pathlib import Path
from typing import Any

import pytest

from maskmill.pipeline.datasets.left_out import UNUSABLE, Omission
from maskmill.pipeline.datasets.registry import dataset_format
from maskmill.pipeline.datasets.samples import ReadContext, ReadOptions
from maskmill.pipeline.datasets.trees import open_tree
from maskmill.schemas.errors import DocumentFailure


def image(number: int, **changes: Any) -> dict[str, Any]:
    entry = {"id": number, "file_name": f"{number}.jpg", "height": 4, "width": 5, **changes}
    return {key: value for key, value in entry.items() if value is not None}


def outcomes(folder: Path, images: list[dict[str, Any]], **document: Any) -> dict[str, str]:
    """'ok' or the failure's sentence, by key, of every entry of a COCO document."""
    whole = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    (folder / "a.json").write_text(json.dumps({**whole, **document}))
    reader, tree = dataset_format("coco").load_reader(), open_tree(str(folder))
    index = reader.index(tree, ReadOptions())
    context = ReadContext(tree=tree, labels=index.labels, extras=index.extras)
    found = {}
    for item in index.items:
        assert item.key not in found
        try:
            reader.read(item, context)
            found[item.key] = "ok"
        except DocumentFailure as failure:
            found[item.key] = str(failure)
    return found


@pytest.mark.parametrize(
    ("bad", "key", "told"),
    [
        (image(2, file_name="http://host/a.jpg"), "http:/host/a.jpg", "an address"),
        (image(2, file_name="/etc/passwd"), "etc/passwd", "no path inside the dataset"),
        (image(2, file_name="../../x.jpg"), "x.jpg", "no path inside the dataset"),
        (image(2, file_name=""), "nameless", "no path inside the dataset"),
        (image(2, file_name="a\0b.jpg"), "ab.jpg", "no file name"),
        (image(2, file_name="1.jpg"), "1.jpg (2)", "named before"),
        (image(2, height=None), "2.jpg", "height None"),
        (image(2, width="5"), "2.jpg", "width '5'"),
        (image(2, height=4.5), "2.jpg", "height 4.5"),
        (image(2, height=float(4), width=5.0), "2.jpg", "ok"),
    ],
)
def test_a_bad_picture_costs_itself(tmp_path: Path, bad: dict, key: str, told: str) -> None:
    found = outcomes(tmp_path, [image(1), bad, image(3)])
    assert found["1.jpg"] == found["3.jpg"] == "ok"
    assert told in found[key] and len(found) == 3


def test_a_deeply_nested_annotation_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    nested: Any = []
    for _ in range(900):
        nested = [nested]
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": nested}
    assert "annotation 1" in outcomes(tmp_path, [image(1)], annotations=[annotation])["1.jpg"]
    (tmp_path / "a.json").write_text('{"images": ' + "[" * 100_000)
    with pytest.raises(DocumentFailure, match="nested too deeply"):
        dataset_format("coco").load_reader().index(open_tree(str(tmp_path)), ReadOptions())


def test_what_belongs_to_no_picture_is_counted(tmp_path: Path) -> None:
    mask = {"category_id": 1, "segmentation": [[0, 0, 2, 0, 2, 2]]}
    annotations = [
        {"id": 1, "image_id": 1, **mask}, {"id": 2, **mask}, {"id": 3, "image_id": 9, **mask},
        {"id": 4, "image_id": 9, **mask}, {"id": 5, "image_id": 1, **mask},
        {"id": 6, "image_id": "x", "category_id": 77}, {"id": 7, "image_id": 1, **mask},
    ]  # fmt: skip
    images = [image(1), image(2, id=None), image(3, file_name=None), image(4, id=1)]
    assert outcomes(tmp_path, images, annotations=annotations) == {"1.jpg": "ok"}
    index = dataset_format("coco").load_reader().index(open_tree(str(tmp_path)), ReadOptions())
    assert index.notes == (
        "a.json: 2 entries of 'annotations' lack a field that each must have, or repeat an id, "
        "left out",
        "a.json: 3 entries of 'images' lack a field that each must have, or repeat an id, left out",
        "a.json: 2 annotations of pictures that it does not list, left out",
    )


def test_bad_categories_cost_themselves(tmp_path: Path) -> None:
    """Those without id or name are counted, and their annotations fail; twins are one class."""
    categories = [
        {"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}, {"id": 3}, {"name": "x"}, "text",
        {"id": None, "name": "n"}, {"id": "4", "name": "dog"}, {"id": 5, "name": 6},
    ]  # fmt: skip
    square = {"segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]}
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 2, **square},
        {"id": 2, "image_id": 2, "category_id": 3, **square},
        {"id": 3, "image_id": 3, "category_id": 4, **square},
    ]
    images = [image(1), image(2), image(3)]
    found = outcomes(tmp_path, images, annotations=annotations, categories=categories)
    assert (found["1.jpg"], found["3.jpg"]) == ("ok", "ok")
    assert "category_id 3, which is not in categories" in found["2.jpg"]
    index = dataset_format("coco").load_reader().index(open_tree(str(tmp_path)), ReadOptions())
    assert index.labels.names == ("background", "cat", "dog")
    assert index.left_out == {Omission(UNUSABLE, "categories"): 5}


CVAT = (
    '<annotations><image id="0" {}/><image id="1" name="b.jpg" width="4" height="3"/></annotations>'
)
BROKEN = {
    "labelme": {
        "a.json": '{"shapes": 3}', "b.json": '{"shapes": [], "imageHeight": 3, "imageWidth": 4}',
    },
    "label_studio": {
        "t.json": '[{"id": 1}, "text", [{}], {"data": {"image": 5}}, {"data": {"image": "b.jpg", '
        '"width": 4, "height": 3}, "predictions": [{"result": []}]}]'
    },
    "cvat_images": {"a.xml": CVAT.format('width="4" height="3"')},
    "cvat_images_polygons": {"a.xml": CVAT.format('name="a.jpg" width="x" height="3"')},
    "datumaro": {
        "train.json": '{"categories": {"label": {"labels": [{"name": "cat"}]}}, "items": [{}, 7, '
        '{"id": "b", "image": {"size": [3, 4]}, "annotations": []}]}'
    },
    "supervisely": {
        "meta.json": '{"classes": [{"title": "cat"}]}', "ds0/ann/a.jpg.json": '{"size": 3}',
        "ds0/ann/b.jpg.json": '{"size": {"height": 3, "width": 4}, "objects": []}',
    },
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_one_broken_entry_of_any_document_costs_itself(tmp_path: Path, name: str) -> None:
    for path, text in BROKEN[name].items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    reader, tree = dataset_format(name).load_reader(), open_tree(str(tmp_path))
    index = reader.index(tree, ReadOptions())
    context = ReadContext(tree=tree, labels=index.labels, extras=index.extras)
    good, bad = [], []
    for item in index.items:
        try:
            good.append(reader.read(item, context))
        except DocumentFailure as failure:
            bad.append(str(failure))
    assert [sample.size_hw for sample in good] == [(3, 4)]
    assert len(bad) == {"label_studio": 4, "datumaro": 2}.get(name, 1)
    assert all(bad)


def test_what_is_no_object_hides_no_annotation(tmp_path: Path) -> None:
    """Text, null and lists between annotations: those behind them still belong to their picture."""
    square = {"category_id": 1, "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]}
    good = {"id": 1, "image_id": 1, **square}
    broken = {**good, "id": 2, "image_id": 2, "segmentation": "text"}
    images = [image(1), image(2)]
    annotations: list[Any] = ["text", None, 3, [{"id": 7}], good, None, broken, "end"]
    found = outcomes(tmp_path, images, annotations=annotations)
    assert found["1.jpg"] == "ok"
    assert "annotation 2" in found["2.jpg"]
    reader, tree = dataset_format("coco").load_reader(), open_tree(str(tmp_path))
    index = reader.index(tree, ReadOptions())
    context = ReadContext(tree=tree, labels=index.labels, extras=index.extras)
    first = next(iter(index.items))
    assert int((reader.read(first, context).mask == 1).sum()) == 4
    assert index.left_out == {Omission(UNUSABLE, "annotations"): 6}
