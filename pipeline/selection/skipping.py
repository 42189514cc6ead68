"""What a run leaves out before it begins: images that were named, and copies of others."""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, BinaryIO, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import write_manifest
from maskmill.pipeline.selection.alike import find_copies
from maskmill.pipeline.selection.looks import keeping_order, look_at, looks_of
from maskmill.pipeline.selection.named_images import find_named, read_names
from maskmill.pipeline.sources.registry import Listing
from maskmill.pipeline.storage.filesystems import CHUNK, read_chunks
from maskmill.pipeline.storage.sorted_table import SortedTable
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.tables.selection import FINGERPRINTS, SKIPPED

TABLE: Final = "skipped.parquet"
LOOKED_AT: Final = "manifest/fingerprints.parquet"
_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Remainder:
    """A listing without what was left out: SKIPPED tells of that, ``looks`` what all looked like.

    ``looks`` is None where nothing was looked at.
    """

    listing: Listing
    skipped: tuple[SortedTable, ...] = ()  # one after the other
    looks: pa.Table | None = None
    notes: tuple[str, ...] = ()

    @property
    def num_skipped(self) -> int:
        """Images left out."""
        return sum(rows.num_rows for rows in self.skipped)

    def counts(self) -> dict[str, int]:
        """Images left out by each reason."""
        counts: Counter[str] = Counter()
        for table in chain.from_iterable(self.skipped):
            found = table["reason"].value_counts().to_pylist()
            counts.update({entry["values"]: entry["counts"] for entry in found})
        return dict(counts)

    def put(self, layout: RunLayout) -> None:
        """Write the tables into the run folder where they are not what is there."""
        if self.num_skipped:
            _put(layout, TABLE, chain.from_iterable(self.skipped), SKIPPED)
        elif layout.exists(TABLE):
            layout.delete(TABLE)
        if self.looks is not None:
            _put(layout, LOOKED_AT, [self.looks], FINGERPRINTS)


def whole(listing: Listing) -> Remainder:
    """A listing of which nothing is left out."""
    return Remainder(listing=listing)


def without_named(rest: Remainder, sources: Sequence[str]) -> Remainder:
    """Without the images that lists or data sets name; each is held against all images.

    Raises:
        SettingsError: names that fit no image, or every image.
        FileFailure: a data set that does not follow its format.
    """
    rows = rest.listing.rows
    named = np.zeros(rows.num_rows, np.bool_)
    notes: list[str] = []
    skipped: list[SortedTable] = []
    for source in sources:
        found = find_named(read_names(source), rows, option="--skip")
        new = rows.filtered(found.chosen & ~named)
        skipped.append(SortedTable(_told(new, source), SKIPPED, by="key"))
        named |= found.chosen
        notes += found.notes
    if named.all():
        raise SettingsError(
            f"--skip {', '.join(sources)} names every image of {rest.listing.source}"
        )
    return _less(rest, named, skipped, notes=tuple(notes))


def _told(rows: Iterable[pa.Table], source: str) -> Iterator[pa.Table]:
    """Rows of a listing as rows of SKIPPED that ``source`` names."""
    for table in rows:
        told = {"reason": "skip", "of": source, "distance": None}
        known = {
            **dict(zip(table.column_names, table.columns, strict=True)),
            **{
                name: pa.array([value] * table.num_rows, SKIPPED.field(name).type)
                for name, value in told.items()
            },
        }
        yield pa.table([known[name] for name in SKIPPED.names], schema=SKIPPED)


def without_copies(
    rest: Remainder,
    layout: RunLayout,
    kept: Collection[str],
    *,
    max_pixels: int,
    max_bytes: int,
) -> Remainder:
    """Without the images that are alike to others; every picture is decoded for that, once.

    ``kept`` are keys of an earlier start: they stay, and new images are held against them.
    """
    table = rest.listing.table
    looks = _looks(layout, table, max_pixels=max_pixels, max_bytes=max_bytes)
    first = pc.is_in(looks["key"], pa.array(sorted(kept), pa.string())).to_numpy()
    order = keeping_order(looks)
    order = np.concatenate([order[first[order]], order[~first[order]]])
    copies = find_copies(looks_of(looks.take(pa.array(order))), always_kept=int(first.sum()))
    left_out = np.zeros(len(order), np.bool_)
    rows = []
    for copy in sorted(copies, key=lambda one: int(order[one.place])):
        place, of = int(order[copy.place]), int(order[copy.of])
        left_out[place] = True
        shown = {name: table[name][place].as_py() for name in ("key", "uri", "bytes")}
        kept_key = table["key"][of].as_py()
        rows.append({**shown, "reason": copy.kind, "of": kept_key, "distance": copy.distance})
    skipped = SortedTable([pa.Table.from_pylist(rows, schema=SKIPPED)], SKIPPED, by="key")
    return replace(_less(rest, left_out, [skipped]), looks=looks)


def _less(
    rest: Remainder,
    left_out: npt.NDArray[np.bool_],
    skipped: Sequence[SortedTable],
    notes: tuple[str, ...] = (),
) -> Remainder:
    remaining = rest.listing.rows.filtered(~left_out)
    return replace(
        rest,
        listing=replace(rest.listing, rows=remaining),
        skipped=(*rest.skipped, *skipped),
        notes=(*rest.notes, *notes),
    )


def _looks(layout: RunLayout, table: pa.Table, **limits: Any) -> pa.Table:
    """FINGERPRINTS of a listing, in its order; files seen at an earlier start are not read again.

    A file is taken for the same as long as its key and its size are; one of unknown size is read.
    """
    known = FINGERPRINTS.empty_table()
    if layout.exists(LOOKED_AT):
        remedy = "delete it: the pictures are looked at anew"
        known = layout.read_table(LOOKED_AT, remedy=remedy).cast(FINGERPRINTS)
    at = pc.index_in(table["key"], known["key"].combine_chunks())
    same = pc.fill_null(pc.equal(known["bytes"].take(at), table["bytes"]), False)
    fresh = table.filter(pc.invert(same))
    entries = (row for batch in fresh.to_batches(_AT_ONCE) for row in batch.to_pylist())
    seen = look_at(entries, **limits)
    every = pa.concat_tables([known.take(at.filter(same)), seen])
    return every.sort_by("key").combine_chunks()


def _put(layout: RunLayout, relative: str, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Tables as one Parquet file, where that is not what is there."""
    with tempfile.TemporaryFile() as spool:
        stream = cast(BinaryIO, spool)
        write_manifest(stream, tables, schema)
        stream.seek(0)
        made = _digest(iter(partial(stream.read, CHUNK), b""))
        if not layout.exists(relative) or _digest(read_chunks(layout.uri(relative))) != made:
            stream.seek(0)
            layout.write_stream(relative, stream)


def _digest(chunks: Iterable[bytes]) -> bytes:
    found = hashlib.sha256()
    for chunk in chunks:
        found.update(chunk)
    return found.digest()
