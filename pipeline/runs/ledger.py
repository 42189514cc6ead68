"""The ledger of a run: inputs = ok + failed, or the run is not finished."""

from dataclasses import asdict, dataclass, field
from typing import Any

from maskmill.pipeline.runs.layout import RunLayout


@dataclass(slots=True, kw_only=True)
class Ledger:
    """inputs = ok + failed + pending, always; a finished run has no pending."""

    inputs: int = 0
    ok: int = 0
    failed: int = 0
    failures: dict[str, int] = field(default_factory=dict)  # error_code -> items

    @property
    def pending(self) -> int:
        """Items without a committed row."""
        return self.inputs - self.ok - self.failed

    def add(self, codes: list[str | None]) -> None:
        """Count committed rows by their error_code, None for an ok one."""
        for code in codes:
            if code is None:
                self.ok += 1
            else:
                self.failed += 1
                self.failures[code] = self.failures.get(code, 0) + 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ``pending`` among them."""
        return {**asdict(self), "pending": self.pending}


def count_ledger(layout: RunLayout, inputs: int) -> Ledger:
    """The ledger of the committed rows, streamed."""
    ledger = Ledger(inputs=inputs)
    for rows in layout.committed_rows(["error_code"]):
        ledger.add(rows["error_code"].to_pylist())
    return ledger
