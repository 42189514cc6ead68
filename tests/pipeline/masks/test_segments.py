import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from maskmill.pipeline.masks import rle
from maskmill.pipeline.masks.segments import (
    class_statistics,
    count_components,
    drop_small,
    segments_of,
)
from maskmill.schemas.errors import ErrorCode, MaskFailure
from maskmill.schemas.labels import LabelClass, LabelMap
from maskmill.schemas.tables.prelabel import CLASS_STATS, SEGMENT

LABELS = LabelMap.from_names("three", ["background", "cat", "dog", "bird"])
NO_BACKGROUND = LabelMap.from_names("two", ["road", "sky"], background=None)
shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14)
masks = hnp.arrays(np.uint8, shapes, elements=st.sampled_from([0, 0, 1, 2, 3, 255]))


def flood_components(inside):
    """8-connected components by flood fill, in order of their first pixel in row order."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(inside), strict=True)}
    parts = []
    for start in sorted(left):
        if start not in left:
            continue
        part, front = np.zeros_like(inside), [start]
        left.discard(start)
        while front:
            y, x = front.pop()
            part[y, x] = True
            around = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= around
            front.extend(around)
        parts.append(part)
    return parts


@settings(deadline=None)
@given(masks)
def test_classes_are_those_of_pycocotools(mask):
    segments = segments_of(mask, LABELS, class_scores=[0.1, 0.2, 0.3, 0.4])
    assert [segment.class_index for segment in segments] == sorted(set(mask.ravel()) - {0, 255})
    for segment in segments:
        inside = mask == segment.class_index
        reference = coco_mask.encode(np.asfortranarray(inside.astype(np.uint8)))
        assert segment.counts == reference["counts"].decode()
        assert segment.area == coco_mask.area(reference) == inside.sum()
        assert list(segment.bbox) == coco_mask.toBbox(reference).tolist()
        assert segment.score == pytest.approx((segment.class_index + 1) / 10)


@settings(deadline=None)
@given(masks)
def test_components_are_those_of_a_flood_fill(mask):
    segments = segments_of(mask, LABELS, per="component")
    expected = [(index, part) for index in (1, 2, 3) for part in flood_components(mask == index)]
    assert [segment.class_index for segment in segments] == [index for index, _ in expected]
    for segment, (_, part) in zip(segments, expected, strict=True):
        reference = coco_mask.encode(np.asfortranarray(part.astype(np.uint8)))
        assert segment.counts == reference["counts"].decode()
        assert segment.area == part.sum()
        assert list(segment.bbox) == coco_mask.toBbox(reference).tolist()


@settings(deadline=None)
@given(masks)
def test_statistics_add_up(mask):
    rows = class_statistics(mask, LABELS, [0.5, 0.6, 0.7, math.nan])
    assert [row["index"] for row in rows] == sorted(set(mask.ravel()) - {255})
    assert sum(row["pixels"] for row in rows) == (mask != 255).sum()
    for row in rows:
        inside = mask == row["index"]
        ys, xs = np.nonzero(inside)
        box = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
        assert row["bbox"] == box
        assert row["fraction"] == inside.sum() / mask.size
        assert row["components"] == len(flood_components(inside))
    table = pa.array(rows, CLASS_STATS).to_pylist()
    assert [row["category_id"] for row in table] == [row["index"] or None for row in rows]
    assert all(row["mean_confidence"] is None for row in table if row["index"] == 3)


@settings(deadline=None)
@given(masks, st.integers(0, 9), st.sampled_from([LABELS, NO_BACKGROUND]))
def test_small_components_become_background_or_ignore(mask, min_area, labels):
    mask = np.where(mask >= len(labels.classes), 255, mask).astype(np.uint8)
    fill = 0 if labels is LABELS else 255
    expected = mask.copy()
    for index in range(1 if labels is LABELS else 0, len(labels.classes)):
        for part in flood_components(mask == index):
            if part.sum() < min_area:
                expected[part] = fill
    before = mask.copy()
    result = drop_small(mask, min_area, labels)
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(mask, before)


def test_holes_and_parts_are_kept():
    mask = np.zeros((4, 6), np.uint8)
    mask[1:4, 2:5] = 1
    mask[2, 3] = 0
    mask[0, 0] = 1
    (whole,) = segments_of(mask, LABELS)
    decoded = rle.decode({"size": [4, 6], "counts": whole.counts})
    np.testing.assert_array_equal(decoded, mask == 1)
    dot, ring = segments_of(mask, LABELS, per="component")
    assert (dot.area, dot.bbox) == (1, (0, 0, 1, 1))
    assert (ring.area, ring.bbox, ring.counts) == (8, (2, 1, 3, 3), "931N00023")


def test_component_order_is_by_row_then_column():
    mask = np.zeros((5, 9), np.uint8)
    mask[2:, 0] = 1  # first in column order, last in row order
    mask[1, 4] = 1
    mask[0, 8] = 1
    boxes = [segment.bbox for segment in segments_of(mask, LABELS, per="component")]
    assert boxes == [(8, 0, 1, 1), (4, 1, 1, 1), (0, 2, 1, 3)]


def test_order_follows_category_ids_not_indices():
    classes = (
        LabelClass(index=0, name="sky", color=(1, 1, 1), category_id=9),
        LabelClass(index=1, name="sea", color=(2, 2, 2), category_id=4),
    )
    mask = np.array([[0, 1]], np.uint8)
    segments = segments_of(mask, LabelMap(name="swapped", classes=classes))
    assert [(s.category_id, s.class_index) for s in segments] == [(4, 1), (9, 0)]


def test_three_hundred_classes():
    labels = LabelMap.from_names("many", [f"c{index}" for index in range(300)])
    mask = np.arange(20 * 20, dtype=np.uint16).reshape(20, 20) % 300
    mask[0, 0] = 65535
    segments = segments_of(mask, labels)
    assert [segment.category_id for segment in segments] == list(range(1, 300))
    assert sum(segment.area for segment in segments) == ((mask > 0) & (mask < 65535)).sum()
    assert len(class_statistics(mask, labels)) == 300


def test_only_background_and_ignore_give_no_segment():
    mask = np.array([[0, 255], [255, 0]], np.uint8)
    assert segments_of(mask, LABELS) == []
    assert segments_of(mask, LABELS, per="component") == []


def test_values_outside_the_label_map_are_named():
    mask = np.array([[0, 7], [7, 1]], np.uint8)
    with pytest.raises(MaskFailure, match=r"value 7 covers 2 of 4 pixels.*'three'") as caught:
        segments_of(mask, LABELS)
    assert caught.value.code is ErrorCode.UNKNOWN_VALUE
    with pytest.raises(MaskFailure):
        class_statistics(mask, LABELS)


def test_rows_fit_their_schema_and_runs_can_be_shared():
    mask = np.array([[0, 1, 1], [2, 0, 1]], np.uint8)
    runs = rle.class_runs(mask)
    segments = segments_of(mask, LABELS, class_scores=[0.5] * 4, runs=runs)
    assert segments == segments_of(mask, LABELS, class_scores=[0.5] * 4)
    rows = [segment.to_row() for segment in segments]
    assert pa.array(rows, SEGMENT).to_pylist() == rows
    assert class_statistics(mask, LABELS, runs=runs) == class_statistics(mask, LABELS)


def test_real_masks_equal_pycocotools(shared):
    from PIL import Image

    from maskmill.schemas.labels import builtin

    for path in sorted((shared / "data" / "voc").glob("*_voc_official.png")):
        mask = np.array(Image.open(path))
        for segment in segments_of(mask, builtin("voc"), per="class"):
            inside = np.asfortranarray((mask == segment.class_index).astype(np.uint8))
            reference = coco_mask.encode(inside)
            assert segment.counts == reference["counts"].decode()
            assert segment.area == coco_mask.area(reference)
            assert list(segment.bbox) == coco_mask.toBbox(reference).tolist()


@settings(deadline=None, max_examples=60)
@given(masks, st.integers(6, 12), st.integers(6, 12))
def test_components_are_counted_alike_by_runs_and_by_pixels(mask, high, wide):
    """Enlarged, a mask has few runs for its pixels, and these are held against each other."""
    large = np.kron(mask, np.ones((high, wide), np.uint8))
    for index, runs in rle.class_runs(large).items():
        expected = len(flood_components(mask == index))
        assert count_components(large, index, runs) == expected


@settings(deadline=None, max_examples=60)
@given(masks, st.integers(1, 40))
def test_runs_of_sparse_and_dense_masks_cover_each_class_once(mask, times):
    large = np.repeat(mask, times, axis=0)
    found = rle.class_runs(large)
    assert list(found) == sorted(set(large.ravel().tolist()))
    flat = large.ravel("F")
    for value, runs in found.items():
        covered = np.concatenate([np.arange(*run) for run in runs])
        assert np.array_equal(covered, np.flatnonzero(flat == value))
        assert (runs[1:, 0] > runs[:-1, 1]).all()
