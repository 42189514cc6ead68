"""What images look like, read from a run's features or from the pictures themselves."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from maskmill.pipeline.pictures.decoding import decode_image
from maskmill.pipeline.pictures.fingerprints import fingerprint_of
from maskmill.pipeline.selection.alike import Looks
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.errors import FileFailure
from maskmill.schemas.tables.selection import FINGERPRINTS, TONES_BYTES

THREADS: Final = 4
"""Pictures looked at at once; decoding releases the interpreter's lock."""

_AT_ONCE: Final = 256
_UNSEEN: Final = {name: None for name in FINGERPRINTS.names if name not in ("key", "uri", "bytes")}

Row = dict[str, Any]


def look_at(entries: Iterable[Mapping[str, Any]], *, max_pixels: int, max_bytes: int) -> pa.Table:
    """FINGERPRINTS of files: entries with key, uri and bytes, in their order.

    One that cannot be read or decoded has nulls where nothing is known: it is alike to nothing.
    """

    def seen(entry: Mapping[str, Any]) -> Row:
        named = {name: entry[name] for name in ("key", "uri", "bytes")}
        return {**named, **_UNSEEN, **_look(entry, max_pixels, max_bytes)}

    batches, waiting = [], iter(entries)
    with ThreadPoolExecutor(THREADS) as threads:
        while chunk := list(islice(waiting, _AT_ONCE)):
            rows = list(threads.map(seen, chunk))
            batches.append(pa.Table.from_pylist(rows, schema=FINGERPRINTS))
    return pa.concat_tables([FINGERPRINTS.empty_table(), *batches]).combine_chunks()


def _look(entry: Mapping[str, Any], max_pixels: int, max_bytes: int) -> Row:
    try:
        data = read_bytes(entry["uri"], limit=max_bytes)
    except FileFailure:
        return {}
    read = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    try:
        pixels = decode_image(data, name=entry["key"], max_pixels=max_pixels).pixels
    except FileFailure:
        return read
    fingerprint = fingerprint_of(pixels)
    return {
        **read,
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "pixels_sha256": fingerprint.pixels_sha256,
        "perceptual_hash": fingerprint.perceptual_hash,
        "tones": fingerprint.tones,
    }


def looks_of(table: pa.Table, features: npt.NDArray[np.float16] | None = None) -> Looks:
    """The arrays of a table with FINGERPRINTS' columns, in its order."""
    hashes = table["perceptual_hash"]
    return Looks(
        sha256=_digests(table["sha256"]),
        pixels_sha256=_digests(table["pixels_sha256"]),
        hashes=hashes.fill_null(0).to_numpy(),
        hashed=hashes.is_valid().to_numpy(),
        tones=_tones(table["tones"]),
        proportions=_proportions(table["width"].to_pylist(), table["height"].to_pylist()),
        features=features,
    )


def keeping_order(table: pa.Table) -> npt.NDArray[np.int64]:
    """The rows by what one would keep of copies: most pixels, then most bytes, then by key."""
    sides = (table[name].fill_null(0).to_numpy().astype(np.int64) for name in ("width", "height"))
    width, height = sides
    keys = table["key"].to_pylist()
    place_of = np.empty(len(keys), np.int64)
    place_of[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
    return np.lexsort((place_of, -table["bytes"].fill_null(0).to_numpy(), -width * height))


def _digests(column: pa.ChunkedArray) -> Sequence[bytes]:
    return [bytes.fromhex(value) if value else b"" for value in _values(column)]


def _values(column: pa.ChunkedArray) -> Iterator[Any]:
    for chunk in column.chunks:
        yield from (scalar.as_py() for scalar in chunk)


def _tones(column: pa.ChunkedArray) -> npt.NDArray[np.uint8]:
    data = b"".join(value or bytes(TONES_BYTES) for value in _values(column))
    return np.frombuffer(data, np.uint8).reshape(-1, TONES_BYTES)


def _proportions(
    widths: Sequence[int | None], heights: Sequence[int | None]
) -> npt.NDArray[np.float32]:
    pairs = zip(widths, heights, strict=True)
    return np.array([math.log(w / h) if w and h else 0.0 for w, h in pairs], np.float32)
