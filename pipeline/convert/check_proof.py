"""--check: what a conversion wrote is read back from OUT/dataset and held against the source."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO, Final, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from maskmill.pipeline.convert.check import (
    CheckMasks,
    WrittenItems,
    open_readback,
    written_trees,
)
from maskmill.pipeline.convert.conversion import DATASET_FOLDER, ConversionPlan
from maskmill.pipeline.datasets.registry import dataset_format
from maskmill.pipeline.datasets.trees import open_tree
from maskmill.pipeline.pictures.names import cvat_name, stem_of
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import manifest_block
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.tables.blocks import PENDING

CHECK_FOLDER: Final = "check"
SAMPLES: Final = "work/check-samples.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckPlan:
    """How the target is read back."""

    plan: ConversionPlan

    def operator(self, layout: RunLayout) -> tuple[CheckMasks, pa.Table]:
        """The operator over all committed blocks, and these as a table of schema PENDING."""
        readback, items = open_readback(self.plan, layout.path(DATASET_FOLDER))
        layout.clear(CHECK_FOLDER)
        sizes = _write_samples(layout, items)
        blocks = [{"block": group, "items": size} for group, size in enumerate(sizes)]
        operator = CheckMasks(
            layout=layout,
            plan=self.plan,
            readback=readback,
            folder=CHECK_FOLDER,
            samples=SAMPLES,
        )
        return operator, pa.Table.from_pylist(blocks, schema=PENDING)


def plan_check(plan: ConversionPlan, layout: RunLayout) -> CheckPlan:
    """Whether the target can be read back at all, said before anything is converted.

    Raises:
        SettingsError: a target that is written only, or that needs pictures which are not copied.
    """
    name = plan.request.to_format
    target = dataset_format(name)
    if not target.can_read:
        raise SettingsError(f"{name} is written only, --check cannot read it back; leave it out")
    if target.needs_images and not (plan.copies_images or plan.request.images):
        raise SettingsError(f"reading {name} back needs the pictures: add --with-images")
    return CheckPlan(plan=plan)


@dataclass(slots=True, kw_only=True)
class Proof:
    """Sums over the rows of a check. ``worst`` are sentences.

    ``holds_ignore`` and ``is_exact`` say what the target promises; see :attr:`is_kept`. ``dropped``
    counts failed samples and everything that was left out before there was a mask to compare.
    """

    holds_ignore: bool
    is_exact: bool
    samples: int = 0
    pixels: int = 0
    differing: int = 0
    ignore_lost: int = 0
    unreadable: int = 0
    dropped: int = 0
    checked_by: str = ""
    worst: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def is_lossless(self) -> bool:
        """True where every sample was converted whole, and every pixel of it came back."""
        return self.all_came_back and not self.dropped

    @property
    def all_came_back(self) -> bool:
        """True where every pixel that was written came back."""
        return not (self.differing or self.ignore_lost or self.unreadable)

    @property
    def is_kept(self) -> bool:
        """True where nothing was lost that the target promises to hold."""
        lost_ignore = self.ignore_lost and self.holds_ignore
        lost_pixels = self.differing and self.is_exact
        return not (lost_ignore or lost_pixels or self.unreadable or self.problems)

    def add(self, row: dict[str, Any]) -> None:
        """Count one row of schema CHECK."""
        self.samples += 1
        self.pixels += row["pixels"] or 0
        self.differing += row["differing"] or 0
        self.ignore_lost += row["ignore_lost"] or 0
        self.unreadable += bool(row["error_code"])
        self.checked_by = self.checked_by or row["checked_by"] or ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"lossless": self.is_lossless, "kept": self.is_kept, **asdict(self)}

    def lines(self) -> list[str]:
        """The verdict for people."""
        refused = [f"    importers would refuse it: {one}" for one in self.problems[:3]]
        if self.all_came_back:
            verdict = "lossless, all" if self.is_lossless else "what was written is exact: all"
            return [
                *refused,
                f"  check: {verdict} {self.pixels:,} pixels of {self.samples:,} came back "
                f"({self.checked_by})",
            ]
        lines = [
            f"  check: {self.differing:,} of {self.pixels:,} class pixels differ "
            f"({self.checked_by or 'nothing could be read'})"
        ]
        if self.ignore_lost:
            why = "" if self.holds_ignore else ", the target holds no ignore"
            lines.append(f"    {self.ignore_lost:,} ignore pixels came back as a class{why}")
        if self.unreadable:
            lines.append(f"    {self.unreadable:,} samples cannot be read back")
        return [*lines, *(f"    {sentence}" for sentence in self.worst), *refused]


def proof_of(layout: RunLayout, plan: ConversionPlan) -> Proof:
    """Sum the rows of the last check."""
    target = dataset_format(plan.request.to_format)
    exact = target.exact and not (target.polygons and plan.request.max_loss > 0)
    proof = Proof(holds_ignore=target.holds_ignore, is_exact=exact)
    proof.problems = package_problems(plan, layout)
    selector = fs.FileSelector(layout.path(CHECK_FOLDER), allow_not_found=True)
    worst: list[tuple[int, str]] = []
    for info in layout.filesystem.get_file_info(selector):
        table = layout.read_table(
            f"{CHECK_FOLDER}/{info.base_name}", remedy="run the same command again: it checks anew"
        )
        for row in table.to_pylist():
            proof.add(row)
            if row["error_code"]:
                worst.append((1 << 40, row["error_message"]))
            elif row["differing"]:
                worst.append((row["differing"], f"{row['differing']:,} pixels of {row['first']}"))
        worst = sorted(worst, key=lambda entry: -entry[0])[:3]
    proof.worst = [sentence for _, sentence in worst]
    return proof


def package_problems(plan: ConversionPlan, layout: RunLayout) -> list[str]:
    """What the target's importer would refuse in the written package, where its rules are known."""
    target = dataset_format(plan.request.to_format)
    if target.validator is None:
        return []
    folder = layout.path(DATASET_FOLDER)
    return [problem for uri in written_trees(folder) for problem in target.problems(open_tree(uri))]


def _names_of(row: dict[str, Any]) -> Iterator[str]:
    """What a reader may call a sample; some cannot tell a split from a folder of the key."""
    names = (row["key"], stem_of(row["key"]), row["output"], cvat_name(stem_of(row["key"])))
    yield from names
    yield from (f"{row['split']}/{name}" for name in names)


def _write_samples(layout: RunLayout, items: WrittenItems) -> list[int]:
    """A row group per block: its ok samples, and what the target's reader needs to find each.

    Returns how many samples each has.
    """
    schema = pa.schema([("block", pa.int64()), ("samples", pa.large_string())])
    sizes: list[int] = []
    with tempfile.TemporaryFile() as spool:
        with pq.ParquetWriter(spool, schema, compression="zstd") as writer:
            for block in layout.committed_blocks():
                rows = layout.committed_block(block, ["image_id", "status", "files"]).to_pylist()
                files = {row["image_id"]: row["files"] for row in rows if row["status"] == "ok"}
                samples = [
                    {
                        **row,
                        "files": files[row["image_id"]],
                        "written": items.find(*_names_of(row)),
                    }
                    for row in manifest_block(layout, block)
                    if row["image_id"] in files
                ]
                entry = {"block": block, "samples": json.dumps(samples)}
                writer.write_table(pa.Table.from_pylist([entry], schema=schema))
                sizes.append(len(samples))
        spool.seek(0)
        layout.filesystem.create_dir(layout.path(SAMPLES).rpartition("/")[0])
        layout.write_stream(SAMPLES, cast(BinaryIO, spool))
    return sizes
