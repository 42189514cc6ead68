"""What `audit` was asked for, and what it found to do."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from maskmill.pipeline.audit.companions import Companions
from maskmill.pipeline.audit.manifest import audit_identity, pair_manifest
from maskmill.pipeline.audit.operator import AuditSettings
from maskmill.pipeline.audit.pair import Measures
from maskmill.pipeline.audit.pair_rules import stem_path
from maskmill.pipeline.audit.pairing import Pairing, Pairs, pair_masks
from maskmill.pipeline.audit.sides import (
    SideListing,
    list_side,
    missing_classes,
    rules_to_edit,
    with_mapping,
)
from maskmill.pipeline.datasets.binary_masks import TAKES_IGNORE, look_binary, spread
from maskmill.pipeline.metrics.thresholds import Threshold, parse_thresholds
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import ManifestSpool
from maskmill.pipeline.runs.plan import Plan
from maskmill.pipeline.storage.filesystems import local_path, read_bytes
from maskmill.schemas.arrays import IGNORE_INDEX
from maskmill.schemas.errors import ErrorCode, SettingsError
from maskmill.schemas.label_files import load_label_map
from maskmill.schemas.labels import LabelMap
from maskmill.schemas.tables.audit import PAIRS

REMEDIES = {
    "inputs": "The files have changed since this audit began: --overwrite begins it anew, another "
    "--out keeps both.",
}

COUNTS_ONLY = Measures(boundaries=False, regions=False, truth_checks=False, alignment=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions:
    """The command's options, by their names; see `maskmill audit --help`.

    What decides the rows enters the identity resolved (:func:`audit_identity`).
    """

    predictions: str
    truth: str
    labels: str | None = None
    ignore: tuple[int, ...] = ()
    map_path: str | None = None
    prediction_format: str = "auto"
    truth_format: str = "auto"
    resize: str | None = None
    images: str | None = None
    confidences: str | None = None
    counts_only: bool = False
    resamples: int = 1000
    seed: int = 0
    fail_under: str = ""
    limit: int | None = None
    block_pairs: int = 32

    def to_dict(self) -> dict[str, Any]:
        """What the numbers depend on, plain, for the document and run.json."""
        values = asdict(self)
        for name in ("labels", "fail_under", "block_pairs"):
            del values[name]
        return {**values, "ignore": list(self.ignore)}


@dataclass(frozen=True, kw_only=True)
class AuditPlan(Plan):
    """Both sides listed and paired, the classes known; no mask has been read yet.

    ``manifest`` is of schema PAIR_MANIFEST; ``pairing`` says how files were matched.
    """

    audit: AuditSettings
    thresholds: tuple[Threshold, ...]
    manifest: ManifestSpool
    pairing: Mapping[str, Any]


def plan_audit(options: AuditOptions, layout: RunLayout, out: str | None) -> AuditPlan:
    """List both sides, settle the classes, and pair.

    Raises:
        SettingsError: nothing is there, classes are not known or do not meet, or a threshold
            names something that is not there.
    """
    given = load_label_map(options.labels) if options.labels else None
    truth = list_side(options.truth, format=options.truth_format, labels=given)
    predictions = list_side(options.predictions, format=options.prediction_format, labels=given)
    labels = _labels(given, truth, predictions)
    if IGNORE_INDEX not in options.ignore:
        _refuse_binary("prediction", predictions, labels)
        _refuse_binary("truth", truth, labels)
    truth = with_mapping(truth, labels)
    if options.map_path is None:
        _refuse_missing_classes(predictions, labels, out)
    predictions = with_mapping(predictions, labels, options.map_path)
    pairing = _paired(options, predictions, truth, labels)
    pictures = _pictures(options.images, predictions, truth)
    pairs, to_come = _annotated(pairing, truth)
    rows = _rows(pairs, pictures, _confidences(options.confidences, predictions), options.limit)
    manifest = pair_manifest(rows, options.block_pairs, out=out)
    audit = AuditSettings(
        labels=labels, ignore=options.ignore, prediction=predictions.side, truth=truth.side,
        resize=options.resize is not None, hash_images=bool(pictures),
        measures=COUNTS_ONLY if options.counts_only else Measures(),
    )  # fmt: skip
    notes = (*predictions.notes, *truth.notes, *to_come)
    return AuditPlan(
        sizes=manifest.sizes,
        identity=audit_identity(audit, manifest, options.block_pairs),
        notes=notes,
        put_manifest=manifest.put,
        settings=settings_facts(options, audit),
        facts={"label_map": labels.to_dict()},
        audit=audit,
        thresholds=parse_thresholds(options.fail_under, labels),
        manifest=manifest,
        pairing={
            "rules": dict(pairing.rules), "not_considered": dict(pairing.not_considered),
            "notes": list(notes),
        },
    )  # fmt: skip


def _refuse_binary(name: str, listing: SideListing, labels: LabelMap) -> None:
    """Masks of 0 and 255 whose foreground would be ignore, and every number one of background."""
    side = listing.side
    if side.file_format not in TAKES_IGNORE or side.labels is not None or len(labels.classes) == 2:
        return
    some = listing.files.at(spread(len(listing.files)))
    found = look_binary(read_bytes, [file.uri for file in some], labels)
    if found:
        raise SettingsError(
            f"the {name}: {found}. Give --{name}-format binary and --labels of two classes; or "
            "--ignore 255, where 255 is ignore"
        )


MAP_FILE = "class-map.txt"
"""Beside the OUT of an audit, or in the working folder: rules to edit, for --map."""


def _refuse_missing_classes(predictions: SideListing, labels: LabelMap, out: str | None) -> None:
    """Classes of the predictions that the truth lacks: a map file is written, to be filled in."""
    missing = missing_classes(predictions, labels)
    if not missing:
        return
    folder = local_path(out) if out else "."
    path = Path(f"{folder}.{MAP_FILE}") if out and folder else Path(MAP_FILE)
    shown = ", ".join(missing[:6]) + (", …" if len(missing) > 6 else "")
    told = f"{len(missing)} classes of the predictions are not among the truth's: {shown}"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(rules_to_edit(predictions, labels))
        where = f"{path} was written with a line for each"
    except FileExistsError:
        where = f"{path} is there already and was left as it is"
    except OSError as error:
        raise SettingsError(
            f"{told}; say what they are with --map FILE, lines 'old name = new name' "
            f"({path} could not be written: {error})"
        ) from error
    raise SettingsError(f"{told}. {where}: fill it in and give --map {path}")


def settings_facts(options: AuditOptions, audit: AuditSettings) -> dict[str, Any]:
    """What the numbers depend on, for the document."""
    sides = {"prediction": audit.prediction.to_dict(), "truth": audit.truth.to_dict()}
    return {**options.to_dict(), "labels": audit.labels.name, "sides": sides}


def _paired(
    options: AuditOptions, predictions: SideListing, truth: SideListing, labels: LabelMap
) -> Pairing:
    train_ids = labels.name.startswith("cityscapes") and len(labels.classes) < 30
    pairing = pair_masks(predictions.files, truth.files, train_ids=train_ids)
    _refuse_other_ids(pairing, labels, train_ids=train_ids)
    _refuse_strangers(pairing, (options.predictions, predictions), (options.truth, truth))
    return pairing


def _annotated(pairing: Pairing, truth: SideListing) -> tuple[Pairs, tuple[str, ...]]:
    """The pairs to compare. What annotators have not come to is no failure, and is told."""
    waiting = pairing.problems.get(ErrorCode.MISSING_TRUTH, 0)
    if not truth.is_partial or not waiting:
        return pairing.pairs, ()
    told = f"{waiting:,} predictions have no annotation yet: they are not compared"
    return pairing.pairs.without(ErrorCode.MISSING_TRUTH), (told,)


def _refuse_other_ids(pairing: Pairing, labels: LabelMap, *, train_ids: bool) -> None:
    """Cityscapes' two numberings overlap, so reading one as the other would go unnoticed."""
    if not labels.name.startswith("cityscapes"):
        return
    wrong = "_labelIds" if train_ids else "_labelTrainIds"
    files = (file for pair in pairing.pairs for file in (pair.prediction, pair.truth) if file)
    for file in files:
        if file.item is None and stem_path(file.key).endswith(wrong):
            other = "cityscapes_labelids" if train_ids else "cityscapes"
            raise SettingsError(
                f"{file.key} holds {wrong[1:]}, which {labels.name!r} does not number; give "
                f"--labels {other}, or say what the side is: --truth-format cityscapes"
            )


def _refuse_strangers(
    pairing: Pairing, predictions: tuple[str, SideListing], truth: tuple[str, SideListing]
) -> None:
    """Two sides without one name in common are a mistake in the command, not in the masks."""
    if pairing.rules or pairing.problems.get(ErrorCode.AMBIGUOUS_PAIR):
        return
    raise SettingsError(
        f"no prediction has the name of a truth mask, so there is nothing to compare.\n"
        f"  predictions, {_holdings(*predictions)}\n"
        f"  truth, {_holdings(*truth)}\n"
        "Give the folders whose paths below them agree, or rename one side; an ending all files "
        "of a side share, such as _pred, may differ (docs/audit.md, Pairing)."
    )


def _holdings(source: str, listing: SideListing) -> str:
    """What a side holds, in words."""
    count = len(listing.files)
    if not count:
        return f"{source}: no mask at all" + "".join(f"; {note}" for note in listing.notes)
    keys = (file.key for file in listing.files.at(range(min(count, 3))))
    shown = ", ".join(keys) + (", …" if count > 3 else "")
    return f"{source}: {count:,} masks, {shown}"


def _labels(given: LabelMap | None, truth: SideListing, predictions: SideListing) -> LabelMap:
    labels = given or truth.side.labels or predictions.side.labels
    if labels is None:
        raise SettingsError(
            "masks do not say what their classes are; give --labels NAME or FILE "
            "(maskmill audit --labels voc …)"
        )
    return labels


def _pictures(folder: str | None, predictions: SideListing, truth: SideListing) -> Companions:
    """Pictures by the names pairs may ask for: of --images, else of the run that was audited."""
    if folder is not None:
        return Companions(list_side(folder).files)
    return Companions(truth.pictures, predictions.pictures)


def _confidences(folder: str | None, predictions: SideListing) -> Companions:
    return Companions(predictions.confidences if folder is None else list_side(folder).files)


def _rows(
    pairs: Pairs, pictures: Companions, confidences: Companions, limit: int | None
) -> Iterator[pa.Table]:
    """PAIRS tables in key order, of at most ``limit`` pairs."""
    of_pictures, of_confidences = pictures.uris(pairs), confidences.uris(pairs)
    first = 0
    for table in pairs.tables():
        known = {
            "pair_id": pa.array(np.arange(first + 1, first + 1 + table.num_rows)),
            "image_uri": of_pictures(table.num_rows),
            "confidence_uri": of_confidences(table.num_rows),
        }
        columns = [known[name] if name in known else table[name] for name in PAIRS.names]
        rows = pa.table(columns, schema=PAIRS)
        yield rows if limit is None else rows.slice(0, max(0, limit - first))
        first += table.num_rows
        if limit is not None and first >= limit:
            return
