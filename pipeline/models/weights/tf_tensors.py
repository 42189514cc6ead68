"""TensorFlow's tensors and shapes, as its protocol buffers write them."""

import math
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.models.weights.protobuf_wire import (
    WireError,
    fields,
    inner,
    integers,
)

_DTYPES: MappingProxyType[int, np.dtype[Any]] = MappingProxyType(
    {
        1: np.dtype("<f4"),
        2: np.dtype("<f8"),
        3: np.dtype("<i4"),
        4: np.dtype("u1"),
        6: np.dtype("i1"),
        9: np.dtype("<i8"),
        10: np.dtype("bool"),
        19: np.dtype("<f2"),
    }
)
"""By number in tensorflow/core/framework/types.proto; those that are read here."""
_SCALARS = MappingProxyType({1: 5, 2: 6, 3: 7, 4: 7, 6: 7, 9: 10, 10: 11})
"""The field of TensorProto that lists values of a type one by one."""
_MOST_VALUES = 1 << 28


def dtype_of(number: int) -> np.dtype[Any] | None:
    """The type of a DataType number; None for strings and others without numbers here."""
    return _DTYPES.get(number)


def read_shape(message: memoryview) -> tuple[int, ...]:
    """A TensorShapeProto; unknown sizes are -1."""
    shape = []
    for number, value in fields(message):
        if number == 2:
            sizes = [integers(size)[0] for key, size in fields(inner(value)) if key == 1]
            shape.append(sizes[0] if sizes else 0)
    return tuple(shape)


def read_tensor(message: memoryview) -> npt.NDArray[Any] | None:
    """A TensorProto as an array; None where it holds other things than numbers.

    Raises:
        WireError: content that does not fill the shape.
    """
    kind, content, listed = 0, None, []
    shape: tuple[int, ...] = ()
    for number, value in fields(message):
        if number == 1:
            kind = integers(value)[0]
        elif number == 2:
            shape = read_shape(inner(value))
        elif number == 4:
            content = inner(value)
        elif number == _SCALARS.get(kind):
            listed.append(value)
    dtype = dtype_of(kind)
    if dtype is None or any(size < 0 for size in shape):
        return None
    count = math.prod(shape)
    if count > _MOST_VALUES:
        raise WireError(f"a tensor of shape {shape}")
    if content is not None:
        if len(content) != count * dtype.itemsize:
            raise WireError(f"{len(content)} bytes for a tensor of shape {shape} and {dtype}")
        return np.frombuffer(content, dtype).reshape(shape)
    return _repeated(_values(listed, dtype), count, dtype).reshape(shape)


def _values(listed: list[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    parts = []
    for value in listed:
        if dtype.kind != "f":
            parts.append(np.array(integers(value)).astype(dtype))
        elif isinstance(value, int):
            parts.append(np.frombuffer(value.to_bytes(dtype.itemsize, "little"), dtype))
        else:
            parts.append(np.frombuffer(value, dtype))
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _repeated(values: npt.NDArray[Any], count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """All values: the last one that is written stands for those that are not, 0 if none is."""
    if len(values) > count:
        raise WireError(f"{len(values)} values for {count}")
    rest = values[-1] if len(values) else 0
    return np.concatenate([values, np.full(count - len(values), rest, dtype)])
