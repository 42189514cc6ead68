"""Which images of a run are pushed, in which order, and which are there already."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from maskmill.pipeline.datasets.registry import dataset_format
from maskmill.pipeline.datasets.samples import DatasetIndex, ReadContext, ReadOptions, SampleItem
from maskmill.pipeline.datasets.trees import FileTree, open_tree
from maskmill.pipeline.prelabel.review_order import review_order
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import load_record
from maskmill.pipeline.sources.text_list import read_lines
from maskmill.pipeline.storage.filesystems import join_uri
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap
from maskmill.schemas.tables.exchange import PUSH_MANIFEST

FOLDER: Final = "push"
RARITY: Final = 0.5
"""What `maskmill rank` weighs rare classes with unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunImages:
    """The labelled images of a finished run, in the order of the push. ``model`` made the masks;
    ``failed`` images of the run have none."""

    run: str
    labels: LabelMap
    model: str
    tree: FileTree
    items: tuple[SampleItem, ...]
    extras: Mapping[str, Any]
    failed: int = 0

    @property
    def digest(self) -> str:
        """Names this choice of images of this run, in this order."""
        digest = hashlib.sha256(f"{self.model}\0".encode())
        for item in self.items:
            digest.update(f"{item.key}\0{json.dumps(item.payload, sort_keys=True)}\0".encode())
        return digest.hexdigest()[:16]

    @property
    def context(self) -> ReadContext:
        """What reads a mask of it."""
        return ReadContext(tree=self.tree, labels=self.labels, extras=dict(self.extras))


def run_images(
    run: str, *, only: str | None = None, order: str = "key", limit: int | None = None
) -> RunImages:
    """Look through a run.

    Args:
        run: OUT of a finished `prelabel` (or `pull`).
        only: a text file of keys; None for all.
        order: ``key``, ``list`` (as ``only`` has them) or ``rank`` (see `maskmill rank`).
        limit: take so many from the front of that order.

    Raises:
        SettingsError: the run is not finished, a key is not in it, or nothing is left.
    """
    tree = open_tree(run)
    index: DatasetIndex = dataset_format("prelabel").load_reader().index(tree, ReadOptions())
    items = {item.key: item for item in index.items}
    keys = _ordered(run, items, only, order)
    if limit is not None:
        keys = keys[:limit]
    if not keys:
        raise SettingsError(f"{run} has no labelled image to push")
    record = load_record(RunLayout(run))
    failed = int(record.ledger.get("failed", 0)) if record and only is None else 0
    return RunImages(
        run=run, failed=failed, labels=index.labels, model=str(index.extras["model"]), tree=tree,
        items=tuple(items[key] for key in keys), extras=index.extras,
    )  # fmt: skip


def _ordered(run: str, items: Mapping[str, SampleItem], only: str | None, order: str) -> list[str]:
    wanted = list(items) if only is None else list(dict.fromkeys(read_lines(only)))
    unknown = [key for key in wanted if key not in items]
    if unknown:
        raise SettingsError(
            f"{only} names {len(unknown)} images that {run} has not labelled, first {unknown[0]}; "
            "a line is a key: the path of an image below the source of the run"
        )
    if order == "list":
        return wanted
    if order == "rank":
        chosen = set(wanted)
        ranked = review_order(RunLayout(run), rarity_weight=RARITY).table["key"].to_pylist()
        return [key for key in ranked if key in chosen]
    return sorted(wanted)


def batch_layout(run: str, place: str, digest: str) -> RunLayout:
    """Where the ledger of one batch is: a place is a project of a server."""
    return RunLayout(join_uri(run, f"{FOLDER}/{place}/{digest}"))


def place_layout(run: str, place: str) -> RunLayout:
    """Where the ledgers of all batches of a project are."""
    return RunLayout(join_uri(run, f"{FOLDER}/{place}"))


def ledgers(run: str, place: str) -> Iterator[RunLayout]:
    """The ledgers of all batches of a project, by name; with a wildcard at its end, of several."""
    for name in _names(RunLayout(join_uri(run, FOLDER))):
        if name == place or (place.endswith("*") and name.startswith(place[:-1])):
            for digest in _names(place_layout(run, name)):
                layout = batch_layout(run, name, digest)
                if layout.exists(layout.manifest):
                    yield layout


def _names(layout: RunLayout) -> list[str]:
    selector = fs.FileSelector(layout.path(""), allow_not_found=True)
    return sorted(info.base_name for info in layout.filesystem.get_file_info(selector))


def sent_before(run: str, place: str, digest: str) -> dict[str, str]:
    """Keys that earlier batches have sent, or begun to send, to a project; by which batch."""
    found: dict[str, str] = {}
    own = batch_layout(run, place, digest).root
    for other in ledgers(run, place):
        if other.root == own:
            continue
        keys = other.read_table(other.manifest, ["image_id", "key"])
        failed = set(_failed(other))
        found |= {
            row["key"]: other.root for row in keys.to_pylist() if row["image_id"] not in failed
        }
    return found


def _failed(layout: RunLayout) -> Iterator[int]:
    for table in layout.committed_rows(["image_id", "status"]):
        yield from table.filter(pc.equal(table["status"], "failed"))["image_id"].to_pylist()


def push_manifest(
    items: Sequence[SampleItem], blocks: Sequence[int], names: Sequence[str]
) -> pa.Table:
    """PUSH_MANIFEST of items in their order: the chunk of each, and what its task is called."""
    rows = [
        {
            "image_id": number, "key": item.key, "block": block, "task": name,
            "uri": item.payload["image"], "payload": json.dumps(item.payload),
        }
        for number, (item, block, name) in enumerate(zip(items, blocks, names, strict=True), 1)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=PUSH_MANIFEST)
