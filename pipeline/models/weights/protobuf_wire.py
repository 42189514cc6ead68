"""Protocol buffers' wire format, as far as TensorFlow's files use it: fields of a message.

After protobuf.dev/programming-guides/encoding: a field is a varint key (number and type) and a
varint, 4 or 8 bytes, or a length and that many bytes. Nothing is built from what is read here.
"""

import struct
from collections.abc import Iterator

Field = int | memoryview

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


class WireError(ValueError):
    """These bytes are no message, or not all of one."""


def fields(message: memoryview) -> Iterator[tuple[int, Field]]:
    """(number, value) of each field in order; values are unsigned integers or the bytes inside.

    Raises:
        WireError: a field that is cut off or of no known type.
    """
    position = 0
    while position < len(message):
        key, position = varint(message, position)
        kind = key & 7
        if kind == _VARINT:
            value, position = varint(message, position)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, position = varint(message, position)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise WireError(f"byte {position}: field type {kind}")
        if position + size > len(message):
            raise WireError(f"byte {position}: {size} bytes announced, {len(message) - position}")
        inside = message[position : position + size]
        yield key >> 3, int.from_bytes(inside, "little") if kind != _BYTES else inside
        position += size


def varint(message: memoryview, position: int) -> tuple[int, int]:
    """The unsigned integer at a position, and the position behind it.

    Raises:
        WireError: it is cut off or longer than ten bytes.
    """
    value = 0
    for shift in range(_LONGEST_VARINT):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, position
    raise WireError(f"byte {position}: an integer that does not end")


def signed(value: int) -> int:
    """An int64 that travelled as an unsigned integer."""
    return value - (1 << 64) if value >= 1 << 63 else value


def integers(value: Field) -> list[int]:
    """The int64 values of a repeated field's entry: one, or many in a packed one."""
    if isinstance(value, int):
        return [signed(value)]
    found, position = [], 0
    while position < len(value):
        number, position = varint(value, position)
        found.append(signed(number))
    return found


def real(value: Field) -> float:
    """A float that travelled as four bytes."""
    if not isinstance(value, int):
        raise WireError("a number was expected, not bytes")
    return float(struct.unpack("<f", value.to_bytes(4, "little"))[0])


def inner(value: Field) -> memoryview:
    """The bytes of a field that must hold some.

    Raises:
        WireError: it holds a number.
    """
    if isinstance(value, int):
        raise WireError("bytes were expected, not a number")
    return value


def text(value: Field) -> str:
    """The string of a field.

    Raises:
        WireError: it holds a number, or bytes that are not UTF-8.
    """
    try:
        return str(inner(value), "utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"a name that is not UTF-8: {error}") from error
