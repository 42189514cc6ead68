"""The usual label mask, a PNG of one byte per pixel and no row filters, without a picture library.

Everything out of the ordinary is left to ``open_picture``: other depths, interlaced or filtered
rows, damage of any kind. Layout: PNG specification 3rd edition, sections 5, 9 and 11.
"""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3
_MODES = {_GREY: "L", _PALETTE: "P"}
_FIRST_ROWS = 8
_KNOWN = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"tEXt", b"zTXt", b"iTXt", b"gAMA", b"sRGB",
          b"pHYs", b"tIME", b"bKGD", b"cHRM", b"sBIT", b"hIST"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlainPng:
    """(H, W) ``values``, Pillow's name of the ``mode``, RGB ``palette`` ('' where it has none)."""

    values: npt.NDArray[np.uint8]
    mode: str
    palette: bytes


def read_plain_png(data: bytes, *, max_pixels: int) -> PlainPng | None:
    """The mask in these bytes; None where any other reader should look at them."""
    if data[:8] != _SIGNATURE or data[12:16] != b"IHDR" or len(data) < 33:
        return None
    width, height, depth, color, *rest = struct.unpack_from(">IIBBBBB", data, 16)
    if depth != 8 or color not in _MODES or any(rest) or not 0 < width * height <= max_pixels:
        return None
    chunks = _chunks(data)
    if chunks is None:
        return None
    compressed, palette = chunks
    rows = _inflated(compressed, height * (width + 1), width + 1)
    if rows is None:
        return None
    lines = np.frombuffer(rows, np.uint8).reshape(height, width + 1)
    if lines[:, 0].any():
        return None
    return PlainPng(np.ascontiguousarray(lines[:, 1:]), _MODES[color], palette)


def _chunks(data: bytes) -> tuple[bytes, bytes] | None:
    """Compressed pixels and palette; None for chunks that are unknown, damaged or missing."""
    place, compressed, palette = 8, [], b""
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 8 + length
        if kind not in _KNOWN or data[end : end + 4] != _checksum(data, place + 4, end):
            return None
        if kind == b"IDAT":
            compressed.append(data[place + 8 : end])
        elif kind == b"PLTE":
            palette = data[place + 8 : end]
        elif kind == b"IEND":
            return b"".join(compressed), palette
        place = end + 4
    return None


def _checksum(data: bytes, start: int, end: int) -> bytes:
    return zlib.crc32(memoryview(data)[start:end]).to_bytes(4, "big")


def _inflated(compressed: bytes, size: int, row: int) -> bytes | None:
    """Exactly ``size`` bytes; None where there are more, fewer, or a filter in the first rows."""
    engine = zlib.decompressobj()
    try:
        first = engine.decompress(compressed, min(size, _FIRST_ROWS * row))
        if any(first[::row]):  # then nearly all rows are filtered; inflating them would be a waste
            return None
        found = first + engine.decompress(engine.unconsumed_tail, size + 1 - len(first))
    except zlib.error:
        return None
    return found if len(found) == size and engine.eof else None
