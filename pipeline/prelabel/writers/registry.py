"""WRITERS, one file per image, and FINISHERS, one document per run: a file and a line to add one.

Functions are named as "module:attribute", so that listing the names imports none of them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, BinaryIO

import pyarrow as pa

from maskmill.pipeline.views.geometry import GridView
from maskmill.schemas.arrays import LabelMask, RgbImage
from maskmill.schemas.labels import LabelMap


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOutputs:
    """What is known of one image once it is labelled. ``image`` is there for who asks for it."""

    key: str
    output: str  # path of the outputs without folder and extension
    mask: LabelMask
    labels: LabelMap
    image: RgbImage | None = None  # (H, W, 3), the size of the mask
    views: tuple[GridView, ...] = ()  # what the network said, averaged; for who asks for it
    text: Mapping[str, str] = field(default_factory=dict)  # provenance, the same for every image


Writer = Callable[[ImageOutputs], bytes]
"""The bytes of one output file; the same outputs always give the same bytes."""

RowBatches = Callable[[list[str]], Iterable[pa.RecordBatch | pa.Table]]
"""Given column names of METADATA, iterates over the rows in image_id order; callable again."""

Finisher = Callable[[RowBatches, BinaryIO, LabelMap, Mapping[str, Any]], None]
"""(rows, stream, labels, info): writes one document from committed rows, holding few at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterSpec:
    """Where a per-image output goes and who makes it."""

    name: str
    folder: str
    extension: str
    function: str
    needs_image: bool
    description: str
    needs_grid: bool = False
    options: tuple[tuple[str, Any], ...] = ()  # keyword arguments of the function

    def path(self, output: str) -> str:
        """Path of the file for the image with that ``output``, relative to the run folder."""
        return f"{self.folder}/{output}{self.extension}"

    def load(self) -> Writer:
        """The function that makes the bytes."""
        writer: Writer = _attribute(self.function)
        return partial(writer, **dict(self.options)) if self.options else writer


@dataclass(frozen=True, slots=True, kw_only=True)
class FinisherSpec:
    """Where a document of the run goes and who makes it."""

    name: str
    path: str
    function: str
    description: str

    def load(self) -> Finisher:
        """The function that writes the document."""
        finisher: Finisher = _attribute(self.function)
        return finisher


def _attribute(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


WRITERS: dict[str, WriterSpec] = {
    "masks": WriterSpec(
        name="masks",
        folder="masks",
        extension=".png",
        function="maskmill.pipeline.prelabel.writers.mask_file:write_mask",
        needs_image=False,
        description="palette PNG of class indices (16-bit grey beyond 255 classes)",
    ),
    "overlays": WriterSpec(
        name="overlays",
        folder="overlays",
        extension=".jpg",
        function="maskmill.pipeline.prelabel.writers.overlay:write_overlay",
        needs_image=True,
        description="the picture under its classes, with a legend",
    ),
    "soft": WriterSpec(
        name="soft",
        folder="soft",
        extension=".npz",
        function="maskmill.pipeline.prelabel.writers.soft:write_soft",
        needs_image=False,
        needs_grid=True,
        description="class probabilities on the network's grid, 8 bit",
    ),
}

FINISHERS: dict[str, FinisherSpec] = {
    "coco": FinisherSpec(
        name="coco",
        path="annotations.json",
        function="maskmill.pipeline.prelabel.writers.coco_json:write_coco",
        description="COCO instances document with RLE masks",
    ),
}
