"""A `prelabel` run from start to end: plan, label what is pending, finish."""

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import click
import pyarrow as pa

from maskmill.jobs.prelabel_config import PrelabelConfig
from maskmill.jobs.prelabel_operators import ask_facts, build_graph, full_identity, pool_of
from maskmill.jobs.prelabel_plan import Plan, make_plan
from maskmill.jobs.prelabel_record import close_record, open_record
from maskmill.jobs.progress import progress_meter
from maskmill.jobs.run_summary import RunSummary
from maskmill.jobs.runtime import cluster
from maskmill.pipeline.prelabel.writers.registry import FINISHERS, WRITERS
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.lock import run_lock
from maskmill.pipeline.runs.pending import count_ledger, num_images, pending_work
from maskmill.pipeline.runs.record import Ledger, RunRecord

MAX_EXAMPLES = 3


@dataclass(slots=True)
class Outcome:
    """What this call of the command did; a few numbers, whatever the size of the collection."""

    done_now: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    examples: list[str] = field(default_factory=list)

    def add(self, tally: list[dict[str, Any]]) -> int:
        """Count one committed block (schema TALLY); how many of it failed."""
        failures = [row["error_message"] for row in tally if row["error_code"]]
        self.done_now += len(tally)
        self.examples += failures[: MAX_EXAMPLES - len(self.examples)]
        return len(failures)

    def session(self) -> dict[str, Any]:
        """This call's line of run.json."""
        return {
            "images": self.done_now,
            "seconds": round(self.seconds, 1),
            "images_per_second": round(self.rate, 2),
        }


def run(config: PrelabelConfig) -> RunSummary:
    """Do what is still to do, and finish the run.

    Raises:
        SettingsError: what is asked for cannot be, or OUT holds a different run.
        ModelError: weights that are missing or do not fit.
        RunFailed: the run broke; committed blocks stay.
    """
    layout = RunLayout(config.out)
    with run_lock(layout):
        plan = make_plan(config, layout)
        pending = pending_work(layout, plan.work.manifest, retry_failed=config.retry_failed)
        outcome = Outcome()
        record = plan.record
        if pending.num_rows or record is None:
            record = _label(plan, pending, outcome)
        ledger = count_ledger(layout, plan.work.manifest.num_rows)
        if record.state != "finished":
            close_record(plan, record, ledger, outcome.session())
        return _summary(plan, ledger, outcome)


def _label(plan: Plan, pending: pa.Table, outcome: Outcome) -> RunRecord:
    """Start workers and do the pending blocks."""
    started = time.monotonic()
    for note in (*plan.work.notes(), *plan.choice.notes):
        click.echo(f"note: {note}", err=True)
    with cluster(plan.config.address) as capacity:
        pool = pool_of(plan, capacity, blocks=pending.num_rows)
        facts = ask_facts(plan, pool)
        for note in facts.notes:
            click.echo(f"note: {note}", err=True)
        identity = full_identity(plan, facts)
        record = open_record(plan, identity)
        plan.layout.clear(plan.layout.scratch)
        plan.layout.write_table(plan.layout.pending, pending)
        graph = build_graph(plan, identity, pool, session=uuid.uuid4().hex)
        total = plan.work.manifest.num_rows
        with progress_meter(total, total - num_images(pending), "prelabel") as meter:
            for tally in graph.run():
                meter.advance(len(tally), outcome.add(tally))
            outcome.rate = meter.rate
    outcome.seconds = time.monotonic() - started
    return record


def _summary(plan: Plan, ledger: Ledger, outcome: Outcome) -> RunSummary:
    specs = (*(WRITERS[name] for name in plan.config.writers), *plan.config.own_writers())
    folders = {spec.name: plan.layout.path(spec.folder) + "/" for spec in specs}
    documents = {name: plan.layout.path(spec.path) for name, spec in FINISHERS.items()}
    return RunSummary(
        out=plan.config.out,
        ledger=ledger,
        done_now=outcome.done_now,
        seconds=outcome.seconds,
        rate=outcome.rate,
        examples=tuple(outcome.examples),
        files={**folders, **documents, "rows": plan.layout.path(plan.layout.metadata) + "/"},
    )
