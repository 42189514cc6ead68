"""The usual label mask, a PNG of one byte per pixel, read and written without a picture library.

Its rows are stored as they are, or as differences from the row above (filter Up). Everything else
is left to ``open_picture``: other filters, other depths, interlaced rows, damage of any kind. A
large mask is written from its runs. Layout: PNG specification 3rd edition, sections 5, 9 and 11.
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.masks.changes import Places, changes
from maskmill.pipeline.masks.deflated_runs import ByteRuns, deflated_runs

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3
_MODES = {_GREY: "L", _PALETTE: "P"}
_UP = 2
_NARROW = 64  # pixels of a row, below which filters are work for others
_PALETTE_BYTES = 3 * 256
_FIRST_ROWS = 8
_BAND = 1 << 18  # bytes inflated together: they stay in a core's cache until they are copied
_LARGE = 1 << 19  # pixels from which on runs are faster than zlib
_DENSE = 96  # pixels for one run, below which zlib is faster
RUN_LENGTH, LEVEL = 3, 3  # zlib's Z_RLE: masks are runs; smaller and no slower
_MEMORY = 8
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
    """(H, W); None where there are more or fewer bytes, or a filter that is not undone here.

    Where one of the first rows has another filter many have; inflating them would be a waste.
    """
    from zlib_ng import zlib_ng  # masks are written, and networks run, without it

    engine, rest = zlib_ng.decompressobj(), compressed
    values = np.empty((height, width), dtype=np.uint8)
    above = np.zeros(width, np.uint8)
    top, rows = 0, min(height, _FIRST_ROWS)
    try:
        while rows:
            band = engine.decompress(rest, rows * (width + 1))
            rest = engine.unconsumed_tail
            if len(band) < rows * (width + 1):
                return None
            pixels = _unfiltered(np.frombuffer(band, np.uint8).reshape(rows, width + 1), above)
            if pixels is None:
                return None
            values[top : top + rows] = pixels
            top += rows
            above = values[top - 1]
            rows = min(height - top, max(1, _BAND // (width + 1)))
        is_whole = not engine.decompress(rest, 1) and engine.eof
    except zlib_ng.error:  # type: ignore[misc]  # its stub says it is an instance
        return None
    return values if is_whole else None


def _unfiltered(
    lines: npt.NDArray[np.uint8], above: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8] | None:
    """The pixels of rows behind the numbers of their filters; None for others than Up.

    ``above`` is the row before the first.
    """
    stored, up = lines[:, 1:], np.flatnonzero(lines[:, 0])
    if not len(up):
        return stored
    if len(above) < _NARROW or (lines[up, 0] != _UP).any():
        return None
    rows = np.concatenate([above[None], stored])
    moved = stored.max(axis=1)[up] > 0
    origin = np.arange(len(rows))  # the row that each repeats, itself where it does not
    origin[up[~moved] + 1] = 0
    origin = np.maximum.accumulate(origin)
    for row in up[moved].tolist():
        rows[row + 1] += rows[origin[row]]
    unfiltered: npt.NDArray[np.uint8] = rows[origin[1:]]
    return unfiltered


def plain_png(
    values: npt.NDArray[np.uint8],
    *,
    palette: bytes | None = None,
    text: Mapping[str, str] | None = None,
) -> bytes:
    """The PNG of (H, W) values; grey without ``palette``, which holds RGB of at most 256 values.

    ``text`` becomes tEXt chunks (iTXt beyond Latin-1) in key order. The same arguments give the
    same bytes, of large masks whatever the zlib.

    Raises:
        ValueError: no pixels.
    """
    height, width = values.shape
    if not values.size:
        raise ValueError(f"a PNG has a pixel or more each way, not {width} x {height}")
    header = struct.pack(">IIBBBBB", width, height, 8, _PALETTE if palette else _GREY, 0, 0, 0)
    return b"".join([
        _SIGNATURE,
        _chunk(b"IHDR", header),
        *(_text_chunk(key, text) for key, text in sorted((text or {}).items())),
        _chunk(b"PLTE", palette.ljust(_PALETTE_BYTES, b"\0")) if palette else b"",
        _chunk(b"IDAT", _deflated(np.ascontiguousarray(values))),
        _chunk(b"IEND", b""),
    ])  # fmt: skip


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(kind))
    return b"".join([struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)])


def _text_chunk(key: str, text: str) -> bytes:
    try:
        return _chunk(b"tEXt", key.encode("latin-1") + b"\0" + text.encode("latin-1"))
    except UnicodeEncodeError:  # not compressed, of no language
        return _chunk(b"iTXt", key.encode("latin-1") + bytes(5) + text.encode())


def _deflated(values: npt.NDArray[np.uint8]) -> bytes:
    """The zlib stream of the rows, each behind the number of its filter."""
    if values.size >= _LARGE and values.shape[1] >= _NARROW:
        places = changes(values.reshape(-1), 1) + 1
        if len(places) * _DENSE < values.size:
            return deflated_runs(_line_runs(values, places))
    lines = np.zeros((values.shape[0], values.shape[1] + 1), np.uint8)
    lines[:, 1:] = values
    engine = zlib.compressobj(LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, _MEMORY, RUN_LENGTH)
    return engine.compress(lines.data) + engine.flush()


def _line_runs(values: npt.NDArray[np.uint8], at: Places) -> ByteRuns:
    """Runs of the rows; ``at`` are the pixels that differ from those before them.

    A row that repeats the one above is stored as zeros and filtered by that, unless it is blank
    anyway; all others are stored as they are.
    """
    height, width = values.shape
    row = at // width
    at, row = at[row * width != at], row[row * width != at]  # within rows
    repeats = _repeats(values, at, row)
    filters = np.where(repeats, np.uint8(_UP), np.uint8(0))
    first, last = (np.where(repeats, np.uint8(0), values[:, edge]) for edge in (0, -1))
    borders = np.arange(height) * (width + 1)
    before = np.concatenate([[True], filters[1:] != last[:-1]])
    behind = filters != first
    kept = ~repeats[row]
    at, row = at[kept], row[kept]
    places = np.concatenate([borders[before], borders[behind] + 1, at + row + 1])
    found = np.concatenate([filters[before], first[behind], values.reshape(-1)[at]])
    order = np.argsort(places, kind="stable")
    return ByteRuns(places[order], found[order], height * (width + 1))


def _repeats(values: npt.NDArray[np.uint8], at: Places, row: Places) -> npt.NDArray[np.bool_]:
    """(H,) which rows equal the ones above and are not all zero, by where within rows they change.

    ``row`` is that of each place in ``at``.
    """
    height, width = values.shape
    flat, first = values.reshape(-1), values[:, 0]
    number = np.bincount(row, minlength=height)
    same = np.zeros(height, np.bool_)
    same[1:] = (number[1:] == number[:-1]) & (first[1:] == first[:-1])
    held = np.flatnonzero(same[row])
    above = held - number[row[held]]
    moved = (at[held] - at[above] != width) | (flat[at[held]] != flat[at[above]])
    same[row[held[moved]]] = False
    same &= (first != 0) | (number > 0)
    return same
