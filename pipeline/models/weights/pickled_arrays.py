"""NumPy arrays in a pickle that was read inert: what detectron2's model zoo keeps weights as."""

import math
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from maskmill.pipeline.models.weights.inert_pickle import Inert

_BUILT_BY: Final = (
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
)  # fmt: skip
_DTYPES: Final = {
    "f8": torch.float64, "f4": torch.float32, "f2": torch.float16, "i8": torch.int64,
    "i4": torch.int32, "u1": torch.uint8,
}  # fmt: skip


def with_tensors(document: Any) -> Any:
    """Dicts with their arrays as tensors; everything else as it is.

    Raises:
        ValueError: an array whose bytes are fewer than its shape asks for.
    """
    if isinstance(document, Mapping):
        return {key: with_tensors(value) for key, value in document.items()}
    found = _tensor(document) if isinstance(document, Inert) else None
    return document if found is None else found


def _tensor(array: Inert) -> Tensor | None:
    """A contiguous array of little-endian numbers; None where it is anything else."""
    if array.name not in _BUILT_BY or not isinstance(array.state, tuple) or len(array.state) != 5:
        return None
    _, shape, kind, by_columns, content = array.state
    dtype = _dtype(kind)
    if dtype is None or by_columns or not isinstance(content, bytes):
        return None
    count = math.prod(shape)
    if len(content) < count * dtype.itemsize:
        raise ValueError(f"an array of {shape} has {len(content)} bytes")
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(content), dtype=dtype, count=count).view(shape)


def _dtype(kind: Any) -> torch.dtype | None:
    if not isinstance(kind, Inert) or kind.name != "numpy.dtype" or not kind.arguments:
        return None
    big = isinstance(kind.state, tuple) and len(kind.state) > 1 and kind.state[1] == ">"
    return None if big else _DTYPES.get(str(kind.arguments[0]))
