"""The images of a run: listed now, and held against what the run began with."""

from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from maskmill.pipeline.prelabel.settings import PrelabelSettings
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import (
    BLOCK_BYTES,
    build_manifest,
    extend_manifest,
    manifest_sha256,
    put_manifest,
)
from maskmill.pipeline.runs.output_names import case_twins
from maskmill.pipeline.selection.skipping import TABLE as SKIPPED_TABLE
from maskmill.pipeline.selection.skipping import (
    Remainder,
    whole,
    without_copies,
    without_named,
)
from maskmill.pipeline.sources.registry import Listing, list_source
from maskmill.schemas.errors import RunRefused

MAX_FILE_BYTES = 2 << 30
GROWN = (
    "The source has changed: --extend adds its new images to this run; removed ones need a new "
    "output folder."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The manifest of a run (schema MANIFEST), and how the listing behind it went."""

    manifest: pa.Table
    rest: Remainder
    is_new: bool  # not on disk in this form yet
    has_grown: bool = False  # beyond what the run began with

    @property
    def listing(self) -> Listing:
        """The source without what was left out."""
        return self.rest.listing

    def not_considered(self) -> dict[str, int]:
        """What of the source is no input: by extension, and by the reason it was left out for."""
        return {**self.listing.not_considered, **self.rest.counts()}

    def notes(self) -> tuple[str, ...]:
        """What the user should hear before the run."""
        notes = list(self.listing.notes)
        if self.listing.not_considered:
            left_out = self.listing.not_considered.items()
            counts = ", ".join(f"{name} {count}" for name, count in left_out)
            notes.append(f"not considered, by extension: {counts}")
        if self.rest.skipped.num_rows:
            counts = ", ".join(f"{name} {count:,}" for name, count in self.rest.counts().items())
            notes.append(f"not considered, as asked for: {counts}; {SKIPPED_TABLE} lists them")
        notes += self.rest.notes
        twins = case_twins(self.manifest["output"])
        if twins:
            first = " and ".join(twins[0])
            notes.append(f"{len(twins)} outputs differ in case only, first {first}")
        return tuple(notes)

    def put(self, layout: RunLayout) -> None:
        """The manifest into the run folder, and beside it what was left out."""
        self.rest.put(layout)
        put_manifest(layout, self.manifest)

    def identity(self) -> str:
        """Number and hash of the images."""
        return f"{self.manifest.num_rows} images, {manifest_sha256(self.manifest)}"


def list_inputs(
    settings: PrelabelSettings, layout: RunLayout, block_images: int, *, continues: bool
) -> Inputs:
    """List the source and continue the manifest of an earlier start, or make the first one.

    Raises:
        RunRefused: the source is not what the run began with, and --extend was not given.
        SettingsError: the source cannot be listed, or its names collide.
    """
    old = layout.read_table(layout.manifest) if continues else None
    rest = _remainder(settings, layout, old)
    listing = rest.listing
    blocks: dict[str, Any] = {"block_images": block_images, "block_bytes": BLOCK_BYTES}
    fresh = build_manifest(listing, **blocks)
    if old is None:
        return Inputs(manifest=fresh, rest=rest, is_new=True)
    is_same = _same_images(old, fresh)
    if is_same and old["uri"].combine_chunks().sort() == fresh["uri"].combine_chunks().sort():
        return Inputs(manifest=old, rest=rest, is_new=False)
    if not is_same and not settings.extend:
        raise RunRefused(_what_changed(layout, old, fresh))
    now = extend_manifest(old, listing, **blocks)  # the source may have moved, too
    return Inputs(manifest=now, rest=rest, is_new=True, has_grown=not is_same)


def _remainder(settings: PrelabelSettings, layout: RunLayout, old: pa.Table | None) -> Remainder:
    """The source as listed now, without what is to be left out; ``old`` is the run's manifest."""
    listing = list_source(
        settings.source,
        kind=settings.source_kind,
        exclude=(settings.out,),
        frames=settings.frames,
    )
    rest = whole(listing)
    if settings.skip:
        rest = without_named(rest, settings.skip)
    if settings.limit is not None:
        table = rest.listing.table.slice(0, settings.limit)
        rest = replace(rest, listing=replace(rest.listing, table=table))
    if settings.skip_duplicates:
        kept = [] if old is None else old["key"].to_pylist()
        limits = {"max_pixels": settings.max_pixels, "max_bytes": MAX_FILE_BYTES}
        rest = without_copies(rest, layout, kept, **limits)
    return rest


def _same_images(old: pa.Table, fresh: pa.Table) -> bool:
    """Whether both hold the same files; an extended run's ids are not in key order."""
    return manifest_sha256(fresh) == manifest_sha256(old) or (
        old.select(["key", "bytes"]).sort_by("key").equals(fresh.select(["key", "bytes"]))
    )


def _what_changed(layout: RunLayout, old: pa.Table, fresh: pa.Table) -> str:
    before, now = set(old["key"].to_pylist()), set(fresh["key"].to_pylist())
    new, gone = sorted(now - before), sorted(before - now)
    parts = [f"{len(new)} new, first {new[0]}"] if new else []
    parts += [f"{len(gone)} gone, first {gone[0]}"] if gone else []
    parts = parts or ["files with another size than when the run began"]
    return f"{layout.root} holds a run over other images ({'; '.join(parts)}). {GROWN}"
