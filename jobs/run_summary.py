"""What a finished command says: at most 15 lines for people, or one JSON line for machines."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from maskmill.pipeline.runs.record import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The ledger of a run and what this call of the command did for it."""

    out: str
    ledger: Ledger
    done_now: int
    seconds: float
    rate: float
    files: Mapping[str, str]  # what was written, by name
    examples: tuple[str, ...] = ()  # some failures, one sentence each

    def to_dict(self) -> dict[str, Any]:
        """Plain values for --json."""
        ledger = {**asdict(self.ledger), "pending": self.ledger.pending}
        return {
            "out": self.out,
            "ledger": ledger,
            "done_now": self.done_now,
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.rate, 3),
            "files": dict(self.files),
        }

    def text(self) -> str:
        """At most 15 lines."""
        ledger = self.ledger
        lines = [self._headline()]
        lines += [f"  {name:<12} {path}" for name, path in self.files.items()]
        lines.append(f"  inputs {ledger.inputs:,} = ok {ledger.ok:,} + failed {ledger.failed:,}")
        if ledger.failed:
            kinds = ", ".join(f"{code} {count}" for code, count in sorted(ledger.failures.items()))
            lines.append(f"  failed: {kinds}")
            lines += [f"    {sentence}" for sentence in self.examples[:3]]
            lines.append(
                "  each failed image is a row with its reason; --retry-failed does them again"
            )
        return "\n".join(lines)

    def _headline(self) -> str:
        if not self.done_now:
            return f"{self.out}: nothing to do, all {self.ledger.inputs:,} images have a row."
        rate = f", {self.rate:.1f} images/s once under way" if self.rate else ""
        return f"{self.out}: {self.done_now:,} images in {self.seconds:.1f} s{rate}"
