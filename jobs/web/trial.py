"""Models tried on single pictures: what a browser drops, pastes or sees through its webcam."""

import gzip
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Any, Final

from maskmill.jobs.engines.machine import local_cores
from maskmill.pipeline.review.display_colors import displayed
from maskmill.schemas.errors import ImageFailure, SettingsError

if TYPE_CHECKING:
    from maskmill.pipeline.prelabel.labeller import Labeller
    from maskmill.schemas.labels import LabelMap

MAX_PICTURE_BYTES: Final = 64 << 20
MAX_PIXELS: Final = 64_000_000


class Trial:
    """One model at a time in memory, loaded when it is first asked for. Threads share it.

    As many pictures are labelled at once as there are cores, each on one thread as in `maskmill
    prelabel`: that answers more frames a second than all cores on one picture.
    ``own`` is what --model names: a model, or a file or folder of weights; None: the default.
    """

    def __init__(self, own: str | None, labels: str | None = None) -> None:
        self._own, self._labels = own, labels
        self._lock, self._room = Lock(), BoundedSemaphore(local_cores())
        self._name = ""
        self._labeller: Labeller | None = None
        self._process = ExitStack()

    def close(self) -> None:
        """Give PyTorch's settings of this process back."""
        self._process.close()

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

        The mask is that of `maskmill prelabel`; pixels below ``threshold``, where it is above 0,
        are ignore as with --min-confidence.

        Raises:
            ImageFailure: no picture, or one that is too large.
            SettingsError: no such model, or a threshold that cannot be.
            ModelError: weights that are missing or do not fit.
        """
        from maskmill.pipeline.prelabel.labelled_picture import labelled_picture

        if not 0 <= threshold < 1:
            raise SettingsError(f"a threshold of {threshold}; it lies from 0 to below 1")
        labeller = self.labeller(model)
        with self._room:
            started = time.perf_counter()
            image = labeller.decode(data, "the picture")
            shown = labeller.show(image.pixels, image.reduction)
            asked = time.perf_counter()
            answer = labeller.answer([shown])[0]
            forward_ms = (time.perf_counter() - asked) * 1000
            if isinstance(answer, ImageFailure):
                raise answer
            rules = replace(labeller.rules, min_confidence=threshold or None)
            picture = labelled_picture(answer, shown.plan, shown.size_hw, rules)
            mask = picture.mask.astype(picture.mask.dtype.newbyteorder("<"), copy=False)
            body = gzip.compress(mask.tobytes(), 1, mtime=0)
        height, width = mask.shape
        facts = {
            "width": width, "height": height, "bytes": mask.dtype.itemsize,
            "whole": [width, height], "box": [0, 0, width, height],
            "model": labeller.choice.title, "ignore": labeller.choice.labels.ignore_index,
            "confidence": picture.fused.confidence.mean_confidence,
            "forward_ms": forward_ms, "ms": (time.perf_counter() - started) * 1000,
            "precision": labeller.segmenter.precision,
            "classes": _classes(labeller.choice.labels),
        }  # fmt: skip
        return facts, body

    def labeller(self, name: str = "") -> "Labeller":
        """The network of a name, loaded; "" is what the page begins with.

        Raises:
            SettingsError, ModelError: as :meth:`label`.
        """
        with self._lock:
            if self._labeller is None or name != self._name:
                known = [entry["name"] for entry in self.models()]
                wanted = name or known[0]
                if wanted not in known:  # a page must not name files of this machine
                    raise SettingsError(f"no model {wanted!r} here; there are: {', '.join(known)}")
                self._labeller, self._name = self._load(wanted), name
            return self._labeller

    def _load(self, name: str) -> "Labeller":
        from maskmill.pipeline.models.allocator import keep_freed_memory
        from maskmill.pipeline.models.torch_settings import exact_settings
        from maskmill.pipeline.prelabel.labeller import Labeller
        from maskmill.pipeline.prelabel.settings import PrelabelSettings

        is_file = name == self._own and Path(name).is_file()  # a folder is a model's name
        labeller = Labeller(
            PrelabelSettings(
                model=None if is_file else name,
                weights=name if is_file else None,
                labels=self._labels if name == self._own else None,
                source="", out="", max_pixels=MAX_PIXELS,
            ),
            group_size=1,
        )  # fmt: skip
        self._process.close()
        self._process.enter_context(exact_settings())
        keep_freed_memory()
        return labeller


def _classes(labels: "LabelMap") -> list[dict[str, Any]]:
    return [
        {"index": entry.index, "name": entry.name, "color": list(entry.color),
         "background": entry.is_background}
        for entry in displayed(labels).classes
    ]  # fmt: skip
