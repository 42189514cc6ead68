import io

import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.masks.reading import read_mask
from maskmill.pipeline.masks.registry import MASK_FORMATS, DecodeOptions
from maskmill.schemas.errors import ErrorCode, MaskFailure, SettingsError
from maskmill.schemas.labels import LabelMap, builtin, voc_color

VOC = builtin("voc")
TWO = LabelMap.from_names("two", ["background", "person"])
MASK = np.array([[0, 1, 15], [20, 255, 0]], np.uint8)


def png(image, **options):
    stream = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(
        stream, "PNG", **options
    )
    return stream.getvalue()


def palette_png(indices, colors, **options):
    image = Image.frombytes("P", indices.shape[::-1], indices.astype(np.uint8).tobytes())
    image.putpalette([channel for color in colors for channel in color])
    return png(image, **options)


@pytest.mark.parametrize("name", ["palette", "color", "indexed", "indexed16", "tiff", "bmp"])
def test_a_mixed_folder_is_read_file_by_file(name):
    mask, what = read_mask(MASK_FORMATS[name].encode(MASK, VOC), VOC, name="m")
    np.testing.assert_array_equal(mask, MASK)
    expected = {"indexed16": "indexed", "tiff": "indexed", "bmp": "palette"}.get(name, name)
    assert what.startswith(f"{expected} (")


def test_palette_indices_are_read_exactly_not_as_luminance():
    data = MASK_FORMATS["palette"].encode(MASK, VOC)
    luminance = np.array(Image.open(io.BytesIO(data)).convert("L"))
    assert luminance[0, 1] == 38  # the classic error
    np.testing.assert_array_equal(read_mask(data, VOC, name="m")[0], MASK)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_narrow_palettes(bits):
    mask = np.arange(20).reshape(4, 5) % min(2**bits, 16)
    colors = [voc_color(index) for index in range(2**bits)]
    data = palette_png(mask, colors, bits=bits)
    assert data[24] == bits
    np.testing.assert_array_equal(read_mask(data, VOC, name="m")[0], mask)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_narrow_grey_is_not_stretched(bits):
    import struct
    import zlib

    mask = np.arange(16).reshape(2, 8) % 2**bits
    packed = np.packbits(
        (mask[..., None] >> np.arange(bits)[::-1] & 1).reshape(2, -1).astype(np.uint8), axis=1
    )
    rows = b"".join(b"\0" + row.tobytes() for row in packed)

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 2, bits, 0, 0, 0, 0))
    data += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    mask_read, what = read_mask(data, VOC, name="m")
    np.testing.assert_array_equal(mask_read, mask)
    assert what.startswith("indexed")


def test_indices_stored_in_three_equal_channels():
    grey = np.array([[0, 1], [20, 255]], np.uint8)
    mask, what = read_mask(png(np.dstack([grey] * 3)), VOC, name="m")
    np.testing.assert_array_equal(mask, grey)
    assert what == "indexed (mode RGB with equal channels)"


def test_zero_255_is_binary_only_in_a_map_of_two_classes():
    data = png(np.array([[0, 255], [255, 255]], np.uint8))
    mask, what = read_mask(data, TWO, name="m")
    assert mask.tolist() == [[0, 1], [1, 1]]
    assert what == "binary (mode L, levels 0 and 255: 255 is 'person', not ignore)"
    assert read_mask(data, TWO, name="m", format="indexed")[0].tolist() == [[0, 255], [255, 255]]
    assert read_mask(data, VOC, name="m")[0].tolist() == [[0, 255], [255, 255]]
    both = png(np.array([[0, 1, 255]], np.uint8))
    assert read_mask(both, TWO, name="m")[0].tolist() == [[0, 1, 255]]


def test_palettes_in_another_order_are_read_by_colour_or_refused():
    colors = [(0, 0, 0), VOC.classes[15].color, VOC.classes[3].color]
    indices = np.array([[0, 1, 2]])
    with pytest.raises(
        MaskFailure, match=r"index 1 is painted 'person'.*'aeroplane' by number"
    ) as e:
        read_mask(palette_png(indices, colors), VOC, name="m")
    assert e.value.code is ErrorCode.WRONG_MODE
    for format, expected in (("palette", [0, 1, 2]), ("color", [0, 15, 3])):
        mask, what = read_mask(palette_png(indices, colors), VOC, name="m", format=format)
        assert mask.tolist() == [expected] and what == format
    many = [VOC.classes[20 - index % 21].color for index in range(40)]
    mask, what = read_mask(palette_png(np.array([[30, 25]]), many), VOC, name="m")
    assert mask.tolist() == [[20 - 30 % 21, 20 - 25 % 21]]
    assert what.startswith("color (palette of the label map's colours in another order")


def test_a_foreign_palette_is_read_by_index_and_said():
    mask, what = read_mask(palette_png(np.array([[0, 2]]), [(7, 7, 7)] * 3), VOC, name="m")
    assert mask.tolist() == [[0, 2]]
    assert "not those of the label map" in what


def test_unknown_values_are_named_with_count_and_share():
    grey = np.zeros((10, 10), np.uint8)
    grey[0, :4], grey[1, 0] = 38, 75
    with pytest.raises(
        MaskFailure,
        match=r"x\.png: value 38 covers 4 of 100 pixels \(4\.00%\), value 75 covers 1 of 100",
    ) as caught:
        read_mask(png(grey), VOC, name="x.png")
    assert caught.value.code is ErrorCode.UNKNOWN_VALUE
    mask, what = read_mask(png(grey), VOC, name="x.png", unknown="ignore")
    assert (mask == 255).sum() == 5 and "read as ignore" in what
    with pytest.raises(MaskFailure):
        read_mask(png(grey), VOC, name="x.png", unknown="nearest")


def test_unknown_colours_follow_the_policy():
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[0, 1] = (129, 1, 0)
    data = png(pixels)
    with pytest.raises(MaskFailure):
        read_mask(data, VOC, name="m")
    assert read_mask(data, VOC, name="m", unknown="ignore")[0].tolist() == [[0, 255], [0, 0]]
    mask, what = read_mask(data, VOC, name="m", unknown="nearest")
    assert mask.tolist() == [[0, 1], [0, 0]] and "1 pixels snapped" in what


def test_grey_jpeg_indices_are_refused_even_with_nearest():
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(stream, "JPEG")
    for unknown in ("error", "nearest"):
        with pytest.raises(MaskFailure) as caught:
            read_mask(stream.getvalue(), VOC, name="m", unknown=unknown)
        assert caught.value.code is ErrorCode.LOSSY_MASK
    assert not read_mask(stream.getvalue(), TWO, name="m", unknown="nearest")[0].any()


def test_sixteen_bits():
    many = LabelMap.from_names("many", [str(index) for index in range(300)])
    wide = np.array([[0, 255, 299, 65535]], np.uint16)
    np.testing.assert_array_equal(
        read_mask(MASK_FORMATS["indexed"].encode(wide, many), many, name="m")[0], wide
    )
    narrow = read_mask(png(np.array([[0, 20, 255, 65535]], np.uint16)), VOC, name="m")[0]
    assert narrow.dtype == np.uint8 and narrow.tolist() == [[0, 20, 255, 255]]
    grey = read_mask(png(np.array([[0, 255]], np.uint8)), many, name="m")[0]
    assert grey.dtype == np.uint16 and grey.tolist() == [[0, 255]]  # class 255, not ignore
    with pytest.raises(MaskFailure, match="value 276 covers 1"):  # 276 % 256 = 20 is a class
        read_mask(png(np.array([[0, 276]], np.uint16)), VOC, name="m")


def test_big_endian_and_32_bit_tiff(tmp_path):
    import tifffile

    values = np.array([[0, 3], [20, 255]], np.uint16)
    for dtype in (">u2", "<u2", ">i4"):
        path = tmp_path / "m.tif"
        tifffile.imwrite(path, values.astype(dtype), byteorder=">" if dtype[0] == ">" else "<")
        mask, _ = read_mask(path.read_bytes(), VOC, name="m")
        np.testing.assert_array_equal(mask, values)
    tifffile.imwrite(path, np.array([[-1, 3]], np.int32))
    with pytest.raises(MaskFailure, match="from -1 to 3"):
        read_mask(path.read_bytes(), VOC, name="m")
    tifffile.imwrite(path, np.array([[1.5, 3]], np.float32))
    with pytest.raises(MaskFailure) as caught:
        read_mask(path.read_bytes(), VOC, name="m")
    assert caught.value.code is ErrorCode.WRONG_MODE


@pytest.mark.parametrize("highest", [1, 20, 100, 255, 300, 65535])
def test_grey_maps_of_any_depth(highest):
    labels = LabelMap.from_names("many", [str(index) for index in range(302)])
    values = np.arange(min(highest, 300) + 1)
    stored = values.astype(">u2" if highest > 255 else np.uint8).tobytes()
    for comment in (b"", b"# made by hand\n"):
        data = b"P5\n%b%d 1\n%d\n" % (comment, len(values), highest) + stored
        np.testing.assert_array_equal(read_mask(data, labels, name="m")[0], values[None])


def test_postscript_is_never_opened():
    data = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n"
    assert Image.open(io.BytesIO(data)).format == "EPS"
    with pytest.raises(MaskFailure) as caught:
        read_mask(data, VOC, name="m")
    assert caught.value.code is ErrorCode.NOT_AN_IMAGE


def test_size_is_checked_in_the_header():
    data = png(np.zeros((100, 100), np.uint8))
    with pytest.raises(MaskFailure, match="100 x 100") as caught:
        read_mask(data, VOC, name="m", options=DecodeOptions(max_pixels=9_999))
    assert caught.value.code is ErrorCode.TOO_MANY_PIXELS
    bomb = data[:16] + (2**31 - 1).to_bytes(4, "big") * 2 + data[24:]
    import zlib

    bomb = bomb[:29] + zlib.crc32(bomb[12:29]).to_bytes(4, "big") + bomb[33:]
    with pytest.raises(MaskFailure) as caught:
        read_mask(bomb, VOC, name="m")
    assert caught.value.code is ErrorCode.TOO_MANY_PIXELS


def test_asking_for_the_wrong_kind_says_the_remedy():
    palette = MASK_FORMATS["palette"].encode(MASK, VOC)
    with pytest.raises(MaskFailure, match="'palette' or 'color'"):
        read_mask(palette, VOC, name="m", format="indexed")
    with pytest.raises(MaskFailure, match="'indexed' or 'color'"):
        read_mask(png(MASK), VOC, name="m", format="palette")
    with pytest.raises(MaskFailure, match="read it as 'color'"):
        read_mask(MASK_FORMATS["color"].encode(MASK, VOC), VOC, name="m", format="indexed")
    with pytest.raises(SettingsError, match=r"no mask format 'jpg'.*palette"):
        read_mask(palette, VOC, name="m", format="jpg")


def test_real_files(shared):
    data = shared / "data"
    cases = [
        *(data / "voc").glob("*_voc_official.png"),
        *(data / "vainf_voc").glob("*_ids.png"),
        *sorted((data / "voc_masks_500").glob("*.png"))[:25],
    ]
    for path in cases:
        mask, _ = read_mask(path.read_bytes(), VOC, name=path.name)
        np.testing.assert_array_equal(mask, np.array(Image.open(path)))
    ade = LabelMap.from_names("ade", [str(index) for index in range(151)])
    for path in (data / "ade20k" / "sampleData" / "annotations").glob("*.png"):
        mask, what = read_mask(path.read_bytes(), ade, name=path.name)
        np.testing.assert_array_equal(mask, np.array(Image.open(path)))
        assert what == "indexed (mode L)"
    for path in (data / "coral").glob("*_mask.bmp"):
        mask, _ = read_mask(path.read_bytes(), VOC, name=path.name)
        np.testing.assert_array_equal(mask, np.array(Image.open(path)))


def test_palettes_of_maps_with_shared_colours_are_read_by_index():
    labels = LabelMap.from_names("twins", ["a", "b", "c"], colors=[(0, 0, 0), (0, 0, 0), (9, 9, 9)])
    mask = np.array([[0, 1, 2, 255]], np.uint8)
    decoded, what = read_mask(MASK_FORMATS["palette"].encode(mask, labels), labels, name="m")
    np.testing.assert_array_equal(decoded, mask)
    assert what == "palette (indices and colours agree)"


def test_palettes_are_the_map_s_or_pascal_voc_s():
    labels = LabelMap.from_names("own", ["a", "b"], colors=[(1, 2, 3), (4, 5, 6)])
    mask = np.array([[0, 1, 255]], np.uint8)
    for name, expected in (
        ("palette", [[1, 2, 3], [4, 5, 6], [224, 224, 192]]),
        ("palette_voc", [[0, 0, 0], [128, 0, 0], [224, 224, 192]]),
        ("bmp", [[1, 2, 3], [4, 5, 6], [224, 224, 192]]),
    ):
        image = Image.open(io.BytesIO(MASK_FORMATS[name].encode(mask, labels)))
        assert np.array(image.convert("RGB"))[0].tolist() == expected
