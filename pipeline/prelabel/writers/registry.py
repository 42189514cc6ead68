"""WRITERS, one file per image, SIDE_TABLES, one per block, and FINISHERS, one document per run.

A file and a line to add one.

Functions are named as "module:attribute", so that listing the names imports none of them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any, BinaryIO, Final, Literal, Protocol

import pyarrow as pa

from maskmill.pipeline.views.geometry import GridView
from maskmill.schemas.arrays import LabelMask, RgbImage
from maskmill.schemas.labels import LabelMap

Store = Literal["files", "shards"]
"""How the files of the images are kept: each by itself, or a block's in one tar."""
STORES: Final[tuple[Store, ...]] = ("files", "shards")

Coco = Literal["one", "blocks", "none"]
"""Documents of the annotations: one of the run, one of each block, or none at all."""
COCO: Final[tuple[Coco, ...]] = ("one", "blocks", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOutputs:
    """What is known of one image once it is labelled. ``image`` is there for who asks for it."""

    key: str
    output: str  # path of the outputs without folder and extension
    mask: LabelMask
    labels: LabelMap
    image: RgbImage | None = None  # (H, W, 3), the size of the mask; or reduced, see image_side
    views: tuple[GridView, ...] = ()  # what the network said, averaged; for who asks for it
    text: Mapping[str, str] = field(default_factory=dict)  # provenance, the same for every image


RowBatches = Callable[[list[str]], Iterable[pa.RecordBatch | pa.Table]]
"""Given column names of METADATA, iterates over the rows in image_id order; callable again."""


class Finisher(Protocol):
    """Writes one document from committed rows, holding few at a time."""

    def __call__(
        self,
        rows: RowBatches,
        stream: BinaryIO,
        labels: LabelMap,
        info: Mapping[str, Any],
        *,
        first_id: int = 1,
    ) -> None:
        """The document of ``rows``; ids of what it lists count from ``first_id``."""


class WriterSettings(Protocol):
    """The settings of a writer that has some; plain values, the same in every process."""

    @property
    def extension(self) -> str:
        """Of the files, with its dot."""

    def check(self, labels: LabelMap) -> None:
        """Refuse what these classes cannot have.

        Raises:
            SettingsError: naming it.
        """

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterSpec:
    """Where a per-image output goes and who makes it.

    ``image_side``: the longest side of the picture that suffices; 0: it needs all pixels.
    ``function`` is (outputs) -> bytes; of a writer with ``settings`` (a class that needs no
    arguments) it takes them as well.
    """

    name: str
    folder: str
    extension: str
    function: str
    needs_image: bool
    description: str
    needs_grid: bool = False
    settings: str = ""
    image_side: int = 0

    def path(self, output: str, extension: str = "") -> str:
        """Path of the file for the image with that ``output``, relative to the run folder."""
        return f"{self.folder}/{output}{extension or self.extension}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SideTableSpec:
    """A table beside METADATA with a Parquet file for each block, made in the same pass."""

    name: str
    folder: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A writer as one run uses it."""

    spec: WriterSpec
    settings: WriterSettings | None = None

    @property
    def extension(self) -> str:
        """Of the files, with its dot."""
        return self.settings.extension if self.settings else self.spec.extension

    def path(self, output: str) -> str:
        """Path of the file for the image with that ``output``, relative to the run folder."""
        return self.spec.path(output, self.extension)

    def write(self, outputs: ImageOutputs) -> bytes:
        """The bytes of the file.

        Raises:
            ImageFailure: what the file cannot hold.
        """
        writer: Callable[..., bytes] = resolve_name(self.spec.function)
        return writer(outputs, settings=self.settings) if self.settings else writer(outputs)

    def to_dict(self) -> dict[str, Any]:
        """The settings for run.json; empty where there are none."""
        return self.settings.to_dict() if self.settings else {}


def outputs_of(names: Iterable[str], settings: Mapping[str, WriterSettings]) -> tuple[Output, ...]:
    """Writers by name, each with its settings: those given, or the writer's own defaults."""
    return tuple(_output(WRITERS[name], settings.get(name)) for name in names)


def with_earlier(
    asked: Iterable[Output], earlier: Mapping[str, Mapping[str, Any]]
) -> tuple[Output, ...]:
    """What is asked for now, and what the run has written before: every row shall have it."""
    outputs = {output.spec.name: output for output in asked}
    for name, values in earlier.items():
        if name in WRITERS and name not in outputs:
            spec = WRITERS[name]
            settings = resolve_name(spec.settings).from_dict(values) if spec.settings else None
            outputs[name] = Output(spec=spec, settings=settings)
    return tuple(outputs[name] for name in WRITERS if name in outputs)


def _output(spec: WriterSpec, given: WriterSettings | None) -> Output:
    if given is None and spec.settings:
        given = resolve_name(spec.settings)()
    return Output(spec=spec, settings=given)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinisherSpec:
    """Where a document of the run goes and who makes it."""

    name: str
    path: str
    function: str
    description: str

    def load(self) -> Finisher:
        """The function that writes the document."""
        finisher: Finisher = resolve_name(self.function)
        return finisher


OVERLAY_SIDE = 1280
"""Longest side of an overlay: it is looked at, not measured."""

VIDEO = "video"
"""As a name to write: of each video in the source one under its classes, and one of its masks."""

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
        image_side=OVERLAY_SIDE,
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
    "cutouts": WriterSpec(
        name="cutouts",
        folder="cutouts",
        extension=".jpg",
        function="maskmill.pipeline.prelabel.writers.cutout_file:write_cutout",
        needs_image=True,
        needs_grid=True,
        description="the picture with its subject kept, its background blurred",
        settings="maskmill.pipeline.prelabel.cutout:CutoutSettings",
    ),
    "frames": WriterSpec(
        name="frames",
        folder="frames",
        extension=".jpg",
        function="maskmill.pipeline.prelabel.writers.frame_file:write_frame",
        needs_image=True,
        description="the picture itself, upright: what annotation tools need of a video",
    ),
}

SIDE_TABLES: dict[str, SideTableSpec] = {
    "features": SideTableSpec(
        name="features",
        folder="features",
        description="what each picture looks like to the network, for select and duplicates",
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
