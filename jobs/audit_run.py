"""An `audit` from start to end: pair, count as Ray tasks, add up, report."""

import json
import posixpath
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import click
import pyarrow as pa

from jobs.audit_config import AuditConfig, AuditPlan, make_plan
from jobs.progress import progress_meter
from jobs.runtime import cluster
from pipeline.audit_comparison import compare_audits
from pipeline.audit_document import Document, audit_document, suspected_label_errors
from pipeline.audit_tally import AuditTally, Row
from pipeline.layout import RunLayout
from pipeline.metrics.thresholds import missed_thresholds
from pipeline.operators.audit_pairs import AuditPairs, pairs_to_work
from schemas.audit_rows import REGIONS, WORK
from schemas.errors import RunFailed, RunRefused, SettingsError

DOCUMENT = "audit.json"
MARKDOWN = "audit.md"
PAGE = "report.html"
ROWS = "pairs"
REGIONS_FILE = "regions.parquet"
_WORK = "work/pairs.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditResult:
    """The document, what of --fail-under was missed, and where things were written."""

    document: Document
    missed: tuple[str, ...]
    files: dict[str, str]
    seconds: float
    rate: float

    @property
    def failed(self) -> int:
        """Pairs that could not be compared, and files without a partner."""
        return int(self.document["ledger"]["failed"])


def run(config: AuditConfig) -> AuditResult:
    """Audit everything, and write OUT where it was asked for.

    Raises:
        SettingsError: what is asked for cannot be.
        RunRefused: OUT holds something else.
        RunFailed: a worker hit a bug.
    """
    started = time.monotonic()
    plan = make_plan(config)
    for note in plan.notes:
        click.echo(f"note: {note}", err=True)
    with _layout(config.out) as layout:
        rate = _measure(plan, layout) if plan.pairs else 0.0
        tally = _add_up(plan, layout)
        document = audit_document(tally, plan.settings_facts(), plan.pairing_facts())
        files = _write(plan, layout, tally, document) if config.out else {}
    missed = tuple(missed_thresholds(plan.thresholds, document))
    seconds = time.monotonic() - started
    return AuditResult(document=document, missed=missed, files=files, seconds=seconds, rate=rate)


@contextmanager
def _layout(out: str | None) -> Iterator[RunLayout]:
    """OUT, emptied of an earlier audit; or a folder that is gone afterwards."""
    if out is None:
        folder = tempfile.mkdtemp(prefix="maskmill-audit-")
        try:
            yield RunLayout(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    layout = RunLayout(out)
    if layout.exists("run.json") or (layout.exists(ROWS) and not layout.exists(DOCUMENT)):
        raise RunRefused(f"{out} holds something that is no audit; give another --out")
    layout.clear(ROWS)
    layout.delete(DOCUMENT)
    yield layout
    layout.clear("work")


def _measure(plan: AuditPlan, layout: RunLayout) -> float:
    """Every pair's row onto disk, a file per block; pairs per second."""
    work = pairs_to_work(plan.rows(), plan.config.block_pairs)
    layout.write_table(_WORK, pa.Table.from_pylist(list(work), schema=WORK))
    with cluster(plan.config.address), progress_meter(len(plan.pairs), 0, "audit") as meter:
        for table in _audited(plan, layout):
            first = table["pair_id"][0].as_py()
            layout.write_table(_block_path((first - 1) // plan.config.block_pairs), table)
            failed = table["status"].to_pylist().count("failed")
            meter.advance(table.num_rows, failed)
        return meter.rate


def _audited(plan: AuditPlan, layout: RunLayout) -> Iterator[pa.Table]:
    """The Ray graph: work -> AuditPairs (tasks of one CPU) -> one table of rows per block."""
    import ray.data
    import ray.exceptions

    blocks = {"batch_size": 1, "batch_format": "pyarrow"}
    tables = (
        ray.data.read_parquet(layout.path(_WORK), filesystem=layout.filesystem)
        .repartition(target_num_rows_per_block=1)
        .map_batches(AuditPairs(plan.settings), num_cpus=1, **blocks)
    )
    try:
        yield from tables.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    except ray.exceptions.RayError as error:
        raise RunFailed(f"a worker hit a bug; the audit is not complete\n{error}") from error


def _block_path(block: int) -> str:
    return f"{ROWS}/block-{block:07d}.parquet"


def _tables(layout: RunLayout, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The rows on disk in pair_id order, a block at a time."""
    block = 0
    while layout.exists(_block_path(block)):
        yield layout.read_table(_block_path(block), columns)
        block += 1


def _add_up(plan: AuditPlan, layout: RunLayout) -> AuditTally:
    statuses = (table["status"].to_pylist() for table in _tables(layout, ["status"]))
    num_ok, num_rows = 0, 0
    for column in statuses:
        num_ok, num_rows = num_ok + column.count("ok"), num_rows + len(column)
    if num_rows != len(plan.pairs):
        raise RunFailed(f"{num_rows} rows for {len(plan.pairs)} pairs; run the audit again")
    tally = AuditTally(
        plan.settings.labels, num_ok, resamples=plan.config.resamples, seed=plan.config.seed,
        alignment_every=plan.settings.alignment_every,
    )  # fmt: skip
    for table in _tables(layout):
        tally.add(table.to_pylist())
    return tally


def _write(
    plan: AuditPlan, layout: RunLayout, tally: AuditTally, document: Document
) -> dict[str, str]:
    from pipeline.reports.audit_page import audit_page
    from pipeline.reports.audit_text import document_to_json, document_to_markdown

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


def compare(before_path: str, after_path: str, *, resamples: int, seed: int) -> Document:
    """What moved between two audits, from their audit.json and the rows beside it.

    Raises:
        SettingsError: no audits, without their rows, or of different classes.
    """
    before, after = _load_audit(before_path), _load_audit(after_path)
    return compare_audits(
        before[0], after[0], partial(_rows, before[1]), partial(_rows, after[1]),
        resamples=resamples, seed=seed,
    )  # fmt: skip


def _rows(layout: RunLayout, columns: list[str]) -> Iterator[Row]:
    for table in _tables(layout, columns):
        yield from table.to_pylist()


def _load_audit(path: str) -> tuple[Document, RunLayout]:
    """The document of an audit, given as its folder or its json, and the folder."""
    folder, name = posixpath.split(path) if path.endswith(".json") else (path, DOCUMENT)
    layout = RunLayout(folder or ".")
    try:
        document: Document = json.loads(layout.read(name))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} is no audit.json: {error}") from error
    if not isinstance(document, dict) or document.get("document") != "maskmill audit":
        raise SettingsError(f"{path} was not written by maskmill audit")
    if document["ledger"]["pairs"] and not layout.exists(_block_path(0)):
        raise SettingsError(f"{layout.root}/{ROWS} is not there; keep the whole OUT of an audit")
    return document, layout
