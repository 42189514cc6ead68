"""run.json of a `prelabel` run: opened before the first block, closed after the last document."""

from typing import Any

from maskmill.jobs.prelabel_config import REMEDIES
from maskmill.jobs.prelabel_plan import Plan
from maskmill.pipeline.prelabel.documents import write_documents
from maskmill.pipeline.runs.record import (
    Ledger,
    RunRecord,
    fingerprint_of,
    package_versions,
    refuse_difference,
    tool_version,
)


def open_record(plan: Plan, identity: dict[str, Any]) -> RunRecord:
    """run.json and the manifest, written before the first block."""
    if plan.record is not None:
        known = {**identity, "inputs": plan.record.identity["inputs"]}
        refuse_difference(plan.layout, plan.record.identity, known, REMEDIES)
    choice = plan.choice
    record = plan.record or RunRecord(command=plan.config.command, identity=identity)
    record.identity, record.fingerprint = identity, fingerprint_of(identity)
    record.settings = plan.config.settings()
    record.label_map = choice.labels.to_dict()
    record.model = {
        "name": choice.title,
        "weights": choice.weights_kind,
        "weights_sha256": choice.weights_sha256,
    }
    record.versions = package_versions()
    record.state = "running"
    if plan.work.is_new:
        plan.layout.write_table(plan.layout.manifest, plan.work.manifest)
    record.save(plan.layout)
    return record


def close_record(plan: Plan, record: RunRecord, ledger: Ledger, session: dict[str, Any]) -> None:
    """Documents from the committed rows, then the record: a run is finished when it says so."""
    record.info = {
        "description": "semantic segmentation pre-labels",
        "contributor": f"maskmill {tool_version()}",
        **record.model,
        "fingerprint": record.fingerprint,
    }
    write_documents(plan.layout, plan.choice.labels, record.info)
    record.close(plan.layout, ledger, session)
