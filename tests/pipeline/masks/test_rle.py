import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from maskmill.pipeline.masks import rle
from maskmill.schemas.errors import DocumentFailure, ErrorCode

RING = np.array(
    [[0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0], [0, 0, 1, 0, 1, 0], [0, 0, 1, 1, 1, 0]], np.uint8
)
shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=17)
bool_masks = hnp.arrays(np.bool_, shapes)


def leb_string(counts):
    """The compressed string by the rule of the format, one group at a time."""
    text = ""
    for position, run in enumerate(counts):
        rest = int(run) - (int(counts[position - 2]) if position > 2 else 0)
        more = True
        while more:
            group = rest & 31
            rest >>= 5
            more = rest != -1 if group & 16 else rest != 0
            text += chr(group + (32 if more else 0) + 48)
    return text


def counts_to_string(counts):
    """One string, of a picture of one column."""
    lengths = np.asarray(counts, np.int64)
    return rle.counts_to_strings([lengths], (int(lengths.sum()), 1))[0]


def encode_bool(mask):
    """The compressed string of a bool mask, on the way that masks of classes take."""
    runs = rle.class_runs(mask.view(np.uint8)).get(1, np.zeros((0, 2), np.int64))
    return rle.counts_to_strings([rle.runs_to_counts(runs, mask.size)], mask.shape)[0]


def test_ring_vectors():
    runs = rle.class_runs(RING)[1]
    counts = rle.runs_to_counts(runs, RING.size)
    assert counts.tolist() == [9, 3, 1, 1, 1, 1, 1, 3, 4]
    assert counts_to_string(counts) == "931N00023"
    assert rle.string_to_counts("931N00023").tolist() == counts.tolist()
    assert rle.runs_area(runs) == 8
    assert rle.runs_bbox(runs, 4) == (2, 1, 3, 3)
    for counts_form in ("931N00023", b"931N00023", [9, 3, 1, 1, 1, 1, 1, 3, 4]):
        decoded = rle.decode({"size": [4, 6], "counts": counts_form})
        np.testing.assert_array_equal(decoded, RING.astype(bool))


@settings(deadline=None)
@given(bool_masks)
def test_bool_masks_equal_pycocotools(mask):
    reference = coco_mask.encode(np.asfortranarray(mask.view(np.uint8)))
    text = encode_bool(mask)
    assert text == reference["counts"].decode()
    np.testing.assert_array_equal(rle.decode({"size": list(mask.shape), "counts": text}), mask)
    if mask.any():
        runs = rle.class_runs(mask.view(np.uint8))[1]
        assert rle.runs_area(runs) == coco_mask.area(reference)
        assert list(rle.runs_bbox(runs, mask.shape[0])) == coco_mask.toBbox(reference).tolist()


@settings(deadline=None)
@given(hnp.arrays(np.uint16, shapes, elements=st.sampled_from([0, 1, 2, 299, 65535])))
def test_all_classes_in_one_pass(mask):
    found = rle.class_runs(mask)
    assert list(found) == np.unique(mask).tolist()
    for value, runs in found.items():
        counts = rle.runs_to_counts(runs, mask.size)
        np.testing.assert_array_equal(rle.counts_to_mask(counts, mask.shape), mask == value)


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=30))
def test_strings_follow_the_rule_for_any_run_length(lengths):
    text = leb_string(lengths)
    assert rle.string_to_counts(text).tolist() == lengths


@settings(deadline=None)
@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=40).filter(sum))
def test_counts_to_string_is_the_rule(lengths):
    assert counts_to_string(lengths) == leb_string(lengths)


def test_touching_runs_are_joined():
    runs = np.array([[0, 2], [2, 5], [6, 8], [8, 9], [9, 10]])
    assert rle.runs_to_counts(runs, 12).tolist() == [0, 5, 1, 4, 2]


def test_strided_views_encode_like_their_copies():
    mask = np.arange(60).reshape(6, 10) % 3 == 0
    assert encode_bool(mask[::2, ::3]) == encode_bool(mask[::2, ::3].copy())
    assert encode_bool(mask.T) == encode_bool(mask.T.copy())


def test_empty_and_full():
    assert encode_bool(np.zeros((3, 4), bool)) == leb_string([12])
    assert encode_bool(np.ones((3, 4), bool)) == leb_string([0, 12])
    assert rle.class_runs(np.zeros((0, 4), np.uint8)) == {}
    assert rle.decode({"size": [0, 5], "counts": ""}).shape == (0, 5)


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"size": [10**6, 10**6], "counts": [10**12]}, ErrorCode.UNSAFE_SIZE),  # a terabyte
        ({"size": [10**6, 10**6], "counts": "0"}, ErrorCode.UNSAFE_SIZE),  # the same, compressed
        ({"size": [4, 6], "counts": [9, 3]}, ErrorCode.UNSAFE_SIZE),  # too few pixels
        ({"size": [4, 6], "counts": [9, 300]}, ErrorCode.UNSAFE_SIZE),  # too many
        ({"size": [4, 6], "counts": "931N0002300"}, ErrorCode.UNSAFE_SIZE),  # runs past the end
        ({"size": [1, 1], "counts": leb_string([5, 3, 1, -4, -4])}, ErrorCode.UNSAFE_SIZE),  # < 0
        ({"size": [4, 6], "counts": "93\x20"}, ErrorCode.MALFORMED),  # outside the alphabet
        ({"size": [4, 6], "counts": "93é"}, ErrorCode.MALFORMED),  # not ASCII
        ({"size": [4, 6], "counts": "93P"}, ErrorCode.MALFORMED),  # cut inside a number
        ({"size": [4, 6], "counts": "o" * 9 + "0"}, ErrorCode.MALFORMED),  # 50-bit number
        ({"size": [4, 6], "counts": [9, -3, 18]}, ErrorCode.MALFORMED),
        ({"size": [4, 6], "counts": [9.0, 15]}, ErrorCode.MALFORMED),
        ({"size": [4, 6], "counts": None}, ErrorCode.MALFORMED),
        ({"size": [4, 6]}, ErrorCode.MALFORMED),
        ({"size": [4], "counts": [4]}, ErrorCode.MALFORMED),
        ({"size": [-4, -6], "counts": [24]}, ErrorCode.MALFORMED),
        ({"size": "46", "counts": [24]}, ErrorCode.MALFORMED),
        ({"counts": [24]}, ErrorCode.MALFORMED),
    ],
)
def test_hostile_documents_are_refused(document, code):
    with pytest.raises(DocumentFailure) as caught:
        rle.decode(document, name="a.json annotation 7")
    assert caught.value.code is code


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40), st.integers(0, 50), st.integers(0, 50))
def test_any_text_decodes_or_is_refused(text, height, width):
    try:
        mask = rle.decode({"size": [height, width], "counts": text})
    except DocumentFailure:
        return
    assert mask.shape == (height, width)


def test_real_masks(shared):
    from PIL import Image

    for path in sorted((shared / "data" / "voc").glob("*_voc_official.png")):
        mask = np.array(Image.open(path))
        for value, runs in rle.class_runs(mask).items():
            reference = coco_mask.encode(np.asfortranarray((mask == value).astype(np.uint8)))
            counts = rle.runs_to_counts(runs, mask.size)
            assert counts_to_string(counts) == reference["counts"].decode()
            assert list(rle.runs_bbox(runs, mask.shape[0])) == coco_mask.toBbox(reference).tolist()
