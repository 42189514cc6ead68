"""What a `prelabel` command will do, known before any worker has started; also its --dry-run."""

from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from maskmill.jobs.prelabel_config import REMEDIES, PrelabelConfig, identity_before_start
from maskmill.jobs.work_list import WorkList, work_list
from maskmill.pipeline.models.choice import ModelChoice, choose_model
from maskmill.pipeline.prelabel.writers.registry import FINISHERS, WRITERS
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.pending import num_images, pending_work
from maskmill.pipeline.runs.record import RunRecord, load_record, refuse_difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Source listed, model chosen, and what OUT already holds seen to be of the same run."""

    config: PrelabelConfig
    layout: RunLayout
    choice: ModelChoice
    work: WorkList
    identity: dict[str, Any]
    record: RunRecord | None  # of an earlier start


def make_plan(config: PrelabelConfig, layout: RunLayout) -> Plan:
    """List the source, choose the model, and refuse what does not continue OUT's own run.

    Raises:
        SettingsError: a source or model that cannot be, or OUT holds a different run.
        ModelError: weights that are missing.
    """
    record = load_record(layout)
    work = work_list(config, layout)
    choice = config.adapted(
        choose_model(config.model, config.weights, config.labels, untrained=config.untrained)
    )
    identity = identity_before_start(config, work.manifest, choice)
    if record is not None:
        expected = {**identity, "inputs": record.identity["inputs"]} if work.is_new else identity
        refuse_difference(layout, record.identity, expected, REMEDIES)
    return Plan(
        config=config, layout=layout, choice=choice, work=work, identity=identity, record=record
    )


def dry_run(config: PrelabelConfig) -> dict[str, Any]:
    """What a run would do, as plain values. Nothing is written and no worker is started."""
    layout = RunLayout(config.out)
    plan = make_plan(config, layout)
    manifest = plan.work.manifest
    pending = pending_work(layout, manifest, retry_failed=config.retry_failed)
    return {
        "source": {"kind": plan.work.listing.kind, "root": plan.work.listing.root},
        "images": manifest.num_rows,
        "bytes": pc.sum(manifest["bytes"]).as_py(),
        "blocks": pc.count_distinct(manifest["block"]).as_py(),
        "already_done": manifest.num_rows - num_images(pending),
        "to_do": num_images(pending),
        "not_considered": plan.work.listing.not_considered,
        "renamed": manifest.filter(pc.equal(manifest["key"], manifest["output"]))[
            "key"
        ].to_pylist(),
        "notes": [*plan.work.notes(), *plan.choice.notes],
        "model": plan.choice.title,
        "would_write": [
            f"{spec.folder}/…{spec.extension}"
            for spec in (*(WRITERS[name] for name in config.writers), *config.own_writers())
        ]
        + ["metadata/…parquet", *(spec.path for spec in FINISHERS.values()), "run.json"],
    }


def dry_run_text(report: dict[str, Any]) -> str:
    """The report of :func:`dry_run` for people."""
    blocks = "1 block" if report["blocks"] == 1 else f"{report['blocks']:,} blocks"
    size = "unknown size" if report["bytes"] is None else f"{report['bytes'] / 1e6:,.1f} MB"
    lines = [
        f"{report['images']:,} images ({size}) from the {report['source']['kind']} "
        f"{report['source']['root']}, in {blocks}",
        f"{report['already_done']:,} have a row already, {report['to_do']:,} to do "
        f"with {report['model']}",
        f"would write {', '.join(report['would_write'])}",
    ]
    renamed = report["renamed"]
    if renamed:
        shown = ", ".join(renamed[:3])
        lines.append(
            f"{len(renamed)} outputs keep their extension, for names would collide: {shown}"
        )
    return "\n".join([*lines, *(f"note: {note}" for note in report["notes"])])
