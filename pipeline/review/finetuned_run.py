"""A fine-tune, looked at: its samples under what the network said before and says after."""

import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from maskmill.pipeline.metrics import definitions
from maskmill.pipeline.metrics.confusion import add_cells, empty_matrix
from maskmill.pipeline.metrics.totals import TotalsLayout, matrix_to_vector
from maskmill.pipeline.models.choice import ModelChoice, choose_model
from maskmill.pipeline.models.model_folder import CARD
from maskmill.pipeline.review.committed_rows import CommittedRows, OfCommittedRows
from maskmill.pipeline.review.converted_run import planned_again
from maskmill.pipeline.review.sampled_set import BLANK, INDEXED, SampleReader
from maskmill.pipeline.review.subject import Item
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import row_group
from maskmill.pipeline.runs.record import RunRecord
from maskmill.pipeline.training.pairs import PairReader
from maskmill.schemas.arrays import ConfidenceMap, LabelMask
from maskmill.schemas.errors import ErrorCode, MaskFailure, ModelError, SettingsError
from maskmill.schemas.labels import LabelMap

if TYPE_CHECKING:
    from maskmill.pipeline.training.comparison import Comparison, Moment

FOLDER: Final = "model"
_SCORES: Final = ("miou", "pixel_accuracy")
_CELL: Final = ("truth", "prediction", "pixels")


class Networks:
    """Masks of the networks that a fine-tune began and ended with, once both are there."""

    def __init__(self, layout: RunLayout, record: RunRecord, pairs: PairReader) -> None:
        self._layout, self._record, self._pairs = layout, record, pairs
        self._compared: Comparison | None = None

    def mask(self, moment: "Moment", entry: dict[str, Any]) -> LabelMask:
        """(H, W) classes that the network ``before`` or ``after`` says of a sample's picture.

        Raises:
            FileFailure: that network cannot be had, or the sample not be read.
        """
        pixels = self._pairs(entry).pixels
        try:
            self._compared = self._compared or self._comparison()
            return self._compared.mask(moment, pixels)
        except (ModelError, SettingsError) as error:
            raise MaskFailure(ErrorCode.VANISHED, str(error)) from error

    def _comparison(self) -> "Comparison":
        from maskmill.pipeline.training.comparison import comparison

        after, recipe = self._after(), self._record.identity
        how = {name: recipe[name] for name in ("device", "precision", "threads")}
        return comparison(after.spec, after.labels, self._pairs, partial(self._load, after), **how)

    def _load(self, after: ModelChoice, moment: "Moment") -> Any:
        from maskmill.pipeline.models.loading import load_network
        from maskmill.pipeline.training.network import beginning

        if moment == "after":
            return load_network(after.spec, after.weights_path)
        began, seed = self._before(), int(self._record.identity["seed"])
        return beginning(began, began.weights_path, after.spec, after.labels, seed).network

    def _after(self) -> ModelChoice:
        layout = self._layout
        if not layout.is_local:
            raise MaskFailure(
                ErrorCode.VANISHED,
                f"{layout.uri(FOLDER)} is not on a disk of this machine: copy the run here to see "
                "what its network says",
            )
        if not layout.exists(f"{FOLDER}/{CARD}"):
            raise MaskFailure(
                ErrorCode.VANISHED,
                f"{layout.root}: there is no model yet, training is not at its end",
            )
        return choose_model(str(layout.local(FOLDER)))

    def _before(self) -> ModelChoice:
        began = self._record.settings["began_with"]
        choice = choose_model(began["model"], began["weights"], untrained=began["untrained"])
        wanted = self._record.identity["weights_sha256"]
        if choice.weights_sha256 != wanted:
            raise SettingsError(
                f"{choice.title} has other weights now (sha256 {choice.weights_sha256[:12]}) than "
                f"the fine-tune began with ({wanted[:12]}): what it said before cannot be shown"
            )
        return choice


class FinetunedRun(OfCommittedRows):
    """Every sample, in the classes that were learnt; scores of those it was measured on.

    Truth is the mask of the data set. Masks are made when they are looked at, and not kept.
    """

    selected = "SELECT * FROM {source}"

    command = "finetune"
    has_truth = True
    has_before = True

    def __init__(self, layout: RunLayout, record: RunRecord) -> None:
        if "data" not in record.settings:
            raise SettingsError(
                f"{layout.root} was fine-tuned by an earlier version, which did not note how its "
                "data was read: look at the data set itself, and try the model with `maskmill view "
                f"--model {layout.root}/{FOLDER}`"
            )
        plan = planned_again(record, record.settings["data"])
        self.layout: RunLayout | None = layout
        self.source, self.identity = layout.root, record.fingerprint
        self.labels = plan.mapping.target
        self._layout, self._files = layout, SampleReader(plan)
        self._pairs = PairReader(
            plan=plan, resize=record.identity["resize"], max_pixels=record.identity["max_pixels"]
        )
        self._networks = Networks(layout, record, self._pairs)
        self._rows = CommittedRows(layout, "image_id")

    def blocks(self) -> dict[int, str]:
        """Committed blocks; all of them change when the model is there."""
        epoch = self._epoch()
        return {block: f"{stamp} epoch {epoch}" for block, stamp in self._rows.blocks().items()}

    def rows(self, blocks: Sequence[int]) -> list[str] | pa.Table:
        """Samples with the scores of the model, as the index has them."""
        scores, epoch = self._scored("scores"), self._epoch()
        columns = ["image_id", "key", "status", "error_code", "error_message", "width", "height",
                   "ignore_pixels", "classes"]  # fmt: skip
        rows = [
            {**self._indexed(row, scores.get(row["image_id"])), "block": block,
             "stamp": "" if epoch is None else f"epoch {epoch}"}
            for block in blocks
            for row in self._layout.committed_block(block, columns).to_pylist()
        ]  # fmt: skip
        return pa.Table.from_pylist(rows, schema=INDEXED)

    def row(self, item: Item) -> dict[str, Any]:
        """The sample, with the scores before the first step and of the model."""
        row = dict(self._rows.row(item))
        for name, suffix in (("scores", ""), ("before", "_before")):
            found = self._scored(name).get(item.n, {})
            row |= {f"{score}{suffix}": found[score] for score in _SCORES if score in found}
        return row

    def picture(self, item: Item) -> bytes:
        """Where the data set has it, or the folder of --images."""
        return self._files.picture(self._entry(item))

    def mask(self, item: Item) -> LabelMask:
        """What the model says."""
        return self._networks.mask("after", self._entry(item))

    def before(self, item: Item) -> LabelMask | None:
        """What the network said before the first step."""
        return self._networks.mask("before", self._entry(item))

    def truth(self, item: Item) -> LabelMask | None:
        """The mask of the data set, at the picture's size."""
        return self._pairs(self._entry(item)).mask

    def confidence(self, item: Item, shape: tuple[int, ...]) -> ConfidenceMap | None:
        """None."""
        return None

    def _entry(self, item: Item) -> dict[str, Any]:
        rows = row_group(self._layout, self._layout.manifest, item.block)
        return next(entry for entry in rows if entry["image_id"] == item.n)

    def _card(self) -> dict[str, Any]:
        """The model.json, written when the model is there; empty before."""
        try:
            card: dict[str, Any] = json.loads(self._layout.read(f"{FOLDER}/{CARD}"))
        except (FileNotFoundError, ValueError):
            return {}
        return card

    def _epoch(self) -> int | None:
        epoch: int | None = self._card().get("scores", {}).get("epoch")
        return epoch

    def _scored(self, name: str) -> dict[int, dict[str, Any]]:
        """Rows of VALIDATION by image_id: of the epoch ``before`` the first step, or of the model's
        ``scores``; empty while there is no model."""
        from maskmill.pipeline.training.checkpoint import validation_rows

        epoch = self._card().get(name, {}).get("epoch")
        if epoch is None:
            return {}
        return {row["image_id"]: row for row in validation_rows(self._layout, epoch).to_pylist()}

    def _indexed(self, row: dict[str, Any], scored: dict[str, Any] | None) -> dict[str, Any]:
        known = {name: row[name] for name in BLANK if name in row}
        pixels = sum(one["pixels"] for one in row["classes"] or []) + (row["ignore_pixels"] or 0)
        scores: dict[str, Any] = {}
        if scored is not None:
            scores = {"miou": scored["miou"], "accuracy": scored["pixel_accuracy"]}
        return {
            **BLANK, **known, **scores, "n": row["image_id"],
            "ignored": (row["ignore_pixels"] or 0) / max(1, pixels),
            "classes": _classes(row, scored, self.labels),
        }  # fmt: skip


def _classes(
    row: dict[str, Any], scored: dict[str, Any] | None, labels: LabelMap
) -> list[dict[str, Any]]:
    """Classes of the masks with share and IoU where the sample was measured on; else of its truth
    alone, whose share in the mask nobody knows."""
    if scored is None:
        return [
            {"class": one["index"], "share": None, "sure": None} for one in row["classes"] or ()
        ]
    cells = [[cell[name] for cell in scored["confusion"]] for name in _CELL]
    matrix = empty_matrix(len(labels.classes))
    add_cells(matrix, *(np.array(one, dtype=np.int64) for one in cells))
    layout = TotalsLayout.of(labels)
    iou = definitions.iou(layout.split(matrix_to_vector(matrix, layout)))
    shares = matrix.sum(axis=0) / max(1, matrix.sum())
    return [
        {"class": index, "share": float(shares[index]), "sure": float(iou[index])}
        for index in range(len(labels.classes))
        if np.isfinite(iou[index])
    ]
