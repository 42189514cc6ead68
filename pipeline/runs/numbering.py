"""From a listing to a manifest: ids, output names and blocks, stable and free of collisions.

The rows stream by: from the sorted listing into the spool, a block at a time.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.runs.differences import Difference, Row, repeated_key, side_by_side
from maskmill.pipeline.runs.manifest import Manifest, ManifestSpool
from maskmill.pipeline.runs.output_names import (
    CaseTwins,
    NamedRows,
    check_outputs,
)
from maskmill.pipeline.sources.registry import ENTRIES, Listing
from maskmill.pipeline.storage.sorted_table import SortedTable
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.tables.prelabel import MANIFEST

BLOCK_IMAGES = 32
BLOCK_BYTES = 64 * 2**20
_UNSAFE_KEY = r"^/|^$|//|/$|(^|/)\.\.?(/|$)|\x00"
_AT_ONCE = 4096
_KNOWN = pa.schema(
    [
        *ENTRIES,
        pa.field("image_id", pa.int64()),  # null for keys that the run did not have
        pa.field("block", pa.int64()),
        pa.field("output", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockLimits:
    """What a block holds at most; an image of more bytes has a block of its own.

    Raises:
        SettingsError: of a limit below 1.
    """

    images: int = BLOCK_IMAGES
    bytes: int = BLOCK_BYTES

    def __post_init__(self) -> None:
        if self.images < 1 or self.bytes < 1:
            raise SettingsError(f"blocks of {self.images} images, {self.bytes} bytes: at least 1")


_USUAL = BlockLimits()


def build_manifest(
    listing: Listing, limits: BlockLimits = _USUAL
) -> tuple[ManifestSpool, CaseTwins]:
    """The MANIFEST of a listing, sorted by key: the same listing gives the same rows.

    Beside it the outputs that differ in case only.

    Raises:
        SettingsError: a key repeats or would leave the output folder, or two outputs would collide.
    """
    _refuse_keys(table["key"] for table in listing.rows)
    named = NamedRows(listing.rows)
    twins = check_outputs(named)
    spool = ManifestSpool(MANIFEST)
    _add_new(spool, named, limits, first_id=1)
    return spool, twins


def extend_manifest(
    old: Manifest, listing: Listing, limits: BlockLimits = _USUAL
) -> tuple[ManifestSpool, CaseTwins]:
    """The old MANIFEST followed by the keys that are new: ids and blocks after the largest.

    Old rows keep id, block and output; their uris are those of the listing, so that the source
    may have moved. A new key that would collide with an old output keeps its extension.

    Raises:
        SettingsError: an old key is gone or its file has another size, or outputs collide.
    """
    difference = Difference()
    joined = SortedTable(_joined(old, listing, difference), _KNOWN, by="key")
    difference.refuse_lost(listing.source)
    _refuse_keys(table["key"] for table in listing.rows)
    named = NamedRows(joined)
    twins = check_outputs(named)
    spool = ManifestSpool(MANIFEST)
    kept = SortedTable(
        (
            one.filter(pc.is_valid(one["image_id"])).select(MANIFEST.names).cast(MANIFEST)
            for one in named
        ),
        MANIFEST,
        by="image_id",
    )
    for block in _whole_blocks(kept):
        spool.add(block)
    new = (one.filter(pc.is_null(one["image_id"])) for one in named)
    _add_new(spool, new, limits, first_id=old.num_rows + 1)
    return spool, twins


def _joined(old: Manifest, listing: Listing, found: Difference) -> Iterator[pa.Table]:
    """The listing with what the run knows of its rows; how they differ is added to ``found``."""
    rows: list[Row] = []
    for before, now in side_by_side(old, listing):
        found.add(before, now)
        if now is not None:
            known = before or {}
            rows.append(
                {**{name: known.get(name) for name in ("image_id", "block", "output")}, **now}
            )
        if len(rows) == _AT_ONCE:
            yield pa.Table.from_pylist(rows, schema=_KNOWN)
            rows = []
    yield pa.Table.from_pylist(rows, schema=_KNOWN)


def _add_new(
    spool: ManifestSpool, named: Iterable[pa.Table], limits: BlockLimits, first_id: int
) -> None:
    """Number rows and put them into blocks of their own, behind those that are there."""
    for rows in _cut(named, limits):
        ids = np.arange(first_id, first_id + rows.num_rows)
        blocks = np.full(rows.num_rows, len(spool.sizes))
        first_id += rows.num_rows
        known = {"image_id": pa.array(ids), "block": pa.array(blocks)}
        columns = [known[name] if name in known else rows[name] for name in MANIFEST.names]
        spool.add(pa.table(columns, schema=MANIFEST))
    spool.close()


def _cut(tables: Iterable[pa.Table], limits: BlockLimits) -> Iterator[pa.Table]:
    """The rows of each block: one closes at ``limits.images`` rows or ``limits.bytes`` bytes."""
    parts: list[pa.Table] = []
    images = filled = 0
    for table in tables:
        begun = 0
        for row, size in enumerate(pc.fill_null(table["bytes"], 0).to_pylist()):
            if images and (images == limits.images or filled + size > limits.bytes):
                yield pa.concat_tables([*parts, table.slice(begun, row - begun)])
                parts, begun, images, filled = [], row, 0, 0
            images, filled = images + 1, filled + size
        parts.append(table.slice(begun))
    if images:
        yield pa.concat_tables(parts)


def _whole_blocks(rows: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Rows in id order as the blocks they are of."""
    held = MANIFEST.empty_table()
    for table in rows:
        held = pa.concat_tables([held, table])
        blocks = held["block"].to_numpy()
        cuts = np.flatnonzero(np.diff(blocks)) + 1
        for first, end in pairwise([0, *cuts.tolist()]):
            yield held.slice(first, end - first)
        held = held.slice(int(cuts[-1]) if len(cuts) else 0)
    if held.num_rows:
        yield held


def _refuse_keys(columns: Iterable[pa.ChunkedArray]) -> None:
    """Keys in order that repeat or leave their folder."""
    last = None
    for keys in columns:
        unsafe = keys.filter(pc.match_substring_regex(keys, _UNSAFE_KEY))
        if len(unsafe):
            raise SettingsError(f"{unsafe[0].as_py()!r} is not a path below the root of the source")
        for previous, key in pairwise([last, *keys.to_pylist()]):
            if previous == key:
                raise repeated_key(key)
        last = keys[-1].as_py()
