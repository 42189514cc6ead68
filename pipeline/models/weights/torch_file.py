"""Files of ``torch.save``, read without running anything in them: zip archives, and the old form.

A zip holds ``NAME/data.pkl`` and the bytes of every storage beside it; files of PyTorch before 1.6
are pickles in a row (magic number, protocol, sizes, the document, storage keys), then the bytes.
The format is that of torch/serialization.py and torch/_utils.py; read in torch 2.15.
"""

import io
import mmap
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import torch
from torch import Tensor

from maskmill.pipeline.models.weights.inert_pickle import Answers, Inert, InertUnpickler
from maskmill.pipeline.models.weights.pickled_arrays import with_tensors
from maskmill.schemas.errors import ModelError, WeightsRefused

_LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
_LOCAL_HEADER: Final = struct.Struct("<26xHH")  # of a zip: lengths of the name and the extra field
_COUNT: Final = struct.Struct("<q")
_STORAGES: Final = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16,
    "BFloat16": torch.bfloat16, "Long": torch.int64, "Int": torch.int32, "Short": torch.int16,
    "Char": torch.int8, "Byte": torch.uint8, "Bool": torch.bool,
}  # fmt: skip
_DTYPES: Final = {
    str(kind): kind
    for kind in (*_STORAGES.values(), torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64)
}
Reader = Callable[[str, torch.dtype, int], Tensor]
"""(storage key, dtype, count) -> a flat tensor."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """The class of a storage: what its bytes are."""

    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class TorchDocument:
    """What a file holds; ``asked`` are the names of what was not built."""

    content: Any
    asked: tuple[str, ...] = ()


def read_torch(path: Path, *, outline: bool = False) -> TorchDocument:
    """The document of a ``torch.save`` file; tensors are mapped into memory, not yet read.

    Args:
        path: a zip of torch.save, or a file of its old form.
        outline: tensors on the meta device: shapes and types only.

    Raises:
        WeightsRefused: a name that only harmful files ask for.
        ModelError: a damaged file.
    """
    try:
        read = _read_zip if zipfile.is_zipfile(path) else _read_legacy
        return read(path, outline)
    except WeightsRefused as refused:
        raise WeightsRefused(
            f"{path} was refused and nothing of it was run: it is not a plain file of tensors, it "
            f"asks for {refused}. Save model.state_dict() only, best as .safetensors"
        ) from None
    except _BROKEN as error:
        raise ModelError(f"{path} is not a readable weights file: {_reason(error)}") from error


_BROKEN: Final = (
    pickle.UnpicklingError, zipfile.BadZipFile, EOFError, ValueError, KeyError, IndexError,
    TypeError, AttributeError, RuntimeError, struct.error, OverflowError, MemoryError,
    UnicodeDecodeError, ImportError, NotImplementedError,
)  # fmt: skip


def _reason(error: BaseException) -> str:
    said = str(error).strip().split("\n")[0][:120]
    return f"damaged or cut short ({said or type(error).__name__})"


def _read_zip(path: Path, outline: bool) -> TorchDocument:
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        names = archive.namelist()
        pickled = next(name for name in names if name.endswith("data.pkl"))
        folder = pickled.removesuffix("data.pkl")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") == b"big":
            raise ValueError("written on a big-endian machine")
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)

        def read(key: str, dtype: torch.dtype, count: int) -> Tensor:
            info = archive.getinfo(f"{folder}data/{key}")
            # Not through zipfile: torch can be told to write no checksums.
            name, extra = _LOCAL_HEADER.unpack_from(memory, info.header_offset)
            start = info.header_offset + _LOCAL_HEADER.size + name + extra
            if info.file_size < count * dtype.itemsize or info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"storage {key} is too short")
            if count == 0:
                return torch.empty(0, dtype=dtype)
            return torch.frombuffer(memory, dtype=dtype, count=count, offset=start)

        return _unpickled(io.BytesIO(archive.read(pickled)), _outlined if outline else read)


def _read_legacy(path: Path, outline: bool) -> TorchDocument:
    """The old form; a plain pickle without it is read as a document whose tensors are arrays."""
    with path.open("rb") as file:
        first = _unpickled(file, _no_storage)
        if first.content != _LEGACY_MAGIC:
            return TorchDocument(with_tensors(first.content), first.asked)
        for _ in range(2):  # protocol and the writer's number sizes
            _unpickled(file, _no_storage)
        memory: dict[str, Tensor] = {}

        def reserve(key: str, dtype: torch.dtype, count: int) -> Tensor:
            made = torch.empty(count, dtype=dtype, device="meta" if outline else "cpu")
            return memory.setdefault(key, made)

        document = _unpickled(file, reserve)
        keys = _unpickled(file, _no_storage).content
        if not outline:
            for key in keys:
                _fill(memory[str(key)], file)
        return document


def _fill(storage: Tensor, file: BinaryIO) -> None:
    (count,) = _COUNT.unpack(file.read(_COUNT.size))
    if count != storage.numel():
        raise ValueError(f"a storage of {count} values where {storage.numel()} are announced")
    content = bytearray(file.read(storage.nbytes))
    if len(content) != storage.nbytes:
        raise EOFError("the file ends within a tensor")
    if count:
        storage.copy_(torch.frombuffer(content, dtype=storage.dtype))


def _outlined(_: str, dtype: torch.dtype, count: int) -> Tensor:
    return torch.empty(count, dtype=dtype, device="meta")


def _no_storage(key: str, _: torch.dtype, __: int) -> Tensor:
    raise ValueError(f"storage {key} in a place without storages")


def _unpickled(file: Any, read: Reader) -> TorchDocument:
    kept: dict[str, Tensor] = {}

    def storage(pid: Any) -> Any:
        if pid[0] == "module":  # the old form keeps the source of classes: only the name is kept
            return pid[1]
        word, kind, key, _, count = pid[:5]
        if word != "storage" or not isinstance(kind, _Kind):
            raise ValueError("an unknown kind of storage")
        if str(key) not in kept:
            kept[str(key)] = read(str(key), kind.dtype, int(count))
        found = kept[str(key)]
        return found if len(pid) < 6 or pid[5] is None else _viewed(found, pid[5])

    unpickler = InertUnpickler(file, answers=_ANSWERS, storage=storage)
    content = unpickler.load()
    return TorchDocument(content, tuple(dict.fromkeys(unpickler.asked)))


def _viewed(storage: Tensor, view: tuple[Any, ...]) -> Tensor:
    """A part of a storage, as files before PyTorch 0.4 share them: (key, offset, size)."""
    return storage[int(view[1]) : int(view[1]) + int(view[2])]


def _rebuilt(storage: Tensor, offset: int, size: Any, stride: Any, *rest: Any) -> Tensor:
    if not isinstance(storage, Tensor):
        raise ValueError("a tensor without memory")
    dtype = next((one for one in rest if isinstance(one, torch.dtype)), storage.dtype)
    flat = storage if dtype == storage.dtype else storage.view(dtype)
    return flat.as_strided(tuple(size), tuple(stride), int(offset))


def _first(value: Any, *_: Any) -> Any:
    """A parameter is its tensor."""
    return value


def _of_type(function: Callable[..., Any], _: Any, arguments: tuple[Any, ...], *__: Any) -> Any:
    """A tensor of a class of its own: the tensor alone."""
    if function not in (_rebuilt, _first):
        return Inert(*arguments)
    return function(*arguments)


_ANSWERS: Final[Answers] = {
    "torch._utils._rebuild_tensor": _rebuilt,
    "torch._utils._rebuild_tensor_v2": _rebuilt,
    "torch._utils._rebuild_tensor_v3": _rebuilt,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch.Size": tuple,
    **{f"torch.{name}Storage": _Kind(dtype) for name, dtype in _STORAGES.items()},
    **{f"torch.cuda.{name}Storage": _Kind(dtype) for name, dtype in _STORAGES.items()},
    "torch.storage.UntypedStorage": _Kind(torch.uint8),
    **_DTYPES,
}
