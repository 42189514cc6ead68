"""A `convert` run from start to end: look through the source, convert what is pending, prove."""

import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from maskmill.jobs import block_graph
from maskmill.jobs.convert_config import REMEDIES, ConvertConfig
from maskmill.jobs.progress import ProgressMeter, progress_meter
from maskmill.jobs.runtime import cluster, default_tasks, task_pool
from maskmill.pipeline.convert.check import CheckMasks
from maskmill.pipeline.convert.check_proof import Proof, plan_check, proof_of
from maskmill.pipeline.convert.conversion import (
    DATASET_FOLDER,
    ConversionPlan,
    conversion_identity,
    plan_conversion,
)
from maskmill.pipeline.convert.finish import finish_conversion, import_commands
from maskmill.pipeline.convert.manifest import block_sizes, manifest_file, pending_blocks
from maskmill.pipeline.convert.operator import ConvertMasks
from maskmill.pipeline.datasets.samples import SampleItem
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.lock import run_lock
from maskmill.pipeline.runs.pending import count_ledger
from maskmill.pipeline.runs.record import (
    Ledger,
    RunRecord,
    fingerprint_of,
    load_record,
    package_versions,
    refuse_difference,
    tool_version,
)

MAX_EXAMPLES = 3


@dataclass(slots=True, kw_only=True)
class ConvertSummary:
    """The ledger of a conversion, what this call did for it, and its proof."""

    out: str
    ledger: Ledger
    done_now: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    examples: list[str] = field(default_factory=list)
    imports: list[str] = field(default_factory=list)
    proof: Proof | None = None

    @property
    def proof_holds(self) -> bool:
        """False where --check found lost what the target promises to hold."""
        return self.proof is None or self.proof.is_kept

    def to_dict(self) -> dict[str, Any]:
        """Plain values for --json."""
        return {
            "out": self.out,
            "dataset": f"{self.out.rstrip('/')}/{DATASET_FOLDER}",
            "ledger": {**asdict(self.ledger), "pending": self.ledger.pending},
            "done_now": self.done_now,
            "seconds": round(self.seconds, 3),
            "samples_per_second": round(self.rate, 3),
            "import": self.imports,
            "check": None if self.proof is None else self.proof.to_dict(),
        }

    def text(self) -> str:
        """At most 15 lines."""
        ledger = self.ledger
        rate = f", {self.rate:.1f} samples/s once under way" if self.rate else ""
        lines = [f"{self.out}: {self.done_now:,} samples in {self.seconds:.1f} s{rate}"]
        if not self.done_now:
            lines = [f"{self.out}: nothing to convert, all {ledger.inputs:,} samples have a row."]
        lines.append(f"  dataset      {self.out.rstrip('/')}/{DATASET_FOLDER}/")
        lines.append(f"  inputs {ledger.inputs:,} = ok {ledger.ok:,} + failed {ledger.failed:,}")
        if ledger.failed:
            kinds = ", ".join(f"{code} {count}" for code, count in sorted(ledger.failures.items()))
            lines += [f"  failed: {kinds}", *(f"    {one}" for one in self.examples[:MAX_EXAMPLES])]
            lines.append("  every failed sample is a row of metadata/ with its reason")
        return "\n".join([*lines, *(self.proof.lines() if self.proof else []), *self._how_to()])

    def _how_to(self) -> list[str]:
        """How the documents get into their program; the first ones of many packages."""
        shown = [f"  {line}" for line in self.imports[:MAX_EXAMPLES]]
        more = len(self.imports) - len(shown)
        if more > 0:
            shown.append(f"  … and {more} more; each package is for a task of its own")
        return ["  next, to import:", *shown] if shown else []


def run(config: ConvertConfig) -> ConvertSummary:
    """Convert what is still to do, write the target's documents, and check if asked.

    Raises:
        SettingsError: what is asked for cannot be, or OUT holds a different run.
        FileFailure: the source as a whole does not follow its format.
        RunFailed: the run broke; committed blocks stay.
    """
    layout = RunLayout(config.out)
    with run_lock(layout):
        plan, items = plan_conversion(config.request)
        check = plan_check(plan, layout) if config.check else None
        record = _open_record(layout, config, plan, items)
        plan = _with_info(plan, record)
        pending = pending_blocks(layout, retry_failed=config.retry_failed)
        summary = ConvertSummary(out=config.out, ledger=Ledger())
        total = sum(block_sizes(layout))
        if pending.num_rows or check is not None:
            with cluster(config.address) as capacity:
                workers = config.workers or default_tasks(capacity)
                if pending.num_rows:
                    _convert(layout, plan, record, pending, workers, summary)
                _finish(layout, plan, record, summary)
                if check is not None and count_ledger(layout, total).ok:
                    _check(layout, check.operator(layout), total, workers)
                    summary.proof = proof_of(layout, plan)
        else:
            _finish(layout, plan, record, summary)
        summary.ledger = count_ledger(layout, total)
        _close_record(layout, record, summary)
        return summary


def _finish(
    layout: RunLayout, plan: ConversionPlan, record: RunRecord, summary: ConvertSummary
) -> None:
    """The target's documents, unless an earlier call of the command has made them."""
    if summary.done_now or record.state != "finished":
        summary.imports = import_commands(plan, layout, finish_conversion(layout, plan))


def _open_record(
    layout: RunLayout, config: ConvertConfig, plan: ConversionPlan, items: Iterable[SampleItem]
) -> RunRecord:
    """run.json and the manifest: those of this run that are there, or new ones."""
    request, size = config.request, config.block_samples
    with manifest_file(
        items, shares=request.shares, seed=request.seed, block_samples=size
    ) as manifest:
        identity = conversion_identity(plan, manifest, size)
        record = load_record(layout)
        if record is not None:
            refuse_difference(layout, record.identity, identity, REMEDIES)
            return record
        record = _new_record(config, plan, identity)
        manifest.put(layout)
    record.save(layout)
    return record


def _new_record(config: ConvertConfig, plan: ConversionPlan, identity: dict[str, Any]) -> RunRecord:
    record = RunRecord(command="convert", identity=identity, fingerprint=fingerprint_of(identity))
    record.settings = config.settings()
    record.label_map = plan.mapping.target.to_dict()
    record.versions = package_versions()
    made_by = {"model": plan.extras["model"]} if "model" in plan.extras else {}
    record.info = {
        **made_by,
        "description": f"converted from {config.request.from_format}",
        "contributor": f"maskmill {tool_version()}",
        "fingerprint": record.fingerprint,
    }
    return record


def _with_info(plan: ConversionPlan, record: RunRecord) -> ConversionPlan:
    return replace(
        plan, info={name: str(record.info[name]) for name in sorted(record.info) if name != "check"}
    )


def _convert(
    layout: RunLayout,
    plan: ConversionPlan,
    record: RunRecord,
    pending: pa.Table,
    workers: int,
    summary: ConvertSummary,
) -> None:
    """The Ray graph of `convert`: pending blocks -> ConvertMasks, which commits each."""
    started = time.monotonic()
    record.state = "running"
    record.save(layout)
    layout.clear(layout.scratch)
    layout.write_table(layout.pending, pending)
    operator = ConvertMasks(
        layout=layout,
        session=uuid.uuid4().hex,
        plan=plan,
        fingerprint=record.fingerprint,
        tool_version=tool_version(),
    )
    total, todo = sum(block_sizes(layout)), sum(pending["samples"].to_pylist())
    with progress_meter(total, total - todo, "convert") as meter:
        for tally in _blocks(layout, layout.pending, operator, workers):
            _count(tally, meter, summary)
        summary.rate = meter.rate
    summary.seconds = time.monotonic() - started


def _count(tally: list[dict[str, Any]], meter: ProgressMeter, summary: ConvertSummary) -> None:
    failures = [str(row["error_message"]) for row in tally if row["error_code"]]
    summary.done_now += len(tally)
    summary.examples += failures[: MAX_EXAMPLES - len(summary.examples)]
    meter.advance(len(tally), len(failures))


def _check(layout: RunLayout, operator: CheckMasks, total: int, workers: int) -> None:
    """The Ray graph of --check: every block of the manifest is read back and compared."""
    layout.clear(operator.folder)
    with progress_meter(total, 0, "check") as meter:
        for tally in _blocks(layout, operator.work, operator, workers):
            meter.advance(len(tally), sum(bool(row["error_code"]) for row in tally))
    for leftover in (operator.work, operator.samples):
        layout.delete(leftover)


def _blocks(
    layout: RunLayout, work: str, operator: Any, workers: int
) -> Iterator[list[dict[str, Any]]]:
    """Run an operator over the blocks of a work table; a row is a block and stays one row."""
    blocks = block_graph.pending_blocks(layout, work)
    tallies = blocks.map_batches(
        operator, num_cpus=1, compute=task_pool(workers), **block_graph.ONE_BLOCK
    )
    for table in block_graph.committed_blocks(tallies):
        yield table.to_pylist()


def _close_record(layout: RunLayout, record: RunRecord, summary: ConvertSummary) -> None:
    if summary.proof is not None:
        record.info["check"] = summary.proof.to_dict()
    session = {
        "samples": summary.done_now,
        "seconds": round(summary.seconds, 1),
        "samples_per_second": round(summary.rate, 2),
    }
    record.close(layout, summary.ledger, session if summary.done_now else None)
