"""The usual label mask, a PNG of one byte per pixel and no row filters, without a picture library.

Everything out of the ordinary is left to ``open_picture``: other depths, interlaced or filtered
rows, damage of any kind. Layout: PNG specification 3rd edition, sections 5, 9 and 11.
"""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from zlib_ng import zlib_ng

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3
_MODES = {_GREY: "L", _PALETTE: "P"}
_FIRST_ROWS = 8
_BAND = 1 << 18  # bytes inflated together: they stay in a core's cache until they are copied
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
    values = _inflated(compressed, height, width)
    return None if values is None else PlainPng(values, _MODES[color], palette)


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


def _inflated(compressed: bytes, height: int, width: int) -> npt.NDArray[np.uint8] | None:
    """(H, W); None where there are more or fewer bytes, or a row is filtered.

    Where one of the first rows is filtered nearly all are; inflating them would be a waste.
    """
    engine, rest = zlib_ng.decompressobj(), compressed
    values = np.empty((height, width), dtype=np.uint8)
    top, rows = 0, min(height, _FIRST_ROWS)
    try:
        while rows:
            band = engine.decompress(rest, rows * (width + 1))
            rest = engine.unconsumed_tail
            if len(band) < rows * (width + 1):
                return None
            lines = np.frombuffer(band, np.uint8).reshape(rows, width + 1)
            if lines[:, 0].any():
                return None
            values[top : top + rows] = lines[:, 1:]
            top += rows
            rows = min(height - top, max(1, _BAND // (width + 1)))
        is_whole = not engine.decompress(rest, 1) and engine.eof
    except zlib_ng.error:  # type: ignore[misc]  # its stub says it is an instance
        return None
    return values if is_whole else None
