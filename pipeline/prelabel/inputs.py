"""The images of a run: listed now, and held against what the run began with."""

from dataclasses import dataclass, replace

from maskmill.pipeline.prelabel.settings import PrelabelSettings
from maskmill.pipeline.runs.differences import Difference, compare_inputs
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import Manifest, ManifestSpool, StoredManifest
from maskmill.pipeline.runs.numbering import BlockLimits, build_manifest, extend_manifest
from maskmill.pipeline.runs.output_names import CaseTwins, check_outputs
from maskmill.pipeline.selection.skipping import TABLE as SKIPPED_TABLE
from maskmill.pipeline.selection.skipping import (
    Remainder,
    whole,
    without_copies,
    without_named,
)
from maskmill.pipeline.sources.registry import Listing, list_source
from maskmill.schemas.errors import RunRefused, SettingsError

MAX_FILE_BYTES = 2 << 30
GROWN = (
    "The source has changed: --extend adds its new images to this run; removed ones need a new "
    "output folder."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The manifest of a run (schema MANIFEST), and how the listing behind it went."""

    manifest: Manifest
    twins: CaseTwins
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
        if self.rest.num_skipped:
            counts = ", ".join(f"{name} {count:,}" for name, count in self.rest.counts().items())
            notes.append(f"not considered, as asked for: {counts}; {SKIPPED_TABLE} lists them")
        notes += self.rest.notes
        if self.twins.first:
            first = " and ".join(self.twins.first)
            notes.append(f"{self.twins.pairs} outputs differ in case only, first {first}")
        return tuple(notes)

    def put(self, layout: RunLayout) -> None:
        """The manifest into the run folder, and beside it what was left out."""
        self.rest.put(layout)
        if isinstance(self.manifest, ManifestSpool):
            self.manifest.put(layout)

    def identity(self) -> str:
        """Number and hash of the images."""
        return f"{self.manifest.num_rows} images, {self.manifest.sha256}"


def list_inputs(
    settings: PrelabelSettings, layout: RunLayout, block_images: int, *, began: str | None
) -> Inputs:
    """List the source and continue the manifest of an earlier start, or make the first one.

    ``began`` is what :meth:`Inputs.identity` of the earlier start was; None where there was none.

    Raises:
        RunRefused: the source is not what the run began with, and --extend was not given.
        SettingsError: the source cannot be listed, or its names collide.
    """
    old = None if began is None else StoredManifest(layout)
    rest = _remainder(settings, layout, old)
    limits = BlockLimits(images=block_images)
    if old is None:
        fresh, twins = build_manifest(rest.listing, limits)
        return Inputs(manifest=fresh, twins=twins, rest=rest, is_new=True)
    found = compare_inputs(old, rest.listing)
    if found.same_images and not found.moved:
        twins = check_outputs(old.tables(["key", "output"]))
        known = Inputs(manifest=old, twins=twins, rest=rest, is_new=False)
        if known.identity() == began or not settings.extend:
            return known
        return replace(known, is_new=True, has_grown=True)  # killed before run.json spoke of it
    if not found.same_images and not settings.extend:
        raise RunRefused(_what_changed(layout, found))
    now, twins = extend_manifest(old, rest.listing, limits)  # the source may have moved, too
    has_grown = not found.same_images
    return Inputs(manifest=now, twins=twins, rest=rest, is_new=True, has_grown=has_grown)


def _remainder(settings: PrelabelSettings, layout: RunLayout, old: Manifest | None) -> Remainder:
    """The source as listed now, without what is to be left out; ``old`` is the run's manifest."""
    listing = list_source(
        settings.source,
        kind=settings.source_kind,
        exclude=(settings.out,),
        frames=settings.frames,
        run_files=(layout.run_record, layout.manifest),
    )
    _refuse_odd(settings, listing)
    rest = whole(listing)
    if settings.skip:
        rest = without_named(rest, settings.skip)
    if settings.limit is not None:
        rows = rest.listing.rows.head(settings.limit)
        rest = replace(rest, listing=replace(rest.listing, rows=rows))
    if settings.skip_duplicates:
        tables = [] if old is None else old.tables(["key"])
        kept = [key for table in tables for key in table["key"].to_pylist()]
        limits = {"max_pixels": settings.max_pixels, "max_bytes": MAX_FILE_BYTES}
        rest = without_copies(rest, layout, kept, **limits)
    return rest


def _refuse_odd(settings: PrelabelSettings, listing: Listing) -> None:
    """What can be known at once to be no source of this run, and is no fault of a picture."""
    if settings.writes_video and not listing.videos:
        raise SettingsError(
            f"--write video is for videos, and the source has none: {settings.source}; leave it out"
        )
    layout = RunLayout(listing.root)
    is_run = listing.kind == "folder" and layout.exists(layout.run_record)
    if is_run and layout.exists(layout.manifest):
        raise SettingsError(
            f"{settings.source} is the folder of a run: its masks and overlays are no pictures to "
            "be labelled. Give the source of that run, or a folder in it, as frames/"
        )


def _what_changed(layout: RunLayout, found: Difference) -> str:
    parts = [f"{found.new} new, first {found.first_new}"] if found.new else []
    parts += [f"{found.gone} gone, first {found.first_gone}"] if found.gone else []
    parts = parts or ["files with another size than when the run began"]
    return f"{layout.root} holds a run over other images ({'; '.join(parts)}). {GROWN}"
