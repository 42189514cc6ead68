import io

import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.masks.per_class import class_of_file, merge_binary, split_binary
from maskmill.pipeline.masks.picture import index_png
from maskmill.pipeline.masks.registry import MASK_FORMATS, DecodeOptions
from maskmill.schemas.errors import ErrorCode, MaskFailure, SettingsError
from maskmill.schemas.labels import LabelMap

TWO = LabelMap.from_names("two", ["background", "person"])
FACE = LabelMap.from_names("face", ["background", "skin", "lip", "u_lip", "hair"])


def layer(*rows):
    return index_png(np.array(rows, np.uint8) * 255)


def test_levels():
    decode = MASK_FORMATS["binary"].decode
    assert decode(layer([0, 1]), TWO).tolist() == [[0, 1]]
    assert decode(index_png(np.array([[0, 1]], np.uint8)), TWO).tolist() == [[0, 1]]
    one_bit = io.BytesIO()
    Image.fromarray(np.array([[True, False]])).save(one_bit, "PNG")
    assert decode(one_bit.getvalue(), TWO).tolist() == [[1, 0]]
    between = index_png(np.array([[0, 3, 200, 255]], np.uint8))
    with pytest.raises(MaskFailure, match=r"2 of 4 pixels \(50\.00%\).*first level is 3") as caught:
        decode(between, TWO)
    assert caught.value.code is ErrorCode.UNKNOWN_VALUE
    notes = []
    options = DecodeOptions(unknown="nearest", note=notes.append)
    assert decode(between, TWO, options=options).tolist() == [[0, 0, 1, 1]]
    assert "cut at 128" in notes[0]


def test_more_than_two_classes_are_refused():
    for name in ("binary", "binary01"):
        with pytest.raises(MaskFailure) as caught:
            MASK_FORMATS[name].decode(layer([0, 1]), FACE)
        assert caught.value.code is ErrorCode.CANNOT_HOLD


def test_merging_paints_in_the_stated_order():
    files = {"hair": layer([1, 1, 0, 0]), "skin": layer([0, 1, 1, 0])}
    notes = []
    options = DecodeOptions(note=notes.append)
    kept = merge_binary(files, FACE, name="1", options=options)
    assert kept.tolist() == [[4, 4, 1, 0]]
    assert notes == ["1 pixels in several class files: the last in priority"]
    turned = merge_binary(files, FACE, priority=["hair", "skin"], name="1")
    assert turned.tolist() == [[4, 1, 1, 0]]


def test_pixels_of_no_class_are_background_or_ignore():
    bare = LabelMap.from_names("bare", ["skin", "hair"], background=None)
    assert merge_binary({"hair": layer([1, 0])}, bare, name="1").tolist() == [[1, 255]]
    assert merge_binary({"hair": layer([1, 0])}, FACE, name="1").tolist() == [[4, 0]]


def test_merging_refuses_what_it_cannot_know():
    with pytest.raises(SettingsError, match="no class 'nose'"):
        merge_binary({"nose": layer([1])}, FACE, name="1")
    with pytest.raises(SettingsError, match="where hair comes"):
        merge_binary({"hair": layer([1])}, FACE, priority=["skin"], name="1")
    with pytest.raises(MaskFailure, match=r"skin 1 x 1, hair 2 x 1") as caught:
        merge_binary({"hair": layer([1, 0]), "skin": layer([1])}, FACE, name="1")
    assert caught.value.code is ErrorCode.SIZE_MISMATCH
    with pytest.raises(MaskFailure):
        merge_binary({}, FACE, name="1")
    with pytest.raises(MaskFailure, match=r"1 \(hair\)"):
        merge_binary({"hair": b""}, FACE, name="1")


def test_split_and_merge_are_inverse():
    mask = np.random.default_rng(1).integers(0, 5, (12, 17)).astype(np.uint8)
    files = split_binary(mask, FACE)
    assert list(files) == ["skin", "lip", "u_lip", "hair"]
    np.testing.assert_array_equal(merge_binary(files, FACE, name="m"), mask)
    assert list(split_binary(np.zeros((2, 2), np.uint8), FACE)) == []
    with pytest.raises(MaskFailure) as caught:
        split_binary(np.array([[255]], np.uint8), FACE)
    assert caught.value.code is ErrorCode.CANNOT_HOLD


def test_file_names_tell_the_class():
    assert class_of_file("00001_u_lip", FACE) == ("00001", "u_lip")
    assert class_of_file("00001_lip", FACE) == ("00001", "lip")
    assert class_of_file("00001_l_eye", FACE) is None
    assert class_of_file("_lip", FACE) is None
