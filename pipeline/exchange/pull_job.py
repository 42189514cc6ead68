"""PullJob: annotations of a project as a data set of ours, as a job on the one skeleton."""

import json
import posixpath
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import pyarrow as pa

from maskmill.pipeline.exchange.pages import PageFiles
from maskmill.pipeline.runs.attempts import FIRST_STAGE
from maskmill.pipeline.runs.commit import CommitItems, ItemWork
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import (
    put_manifest,
    sizes_of,
)
from maskmill.pipeline.runs.output_names import output_names, refuse_collisions
from maskmill.pipeline.runs.plan import Plan
from maskmill.pipeline.runs.record import RunRecord
from maskmill.pipeline.runs.rows import RowTable
from maskmill.pipeline.runs.stages import Opened, Stage, Workers
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap
from maskmill.schemas.tables.exchange import PULL_MANIFEST, PULLED
from maskmill.schemas.text import count_of

ROWS = RowTable(schema=PULLED)
BLOCK = 32
REMEDIES = {
    "address": "OUT holds what was pulled from another project: choose another output folder.",
    "labels": "The classes are not those of the first start: choose another output folder.",
}


class Placed(NamedTuple):
    """An annotated image: its key, the page that has it, and its position in that page."""

    key: str
    page: str
    place: int
    task_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What a pull found: images by ``change``, tasks that gave no image by what they are, and how
    many images each annotator made."""

    changes: Mapping[str, int]
    others: Mapping[str, int]
    annotators: Mapping[str, int]
    left_out: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class PullJob:
    """``fetch`` fills OUT's pages, ``placed`` says what is in them, ``work`` makes each a mask.

    ``fetch`` gives what people should hear of it.
    """

    out: str
    labels: LabelMap
    address: Mapping[str, Any]
    annotators: str
    fetch: Callable[[PageFiles], tuple[str, ...]]
    placed: Callable[[PageFiles], Iterator[Placed]]
    work: ItemWork
    remedies: Mapping[str, str] = field(default_factory=lambda: REMEDIES)

    command = "pull"
    noun = "images"
    table = ROWS
    local_items = 1_000_000

    @cached_property
    def layout(self) -> RunLayout:
        """OUT."""
        return RunLayout(self.out)

    def plan(self, record: RunRecord | None) -> Plan:
        """Pages fetched to their end, and the images in them.

        Raises:
            SettingsError: nobody has annotated anything.
            ServerFailed: the server fails; the pages that came stay.
        """
        pages = PageFiles(self.layout)
        notes: tuple[str, ...] = ()
        if record is None:
            pages.begin(self.address)
            told = self.fetch(pages)
            manifest, notes = _manifest(list(self.placed(pages)))
            notes = (*told, *notes)
            if not manifest.num_rows:
                self.layout.clear("pages")
                others = ", ".join(f"{count:,} {name}" for name, count in pages.counts().items())
                raise SettingsError(
                    f"nobody has annotated anything in the project yet ({others or 'no tasks'})"
                )
        else:
            manifest = self.layout.read_table(self.layout.manifest)
            finished = record.sessions[-1]["finished"] if record.sessions else "an earlier start"
            notes = (
                f"{self.out} holds the annotations as they were at {finished}; later ones are for "
                "another output folder",
            )
        labels = json.loads(json.dumps(self.labels.to_dict()))  # as run.json will have it
        identity = {"address": dict(self.address), "labels": labels}
        return Plan(
            sizes=sizes_of(manifest),
            identity=identity,
            notes=notes,
            put_manifest=None if record else lambda layout: put_manifest(layout, manifest),
            settings={"address": dict(self.address)},
            facts={"label_map": labels, "model": {"name": self.annotators}},
        )

    def needed_files(self, plan: Plan) -> list[str]:
        """None beside those that every row has."""
        return []

    def resolve(self, plan: Plan, workers: Workers) -> Plan:
        """The plan: nothing of it depends on the workers."""
        return plan

    def on_gpu(self, plan: Plan) -> bool:
        """Never."""
        return False

    def stages(self, plan: Plan, session: str) -> Sequence[Stage]:
        """One: paint, write, commit."""
        operator = CommitItems(layout=self.layout, session=session, table=ROWS, work=self.work)
        return (Stage(name=FIRST_STAGE, open=Opened(operator)),)

    def finish(self, plan: Plan, record: RunRecord, workers: Workers, *, is_fresh: bool) -> Pulled:
        """The sums of the rows."""
        changes: Counter[str] = Counter()
        annotators: Counter[str] = Counter()
        left_out: Counter[str] = Counter()
        for table in self.layout.committed_rows(["status", "change", "annotator", "left_out"]):
            for row in table.to_pylist():
                if row["status"] == "ok":
                    changes[row["change"]] += 1
                    annotators[row["annotator"] or "unknown"] += 1
                    left_out.update(row["left_out"] or [])
        others = PageFiles(self.layout).counts()
        told = Pulled(
            changes=dict(changes), others=dict(others), annotators=dict(annotators),
            left_out=dict(left_out),
        )  # fmt: skip
        record.info["counts"] = {"changes": dict(sorted(changes.items())), "others": dict(others)}
        return told


def _manifest(found: Sequence[Placed]) -> tuple[pa.Table, tuple[str, ...]]:
    """PULL_MANIFEST; where several tasks hold one image, each is told by its task."""
    counts = Counter(one.key for one in found)
    keys = [one.key if counts[one.key] == 1 else _told_by_task(one) for one in found]
    outputs = output_names(keys)
    refuse_collisions(keys, outputs)
    rows = [
        {
            "image_id": number + 1, "key": keys[number], "block": number // BLOCK,
            "output": outputs[number], "page": one.page, "place": one.place,
        }
        for number, one in enumerate(found)
    ]  # fmt: skip
    repeated = [key for key, count in counts.items() if count > 1]
    notes: tuple[str, ...] = ()
    if repeated:
        example = _told_by_task(next(one for one in found if one.key == repeated[0]))
        notes = (
            f"{count_of(len(repeated), 'image is', 'images are')} in several tasks, for example "
            f"{repeated[0]}: each task gives a mask of its own, called like {example}",
        )
    return pa.Table.from_pylist(rows, schema=PULL_MANIFEST), notes


def _told_by_task(one: Placed) -> str:
    stem, extension = posixpath.splitext(one.key)
    return f"{stem}.task-{one.task_id}{extension}"


def safe_key(told: str, task_id: int) -> str:
    """A key that stays below OUT, of whatever a server calls a picture."""
    parts = [part for part in told.replace("\\", "/").replace("\0", "").split("/") if part]
    kept = "/".join(part for part in parts if part not in (".", ".."))
    return kept or f"task-{task_id}"
