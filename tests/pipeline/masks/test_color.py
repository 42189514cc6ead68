import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from maskmill.pipeline.masks.color import mask_to_colors, shared_colors
from maskmill.pipeline.masks.registry import MASK_FORMATS, DecodeOptions
from maskmill.pipeline.masks.void import void_color
from maskmill.schemas.errors import ErrorCode, MaskFailure
from maskmill.schemas.labels import LabelMap, builtin, builtin_names

COLOR = MASK_FORMATS["color"]
LFW = LabelMap.from_names(
    "lfw", ["background", "hair", "skin"], colors=[(0, 0, 255), (255, 0, 0), (0, 255, 0)]
)


def encoded(pixels, format="PNG", **options):
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, format, **options)
    return stream.getvalue()


def plain(pixels, labels):
    """One comparison per class, for comparison."""
    mask = np.full(pixels.shape[:2], labels.ignore_index, labels.mask_dtype)
    for entry in labels.classes:
        mask[(pixels == np.array(entry.color, np.uint8)).all(axis=-1)] = entry.index
    return mask


@settings(deadline=None)
@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20)),
    st.integers(1, 254),
)
def test_equal_to_one_comparison_per_class(values, num_classes):
    labels = LabelMap.from_names("n", [str(index) for index in range(num_classes)])
    pixels = builtin_palette()[values % num_classes]
    np.testing.assert_array_equal(
        COLOR.decode(encoded(pixels), labels, name="m"), plain(pixels, labels)
    )


def builtin_palette():
    return np.frombuffer(builtin("voc").palette, np.uint8).reshape(256, 3)


def test_an_unknown_colour_is_named_with_count_place_and_neighbour():
    pixels = mask_to_colors(np.zeros((8, 9), np.uint8), LFW)
    pixels[2, 5] = pixels[7, 0] = (12, 0, 3)
    pixels[0, 0] = (1, 2, 3)
    with pytest.raises(
        MaskFailure,
        match=r"a/b\.png: colour 12,0,3 at 2 pixels, first at y=2 x=5, .*'lfw' "
        r"\(2 unknown colours in all\); nearest is hair 255,0,0",
    ) as caught:
        COLOR.decode(encoded(pixels), LFW, name="a/b.png")
    assert caught.value.code is ErrorCode.UNKNOWN_COLOR


def test_unknown_ignore_keeps_the_rest_and_says_so():
    pixels = mask_to_colors(np.ones((4, 4), np.uint8), LFW)
    pixels[1, 1:3] = (9, 9, 9)
    notes = []
    options = DecodeOptions(unknown="ignore", note=notes.append)
    mask = COLOR.decode(encoded(pixels), LFW, name="m", options=options)
    assert (mask == 255).sum() == 2 and (mask == 1).sum() == 14
    assert len(notes) == 1 and "9,9,9 at 2 pixels" in notes[0]


def test_nearest_snaps_within_the_limit_and_ignores_beyond():
    pixels = mask_to_colors(np.ones((4, 4), np.uint8), LFW)
    pixels[0, 0] = (250, 4, 3)
    pixels[0, 1] = (0, 240, 0)
    pixels[0, 2] = (128, 128, 128)
    notes = []
    options = DecodeOptions(unknown="nearest", max_distance=20, note=notes.append)
    mask = COLOR.decode(encoded(pixels), LFW, name="m", options=options)
    assert mask[0, :3].tolist() == [1, 2, 255]
    assert (mask[1:] == 1).all()
    assert "2 pixels snapped" in notes[0] and "1 farther than 20" in notes[0]


@settings(deadline=None, max_examples=40)
@given(hnp.arrays(np.uint8, (5, 7, 3)))
def test_nearest_is_the_nearest(pixels):
    options = DecodeOptions(unknown="nearest", max_distance=500)
    mask = COLOR.decode(encoded(pixels), LFW, name="m", options=options)
    table = np.vstack([LFW.color_table(), [(224, 224, 192)]]).astype(int)
    squares = ((pixels[:, :, None].astype(int) - table) ** 2).sum(-1)
    chosen = np.where(mask == 255, 3, mask)[..., None]
    np.testing.assert_array_equal(np.take_along_axis(squares, chosen, 2)[..., 0], squares.min(-1))


def test_jpeg_is_refused_unless_nearest():
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 32:] = 1
    data = encoded(mask_to_colors(mask, LFW), "JPEG", quality=95, subsampling=0)
    with pytest.raises(MaskFailure, match="JPEG") as caught:
        COLOR.decode(data, LFW, name="m.jpg")
    assert caught.value.code is ErrorCode.LOSSY_MASK
    snapped = COLOR.decode(data, LFW, name="m.jpg", options=DecodeOptions(unknown="nearest"))
    np.testing.assert_array_equal(snapped, mask)


@pytest.mark.parametrize(
    ("format", "options", "lossy"),
    [
        ("WEBP", {"lossless": True, "exact": True}, False),
        ("WEBP", {"lossless": False}, True),
        ("TIFF", {"compression": "tiff_lzw"}, False),
        ("TIFF", {"compression": "jpeg"}, True),
        ("JPEG2000", {}, True),
        ("PPM", {}, False),
        ("BMP", {}, False),
    ],
)
def test_lossy_containers_are_known(format, options, lossy):
    mask = np.arange(64 * 64).reshape(64, 64) // 9 % 3
    data = encoded(mask_to_colors(mask.astype(np.uint8), LFW), format, **options)
    if lossy:
        with pytest.raises(MaskFailure) as caught:
            COLOR.decode(data, LFW, name="m")
        assert caught.value.code is ErrorCode.LOSSY_MASK
    else:
        np.testing.assert_array_equal(COLOR.decode(data, LFW, name="m"), mask)


def test_void_is_ignore_unless_a_class_has_its_colour():
    assert void_color(LFW) == (224, 224, 192)
    pale = LabelMap.from_names("pale", ["a", "b"], colors=[(0, 0, 0), (224, 224, 192)])
    assert void_color(pale) == (255, 255, 255)
    mask = np.array([[0, 1, 255]], np.uint8)
    assert mask_to_colors(mask, pale)[0].tolist() == [[0, 0, 0], [224, 224, 192], [255, 255, 255]]
    full = LabelMap.from_names("full", ["a", "b"], colors=[(255, 255, 255), (224, 224, 192)])
    with pytest.raises(MaskFailure) as caught:
        mask_to_colors(mask, full)
    assert caught.value.code is ErrorCode.CANNOT_HOLD
    np.testing.assert_array_equal(mask_to_colors(mask[:, :2], full)[0, 0], [255, 255, 255])


def test_shared_colours_are_refused_both_ways_where_they_occur():
    labels = LabelMap.from_names("twins", ["a", "b", "c"], colors=[(0, 0, 0), (9, 9, 9), (9, 9, 9)])
    zeros = np.zeros((2, 2), np.uint8)
    np.testing.assert_array_equal(COLOR.decode(COLOR.encode(zeros, labels), labels), zeros)
    pixels = np.full((1, 3, 3), 9, np.uint8)
    pixels[0, 0], pixels[0, 2] = (0, 0, 0), (1, 1, 1)
    for unknown, expected in (("ignore", [0, 255, 255]), ("nearest", [0, 255, 0])):
        options = DecodeOptions(unknown=unknown)
        assert COLOR.decode(encoded(pixels), labels, name="m", options=options).tolist() == [
            expected
        ]
    for act in (
        lambda: COLOR.encode(zeros + 2, labels),
        lambda: COLOR.decode(encoded(np.full((2, 2, 3), 9, np.uint8)), labels),
    ):
        with pytest.raises(MaskFailure, match=r"b, c in the same colour 9,9,9") as caught:
            act()
        assert caught.value.code is ErrorCode.CANNOT_HOLD


def test_ppm_is_plain_p6():
    mask = np.array([[0, 1], [2, 0]], np.uint8)
    data = MASK_FORMATS["ppm"].encode(mask, LFW)
    assert data == b"P6\n2 2\n255\n" + bytes([0, 0, 255, 255, 0, 0, 0, 255, 0, 0, 0, 255])


@pytest.mark.parametrize("mode", ["RGBA", "P", "RGB"])
def test_other_modes_with_the_same_colours(mode):
    mask = np.arange(12).reshape(3, 4).astype(np.uint8) % 3
    image = Image.fromarray(mask_to_colors(mask, LFW)).convert(mode)
    np.testing.assert_array_equal(COLOR.decode(encoded(image), LFW), mask)


def test_what_cannot_be_known_is_refused():
    see_through = np.zeros((2, 2, 4), np.uint8)
    for image in (Image.fromarray(see_through), Image.new("I;16", (2, 2)), Image.new("LA", (2, 2))):
        with pytest.raises(MaskFailure) as caught:
            COLOR.decode(encoded(image), LFW)
        assert caught.value.code is ErrorCode.WRONG_MODE


def test_16_bit_colours_are_not_cut_to_8():
    import struct
    import zlib

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    row = b"\0" + struct.pack(">6H", 0, 0, 0xFF01, 0, 0, 0xFFFE)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    data += chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    assert Image.open(io.BytesIO(data)).mode == "RGB"
    with pytest.raises(MaskFailure) as caught:
        COLOR.decode(data, LFW)
    assert caught.value.code is ErrorCode.WRONG_MODE


def test_noise_of_many_colours_is_reported_not_exhausted():
    pixels = np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)
    with pytest.raises(MaskFailure, match="unknown colours in all"):
        COLOR.decode(encoded(pixels), LFW, name="m")
    options = DecodeOptions(unknown="nearest", max_distance=1000)
    assert set(np.unique(COLOR.decode(encoded(pixels), LFW, name="m", options=options))) <= {
        0,
        1,
        2,
        255,
    }


def test_pictures_beyond_one_block_of_memory():
    mask = np.zeros((1100, 4096), np.uint8)
    mask[500:, 7:4000] = 2
    np.testing.assert_array_equal(COLOR.decode(COLOR.encode(mask, LFW), LFW), mask)


def test_real_voc_colours(shared):
    folder = shared / "data" / "vainf_voc"
    for name in ("1", "23", "114"):
        for kind in ("pred", "target"):
            data = (folder / "samples" / f"{name}_{kind}.png").read_bytes()
            expected = np.array(Image.open(folder / f"{name}_{kind}_ids.png"))
            np.testing.assert_array_equal(COLOR.decode(data, builtin("voc")), expected)


@pytest.mark.parametrize("name", builtin_names())
def test_every_built_in_map_comes_back_by_colour_where_its_colours_differ(name):
    labels = builtin(name)
    mask = (np.arange(30 * 40).reshape(30, 40) % len(labels.classes)).astype(labels.mask_dtype)
    shared = [entry.index for entry in labels.classes if entry.color in shared_colors(labels)]
    mask[np.isin(mask, shared)] = labels.ignore_index
    np.testing.assert_array_equal(COLOR.decode(COLOR.encode(mask, labels), labels), mask)
