"""PredictMasks: decoded pictures -> logit grids. The only operator that holds a network."""

import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from maskmill.pipeline.models.allocator import keep_freed_memory
from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.models.weights.staging import local_weights
from maskmill.pipeline.models.worker_facts import KEEP_TO_ONE_KIND, gpu_title
from maskmill.pipeline.prelabel.parcels import Item, Parcel, each_image, pack, unpack
from maskmill.pipeline.runs.attempts import begin_stage
from maskmill.pipeline.runs.isolation import worker_name
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.selection.feature_table import mean_feature
from maskmill.pipeline.views.geometry import GridView
from maskmill.pipeline.views.pictures import mirrored
from maskmill.pipeline.views.preparation import NetworkPicture
from maskmill.schemas.errors import ImageFailure, SettingsError

if TYPE_CHECKING:
    from maskmill.pipeline.models.segmenter import PictureLogits, Segmenter

HALVED_NOTE = "computed in a smaller group than set, because memory ran out"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How each worker runs the network; all of it resolved, none of it left to the machine."""

    spec: ModelSpec
    weights_path: Path | None
    weights_sha256: str
    device: str  # cpu | cuda
    precision: str  # fp32 | bf16 | fp16
    threads: int
    group_size: int
    fitting_group: int | None = None  # what the memory of its GPU was found to hold at once
    gpu: str | None = None  # the kind of GPU the run keeps to
    untrained: bool = False
    flip: bool = False  # show each picture a second time, mirrored
    features: bool = False  # keep what the logits are made of, pooled
    graphs: bool = False  # replay what repeats, where the workers' facts say that they can

    def load(self, layout: RunLayout) -> "Segmenter":
        """The network, ready.

        Raises:
            WeightsRefused: the file has changed since the run began.
            SettingsError: this process has another kind of GPU than the run keeps to.
        """
        from maskmill.pipeline.models.segmenter import (
            Segmenter,  # workers need torch; who starts them, not
        )

        if self.gpu and gpu_title() != self.gpu:
            raise SettingsError(
                f"{worker_name()} has another GPU than this run began with: {gpu_title()} in place "
                f"of {self.gpu}; {KEEP_TO_ONE_KIND}"
            )
        keep_freed_memory()
        return Segmenter(
            self.spec,
            local_weights(layout, self.weights_path),
            device=self.device,
            precision=self.precision,
            threads=self.threads,
            group_size=self.group_size,
            fitting_group=self.fitting_group,
            expected_sha256=self.weights_sha256 or None,
            untrained=self.untrained,
            features=self.features,
            graphs=self.graphs,
        )


class PredictMasks:
    """One per worker process: loads the network once, then never decodes, encodes or waits.

    Threads of one process may share it: the network is read only. On a GPU they take turns at it,
    and while one has it others unpack what comes next and pack what it has said.
    """

    def __init__(self, *, layout: RunLayout, session: str, settings: WorkerSettings) -> None:
        self._layout = layout
        self._session = session
        self._segmenter = settings.load(layout)
        self._flip = settings.flip
        on_gpu = self._segmenter.device.type == "cuda"
        self._turn: AbstractContextManager[object] = threading.Lock() if on_gpu else nullcontext()

    def __call__(self, parcels: pa.Table) -> pa.Table:
        """A table of schema PARCEL in, one of schema PARCEL out."""
        return pack([self._predict_block(parcel) for parcel in unpack(parcels)])

    def _predict_block(self, parcel: Parcel) -> Parcel:
        with self._turn:  # the note, too: what waits for its turn has killed nobody
            return self._predicted(parcel)

    def _predicted(self, parcel: Parcel) -> Parcel:
        attempt = begin_stage(self._layout, parcel.block, "predict", self._session)
        if attempt.one_by_one or self._segmenter.group_size == 1:
            items = each_image(attempt, parcel.items, lambda item: self.predict((item,))[0])
        else:
            items = self.predict(parcel.items)
        attempt.finish()
        return Parcel(parcel.block, items)

    def predict(self, items: tuple[Item, ...]) -> tuple[Item, ...]:
        """Forward what has pictures; groups are formed inside the segmenter by a fixed rule."""
        waiting = [item for item in items if not item.failed]
        started = time.perf_counter()
        shown = {item.image_id: self._shown(item) for item in waiting}
        results = iter(self._segmenter.forward([p for part in shown.values() for p in part]))
        milliseconds = (time.perf_counter() - started) * 1000 / max(1, len(waiting))
        done = {
            item.image_id: self._answered(
                item, [next(results) for _ in shown[item.image_id]], milliseconds
            )
            for item in waiting
        }
        return tuple(done.get(item.image_id, item) for item in items)

    def _shown(self, item: Item) -> Sequence[NetworkPicture]:
        """The item's pictures, each followed by its mirror image where that is asked for."""
        if not self._flip:
            return item.pictures
        return [shown for picture in item.pictures for shown in (picture, mirrored(picture))]

    def _answered(
        self, item: Item, results: "list[PictureLogits | ImageFailure]", milliseconds: float
    ) -> Item:
        views, features = [], []
        for result in results:
            if isinstance(result, ImageFailure):
                return item.failing(result.code, f"{item.key}: {result}")
            views.append(GridView(result.logits, result.rows, result.cols))
            if result.feature is not None:
                features.append(result.feature)
            if result.halved:
                item = replace(item, facts=item.facts.noting(HALVED_NOTE))
        return replace(
            item,
            pictures=(),
            views=tuple(views),
            feature=mean_feature(features) if features else None,
            infer_ms=milliseconds,
            worker=worker_name(),
        )
