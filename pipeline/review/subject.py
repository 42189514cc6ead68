"""What is looked at, a run or a data set: what gallery, index and pages need of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.arrays import ConfidenceMap, LabelMask
from maskmill.schemas.labels import LabelMap


@dataclass(frozen=True, slots=True)
class Item:
    """One image of the index: ``n`` is its id, ``block`` where its row lies."""

    n: int
    key: str
    block: int
    stamp: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far what is looked at has come. ``inputs`` None: not known (yet)."""

    state: str  # running | finished
    inputs: int | None
    note: str = ""


class Subject(Protocol):
    """A run or a data set. Reads only, and is asked by several threads at once."""

    @property
    def source(self) -> str:
        """Path or URI, as the user gave it."""

    @property
    def command(self) -> str:
        """The command that made it; ``dataset`` for a data set."""

    @property
    def labels(self) -> LabelMap:
        """The classes of the masks."""

    @property
    def layout(self) -> RunLayout | None:
        """The run folder; None for a data set, into which nothing is ever written."""

    @property
    def identity(self) -> str:
        """What tells this run's rows from another's in the same place."""

    @property
    def has_truth(self) -> bool:
        """Whether masks can be laid beside a truth."""

    @property
    def has_before(self) -> bool:
        """Whether masks can be laid beside those of a network before it learnt."""

    def standing(self) -> Standing:
        """How far it has come, read anew."""

    def blocks(self) -> dict[int, str]:
        """Every block that can be indexed, with a stamp that changes when its rows do."""

    def selection(self) -> str:
        """SQL that makes the columns of the index of ``{source}``, the rows of :meth:`rows`."""

    def rows(self, blocks: Sequence[int]) -> list[str] | pa.Table:
        """The rows of blocks: local Parquet files, or one table."""

    def row(self, item: Item) -> dict[str, Any]:
        """Everything known of one image, plain values."""

    def picture(self, item: Item) -> bytes:
        """The bytes of the picture's file.

        Raises:
            FileFailure: there is none, it is gone, or another one now.
        """

    def mask(self, item: Item) -> LabelMask:
        """(H, W) class indices; in an audit the prediction.

        Raises:
            FileFailure: there is none, or it is gone.
        """

    def truth(self, item: Item) -> LabelMask | None:
        """(H, W) class indices of the truth, None where this image has none.

        Raises:
            FileFailure: it is gone.
        """

    def before(self, item: Item) -> LabelMask | None:
        """(H, W) class indices of what a network said before it learnt, None where none did.

        Raises:
            FileFailure: it cannot be had any more.
        """

    def confidence(self, item: Item, shape: tuple[int, ...]) -> ConfidenceMap | None:
        """(H, W) top-1 confidence, None where none was written.

        Raises:
            FileFailure: it is gone, or has no single grid.
        """
