"""TensorFlow's checkpoint (model.ckpt-N.index and .data-…) -> its variables, without TensorFlow.

The index is a LevelDB table of BundleEntryProto by variable name; after
github.com/google/leveldb/blob/main/doc/table_format.md and TensorFlow's tensor_bundle.proto.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.models.weights.protobuf_wire import (
    WireError,
    fields,
    inner,
    integers,
    varint,
)
from maskmill.pipeline.models.weights.tf_tensors import dtype_of, read_shape
from maskmill.schemas.errors import ModelError

_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_FOOTER, _TRAILER = 48, 5
_UNCOMPRESSED = 0
_HEADER = ""
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a variable lies: type (None: no numbers), shape, shard, first byte, bytes."""

    dtype: np.dtype[Any] | None
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    sliced: bool


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The variables of a checkpoint by name, read from its data files when asked for."""

    path: Path
    shards: int
    entries: Mapping[str, Entry]

    def read(self, name: str) -> npt.NDArray[Any]:
        """One variable.

        Raises:
            ModelError: a data file that is missing or too short, a variable kept in slices or of
                no numbers.
        """
        entry = self.entries[name]
        if entry.dtype is None or entry.sliced:
            raise ModelError(
                f"{self.path}: variable {name} is kept in slices or is no number: save the "
                "checkpoint again on one machine"
            )
        if entry.size != prod(entry.shape) * entry.dtype.itemsize:
            raise ModelError(f"{self.path}: variable {name} has {entry.size} bytes for its shape")
        data = shard_path(self.path, entry.shard, self.shards)
        if not data.is_file():
            raise ModelError(f"{self.path}: {data.name} is missing beside it; copy it there")
        with data.open("rb") as stream:
            stream.seek(entry.offset)
            content = stream.read(entry.size)
        if len(content) != entry.size:
            raise ModelError(f"{data} breaks off before variable {name}: copy it again")
        return np.frombuffer(content, entry.dtype).reshape(entry.shape)


def index_path(path: Path) -> Path | None:
    """The .index of a checkpoint named by it, by a data file or by their common prefix."""
    if path.suffix == ".index":
        return path
    prefix = path.with_suffix("") if path.suffix.startswith(".data-") else path
    index = prefix.with_name(prefix.name + ".index")
    return index if index.is_file() else None


def shard_path(index: Path, shard: int, shards: int) -> Path:
    """The data file of one shard."""
    return index.with_suffix(f".data-{shard:05d}-of-{shards:05d}")


def read_checkpoint(index: Path) -> Checkpoint:
    """The table of contents of a checkpoint.

    Raises:
        ModelError: no such table, a damaged one, or one of TensorFlow 2's objects.
    """
    content = memoryview(index.read_bytes())
    if len(content) < _FOOTER or bytes(content[-8:]) != _MAGIC:
        raise ModelError(
            f"{index} is not the index of a TensorFlow checkpoint, or breaks off: copy "
            "model.ckpt-N.index and model.ckpt-N.data-… again"
        )
    try:
        table = dict(_table(content))
        shards = _shards(table.pop(_HEADER))
        entries = {name: _entry(value) for name, value in table.items()}
    except (WireError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise ModelError(f"{index} is damaged ({error}): copy it again") from error
    if _OBJECTS in entries:
        raise ModelError(
            f"{index} is a checkpoint of TensorFlow 2 objects, as Keras saves them: only those of "
            "TensorFlow DeepLab's train.py can be read"
        )
    return Checkpoint(index, shards, entries)


def _shards(header: memoryview) -> int:
    shards, big_endian = 1, False
    for number, value in fields(header):
        if number == 1:
            shards = integers(value)[0]
        big_endian |= number == 2 and integers(value)[0] == 1
    if big_endian:
        raise WireError("its numbers are big-endian")
    return shards


def _entry(message: memoryview) -> Entry:
    numbers, sliced = {1: 0, 3: 0, 4: 0, 5: 0}, False
    shape: tuple[int, ...] = ()
    for number, value in fields(message):
        if number in numbers:
            numbers[number] = integers(value)[0]
        elif number == 2:
            shape = read_shape(inner(value))
        sliced |= number == 7
    return Entry(dtype_of(numbers[1]), shape, numbers[3], numbers[4], numbers[5], sliced)


def _table(content: memoryview) -> Iterator[tuple[str, memoryview]]:
    """Name and value of everything in a LevelDB table."""
    footer = content[-_FOOTER:]
    _, position = varint(footer, 0)  # the metaindex's place and size are of no use here
    _, position = varint(footer, position)
    for _, handle in _block(content, *_handle(footer, position)):
        for name, value in _block(content, *_handle(handle, 0)):
            yield str(name, "utf-8"), value


def _handle(message: memoryview, position: int) -> tuple[int, int]:
    offset, position = varint(message, position)
    return offset, varint(message, position)[0]


def _block(content: memoryview, offset: int, size: int) -> Iterator[tuple[bytes, memoryview]]:
    """Key and value of each entry of one block; keys share their beginnings with the one before."""
    if offset + size + _TRAILER > len(content) or size < 4:
        raise WireError(f"a block of {size} bytes at byte {offset}")
    if content[offset + size] != _UNCOMPRESSED:
        raise WireError("its blocks are compressed, which TensorFlow's are not")
    block = content[offset : offset + size]
    restarts = int.from_bytes(block[-4:], "little")
    end, position, key = size - 4 - 4 * restarts, 0, b""
    while position < end:
        shared, position = varint(block, position)
        own, position = varint(block, position)
        length, position = varint(block, position)
        if shared > len(key) or position + own + length > end:
            raise WireError(f"an entry of {own + length} bytes at byte {offset + position}")
        key = key[:shared] + bytes(block[position : position + own])
        position += own
        yield key, block[position : position + length]
        position += length
