"""A fifth job, in a hundred lines: the letters of every text file of a folder, as rows."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from maskmill.pipeline.runs.commit import CommitItems
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import put_manifest, sizes_of
from maskmill.pipeline.runs.plan import Plan
from maskmill.pipeline.runs.record import RunRecord
from maskmill.pipeline.runs.rows import RowTable
from maskmill.pipeline.runs.stages import Opened, Stage, Workers
from maskmill.schemas.errors import DeviceLost, DocumentFailure, ErrorCode

MANIFEST = pa.schema([("image_id", pa.int64()), ("key", pa.string()), ("block", pa.int64())])
TEXTS = ["status", "error_code", "error_message", "worker"]
NUMBERS = ["attempts", "letters"]
ROWS = pa.schema(
    [*MANIFEST, *((name, pa.string()) for name in TEXTS), *((n, pa.int64()) for n in NUMBERS)]
)


@dataclass(frozen=True)
class CountLetters:
    """What is done to each file. An empty one fails; `die` in its name ends the process.

    `lost` in its name is what a GPU says that answers its process no more.
    """

    folder: str

    def facts(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        return {name: entry[name] for name in MANIFEST.names}

    def of_block(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return self.letters

    def letters(self, entry: dict[str, Any]) -> dict[str, Any]:
        if "die" in entry["key"]:
            os.kill(os.getpid(), 9)
        if "lost" in entry["key"]:
            raise DeviceLost("the GPU is lost to this process: an illegal memory access")
        text = Path(self.folder, entry["key"]).read_text()
        if not text:
            raise DocumentFailure(ErrorCode.EMPTY_FILE, f"{entry['key']} is empty")
        return {"letters": len(text)}


@dataclass(frozen=True)
class LettersJob:
    source: str
    out: str
    block: int = 3
    remedies: Mapping[str, str] = field(default_factory=dict)

    command = "letters"
    noun = "files"
    table = RowTable(schema=ROWS)
    local_items = 1000

    @cached_property
    def layout(self) -> RunLayout:
        return RunLayout(self.out)

    def plan(self, record: RunRecord | None) -> Plan:
        keys = sorted(path.name for path in Path(self.source).glob("*.txt"))
        rows = [
            {"image_id": number, "key": key, "block": (number - 1) // self.block}
            for number, key in enumerate(keys, 1)
        ]
        manifest = pa.Table.from_pylist(rows, schema=MANIFEST)
        put = None if record else (lambda layout: put_manifest(layout, manifest))
        return Plan(sizes=sizes_of(manifest), identity={"inputs": keys}, put_manifest=put)

    def needed_files(self, plan: Plan) -> list[str]:
        return []

    def resolve(self, plan: Plan, workers: Workers) -> Plan:
        return plan

    def on_gpu(self, plan: Plan) -> bool:
        return False

    def stages(self, plan: Plan, session: str) -> Sequence[Stage]:
        work = CountLetters(self.source)
        operator = CommitItems(layout=self.layout, session=session, table=self.table, work=work)
        return (Stage(name="load", open=Opened(operator)),)

    def finish(self, plan: Plan, record: RunRecord, workers: Workers, *, is_fresh: bool) -> int:
        rows = self.layout.committed_rows(["letters"])
        return sum(number or 0 for table in rows for number in table["letters"].to_pylist())
