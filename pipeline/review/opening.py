"""What a path or URI is: a run of one of the commands, or a data set that `convert` reads."""

from dataclasses import dataclass

import pyarrow.parquet as pq

from maskmill.pipeline.audit.manifest import audit_layout
from maskmill.pipeline.convert.conversion import ConversionRequest, plan_conversion
from maskmill.pipeline.convert.manifest import manifest_file
from maskmill.pipeline.datasets.recognition import recognitions
from maskmill.pipeline.datasets.trees import open_tree
from maskmill.pipeline.review.audited_run import AuditedRun
from maskmill.pipeline.review.converted_run import ConvertedRun
from maskmill.pipeline.review.finetuned_run import FinetunedRun
from maskmill.pipeline.review.labelling_run import LabellingRun, PulledRun
from maskmill.pipeline.review.sampled_set import SampledSet
from maskmill.pipeline.review.subject import Subject
from maskmill.pipeline.review.truths import audited_truths, paired_truths
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.record import RunRecord, load_record
from maskmill.pipeline.storage.filesystems import local_path
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.label_files import load_label_map
from maskmill.schemas.labels import LabelMap

OF_MASKS = ("prelabel", "cutout", "pull")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What the user said about it. ``format``, ``labels``, ``images``, ``mask_suffix`` are about
    data sets, as for `convert`; ``truth`` and ``audit`` about runs that hold masks."""

    format: str | None = None
    labels: str | None = None
    images: str | None = None
    mask_suffix: str | None = None
    truth: str | None = None
    audit: str | None = None


def open_subject(source: str, opening: Opening | None = None) -> Subject:
    """The run or data set at a path or URI.

    Raises:
        SettingsError: it is neither, or an option does not fit what it is.
        RunFailed: a damaged run.
        FileFailure: a data set that does not follow its format.
    """
    opening = opening or Opening()
    layout = RunLayout(source)
    record = load_record(layout) if layout.exists(layout.run_record) else None
    if record is None or opening.format is not None:
        return _open_dataset(source, opening)
    _refuse(
        opening, source, ("labels", "images", "mask_suffix"), "for data sets, and this is a run"
    )
    if record.command in OF_MASKS:
        return _open_masks(layout, record, opening)
    _refuse(opening, source, ("truth", "audit"), "for runs of prelabel, cutout and pull")
    if record.command == "audit":
        return AuditedRun(audit_layout(layout.root), record)
    if record.command == "convert":
        return ConvertedRun(layout, record)
    if record.command == "finetune":
        return FinetunedRun(layout, record)
    raise SettingsError(
        f"{source} holds a run of `maskmill {record.command}`, which has no pictures to look at; "
        "there are views of prelabel, cutout, convert, audit, finetune and pull"
    )


def _open_masks(layout: RunLayout, record: RunRecord, opening: Opening) -> LabellingRun:
    opened = PulledRun if record.command == "pull" else LabellingRun
    labels = LabelMap.from_dict(record.label_map)
    if opening.truth and opening.audit:
        raise SettingsError("--truth and --audit both tell where the truth is: give one of them")
    if opening.audit:
        return opened(layout, record, audited_truths(opening.audit, labels))
    if opening.truth:
        return opened(layout, record, paired_truths(layout.root, opening.truth, labels))
    return opened(layout, record)


def _open_dataset(source: str, opening: Opening) -> SampledSet:
    _refuse(opening, source, ("truth", "audit"), "for runs of prelabel, cutout and pull")
    request = ConversionRequest(
        source=local_path(source) or source,
        from_format=opening.format or _recognised(source),
        to_format="indexed",  # nothing is written; every class fits
        labels=load_label_map(opening.labels) if opening.labels else None,
        images=(local_path(opening.images) or opening.images) if opening.images else None,
        mask_suffix=opening.mask_suffix,
    )
    plan, items = plan_conversion(request)
    manifest = manifest_file(items)
    manifest.stream.seek(0)
    entries = pq.read_table(manifest.stream).to_pylist()
    return SampledSet(source, plan, entries, manifest.sha256)


def _recognised(source: str) -> str:
    """The one format that a source is known as.

    Raises:
        SettingsError: none, or several.
    """
    found = list(recognitions(open_tree(source)))
    if len(found) == 1:
        return found[0].format
    if found:
        told = " and ".join(f"{one.format} ({one.reason})" for one in found)
        raise SettingsError(f"{source} is {told}: say which with --from")
    raise SettingsError(
        f"{source} is no run (there is no run.json in it) and no data set that is recognised: say "
        "what it is with --from FORMAT, as for `maskmill convert`; a folder of masks is --from "
        "masks --labels FILE"
    )


def _refuse(opening: Opening, source: str, names: tuple[str, ...], why: str) -> None:
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(opening, name)]
    if given:
        raise SettingsError(f"{source}: {' and '.join(given)} {why}; leave it out")
