"""A column with its description, and a schema without: how every table of this package is written.

A description is field metadata, so it travels with a table and the manual is made from it. Files
leave it out: there is one per block, and the words would be a third of it.
"""

from collections.abc import Iterator
from typing import Final

import pyarrow as pa

_KEY: Final = b"description"


def column(name: str, kind: pa.DataType, description: str, *, nullable: bool = True) -> pa.Field:
    """A field that says what it holds: unit, range, and when it is null."""
    return pa.field(name, kind, nullable, metadata={_KEY: description.encode()})


def description_of(field: pa.Field) -> str:
    """What the field says it holds; '' where it says nothing."""
    words: bytes = (field.metadata or {}).get(_KEY, b"")
    return words.decode()


def fields_of(schema: pa.Schema) -> Iterator[tuple[str, pa.Field]]:
    """(path, field) of every column and, after it, of every field inside it: ``classes.index``."""
    for field in schema:
        yield from _with_inner(field.name, field)


def undescribed(schema: pa.Schema) -> pa.Schema:
    """The same columns without any metadata; equal to ``schema`` for Arrow."""
    return pa.schema([_plain(field) for field in schema])


def _with_inner(path: str, field: pa.Field) -> Iterator[tuple[str, pa.Field]]:
    yield path, field
    for inner in struct_fields(field.type):
        yield from _with_inner(f"{path}.{inner.name}", inner)


def struct_fields(kind: pa.DataType) -> list[pa.Field]:
    """Fields of a struct, or of the structs of a list; none for anything else."""
    if pa.types.is_list(kind):
        return struct_fields(kind.value_type)
    return [kind.field(place) for place in range(kind.num_fields)] if _is_struct(kind) else []


def _is_struct(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind))


def _plain(field: pa.Field) -> pa.Field:
    return pa.field(field.name, _plain_type(field.type), field.nullable)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_field))
    if _is_struct(kind):
        return pa.struct([_plain(field) for field in struct_fields(kind)])
    return kind
