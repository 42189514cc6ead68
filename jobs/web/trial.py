"""Models tried on single pictures: what a browser drops, pastes or sees through its webcam."""

import gzip
import time
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from maskmill.jobs.engines.machine import local_cores
from maskmill.pipeline.review.display_colors import displayed
from maskmill.schemas.errors import SettingsError

if TYPE_CHECKING:
    from maskmill.pipeline.models.choice import ModelChoice
    from maskmill.pipeline.models.segmenter import Segmenter
    from maskmill.pipeline.pictures.decoding import DecodedImage
    from maskmill.pipeline.views.geometry import GridView

MAX_PICTURE_BYTES: Final = 64 << 20
MAX_PIXELS: Final = 64_000_000


class Trial:
    """One model at a time in memory, loaded when it is first asked for.

    ``own`` is what --model names: a model, or a file or folder of weights; None: the default.
    """

    def __init__(self, own: str | None, labels: str | None = None) -> None:
        self._own, self._labels, self._lock = own, labels, Lock()
        self._name = ""
        self._loaded: tuple[ModelChoice, Segmenter] | None = None

    def models(self) -> list[dict[str, Any]]:
        """Names that can be chosen: what was named, and whatever has its weights here."""
        from maskmill.pipeline.models.facts import weights_state
        from maskmill.pipeline.models.registry import DEFAULT_MODEL, all_models

        here = [spec.name for spec in all_models().values() if weights_state(spec) == "here"]
        first = self._own or DEFAULT_MODEL
        names = list(dict.fromkeys([first, *here]))
        return [{"name": name, "chosen": name == first} for name in names]

    def label(self, data: bytes, model: str, threshold: float) -> tuple[dict[str, Any], bytes]:
        """(size, classes and milliseconds, the mask's values gzipped) of an encoded picture.

        The mask is that of `maskmill prelabel` with as many threads as there are cores; pixels
        below ``threshold``, where it is above 0, are ignore as with --min-confidence.

        Raises:
            ImageFailure: no picture, or one that is too large.
            SettingsError: no such model, or a threshold that cannot be.
            ModelError: weights that are missing or do not fit.
        """
        from maskmill.pipeline.labelling.picture import ignore_unsure, label_picture
        from maskmill.pipeline.views.plan import ViewSettings, plan_views

        if not 0 <= threshold < 1:
            raise SettingsError(f"a threshold of {threshold}; it lies from 0 to below 1")
        started = time.perf_counter()
        with self._lock:  # one network, on every core
            choice, segmenter = self._model(model)
            loaded = time.perf_counter()
            image = _decoded(data, segmenter)
            size = image.size_hw
            plan = plan_views(size, ViewSettings())
            answers, forward_ms = _answers(segmenter, image, plan)
        picture = label_picture(answers, plan, size, dtype=choice.labels.mask_dtype)
        if threshold:
            ignore_unsure(picture, threshold, choice.labels.ignore_index)
        words = picture.mask.astype(picture.mask.dtype.newbyteorder("<"))
        body = gzip.compress(words.tobytes(), 1, mtime=0)
        facts = {
            "width": size[1], "height": size[0], "bytes": picture.mask.dtype.itemsize,
            "whole": [size[1], size[0]], "box": [0, 0, size[1], size[0]],
            "model": choice.title, "ignore": choice.labels.ignore_index,
            "confidence": float(picture.confidence.top1.mean()),
            "forward_ms": forward_ms, "ms": (time.perf_counter() - loaded) * 1000,
            "waited_ms": (loaded - started) * 1000, "precision": segmenter.precision,
            "classes": self._classes(choice),
        }  # fmt: skip
        return facts, body

    def _classes(self, choice: "ModelChoice") -> list[dict[str, Any]]:
        return [
            {"index": entry.index, "name": entry.name, "color": list(entry.color),
             "background": entry.is_background}
            for entry in displayed(choice.labels).classes
        ]  # fmt: skip

    def _model(self, name: str) -> "tuple[ModelChoice, Segmenter]":
        known = [entry["name"] for entry in self.models()]
        name = name or known[0]
        if name not in known:  # a page must not name files of this machine
            raise SettingsError(f"no model {name!r} here; there are: {', '.join(known)}")
        if self._loaded is None or self._name != name:
            self._loaded = self._load(name)
            self._name = name
        return self._loaded

    def _load(self, name: str) -> "tuple[ModelChoice, Segmenter]":
        from maskmill.pipeline.models.adaptation import check_class_count
        from maskmill.pipeline.models.choice import choose_model
        from maskmill.pipeline.models.segmenter import Segmenter
        from maskmill.pipeline.models.torch_settings import best_device

        is_file = name == self._own and Path(name).is_file()  # a folder is a model's name
        labels = self._labels if name == self._own else None
        choice = choose_model(None if is_file else name, name if is_file else None, labels)
        segmenter = Segmenter(
            choice.spec, choice.weights_path, device=best_device(), threads=local_cores()
        )
        check_class_count(segmenter.num_classes, choice.labels)
        return choice, segmenter


def _decoded(data: bytes, segmenter: "Segmenter") -> "DecodedImage":
    """As `prelabel` decodes it: a large JPEG at the size that the network needs."""
    from maskmill.pipeline.pictures.decoding import decode_image
    from maskmill.pipeline.views.pictures import needed_size
    from maskmill.pipeline.views.plan import ViewSettings

    spec = segmenter.spec
    return decode_image(
        data,
        name="the picture",
        max_pixels=MAX_PIXELS,
        needed=lambda size_hw: needed_size(
            size_hw, ViewSettings(), spec.preprocessing, image_size=None, alignment=spec.alignment
        ),
    )


def _answers(
    segmenter: "Segmenter", image: "DecodedImage", plan: Any
) -> "tuple[list[GridView], float]":
    """What the network says to each view, and the milliseconds of it alone."""
    from maskmill.pipeline.models.torch_settings import exact_settings
    from maskmill.pipeline.views.geometry import GridView
    from maskmill.pipeline.views.pictures import view_pictures
    from maskmill.schemas.errors import ImageFailure

    spec, found, seconds = segmenter.spec, [], 0.0
    with exact_settings():
        for shown in view_pictures(
            image.pixels,
            plan,
            spec.preprocessing,
            image_size=None,
            alignment=spec.alignment,
            reduction=image.reduction,
        ):
            started = time.perf_counter()
            answer = segmenter.forward([shown])[0]
            seconds += time.perf_counter() - started
            if isinstance(answer, ImageFailure):
                raise answer
            found.append(GridView(answer.logits, answer.rows, answer.cols))
    return found, seconds * 1000
