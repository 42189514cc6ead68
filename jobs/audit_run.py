"""An `audit` from start to end: pair, count as Ray tasks, add up, report."""

import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click
import pyarrow as pa

from maskmill.jobs import block_graph
from maskmill.jobs.audit_config import REMEDIES, AuditConfig, AuditPlan, make_plan
from maskmill.jobs.progress import progress_meter
from maskmill.jobs.runtime import cluster, default_tasks, task_pool
from maskmill.pipeline.audit.commit import CommitAudits
from maskmill.pipeline.audit.document import Document, audit_document, suspected_label_errors
from maskmill.pipeline.audit.manifest import (
    ROWS,
    audit_layout,
    num_pairs,
    pending_pairs,
    refuse_changed_masks,
)
from maskmill.pipeline.audit.operator import AuditPairs
from maskmill.pipeline.audit.tally import AuditTally
from maskmill.pipeline.metrics.thresholds import missed_thresholds
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
)
from maskmill.schemas.errors import RunFailed, RunRefused
from maskmill.schemas.tables.audit import REGIONS

DOCUMENT = "audit.json"
MARKDOWN = "audit.md"
PAGE = "report.html"
REGIONS_FILE = "regions.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditResult:
    """The document, what of --fail-under was missed, and where things were written.

    ``done_now`` pairs were audited by this call; the others had a row already.
    """

    document: Document
    missed: tuple[str, ...]
    files: dict[str, str]
    done_now: int
    seconds: float
    rate: float

    @property
    def failed(self) -> int:
        """Pairs that could not be compared, and files without a partner."""
        return int(self.document["ledger"]["failed"])


def run(config: AuditConfig) -> AuditResult:
    """Audit what has no row yet, add everything up, and write OUT where it was asked for.

    Raises:
        SettingsError: what is asked for cannot be.
        RunRefused: OUT holds something else, or another audit.
        RunFailed: a worker hit a bug; committed blocks stay.
    """
    started = time.monotonic()
    plan = make_plan(config)
    for note in plan.notes:
        click.echo(f"note: {note}", err=True)
    with _layout(config) as layout:
        record = _open_record(plan, layout)
        pending = pending_pairs(layout, plan.manifest, retry_failed=config.retry_failed)
        rate = _measure(plan, layout, pending) if pending.num_rows else 0.0
        ledger = count_ledger(layout, plan.manifest.num_rows)
        tally = _add_up(plan, layout, ledger)
        document = audit_document(tally, plan.settings_facts(), plan.pairing_facts())
        files = _write(plan, layout, tally, document) if config.out else {}
        seconds = time.monotonic() - started
        session = {"pairs": num_pairs(pending), "seconds": round(seconds, 1)}
        record.close(layout, ledger, session if pending.num_rows else None)
        layout.delete(layout.pending)
    missed = tuple(missed_thresholds(plan.thresholds, document))
    return AuditResult(
        document=document, missed=missed, files=files, done_now=num_pairs(pending),
        seconds=seconds, rate=rate,
    )  # fmt: skip


@contextmanager
def _layout(config: AuditConfig) -> Iterator[RunLayout]:
    """OUT, held against other runs; or a folder that is gone afterwards."""
    if config.out is None:
        folder = tempfile.mkdtemp(prefix="maskmill-audit-")
        try:
            yield audit_layout(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    layout = audit_layout(config.out)
    _refuse_strange_folder(layout)
    with run_lock(layout):
        if config.overwrite:
            _empty(layout)
        yield layout


def _refuse_strange_folder(layout: RunLayout) -> None:
    record = load_record(layout)
    if record is None and (layout.exists(ROWS) or layout.exists(layout.manifest)):
        raise RunRefused(f"{layout.root} holds something that is no audit; give another --out")
    if record is not None and record.command != "audit":
        raise RunRefused(
            f"{layout.root} holds the output of `maskmill {record.command}`; give another --out"
        )


def _empty(layout: RunLayout) -> None:
    """Take an earlier audit out of OUT: what it wrote, and nothing else."""
    for file in (layout.run_record, DOCUMENT, MARKDOWN, PAGE, REGIONS_FILE, layout.manifest):
        layout.delete(file)
    for folder in (ROWS, layout.attempts):
        layout.clear(folder)


def _open_record(plan: AuditPlan, layout: RunLayout) -> RunRecord:
    """run.json and the manifest, written before the first block."""
    identity = plan.identity()
    record = load_record(layout)
    if record is not None:
        refuse_difference(layout, record.identity, identity, REMEDIES)
        if layout.exists(layout.manifest):
            retry_failed = plan.config.retry_failed
            refuse_changed_masks(layout, plan.manifest, retry_failed=retry_failed)
    else:
        record = RunRecord(command="audit", identity=identity, fingerprint=fingerprint_of(identity))
    record.settings = plan.settings_facts()
    record.label_map = plan.settings.labels.to_dict()
    record.versions = package_versions()
    record.state = "running"
    record.save(layout)
    layout.write_table(layout.manifest, plan.manifest)
    return record


def _measure(plan: AuditPlan, layout: RunLayout, pending: pa.Table) -> float:
    """Every pending pair's row onto disk, a file per block; pairs per second."""
    total = plan.manifest.num_rows
    layout.delete(DOCUMENT)  # it would speak of other rows than those beside it
    layout.clear(layout.scratch)
    layout.write_table(layout.pending, pending)
    operator = CommitAudits(
        layout=layout, session=uuid.uuid4().hex, audit=AuditPairs(plan.settings)
    )
    with (
        cluster(plan.config.address) as capacity,
        progress_meter(total, total - num_pairs(pending), "audit") as meter,
    ):
        for tally in _committed(layout, operator, default_tasks(capacity)):
            meter.advance(tally.num_rows, tally.num_rows - tally["error_code"].null_count)
        return meter.rate


def _committed(layout: RunLayout, operator: CommitAudits, tasks: int) -> Iterator[pa.Table]:
    """The Ray graph: pending blocks -> CommitAudits (tasks of one CPU) -> a tally per block."""
    blocks = block_graph.pending_blocks(layout, layout.pending)
    tallies = blocks.map_batches(
        operator, num_cpus=1, compute=task_pool(tasks), **block_graph.ONE_BLOCK
    )
    yield from block_graph.committed_blocks(tallies)


def _add_up(plan: AuditPlan, layout: RunLayout, ledger: Ledger) -> AuditTally:
    if ledger.pending:
        raise RunFailed(
            f"{ledger.pending} of {ledger.inputs} pairs have no row; give the same command again"
        )
    tally = AuditTally(
        plan.settings.labels, ledger.ok, resamples=plan.config.resamples, seed=plan.config.seed,
        alignment_every=plan.settings.alignment_every,
    )  # fmt: skip
    for table in layout.committed_rows():
        tally.add(table.to_pylist())
    return tally


def _write(
    plan: AuditPlan, layout: RunLayout, tally: AuditTally, document: Document
) -> dict[str, str]:
    from maskmill.pipeline.audit.report.page import audit_page
    from maskmill.pipeline.audit.report.text import document_to_json, document_to_markdown

    suspects = [
        {name: row.get(name) for name in REGIONS.names} for row in suspected_label_errors(tally)
    ]
    layout.write_table(REGIONS_FILE, pa.Table.from_pylist(suspects, schema=REGIONS))
    layout.write(MARKDOWN, document_to_markdown(document).encode("utf-8"))
    layout.write(PAGE, audit_page(document, plan.settings).encode("utf-8"))
    layout.write(DOCUMENT, document_to_json(document).encode("utf-8"))
    names = {"report": PAGE, "numbers": DOCUMENT, "text": MARKDOWN, "regions": REGIONS_FILE}
    return {
        **{name: layout.path(path) for name, path in names.items()},
        "rows": layout.path(ROWS) + "/",
    }
