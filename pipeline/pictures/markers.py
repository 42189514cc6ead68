"""What the bytes of a picture file say before any decoder runs: where it ends, how it is turned.

Facts: ITU-T T.81 annex B (JPEG markers), PNG specification 3rd edition section 5, RIFF and BMP
file size fields, GIF89a section 27, ISO/IEC 14496-12 section 4.2 (boxes), TIFF 6.0
section 2, CIPA DC-008 (Exif 2.32).
"""

import struct
from collections.abc import Callable, Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_EOI = b"\xff\xd9"
ORIENTATION_TAG = 0x0112  # of Exif and of TIFF
_INTEGER_LETTERS = {1: "B", 3: "H", 4: "I"}  # TIFF types BYTE, SHORT, LONG
_TIFF_PIXELS = ((273, 279), (324, 325))  # offsets and byte counts of strips, of tiles


def exif_orientation(exif: bytes) -> int:
    """Orientation 1..8 of an Exif block; 1 where it has none, or one that cannot be read."""
    tiff = exif.removeprefix(b"Exif\0\0")
    try:
        found = (values for tag, values in _first_directory(tiff) if tag == ORIENTATION_TAG)
        value = next((values[0] for values in found if values), 1)
    except struct.error:  # cut or damaged: the picture itself may still be good
        return 1
    return value if 1 <= value <= 8 else 1


def png_exif(data: bytes) -> bytes:
    """The eXIf chunk of a PNG, before or after the pixels; empty where there is none."""
    for kind, start, length in _png_chunks(data):
        if kind == b"eXIf":
            return data[start : start + length]
    return b""


def ends_early(data: bytes) -> bool:
    """True where the file's own structure says that bytes are missing at its end.

    False says nothing: not every format tells.
    """
    for magic, position, check in _ENDINGS:
        if data[position : position + len(magic)] == magic:
            try:
                return check(data)
            except struct.error:  # too short for its own header
                return True
    return False


def has_known_magic(data: bytes) -> bool:
    """True for the first bytes of a format that is read here."""
    known = any(data[at : at + len(magic)] == magic for magic, at, _ in _ENDINGS)
    return known or data[:4] in (b"II+\0", b"MM\0+")  # BigTIFF


def jpeg_end(data: bytes) -> int | None:
    """Position of the end marker of the first picture in a JPEG file; None where it is missing."""
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            position += 1
            continue
        marker = data[position + 1]
        if marker == 0xDA:
            end = data.find(_JPEG_EOI, position)
            return end if end >= 0 else None
        if marker in (0xFF, 0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # no length follows
            position += 1 if marker == 0xFF else 2
            continue
        position += 2 + int(struct.unpack_from(">H", data, position + 2)[0])
    return None


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start of its data, length of its data) of the chunks that are there in full."""
    position = len(_PNG)
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        if position + 12 + length > len(data):
            return
        yield data[position + 4 : position + 8], position + 8, length
        position += 12 + length


def _first_directory(tiff: bytes) -> Iterator[tuple[int, tuple[int, ...]]]:
    """(tag, values) of the integer entries of a TIFF's first directory; nothing for BigTIFF.

    Values that lie beyond the end are ``()``.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (entries,) = struct.unpack_from(order + "H", tiff, start)
    for entry in range(start + 2, start + 2 + 12 * entries, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", tiff, entry)
        letter = _INTEGER_LETTERS.get(kind)
        if letter is None or count > len(tiff):
            continue  # text, fractions, or nonsense
        numbers = struct.Struct(f"{order}{count}{letter}")
        place = entry + 8
        if numbers.size > 4:
            (place,) = struct.unpack_from(order + "I", tiff, place)
        yield tag, numbers.unpack_from(tiff, place) if place + numbers.size <= len(tiff) else ()


def _tiff_ends_early(data: bytes) -> bool:
    numbers = dict(_first_directory(data))
    for offsets, counts in _TIFF_PIXELS:
        ends = map(sum, zip(numbers.get(offsets, ()), numbers.get(counts, ()), strict=False))
        if () in (numbers.get(offsets), numbers.get(counts)) or max(ends, default=0) > len(data):
            return True
    return False


def _jpeg_ends_early(data: bytes) -> bool:
    return jpeg_end(data) is None


def _png_ends_early(data: bytes) -> bool:
    return all(kind != b"IEND" for kind, _, _ in _png_chunks(data))


def _riff_ends_early(data: bytes) -> bool:
    return int(struct.unpack_from("<I", data, 4)[0]) + 8 > len(data)


def _bmp_ends_early(data: bytes) -> bool:
    return int(struct.unpack_from("<I", data, 2)[0]) > len(data)


def _gif_ends_early(data: bytes) -> bool:
    return not data.rstrip(b"\0").endswith(b";")


def _boxes_end_early(data: bytes) -> bool:
    position = 0
    while position < len(data):
        (size,) = struct.unpack_from(">I", data, position)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, position + 8)
        if size == 0:  # to the end of the file
            return False
        position += max(8, size)
    return position > len(data)


_ENDINGS: tuple[tuple[bytes, int, Callable[[bytes], bool]], ...] = (
    (b"\xff\xd8", 0, _jpeg_ends_early),
    (_PNG, 0, _png_ends_early),
    (b"RIFF", 0, _riff_ends_early),
    (b"GIF8", 0, _gif_ends_early),
    (b"BM", 0, _bmp_ends_early),
    (b"II*\0", 0, _tiff_ends_early),
    (b"MM\0*", 0, _tiff_ends_early),
    (b"ftyp", 4, _boxes_end_early),
    (b"jP  \r\n\x87\n", 4, _boxes_end_early),
)
"""(magic, its position, does the file end early) of each format that tells."""
