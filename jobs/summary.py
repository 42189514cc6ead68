"""What a finished command says: at most 15 lines for people, or one JSON line for machines."""

from collections.abc import Mapping
from typing import Any

from maskmill.jobs.run import Outcome
from maskmill.schemas.text import printable


def outcome_dict(outcome: Outcome[Any], **more: Any) -> dict[str, Any]:
    """Plain values for --json; ``more`` is what only one command has to tell."""
    return {
        "out": outcome.out,
        "ledger": outcome.ledger.to_dict(),
        "done_now": outcome.done_now,
        "engine": outcome.engine,
        "seconds": round(outcome.seconds, 3),
        f"{outcome.noun}_per_second": round(outcome.rate, 3),
        **more,
    }


def headline(outcome: Outcome[Any], done: str, nothing: str) -> str:
    """What this call did: ``done`` as a noun, or that there was nothing to do."""
    ledger = outcome.ledger
    if not outcome.done_now:
        return f"{outcome.out}: {nothing}, all {ledger.inputs:,} {outcome.noun} have a row."
    rate = f", {outcome.rate:.1f} {outcome.noun}/s once under way" if outcome.rate else ""
    return f"{outcome.out}: {outcome.done_now:,} {done} in {outcome.seconds:.1f} s{rate}"


def ledger_lines(outcome: Outcome[Any], advice: str) -> list[str]:
    """The ledger, and of failures their kinds, some examples and what to do."""
    ledger = outcome.ledger
    lines = [f"  inputs {ledger.inputs:,} = ok {ledger.ok:,} + failed {ledger.failed:,}"]
    if ledger.failed:
        kinds = ", ".join(f"{code} {count}" for code, count in sorted(ledger.failures.items()))
        lines += [f"  failed: {kinds}", *(f"    {printable(one)}" for one in outcome.examples)]
        lines.append(f"  {advice}")
    return lines


def file_lines(files: Mapping[str, str]) -> list[str]:
    """Where things were written, by name."""
    return [f"  {name:<12} {path}" for name, path in files.items()]
