"""One bad entry of a document costs that entry, with a sentence of its own."""

import json
from pathlib import Path
from typing import Any

import pytest

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
    images = [image(1), image(2, id=None), image(3, file_name=None)]
    assert outcomes(tmp_path, images, annotations=annotations) == {"1.jpg": "ok"}
    index = dataset_format("coco").load_reader().index(open_tree(str(tmp_path)), ReadOptions())
    assert index.notes == (
        "a.json: 2 entries of 'annotations' lack a field that each must have, left out",
        "a.json: 2 entries of 'images' lack a field that each must have, left out",
        "a.json: 2 annotations of pictures that it does not list, left out",
    )
