"""ONE skeleton for every job: lock, open or refuse, what is pending, the engine, finish, close."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import click
import pyarrow as pa

from maskmill.jobs.engines.choice import RunOptions, choose_engine, engine_notes
from maskmill.jobs.engines.lazy import LazyWorkers
from maskmill.jobs.progress import progress_meter
from maskmill.jobs.watchdog import watchdog
from maskmill.pipeline.runs.identity import refuse_difference
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.ledger import Ledger, count_ledger
from maskmill.pipeline.runs.lock import run_lock
from maskmill.pipeline.runs.pending import num_items, pending_blocks
from maskmill.pipeline.runs.plan import Plan
from maskmill.pipeline.runs.record import (
    RunRecord,
    load_own_record,
    load_record,
    package_versions,
)
from maskmill.pipeline.runs.rows import RowTable
from maskmill.pipeline.runs.stages import Stage, Workers
from maskmill.pipeline.runs.uploads import end_abandoned_uploads
from maskmill.pipeline.runs.visibility import mark_run
from maskmill.pipeline.storage.retries import RETRIES
from maskmill.schemas.errors import RunFailed
from maskmill.schemas.text import printable

MAX_EXAMPLES = 3

AnyPlan = TypeVar("AnyPlan", bound=Plan)
Result = TypeVar("Result", covariant=True)
Told = TypeVar("Told")


class Job(Protocol[AnyPlan, Result]):
    """What a command does, in five parts: plan, resolve, stages, finish, and what it is made of.

    The rest, which is what opening, refusing, resuming, isolating, counting and closing mean, is
    :func:`run`. A job is a plain value; see pipeline/prelabel/job.py and its neighbours.
    """

    @property
    def command(self) -> str:
        """What run.json calls it."""

    @property
    def noun(self) -> str:
        """What is counted: images, samples, pairs."""

    @property
    def layout(self) -> RunLayout:
        """The run folder."""

    @property
    def table(self) -> RowTable:
        """What the committed rows are."""

    @property
    def remedies(self) -> Mapping[str, str]:
        """What to do about a difference to an earlier start, by key of the identity."""

    @property
    def local_items(self) -> int:
        """Up to so many pending items this process is done before Ray is."""

    def plan(self, record: RunRecord | None) -> AnyPlan:
        """The manifest and the identity as far as known; of an earlier start what is settled."""

    def needed_files(self, plan: AnyPlan) -> list[str]:
        """Names that every ok row must have in its column ``files``."""

    def resolve(self, plan: AnyPlan, workers: Workers) -> AnyPlan:
        """The plan with its whole identity, and what the workers had to say as notes.

        A manifest that is not written yet may be cut into other blocks.
        """

    def on_gpu(self, plan: AnyPlan) -> bool:
        """Whether the network of a resolved plan runs on GPUs."""

    def stages(self, plan: AnyPlan, session: str) -> Sequence[Stage]:
        """What is done to every block; the last stage commits it and gives TALLY rows."""

    def finish(
        self, plan: AnyPlan, record: RunRecord, workers: Workers, *, is_fresh: bool
    ) -> Result:
        """Documents from the committed rows; what the command tells beyond the ledger.

        ``is_fresh``: rows have come since the last time, or there was none.
        """


@dataclass(slots=True, kw_only=True)
class Outcome(Generic[Told]):
    """What a call of a command did, and how the run stands after it."""

    out: str
    noun: str
    ledger: Ledger
    result: Told
    engine: str = ""
    done_now: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Session:
    """This start of a run: a few numbers, whatever the size of the collection."""

    engine: str
    done_now: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    examples: list[str] = field(default_factory=list)
    retries_before: int = field(default_factory=lambda: RETRIES.retries)

    def add(self, tally: Sequence[Mapping[str, Any]]) -> int:
        """Count one committed block (TALLY rows); how many of it failed."""
        failures = [str(row["error_message"]) for row in tally if row["error_code"]]
        self.done_now += len(tally)
        self.examples += failures[: MAX_EXAMPLES - len(self.examples)]
        return len(failures)

    def to_dict(self, noun: str) -> dict[str, Any]:
        """This start's line of run.json."""
        return {
            noun: self.done_now,
            "engine": self.engine,
            "seconds": round(self.seconds, 1),
            f"{noun}_per_second": round(self.rate, 2),
            "storage_retries": RETRIES.retries - self.retries_before,
        }


def run(job: Job[AnyPlan, Told], options: RunOptions | None = None) -> Outcome[Told]:
    """Do what is still to do of a job, and finish it.

    A run is recorded finished only where ok + failed = inputs.

    Raises:
        SettingsError: what is asked for cannot be.
        RunRefused: OUT holds another run, or another kind of run, or is in use.
        RunFailed: the run broke, or rows are missing; committed blocks stay.
        MaskmillError: what the job found wrong with its model or its source.
    """
    options = options or RunOptions()
    layout = job.layout
    load_own_record(layout, job.command)  # a stranger's folder is refused before it is touched
    with run_lock(layout) as lock, ExitStack() as stack:
        _say([lock.note] if lock.note else [])
        plan, record = _planned(job)
        _say(end_abandoned_uploads(layout, record))
        pending = _pending(job, plan, options)
        name = choose_engine(options, layout, pending, local_items=job.local_items)
        _say(engine_notes(options, name, pending.num_rows) if pending.num_rows else [])
        workers = LazyWorkers(options.start(name, layout), stack)
        session = _Session(name if pending.num_rows else "")
        is_fresh = bool(pending.num_rows) or record is None or record.state != "finished"
        if record is None or pending.num_rows:
            before = plan.sizes
            plan, record = _opened(job, plan, record, workers)
            if plan.sizes != before:  # workers of another kind take other blocks
                pending = _pending(job, plan, options)
            _work(job, plan, pending, workers, session, lock.check, options.stall_minutes)
        lock.check()
        ledger = _balanced(job, plan, record, session)
        told = dict(record.info), dict(record.settings)
        result = job.finish(plan, record, workers, is_fresh=is_fresh)
        if is_fresh or (record.info, record.settings) != told:  # what is finished is left alone
            record.close(layout, ledger, session.to_dict(job.noun) if pending.num_rows else None)
    return Outcome(
        out=layout.root,
        noun=job.noun,
        ledger=ledger,
        result=result,
        engine=session.engine,
        done_now=session.done_now,
        seconds=session.seconds,
        rate=session.rate,
        examples=session.examples,
    )


def _pending(job: Job[AnyPlan, Any], plan: AnyPlan, options: RunOptions) -> pa.Table:
    """What is to do, a row of schema PENDING for each block."""
    return pending_blocks(
        job.layout,
        plan.sizes,
        job.table,
        retry_failed=options.retry_failed,
        outputs=job.needed_files(plan),
    )


def _planned(job: Job[AnyPlan, Any]) -> tuple[AnyPlan, RunRecord | None]:
    """The plan, held against what OUT holds, as far as it is known before any worker starts."""
    layout = job.layout
    plan = job.plan(load_own_record(layout, job.command))
    record = load_record(layout)  # a plan may have emptied OUT
    if record is not None:
        refuse_difference(layout, record.identity, plan.identity, job.remedies)
        known = {name: record.outputs[name] for name in plan.outputs if name in record.outputs}
        refuse_difference(layout, known, {name: dict(plan.outputs[name]) for name in known}, {})
    _say(plan.notes)
    return plan, record


def _opened(
    job: Job[AnyPlan, Any], plan: AnyPlan, record: RunRecord | None, workers: Workers
) -> tuple[AnyPlan, RunRecord]:
    """The resolved plan; manifest and run.json of it, written before the first block."""
    layout, before = job.layout, plan.notes
    _admit(layout, workers)  # what is asked below may be asked of any machine
    plan = job.resolve(plan, workers)
    if plan.notes is not before:
        _say(plan.notes)
    if record is not None:
        inputs = {} if "inputs" in plan.identity and plan.put_manifest is None else {"inputs"}
        same = {key: value for key, value in plan.identity.items() if key not in inputs}
        refuse_difference(layout, record.identity, same, job.remedies)
    if plan.put_manifest is not None:
        plan.put_manifest(layout)
    record = record or RunRecord(command=job.command, identity={})
    record.identify(plan.identity)
    record.settings = dict(plan.settings)
    record.outputs = {name: dict(values) for name, values in plan.outputs.items()}
    for name, value in plan.facts.items():
        setattr(record, name, value)
    record.versions = package_versions()
    record.state = "running"
    record.save(layout)
    return plan, record


def _work(
    job: Job[AnyPlan, Any],
    plan: AnyPlan,
    pending: pa.Table,
    workers: LazyWorkers,
    session: _Session,
    still_ours: Callable[[], None],
    stall_minutes: float,
) -> None:
    """Every pending block, counted as it commits."""
    started = time.monotonic()
    job.layout.clear(job.layout.scratch)
    _admit(job.layout, workers, pending["block"].to_pylist())
    stages = job.stages(plan, uuid.uuid4().hex)
    done = plan.inputs - num_items(pending)
    with (
        progress_meter(plan.inputs, done, job.command, job.noun) as meter,
        watchdog(job.layout, pending["block"].to_pylist(), stall_minutes) as dog,
    ):
        for tally in workers.engine.blocks(stages, pending, on_gpu=job.on_gpu(plan)):
            dog.heard()
            meter.advance(len(tally), session.add(tally))
            still_ours()
        session.rate = meter.rate
    session.seconds = time.monotonic() - started


def _admit(layout: RunLayout, workers: Workers, blocks: Sequence[int] = ()) -> None:
    """Machines that do not see the run folder, and files of these blocks, take no part."""
    if workers.elsewhere:
        workers.admit(mark_run(layout, blocks))


def _balanced(
    job: Job[AnyPlan, Any], plan: AnyPlan, record: RunRecord, session: _Session
) -> Ledger:
    """The ledger, which must add up before anything is called finished.

    Raises:
        RunFailed: rows are missing, or there are more than inputs.
    """
    ledger = count_ledger(job.layout, plan.inputs)
    if ledger.pending:
        record.close(job.layout, ledger, session.to_dict(job.noun))
        raise RunFailed(
            f"{job.layout.root}: the ledger does not add up: {ledger.inputs:,} {job.noun}, "
            f"{ledger.ok:,} ok + {ledger.failed:,} failed. The run is not finished; give the same "
            "command again, and `maskmill verify` says what is wrong if that does not help"
        )
    return ledger


def _say(notes: Sequence[str]) -> None:
    for note in notes:
        click.echo(f"note: {printable(note, lines=True)}", err=True)
