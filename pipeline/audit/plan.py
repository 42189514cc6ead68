"""What `audit` was asked for, and what it found to do."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from maskmill.pipeline.audit.manifest import audit_identity, pair_manifest
from maskmill.pipeline.audit.operator import AuditSettings
from maskmill.pipeline.audit.pair import Measures
from maskmill.pipeline.audit.pairing import (
    MaskFile,
    Pair,
    Pairing,
    find_picture,
    index_by_picture,
    pair_masks,
    stem_path,
)
from maskmill.pipeline.audit.sides import (
    SideListing,
    list_side,
    missing_classes,
    rules_to_edit,
    with_mapping,
)
from maskmill.pipeline.datasets.binary_masks import TAKES_IGNORE, look_binary
from maskmill.pipeline.metrics.thresholds import Threshold, parse_thresholds
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import put_manifest, sizes_of
from maskmill.pipeline.runs.plan import Plan
from maskmill.pipeline.storage.filesystems import local_path, read_bytes
from maskmill.schemas.arrays import IGNORE_INDEX
from maskmill.schemas.errors import ErrorCode, SettingsError
from maskmill.schemas.label_files import load_label_map
from maskmill.schemas.labels import LabelMap
from maskmill.schemas.tables.audit import PAIRS

Index = Mapping[str, MaskFile | None]
"""Files by every name that may be asked for."""

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
    manifest: pa.Table
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
    annotated, to_come = _annotated(pairing, truth)
    pairs = annotated[: options.limit]
    rows = _rows(pairs, pictures, _confidences(options.confidences, predictions))
    manifest = pair_manifest(rows, options.block_pairs, out=out)
    audit = AuditSettings(
        labels=labels, ignore=options.ignore, prediction=predictions.side, truth=truth.side,
        resize=options.resize is not None, hash_images=bool(pictures),
        measures=COUNTS_ONLY if options.counts_only else Measures(),
    )  # fmt: skip
    notes = (*predictions.notes, *truth.notes, *to_come)
    return AuditPlan(
        sizes=sizes_of(manifest),
        identity=audit_identity(audit, manifest, options.block_pairs),
        notes=notes,
        put_manifest=lambda there: put_manifest(there, manifest),
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
    found = look_binary(read_bytes, [file.uri for file in listing.files], labels)
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


def _annotated(pairing: Pairing, truth: SideListing) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """The pairs to compare. What annotators have not come to is no failure, and is told."""
    if not truth.is_partial:
        return pairing.pairs, ()
    kept = tuple(one for one in pairing.pairs if one.problem != ErrorCode.MISSING_TRUTH)
    waiting = len(pairing.pairs) - len(kept)
    if not waiting:
        return kept, ()
    return kept, (f"{waiting:,} predictions have no annotation yet: they are not compared",)


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
    strangers = (ErrorCode.MISSING_PREDICTION, ErrorCode.MISSING_TRUTH)
    if any(pair.problem not in strangers for pair in pairing.pairs):
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
    keys = [file.key for file in listing.files]
    if not keys:
        return f"{source}: no mask at all" + "".join(f"; {note}" for note in listing.notes)
    shown = ", ".join(keys[:3]) + (", …" if len(keys) > 3 else "")
    return f"{source}: {len(keys):,} masks, {shown}"


def _labels(given: LabelMap | None, truth: SideListing, predictions: SideListing) -> LabelMap:
    labels = given or truth.side.labels or predictions.side.labels
    if labels is None:
        raise SettingsError(
            "masks do not say what their classes are; give --labels NAME or FILE "
            "(maskmill audit --labels voc …)"
        )
    return labels


def _pictures(folder: str | None, predictions: SideListing, truth: SideListing) -> Index:
    """Pictures by the names pairs may ask for: of --images, else of the run that was audited."""
    if folder is not None:
        return index_by_picture(list_side(folder).files)
    known = {**truth.pictures, **predictions.pictures}
    return index_by_picture(MaskFile(key, uri) for key, uri in known.items())


def _confidences(folder: str | None, predictions: SideListing) -> Index:
    if folder is not None:
        return index_by_picture(list_side(folder).files)
    return index_by_picture(MaskFile(key, uri) for key, uri in predictions.confidences.items())


def _rows(pairs: Iterable[Pair], pictures: Index, confidences: Index) -> Iterator[dict[str, Any]]:
    """PAIRS rows in key order."""
    empty: dict[str, Any] = dict.fromkeys(PAIRS.names)
    for number, pair in enumerate(pairs, start=1):
        yield {
            **empty, "pair_id": number, "key": pair.key,
            **_place("prediction", pair.prediction), **_place("truth", pair.truth),
            "image_uri": _uri(pair, pictures), "confidence_uri": _uri(pair, confidences),
            "error_code": pair.problem.value if pair.problem else None,
            "error_message": pair.message or None,
        }  # fmt: skip


def _place(side: str, file: MaskFile | None) -> dict[str, str | None]:
    return {f"{side}_uri": file.uri if file else None, f"{side}_item": file.item if file else None}


def _uri(pair: Pair, index: Index) -> str | None:
    """What belongs to a pair by the prediction's name, else by the truth's."""
    keys = (file.key for file in (pair.prediction, pair.truth) if file)
    found = (find_picture(key, index) for key in keys)
    return next((one.uri for one in found if one), None)
