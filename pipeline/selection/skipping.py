"""What a run leaves out before it begins: images that were named, and copies of others."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.selection.alike import find_copies
from maskmill.pipeline.selection.looks import keeping_order, look_at, looks_of
from maskmill.pipeline.selection.named_images import find_named, read_names
from maskmill.pipeline.sources.registry import Listing
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
    skipped: pa.Table
    looks: pa.Table | None = None
    notes: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """Images left out by each reason."""
        found = self.skipped["reason"].value_counts().to_pylist()
        return {entry["values"]: entry["counts"] for entry in found}

    def put(self, layout: RunLayout) -> None:
        """Write the tables into the run folder where they are not what is there."""
        _put(layout, TABLE, self.skipped if self.skipped.num_rows else None)
        if self.looks is not None:
            _put(layout, LOOKED_AT, self.looks)


def whole(listing: Listing) -> Remainder:
    """A listing of which nothing is left out."""
    return Remainder(listing=listing, skipped=SKIPPED.empty_table())


def without_named(rest: Remainder, sources: Sequence[str]) -> Remainder:
    """Without the images that lists or data sets name; each is held against all images.

    Raises:
        SettingsError: names that fit no image, or every image.
        FileFailure: a data set that does not follow its format.
    """
    table = rest.listing.table
    keys, uris = table["key"].to_pylist(), table["uri"].to_pylist()
    named = np.zeros(len(keys), np.bool_)
    notes: list[str] = []
    rows: list[dict[str, Any]] = []
    for source in sources:
        found = find_named(read_names(source), keys, uris, option="--skip")
        more = {"reason": "skip", "of": source, "distance": None}
        new = table.filter(pa.array(found.chosen & ~named)).to_pylist()
        rows += [{**row, **more} for row in new]
        named |= found.chosen
        notes += found.notes
    if named.all():
        raise SettingsError(
            f"--skip {', '.join(sources)} names every image of {rest.listing.source}"
        )
    return _less(rest, named, rows, notes=tuple(notes))


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
    return replace(_less(rest, left_out, rows), looks=looks)


def _less(
    rest: Remainder,
    left_out: npt.NDArray[np.bool_],
    rows: list[dict[str, Any]],
    notes: tuple[str, ...] = (),
) -> Remainder:
    remaining = rest.listing.table.filter(pa.array(~left_out)).combine_chunks()
    more = pa.Table.from_pylist(rows, schema=SKIPPED)
    return replace(
        rest,
        listing=replace(rest.listing, rows=rest.listing.rows.replaced(remaining)),
        skipped=pa.concat_tables([rest.skipped, more]),
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


def _put(layout: RunLayout, relative: str, table: pa.Table | None) -> None:
    there = layout.exists(relative)
    if table is None:
        if there:
            layout.delete(relative)
    elif not there or not layout.read_table(relative).cast(table.schema).equals(table):
        layout.write_table(relative, table)
