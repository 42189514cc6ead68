import contextlib
import io
import json
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools.coco import COCO

from maskmill.pipeline.masks.segments import segments_of
from maskmill.pipeline.prelabel.writers.coco_json import write_coco
from maskmill.schemas.errors import RunFailed
from maskmill.schemas.labels import LabelMap, builtin
from maskmill.schemas.tables.prelabel import METADATA

LABELS = LabelMap.from_names("three", ["background", "cat", "tür: ü.", "bird"])


def row(image_id, mask, labels=LABELS, per="class", status="ok"):
    scores = [0.5] * len(labels.classes)
    segments = segments_of(mask, labels, per=per, class_scores=scores) if status == "ok" else []
    return {
        "image_id": image_id,
        "key": f"sub dir/ü{image_id}.jpg",
        "uri": "file:///x",
        "block": 0,
        "status": status,
        "height": mask.shape[0] if status == "ok" else None,
        "width": mask.shape[1] if status == "ok" else None,
        "segments": [segment.to_row() for segment in segments] if status == "ok" else None,
    }


def rows_of(*rows, batch=2):
    table = pa.Table.from_pylist(list(rows), METADATA)
    return lambda columns: table.select(columns).to_batches(max_chunksize=batch)


def written(rows, labels=LABELS, info=None):
    stream = io.BytesIO()
    write_coco(rows, stream, labels, info or {})
    return stream.getvalue()


def loaded(data, path):
    path.write_bytes(data)
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        hnp.arrays(
            np.uint8,
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
            elements=st.sampled_from([0, 1, 2, 3, 255]),
        ),
        max_size=5,
    ),
    st.sampled_from(["class", "component"]),
)
def test_pycocotools_decodes_every_class_of_every_mask(tmp_path_factory, masks, per):
    rows = [row(3 * at + 1, mask, per=per) for at, mask in enumerate(masks)]
    coco = loaded(written(rows_of(*rows)), tmp_path_factory.mktemp("coco") / "a.json")
    assert sorted(coco.imgs) == [entry["image_id"] for entry in rows]
    for entry, mask in zip(rows, masks, strict=True):
        rebuilt = np.where(mask == 255, 255, 0).astype(np.uint8)
        for annotation in coco.imgToAnns[entry["image_id"]]:
            inside = coco.annToMask(annotation).astype(bool)
            assert annotation["area"] == inside.sum() > 0
            assert annotation["iscrowd"] == 0 and annotation["score"] == 0.5
            rebuilt[inside] = annotation["category_id"]
        np.testing.assert_array_equal(rebuilt, mask)


def test_ids_follow_image_category_component():
    two_cats = np.array([[1, 0, 1], [0, 0, 0], [3, 0, 2]], np.uint8)
    rows = rows_of(row(2, two_cats, per="component"), row(9, two_cats, per="component"))
    document = json.loads(written(rows))
    told = [
        (a["id"], a["image_id"], a["category_id"], a["bbox"][0]) for a in document["annotations"]
    ]
    assert told == [
        (1, 2, 1, 0), (2, 2, 1, 2), (3, 2, 2, 2), (4, 2, 3, 0),
        (5, 9, 1, 0), (6, 9, 1, 2), (7, 9, 2, 2), (8, 9, 3, 0),
    ]  # fmt: skip


def test_the_whole_document():
    ring = np.zeros((4, 6), np.uint8)
    ring[1:4, 2:5] = 1
    ring[2, 3] = 0
    data = written(rows_of(row(1, ring)), info={"description": "é", "version": "1"})
    assert data.decode("utf-8").splitlines() == [
        '{"info":{"description":"é","version":"1"},"licenses":[],',
        '"images":[',
        '{"id":1,"file_name":"sub dir/ü1.jpg","width":6,"height":4}],',
        '"categories":[',
        '{"id":1,"name":"cat","supercategory":"","color":[128,0,0],"isthing":0},',
        '{"id":2,"name":"tür: ü.","supercategory":"","color":[0,128,0],"isthing":0},',
        '{"id":3,"name":"bird","supercategory":"","color":[128,128,0],"isthing":0}],',
        '"annotations":[',
        '{"id":1,"image_id":1,"category_id":1,"segmentation":{"size":[4,6],"counts":"931N00023"},'
        '"area":8,"bbox":[2,1,3,3],"iscrowd":0,"score":0.5}]}',
    ]


def test_only_ok_rows_and_a_valid_document_without_any():
    mask = np.ones((2, 2), np.uint8)
    document = json.loads(written(rows_of(row(1, mask, status="failed"), row(2, mask))))
    assert [image["id"] for image in document["images"]] == [2]
    assert [annotation["image_id"] for annotation in document["annotations"]] == [2]
    empty = json.loads(written(lambda columns: []))
    assert empty["images"] == empty["annotations"] == [] and len(empty["categories"]) == 3


def test_the_same_rows_give_the_same_bytes_however_they_are_cut():
    masks = np.random.default_rng(0).integers(0, 4, (40, 12, 9)).astype(np.uint8)
    rows = [row(at + 1, mask) for at, mask in enumerate(masks)]
    expected = written(rows_of(*rows, batch=1))
    assert written(rows_of(*rows, batch=17)) == expected
    table = pa.Table.from_pylist(rows, METADATA)
    assert written(lambda columns: [table.select(columns)]) == expected


def test_a_missing_score_is_left_out():
    values = row(1, np.ones((2, 2), np.uint8))
    values["segments"][0]["score"] = None
    assert "score" not in json.loads(written(rows_of(values)))["annotations"][0]


@pytest.mark.parametrize("ids", [(1, 1), (2, 1)])
def test_rows_out_of_order_or_twice_are_refused(ids):
    mask = np.ones((2, 2), np.uint8)
    with pytest.raises(RunFailed, match="image_id order"):
        written(rows_of(*(row(image_id, mask) for image_id in ids)))


def test_memory_does_not_grow_with_the_rows():
    values = row(1, np.random.default_rng(0).integers(0, 4, (24, 24)).astype(np.uint8))

    def peak(num_batches):
        def batches(columns):
            for at in range(num_batches):
                block = [{**values, "image_id": 64 * at + n + 1} for n in range(64)]
                yield pa.Table.from_pylist(block, METADATA).select(columns)

        class Sink(io.RawIOBase):
            def write(self, data):
                return len(data)

        tracemalloc.start()
        write_coco(batches, Sink(), LABELS, {})
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    few, many = peak(3), peak(30)
    assert many < few * 1.2


def test_real_masks(shared, tmp_path):
    from PIL import Image

    labels = builtin("voc")
    paths = sorted((shared / "data" / "voc_masks_500").glob("*.png"))[:20]
    masks = [np.array(Image.open(path)) for path in paths]
    rows = [row(at + 1, mask, labels) for at, mask in enumerate(masks)]
    coco = loaded(written(rows_of(*rows), labels), tmp_path / "a.json")
    assert len(coco.cats) == 20
    for at, mask in enumerate(masks):
        annotations = coco.imgToAnns[at + 1]
        assert {a["category_id"] for a in annotations} == set(np.unique(mask)) - {0, 255}
        for annotation in annotations:
            np.testing.assert_array_equal(
                coco.annToMask(annotation), mask == annotation["category_id"]
            )
