"""What every mask format promises, whoever adds one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maskmill.pipeline.masks.reading import read_mask
from maskmill.pipeline.masks.registry import MASK_FORMATS, DecodeOptions
from maskmill.pipeline.masks.void import void_color
from maskmill.schemas.errors import ErrorCode, MaskFailure
from maskmill.schemas.labels import LabelMap, builtin

SMALL = DecodeOptions(max_pixels=1 << 22)
MANY = LabelMap.from_names("many", [f"class {index}: ü.{index}" for index in range(300)])
LABEL_MAPS = [
    builtin("voc"),
    LabelMap.from_names("two", ["background", "person"]),
    LabelMap.from_names("no background", ["road", "sky", "tree"], background=None),
    LabelMap.from_names("full", [f"c{index}" for index in range(255)]),
    MANY,
]
BY_COLOR = ("color", "ppm")


def is_held(name, labels, *, with_ignore):
    """True where every mask of ``labels`` can come back as it was, by what a format says it is."""
    spec = MASK_FORMATS[name]
    if len(labels.classes) > spec.max_classes or (with_ignore and not spec.holds_ignore):
        return False
    if name not in BY_COLOR:
        return True
    distinct = len({entry.color for entry in labels.classes}) == len(labels.classes)
    return distinct and not (with_ignore and void_color(labels) is None)


shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=19)


@st.composite
def labelled_masks(draw):
    labels = draw(st.sampled_from(LABEL_MAPS))
    values = draw(st.lists(st.integers(0, len(labels.classes) - 1), min_size=1, max_size=4))
    if draw(st.booleans()):
        values.append(labels.ignore_index)
    mask = draw(hnp.arrays(labels.mask_dtype, draw(shapes), elements=st.sampled_from(values)))
    return labels, mask


@pytest.mark.parametrize("name", MASK_FORMATS)
@settings(deadline=None, max_examples=120)
@given(labelled_masks())
def test_masks_come_back_or_are_refused(name, labelled):
    labels, mask = labelled
    spec = MASK_FORMATS[name]
    has_ignore = bool((mask == labels.ignore_index).any())
    if not is_held(name, labels, with_ignore=has_ignore):
        with pytest.raises(MaskFailure) as caught:
            spec.encode(mask, labels)
        assert caught.value.code is ErrorCode.CANNOT_HOLD
        return
    data = spec.encode(mask, labels)
    assert data == spec.encode(mask.copy(order="F"), labels)
    decoded = spec.decode(data, labels, name="mask")
    assert decoded.dtype == labels.mask_dtype
    np.testing.assert_array_equal(decoded, mask)
    assert decoded.flags.writeable


@pytest.mark.parametrize("name", MASK_FORMATS)
def test_specs_say_what_they_are(name):
    spec = MASK_FORMATS[name]
    assert spec.name == name and spec.description and spec.extension.startswith(".")
    assert is_held(name, LABEL_MAPS[1], with_ignore=False)


HELD = [
    pytest.param(spec, labels, id=f"{name}-{labels.name}")
    for name, spec in MASK_FORMATS.items()
    for labels in LABEL_MAPS
    if is_held(name, labels, with_ignore=False)
]


@pytest.mark.parametrize(("spec", "labels"), HELD)
def test_auto_reads_what_any_format_wrote(spec, labels):
    num_classes = len(labels.classes)
    mask = (np.arange(21 * 33) % num_classes).reshape(21, 33).astype(labels.mask_dtype)
    decoded, what = read_mask(spec.encode(mask, labels), labels, name="m")
    np.testing.assert_array_equal(decoded, mask)
    assert what


@pytest.mark.parametrize("name", MASK_FORMATS)
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", ErrorCode.EMPTY_FILE),
        (b"not a picture at all", ErrorCode.NOT_AN_IMAGE),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), ErrorCode.NOT_AN_IMAGE),
    ],
)
def test_sick_bytes_are_typed_failures(name, data, code):
    with pytest.raises(MaskFailure, match=r"sub/m\.png") as caught:
        MASK_FORMATS[name].decode(data, LABEL_MAPS[1], name="sub/m.png")
    assert caught.value.code is code


@pytest.mark.parametrize("name", MASK_FORMATS)
def test_cut_off_files_are_typed_failures(name):
    spec = MASK_FORMATS[name]
    mask = np.random.default_rng(0).integers(0, 2, (64, 64)).astype(np.uint8)
    data = spec.encode(mask, LABEL_MAPS[1])
    with pytest.raises(MaskFailure) as caught:
        spec.decode(data[: len(data) * 2 // 3], LABEL_MAPS[1], name="m")
    assert caught.value.code in (ErrorCode.TRUNCATED, ErrorCode.CORRUPT, ErrorCode.NOT_AN_IMAGE)


@pytest.mark.parametrize("name", MASK_FORMATS)
def test_values_that_are_no_class_are_never_written(name):
    mask = np.array([[0, 1, 7]], np.uint8)
    with pytest.raises(MaskFailure, match="value 7") as caught:
        MASK_FORMATS[name].encode(mask, LABEL_MAPS[1])
    assert caught.value.code is ErrorCode.UNKNOWN_VALUE


@pytest.mark.parametrize("name", ["palette", "color", "indexed16", "tiff", "bmp", "ppm"])
@settings(deadline=None, max_examples=150)
@given(st.data())
def test_damaged_bytes_are_read_or_refused_never_a_crash(name, data):
    mask = (np.arange(40 * 30) // 37 % 21).reshape(40, 30).astype(np.uint8)
    sound = bytearray(MASK_FORMATS[name].encode(mask, LABEL_MAPS[0]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(sound) - 1, 600)))
        sound[at] = data.draw(st.integers(0, 255))
    try:
        decoded, _ = read_mask(bytes(sound), LABEL_MAPS[0], name="m", options=SMALL)
    except MaskFailure:
        return
    assert decoded.dtype == np.uint8 and decoded.ndim == 2
