"""The hub: every reader makes Samples, every writer takes them, and rows carry the rest."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.datasets.left_out import LeftOut
from maskmill.pipeline.datasets.package_limits import PackageLimits, numbered
from maskmill.pipeline.datasets.trees import FileTree
from maskmill.pipeline.masks.registry import Unknown
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.labels import LabelMap

ObjectMap = npt.NDArray[np.int32]
"""(H, W) int32: number of the object a pixel belongs to, from 1; 0 = no object known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One picture's labels, whatever they were stored as.

    ``key`` is the picture's path relative to the dataset, posix; without extension where the
    format does not tell it. ``image`` is the picture's file name in the source tree or a URI, None
    where there is none; ``embedded`` its encoded bytes where the source holds them inside a
    document and they were asked for; ``source_id`` the picture's number where the source gives one.
    ``scores``
    is confidence in 0..1 by class index. ``notes`` say what was decided on the way, ``overlap``
    how many pixels were claimed by more than one class (the last one wins), ``left_out`` what of
    the source is not in the mask, by kind.
    """

    key: str
    mask: LabelMask
    labels: LabelMap
    image: str | None = None
    embedded: bytes | None = None
    objects: ObjectMap | None = None
    scores: Mapping[int, float] = field(default_factory=dict)
    overlap: int = 0
    notes: tuple[str, ...] = ()
    left_out: LeftOut = field(default_factory=dict)
    source_id: int | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) in pixels, after EXIF orientation."""
        height, width = self.mask.shape
        return height, width


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleItem:
    """One entry of a dataset before it is read. ``payload`` is the reader's own, plain JSON."""

    key: str
    payload: Any = None
    split: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What the user said about the source. ``labels`` serve sources that name no classes.

    ``mask_suffix`` is what the names of masks have beyond those of their pictures.
    """

    labels: LabelMap | None = None
    unknown: Unknown = "error"
    images: FileTree | None = None
    mask_suffix: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetIndex:
    """What the driver learns in one pass: the classes, the items, and facts workers need.

    ``extras`` is plain JSON and travels to every worker; keep it small. ``left_out`` counts what of
    the source belongs to no item, ``notes`` say what was guessed and where.
    """

    labels: LabelMap
    items: Iterable[SampleItem]
    extras: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    left_out: LeftOut = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadContext:
    """What a worker needs to read any item of a dataset.

    ``takes_pictures`` asks for the pictures that lie inside documents.
    """

    tree: FileTree
    labels: LabelMap
    extras: dict[str, Any] = field(default_factory=dict)
    unknown: Unknown = "error"
    images: FileTree | None = None
    takes_pictures: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteContext:
    """What a worker or the finisher needs to write any sample of a dataset."""

    labels: LabelMap
    max_loss: float = 0.01
    limits: PackageLimits = field(default_factory=PackageLimits)
    info: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What one sample became. ``files`` are bytes by path relative to the dataset folder.

    ``record`` (plain JSON) goes into the row and comes back to the finisher; ``image_path`` is
    where the layout wants the picture; ``segment_ious`` the IoU each drawn segment kept (1.0 =
    exact), in drawing order.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    record: Any = None
    image_path: str | None = None
    segment_ious: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedSample:
    """One committed row as the finisher sees it."""

    image_id: int
    key: str
    stem: str
    split: str
    size_hw: tuple[int, int]
    record: Any
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FinishedSamples:
    """The committed samples in image_id order, as often as they are asked for, never all at once.

    ``read`` gives those of some splits; ``counts`` says how many each split has ('' = no split).
    """

    read: Callable[[frozenset[str]], Iterator[FinishedSample]]
    counts: Mapping[str, int]

    def __iter__(self) -> Iterator[FinishedSample]:
        return self.read(frozenset(self.counts))

    def __len__(self) -> int:
        return sum(self.counts.values())

    def shards(
        self, stem: str, suffix: str, size: int
    ) -> Iterator[tuple[str, Iterator[FinishedSample]]]:
        """(``stem-00000-of-0000N`` + suffix, samples) per ``size`` samples, at least one shard.

        The samples of a shard must be taken before the next shard is.
        """
        rest, count = iter(self), max(1, -(-len(self) // size))
        for number in range(count):
            yield numbered(stem, number, count, suffix), islice(rest, size)

    def by_split(self, default: str = "") -> "Iterator[tuple[str, FinishedSamples]]":
        """(name, samples) per split by name; samples without one belong to ``default``.

        Without any sample there is one empty split of that name.
        """
        for name in sorted({split or default for split in self.counts}) or [default]:
            members = {key: count for key, count in self.counts.items() if (key or default) == name}
            yield name, FinishedSamples(self.read, members)


class OutputFolder(Protocol):
    """Where a finisher writes. Every file appears whole or not at all."""

    def open(self, path: str) -> AbstractContextManager[BinaryIO]:
        """A stream to a new file; it appears under its name when the block ends without error."""
        ...

    def read(self, path: str) -> bytes:
        """A file that was written before."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where one sample belongs in the output: its stem is unique in the run."""

    image_id: int
    stem: str
    split: str


@dataclass(frozen=True, slots=True)
class DatasetReader:
    """How a format is read: one pass for the driver, one function for the workers."""

    index: Callable[[FileTree, ReadOptions], DatasetIndex]
    read: Callable[[SampleItem, ReadContext], Sample]


@dataclass(frozen=True, slots=True)
class DatasetWriter:
    """How a format is written: per sample in the workers, then once over the committed rows."""

    write: Callable[[Sample, Target, WriteContext], Written]
    finish: Callable[[FinishedSamples, WriteContext, OutputFolder], None]


def present_classes(
    mask: LabelMask, labels: LabelMap
) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """(class index, (H, W) bool) of every class in the mask but background and ignore, in order."""
    for index in np.flatnonzero(np.bincount(mask.ravel(), minlength=1)):
        if index != labels.ignore_index and index != labels.background_index:
            yield int(index), mask == index
