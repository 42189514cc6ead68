"""The images of a run: listed now, and held against what the run began with."""

from dataclasses import dataclass, replace

import pyarrow as pa

from maskmill.jobs.prelabel_config import BLOCK_BYTES, REMEDIES, PrelabelConfig
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import (
    build_manifest,
    case_twins,
    extend_manifest,
    manifest_sha256,
)
from maskmill.pipeline.sources.registry import Listing, list_source
from maskmill.schemas.errors import RunRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkList:
    """The manifest of a run, and how the listing behind it went."""

    manifest: pa.Table
    listing: Listing
    is_new: bool  # not on disk in this form yet

    def notes(self) -> list[str]:
        """What the user should hear before the run."""
        notes = list(self.listing.notes)
        if self.listing.not_considered:
            counts = ", ".join(
                f"{name} {count}" for name, count in self.listing.not_considered.items()
            )
            notes.append(f"not considered, by extension: {counts}")
        twins = case_twins(self.manifest["output"].to_pylist())
        if twins:
            notes.append(
                f"{len(twins)} outputs differ in case only, first {' and '.join(twins[0])}"
            )
        return notes


def work_list(config: PrelabelConfig, layout: RunLayout) -> WorkList:
    """List the source and continue the manifest on disk, or make the first one.

    Raises:
        RunRefused: the source is not what the run began with, and --extend was not given.
        SettingsError: the source cannot be listed, or its names collide.
    """
    listing = list_source(config.source, kind=config.source_kind, exclude=(config.out,))
    if config.limit is not None:
        listing = replace(listing, table=listing.table.slice(0, config.limit))
    blocks = {"block_images": config.block_images, "block_bytes": BLOCK_BYTES}
    fresh = build_manifest(listing, **blocks)
    if not layout.exists(layout.manifest):
        return WorkList(manifest=fresh, listing=listing, is_new=True)
    old = layout.read_table(layout.manifest)
    if _same_images(old, fresh):
        return WorkList(manifest=old, listing=listing, is_new=False)
    if not config.extend:
        raise RunRefused(_what_changed(layout, old, fresh))
    return WorkList(manifest=extend_manifest(old, listing, **blocks), listing=listing, is_new=True)


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
    return f"{layout.root} holds a run over other images ({'; '.join(parts)}). {REMEDIES['inputs']}"
