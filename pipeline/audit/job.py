"""AuditJob: `audit` as a job: plan, stages, finish with the numbers and their documents."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from maskmill.pipeline.audit.audit_file import DOCUMENT
from maskmill.pipeline.audit.corrections import corrections
from maskmill.pipeline.audit.document import Document, audit_document, suspected_label_errors
from maskmill.pipeline.audit.manifest import ROWS as ROWS_FOLDER
from maskmill.pipeline.audit.manifest import audit_layout, refuse_changed_masks
from maskmill.pipeline.audit.operator import AuditPairs
from maskmill.pipeline.audit.plan import REMEDIES, AuditOptions, AuditPlan, plan_audit
from maskmill.pipeline.audit.tally import AuditTally
from maskmill.pipeline.metrics.thresholds import missed_thresholds
from maskmill.pipeline.runs.attempts import FIRST_STAGE
from maskmill.pipeline.runs.commit import CommitItems
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.ledger import count_ledger
from maskmill.pipeline.runs.manifest import delete_manifest
from maskmill.pipeline.runs.record import RunRecord
from maskmill.pipeline.runs.rows import RowTable
from maskmill.pipeline.runs.stages import Opened, Stage, Workers
from maskmill.schemas.tables.audit import AUDIT, REGIONS

ROWS = RowTable(schema=AUDIT, id="pair_id")

MARKDOWN = "audit.md"
PAGE = "report.html"
REGIONS_FILE = "regions.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """The document, what of --fail-under was missed, and where things were written, by name."""

    document: Document
    missed: tuple[str, ...]
    files: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class AuditJob:
    """An audit. ``keep``: the user named ``out``, so that documents are to be written there."""

    options: AuditOptions
    out: str
    keep: bool = True
    retry_failed: bool = False
    overwrite: bool = False

    command = "audit"
    noun = "pairs"
    table = ROWS
    remedies = REMEDIES
    local_items = 1000

    @cached_property
    def layout(self) -> RunLayout:
        """The run folder."""
        return audit_layout(self.out)

    def plan(self, record: RunRecord | None) -> AuditPlan:
        """Both sides listed and paired; an earlier audit is emptied out where that was asked for.

        Raises:
            SettingsError: what is asked for cannot be.
            RunRefused: OUT holds something else, or an audit of other masks.
        """
        layout = self.layout
        plan = plan_audit(self.options, layout, self.out if self.keep else None)
        if self.overwrite:
            self._empty()
        elif record is not None and record.identity.get("inputs") == plan.identity["inputs"]:
            refuse_changed_masks(layout, plan.manifest, retry_failed=self.retry_failed)
        return plan

    def needed_files(self, plan: AuditPlan) -> list[str]:
        """None beside the rows."""
        return []

    def resolve(self, plan: AuditPlan, workers: Workers) -> AuditPlan:
        """The plan: nothing of it depends on the workers."""
        return plan

    def on_gpu(self, plan: AuditPlan) -> bool:
        """Never."""
        return False

    def stages(self, plan: AuditPlan, session: str) -> Sequence[Stage]:
        """One: read, count, measure, commit."""
        self.layout.delete(DOCUMENT)  # it would speak of other rows than those beside it
        operator = CommitItems(
            layout=self.layout, session=session, table=ROWS, work=AuditPairs(plan.audit)
        )
        return (Stage(name=FIRST_STAGE, open=Opened(operator)),)

    def finish(
        self, plan: AuditPlan, record: RunRecord, workers: Workers, *, is_fresh: bool
    ) -> Audited:
        """Add every row up; the numbers, and their documents where OUT was named."""
        tally = self._add_up(plan)
        document = audit_document(tally, dict(plan.settings), dict(plan.pairing))
        document["corrections"] = corrections(document, plan.audit.truth.uri)
        files = self._write(plan, tally, document) if self.keep else {}
        missed = tuple(missed_thresholds(plan.thresholds, document))
        return Audited(document=document, missed=missed, files=files)

    def _empty(self) -> None:
        """Take an earlier audit out of OUT: what it wrote, and nothing else."""
        layout = self.layout
        for file in (layout.run_record, DOCUMENT, MARKDOWN, PAGE, REGIONS_FILE):
            layout.delete(file)
        delete_manifest(layout)
        for folder in (ROWS_FOLDER, layout.attempts):
            layout.clear(folder)

    def _add_up(self, plan: AuditPlan) -> AuditTally:
        tally = AuditTally(
            plan.audit.labels, count_ledger(self.layout, plan.inputs).ok,
            resamples=self.options.resamples, seed=self.options.seed,
        )  # fmt: skip
        for table in self.layout.committed_rows():
            tally.add(table.to_pylist())
        tally.look_closer(plan.audit)
        return tally

    def _write(self, plan: AuditPlan, tally: AuditTally, document: Document) -> dict[str, str]:
        from maskmill.pipeline.audit.report.page import audit_page
        from maskmill.pipeline.audit.report.text import document_to_json, document_to_markdown

        layout = self.layout
        suspects = [
            {name: row.get(name) for name in REGIONS.names} for row in suspected_label_errors(tally)
        ]
        layout.write_table(REGIONS_FILE, pa.Table.from_pylist(suspects, schema=REGIONS))
        layout.write(MARKDOWN, document_to_markdown(document).encode("utf-8"))
        layout.write(PAGE, audit_page(document, plan.audit).encode("utf-8"))
        layout.write(DOCUMENT, document_to_json(document).encode("utf-8"))
        names = {"report": PAGE, "numbers": DOCUMENT, "text": MARKDOWN, "regions": REGIONS_FILE}
        rows = {"rows": layout.path(ROWS_FOLDER) + "/"}
        return {**{name: layout.path(path) for name, path in names.items()}, **rows}
