"""The images of one block on their way from decoding to committed rows."""

import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from maskmill.pipeline.pictures.fingerprints import PictureFingerprint
from maskmill.pipeline.runs.attempts import BlockAttempt
from maskmill.pipeline.runs.isolation import death_notice, each_item
from maskmill.pipeline.views.geometry import GridView
from maskmill.pipeline.views.preparation import NetworkPicture
from maskmill.schemas.arrays import FeatureVector
from maskmill.schemas.errors import ErrorCode
from maskmill.schemas.tables.blocks import PARCEL


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What reading one file told, as far as it got. Sizes are after EXIF orientation."""

    bytes: int | None = None
    sha256: str | None = None
    format: str | None = None
    mode: str | None = None
    width: int | None = None
    height: int | None = None
    exif_orientation: int | None = None
    notes: tuple[str, ...] = ()
    decode_ms: float | None = None

    def noting(self, note: str) -> "ImageFacts":
        """The same facts with one more note."""
        return replace(self, notes=(*self.notes, note))


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One image of a block.

    ``pictures`` are filled by loading and emptied by prediction, which fills ``views``: the
    network's answer to each picture. ``fingerprint`` and ``feature`` are for the side table.
    """

    image_id: int
    key: str
    uri: str
    output: str
    error_code: ErrorCode | None = None
    error_message: str | None = None
    facts: ImageFacts = field(default_factory=ImageFacts)
    pictures: tuple[NetworkPicture, ...] = ()
    views: tuple[GridView, ...] = ()
    fingerprint: PictureFingerprint | None = None
    feature: FeatureVector | None = None
    infer_ms: float | None = None
    worker: str | None = None

    @property
    def failed(self) -> bool:
        """True once anything went wrong with this image."""
        return self.error_code is not None

    def failing(self, code: ErrorCode, message: str) -> "Item":
        """The same image as a failed one, its pixels let go."""
        return replace(self, error_code=code, error_message=message, pictures=(), views=())


@dataclass(frozen=True, slots=True)
class Parcel:
    """A block under way: its number, and its images in image_id order."""

    block: int
    items: tuple[Item, ...]


def each_image(
    attempt: BlockAttempt, items: Iterable[Item], work: Callable[[Item], Item]
) -> tuple[Item, ...]:
    """``work`` on every image that has not failed; a deadly image becomes a failed one unasked."""

    def died(item: Item) -> Item:
        notice = death_notice(item.key, attempt.stage_of_death(item.image_id))
        return item if item.failed else item.failing(ErrorCode.WORKER_DIED, notice)

    def done(item: Item) -> Item:
        return item if item.failed else work(item)

    return tuple(each_item(attempt, items, done, id_of=lambda item: item.image_id, died=died))


def pack(parcels: Iterable[Parcel]) -> pa.Table:
    """A table of schema PARCEL. The pickles never leave our own processes."""
    tables = [
        pa.table([pa.array([parcel.block], pa.int64()), _as_cell(parcel)], schema=PARCEL)
        for parcel in parcels
    ]
    return pa.concat_tables(tables) if tables else PARCEL.empty_table()


def _as_cell(parcel: Parcel) -> pa.Array:
    """One cell around the pickle's own memory: parcels are tens of megabytes."""
    data = pickle.dumps(parcel, protocol=5)
    bounds = np.array([0, len(data)], np.int64)
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(data)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, buffers)


def unpack(table: pa.Table) -> Iterator[Parcel]:
    """The parcels of a table of schema PARCEL."""
    for scalar in table["items"]:
        yield pickle.loads(scalar.as_buffer())
