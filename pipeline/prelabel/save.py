"""SavePrelabels: logit grids -> masks on disk and METADATA rows."""

import hashlib
import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from maskmill.pipeline.labelling.fusion import FusedPicture
from maskmill.pipeline.labelling.picture import average_answer
from maskmill.pipeline.masks.rle import runs_area
from maskmill.pipeline.masks.segments import Per, class_statistics
from maskmill.pipeline.pictures.decoding import decode_image
from maskmill.pipeline.pictures.frame_place import place_of_frame
from maskmill.pipeline.prelabel.keeping import Keeper, keeper
from maskmill.pipeline.prelabel.labelled_picture import LabelRules, labelled_picture
from maskmill.pipeline.prelabel.parcels import Item, Parcel, each_image, unpack
from maskmill.pipeline.prelabel.writers.registry import ImageOutputs, Output, Store
from maskmill.pipeline.runs.attempts import begin_stage
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.selection.feature_table import NAME as FEATURES
from maskmill.pipeline.selection.feature_table import (
    feature_row,
    features_path,
    put_features,
    row_sha256,
)
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.pipeline.views.geometry import GridView
from maskmill.pipeline.views.plan import ViewPlan, ViewSettings, plan_views
from maskmill.schemas.arrays import LabelMask, RgbImage
from maskmill.schemas.errors import ErrorCode, FileFailure, ImageFailure
from maskmill.schemas.labels import LabelMap
from maskmill.schemas.tables.prelabel import METADATA


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What every row of a run repeats."""

    model: str
    weights_sha256: str
    settings_fingerprint: str
    tool_version: str

    def text(self) -> dict[str, str]:
        """What each mask file says of itself."""
        return {
            "Software": f"maskmill {self.tool_version}",
            "Model": self.model,
            "Weights": self.weights_sha256,
            "Settings": self.settings_fingerprint,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SavePrelabels:
    """Turns the grids of each image into a mask at its size, writes it, and describes it in a row.

    Files are put in place whole at a path that the key decides, or as one shard that is named after
    its bytes, so doing a block again is harmless.
    """

    layout: RunLayout
    session: str
    labels: LabelMap
    provenance: Provenance
    views: ViewSettings
    threshold: float | None
    segments_per: Per
    min_confidence: float | None
    min_area: int
    outputs: tuple[Output, ...]
    store: Store = "files"
    max_pixels: int
    max_bytes: int
    features: bool = False  # keep the side table of features, too

    def __call__(self, parcels: pa.Table) -> pa.Table:
        """A table of schema PARCEL in, one of schema METADATA out, blocks whole and in order."""
        rows = [row for parcel in unpack(parcels) for row in self._save_block(parcel)]
        return pa.Table.from_pylist(rows, schema=METADATA)

    def _save_block(self, parcel: Parcel) -> list[dict[str, Any]]:
        attempt = begin_stage(self.layout, parcel.block, "save", self.session)
        results: dict[int, dict[str, Any]] = {}
        features: list[dict[str, Any]] = []
        kept = keeper(self.store, self.layout, parcel.block)

        def save(item: Item) -> Item:
            started = time.perf_counter()
            try:
                values = self.save(item, kept)
            except FileFailure as failure:
                return item.failing(failure.code, str(failure))
            if self.features:
                features.append(feature_row(item.image_id, item.fingerprint, item.feature))
            values["write_ms"] = (time.perf_counter() - started) * 1000
            results[item.image_id] = values
            return item

        items = each_image(attempt, parcel.items, save)
        kept.close(results)
        if attempt.starts > 1:
            self._remove_leftovers(item for item in items if item.failed)
        if self.features:
            self._keep_features(parcel, features, results)
        attempt.finish()
        block = {"block": parcel.block, "attempts": attempt.starts}
        return [{**self._facts(item), **block, **results.get(item.image_id, {})} for item in items]

    def _keep_features(
        self, parcel: Parcel, features: list[dict[str, Any]], results: dict[int, dict[str, Any]]
    ) -> None:
        """The block's side table, whole, before its rows, which say what it holds of them."""
        put_features(self.layout, parcel.block, [item.image_id for item in parcel.items], features)
        path = features_path(parcel.block)
        for row in features:
            entry = {"name": FEATURES, "path": path, "sha256": row_sha256(row)}
            results[row["image_id"]]["files"].append(entry)

    def _remove_leftovers(self, items: Iterable[Item]) -> None:
        """Files of an earlier start that died before it could commit their rows."""
        for item in items:
            for output in self.outputs if self.store == "files" else ():
                self.layout.delete(output.path(item.output))

    def _facts(self, item: Item) -> dict[str, Any]:
        """The columns that every row has, failed or not."""
        return {
            "image_id": item.image_id,
            "key": item.key,
            "uri": item.uri,
            **_frame_columns(item),
            **asdict(item.facts),
            "status": "failed" if item.failed else "ok",
            "error_code": item.error_code.value if item.error_code else None,
            "error_message": item.error_message,
            "infer_ms": item.infer_ms,
            "worker": item.worker,
            **asdict(self.provenance),
        }

    def save(self, item: Item, kept: Keeper) -> dict[str, Any]:
        """Write one predicted image's files; the columns of METADATA that tell of its mask.

        Raises:
            FileFailure: what a file cannot hold, or an input that changed meanwhile.
        """
        size = _size_of(item)
        plan = plan_views(size, self.views)
        labelled = labelled_picture(item.views, plan, size, self._rules)
        confidence, runs = labelled.fused.confidence, labelled.runs
        answers = self._answers(item, plan, labelled.fused)
        ignored = sum(
            runs_area(part) for value, part in runs.items() if value == self.labels.ignore_index
        )
        columns = {
            "classes": class_statistics(
                labelled.mask, self.labels, labelled.class_scores, runs=runs
            ),
            "segments": [segment.to_row() for segment in labelled.segments],
            "ignored_fraction": ignored / labelled.mask.size,
            "mean_confidence": confidence.mean_confidence,
            "mean_entropy": confidence.mean_entropy,
            "mean_margin": confidence.mean_margin,
            "low_confidence_fraction": confidence.low_confidence_fraction,
        }
        return {**columns, **self._write(item, labelled.mask, answers, kept)}

    @property
    def _rules(self) -> LabelRules:
        return LabelRules(
            labels=self.labels,
            threshold=self.threshold,
            min_confidence=self.min_confidence,
            min_area=self.min_area,
            segments=self.segments_per,
        )

    def _answers(self, item: Item, plan: ViewPlan, picture: FusedPicture) -> tuple[GridView, ...]:
        """One grid for the writers, the average of all; only those that store it pay for it."""
        if not any(output.spec.needs_grid for output in self.outputs):
            return ()
        return (average_answer(item.views, plan, _size_of(item), picture),)

    def _write(
        self,
        item: Item,
        mask: LabelMask,
        answers: tuple[GridView, ...],
        kept: Keeper,
    ) -> dict[str, Any]:
        """Every output file asked for; path and hash of each."""
        needs_image = any(output.spec.needs_image for output in self.outputs)
        outputs = ImageOutputs(
            key=item.key,
            output=item.output,
            mask=mask,
            labels=self.labels,
            views=answers,
            image=self._pixels(item) if needs_image else None,
            text=self.provenance.text(),
        )
        columns: dict[str, Any] = {"files": []}
        for output in self.outputs:
            data = output.write(outputs)
            path, digest = kept.keep(item, output, data), hashlib.sha256(data).hexdigest()
            if output.spec.name == "masks":
                columns |= {"mask_path": path, "mask_sha256": digest}
            else:
                columns["files"].append({"name": output.spec.name, "path": path, "sha256": digest})
        return columns

    def _pixels(self, item: Item) -> RgbImage:
        """The picture again, for writers that draw on it; only they pay for reading it twice.

        Raises:
            ImageFailure: the file has vanished or changed since it was loaded.
        """
        data = read_bytes(item.uri, limit=self.max_bytes)
        if hashlib.sha256(data).hexdigest() != item.facts.sha256:
            raise ImageFailure(
                ErrorCode.VANISHED, f"{item.key}: the file changed while the run was reading it"
            )
        return decode_image(
            data, name=item.key, max_pixels=self.max_pixels, needed=self._needed
        ).upright

    def _needed(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """What the writers need of a picture: all of it, or so much that the longest side does."""
        sides = [output.spec.image_side for output in self.outputs if output.spec.needs_image]
        share = min(1.0, max(sides) / max(size_hw)) if all(sides) else 1.0
        return math.ceil(size_hw[0] * share), math.ceil(size_hw[1] * share)


def _frame_columns(item: Item) -> dict[str, Any]:
    """Which frame of which video an image is; nothing for what is none."""
    place = place_of_frame(item.uri)
    if place is None:
        return {}
    return {
        "video": item.key.rpartition("/")[0],
        "frame": place.index,
        "pts": place.pts,
        "time_base": f"{place.time_base.numerator}/{place.time_base.denominator}",
        "seconds": place.seconds,
    }


def _size_of(item: Item) -> tuple[int, int]:
    height, width = item.facts.height, item.facts.width
    if height is None or width is None:
        raise ValueError(f"{item.key} has no size although it was predicted")
    return height, width
