"""Letters of text files behind a gate: a test says how far a run may come, on whatever machine."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskmill.pipeline.runs.commit import CommitItems
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.plan import Plan
from maskmill.pipeline.runs.stages import Opened, Stage
from tests.jobs.fifth_job import CountLetters, LettersJob

SLOWNESS = "LETTERS_SECONDS"
"""Of the environment of a slow node: what each file takes there, in seconds."""
EVERYTHING = 1_000_000


@dataclass(frozen=True)
class GatedLetters(CountLetters):
    """Counts letters and keeps a copy; waits before files beyond the number in ``gate``."""

    out: str

    def letters(self, entry: dict[str, Any]) -> dict[str, Any]:
        gate = Path(self.folder, "gate")
        while int(gate.read_text()) < entry["image_id"]:
            time.sleep(0.05)
        time.sleep(float(os.environ.get(SLOWNESS, "0")))
        text = Path(self.folder, entry["key"]).read_bytes()
        RunLayout(self.out).write(f"copies/{entry['key']}", text.upper())
        return {"letters": len(text)}


@dataclass(frozen=True)
class GatedJob(LettersJob):
    """A run that comes as far as its gate is open."""

    def stages(self, plan: Plan, session: str) -> Sequence[Stage]:
        work = GatedLetters(self.source, self.out)
        operator = CommitItems(layout=self.layout, session=session, table=self.table, work=work)
        return (Stage(name="load", open=Opened(operator)),)

    def open_gate(self, number: int) -> None:
        """Let the files up to that number pass."""
        after = Path(self.source, "gate.new")
        after.write_text(str(number))
        after.replace(Path(self.source, "gate"))
