"""PushJob: sending a run's images with their masks to annotators, as a job on the one skeleton."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.datasets.registry import dataset_format
from maskmill.pipeline.datasets.samples import ReadContext, Sample, SampleItem
from maskmill.pipeline.exchange.batch import RunImages
from maskmill.pipeline.exchange.delivery import Annotators, Delivered, OutgoingImage, Settlement
from maskmill.pipeline.runs.attempts import FIRST_STAGE, begin_stage
from maskmill.pipeline.runs.commit import failed_columns
from maskmill.pipeline.runs.isolation import worker_name
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import block_rows, put_manifest, sizes_of
from maskmill.pipeline.runs.plan import Plan
from maskmill.pipeline.runs.record import RunRecord
from maskmill.pipeline.runs.rows import RowTable, commit_block
from maskmill.pipeline.runs.stages import Opened, Stage, Workers
from maskmill.schemas.errors import FileFailure, SettingsError
from maskmill.schemas.tables.blocks import TALLY
from maskmill.schemas.tables.exchange import PUSHED

Row = dict[str, Any]
ROWS = RowTable(schema=PUSHED)

REMEDIES = {
    "images": "The run has other images or masks than when this push began.",
    "address": "The ledger is of another server or project.",
    "pictures": "This push began with another way to show pictures: give the same one again.",
    "shapes": "This push began with other shapes: give the same ones again.",
    "chunk": "This push began with chunks of another size: give the same size again.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PushChunks:
    """Sends a block, then commits its rows: a row on disk is an image that is there.

    A block is sent whole or found to be there; what is between the two is sorted out with the
    server by ``annotators``, so a block may be begun any number of times.
    """

    layout: RunLayout
    session: str
    context: ReadContext
    annotators: Annotators
    push: str

    def __call__(self, pending: pa.Table) -> pa.Table:
        """A table of schema PENDING in, one of schema TALLY out."""
        return pa.concat_tables([TALLY.empty_table(), *map(self._block, pending.to_pylist())])

    def _block(self, pending: Row) -> pa.Table:
        block = int(pending["block"])
        attempt = begin_stage(self.layout, block, FIRST_STAGE, self.session)
        entries = block_rows(self.layout, pending, ROWS.id)
        images, failures = self._read(entries)
        ignored = {one.image_id: _ignored_pixels(one.sample) for one in images}
        chunk = f"{self.push}/{block}"
        told = self.annotators.deliver(chunk, entries[0]["task"], images) if images else {}
        rows = [
            {
                **{name: entry[name] for name in ("image_id", "key", "block")},
                "attempts": attempt.starts, "worker": worker_name(),
                "ignored_pixels": ignored.get(entry["image_id"]),
                **_columns({**told, **failures}[entry["image_id"]]),
            }
            for entry in entries
        ]  # fmt: skip
        table = pa.Table.from_pylist(rows, schema=PUSHED)
        attempt.finish()
        commit_block(self.layout, block, table, ROWS)
        self.layout.delete(self.layout.attempts_path(block))
        return table.select(TALLY.names).cast(TALLY)

    def _read(self, entries: Sequence[Row]) -> tuple[list[OutgoingImage], dict[int, FileFailure]]:
        reader = dataset_format("prelabel").load_reader()
        images: list[OutgoingImage] = []
        failures: dict[int, FileFailure] = {}
        for entry in entries:
            item = SampleItem(key=entry["key"], payload=json.loads(entry["payload"]))
            try:
                sample = reader.read(item, self.context)
            except FileFailure as failure:
                failures[entry["image_id"]] = failure
            else:
                images.append(
                    OutgoingImage(
                        image_id=entry["image_id"], key=entry["key"], uri=entry["uri"],
                        sample=sample,
                    )
                )  # fmt: skip
        return images, failures


def _ignored_pixels(sample: Sample) -> int:
    return int(np.count_nonzero(sample.mask == sample.labels.ignore_index))


def _columns(told: Delivered | FileFailure) -> Row:
    if isinstance(told, FileFailure):
        return failed_columns(told.code, str(told))
    return {
        "status": "ok", "task_id": told.task_id, "frame": told.frame, "picture": told.picture,
        "regions": told.regions,
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PushJob:
    """One batch of images to one project. ``address`` says where, for people: no secret in it.

    ``root`` is the folder of its ledger, ``place`` that of all ledgers of the project.

    ``manifest`` is what there is to send now; what an earlier start has settled is on disk.
    """

    root: str
    place: str
    images: RunImages
    manifest: pa.Table
    annotators: Annotators
    address: Mapping[str, Any]
    pictures: Mapping[str, Any]
    shapes: str
    chunk: int
    notes: tuple[str, ...] = ()
    remedies: Mapping[str, str] = field(default_factory=lambda: REMEDIES)

    command = "push"
    noun = "images"
    table = ROWS
    local_items = 1_000_000

    @cached_property
    def layout(self) -> RunLayout:
        """The ledger's folder."""
        return RunLayout(self.root)

    def plan(self, record: RunRecord | None) -> Plan:
        """The manifest, or the one on disk of an earlier start.

        Raises:
            SettingsError: everything was sent by earlier batches.
        """
        manifest = self.manifest
        if record is not None:
            manifest = self.layout.read_table(self.layout.manifest)
        elif not manifest.num_rows:
            raise SettingsError(
                f"all {len(self.images.items)} images are in the project already; "
                f"{self.place} has the ledgers"
            )
        known = {
            "images": self.images.digest, "address": dict(self.address),
            "pictures": dict(self.pictures), "shapes": self.shapes, "chunk": self.chunk,
        }  # fmt: skip
        return Plan(
            sizes=sizes_of(manifest),
            identity=known,
            notes=self.notes if record is None else (),
            put_manifest=None if record else lambda layout: put_manifest(layout, manifest),
            settings={**known, "run": self.images.run, "model": self.images.model},
        )

    def needed_files(self, plan: Plan) -> list[str]:
        """None: what a push makes is not here."""
        return []

    def resolve(self, plan: Plan, workers: Workers) -> Plan:
        """The plan: nothing of it depends on the workers."""
        return plan

    def on_gpu(self, plan: Plan) -> bool:
        """Never."""
        return False

    def stages(self, plan: Plan, session: str) -> Sequence[Stage]:
        """One: read, send, commit."""
        operator = PushChunks(
            layout=self.layout, session=session, context=self.images.context,
            annotators=self.annotators, push=self.push,
        )  # fmt: skip
        return (Stage(name=FIRST_STAGE, open=Opened(operator)),)

    def finish(
        self, plan: Plan, record: RunRecord, workers: Workers, *, is_fresh: bool
    ) -> Settlement:
        """The ledger held against the server, at every call: it may have lost what it had."""
        settlement = self.annotators.settle(self.push, list(self._delivered()))
        if settlement.removed:
            record.info["doubles_removed"] = (
                record.info.get("doubles_removed", 0) + settlement.removed
            )
        return replace(settlement, notes=(*settlement.notes, *self._told_ignored()))

    def _told_ignored(self) -> tuple[str, ...]:
        tables = self.layout.committed_rows(["ignored_pixels"])
        ignored = sum(pc.sum(table["ignored_pixels"]).as_py() or 0 for table in tables)
        if not ignored:
            return ()
        return (f"{ignored:,} pixels that the run ignores were not sent: background to annotators",)

    @cached_property
    def push(self) -> str:
        """Names this batch in the data of its tasks."""
        told = json.dumps([self.images.digest, dict(self.address)], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def _delivered(self) -> Any:
        for table in self.layout.committed_rows(["key", "status", "task_id"]):
            for row in table.to_pylist():
                if row["status"] == "ok":
                    yield row["key"], row["task_id"]
