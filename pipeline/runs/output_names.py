"""Where the output of each key lies, and whether two would be one file.

Columns in, columns out: what a million names take as objects is held for a few at a time.
"""

import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from maskmill.schemas.errors import SettingsError

_FEW = 8192  # rows whose values are objects at once
_LONGEST_NAME = 255  # bytes of one name on the usual filesystems


def output_names(keys: Sequence[str]) -> list[str]:
    """Output of each key: the key without its extension; with it for all that would collide."""
    stems = [posixpath.splitext(key)[0] for key in keys]
    members: dict[str, int] = defaultdict(int)
    for stem in stems:
        members[stem] += 1
    return [stem if members[stem] == 1 else key for key, stem in zip(keys, stems, strict=True)]


def refuse_collisions(keys: Sequence[str], outputs: Sequence[str]) -> None:
    """Stop where two outputs would be one file, or one would be a folder of another.

    Names that differ in the case of letters only are two outputs; see ``case_twins``.

    Raises:
        SettingsError: naming both keys.
    """
    owner: dict[str, str] = {}
    folders: dict[str, str] = {}
    for key, output in zip(keys, outputs, strict=True):
        if output in owner:
            raise SettingsError(_collision(owner[output], key, output))
        owner[output] = key
        folders.setdefault(posixpath.dirname(output), key)
        if len(posixpath.basename(output).encode()) + len(".png") > _LONGEST_NAME:
            raise SettingsError(f"{key}: its mask would have a name of over {_LONGEST_NAME} bytes")
    for folder in _with_parents(folders):
        if folder.endswith(".png") and folder[:-4] in owner:
            inside = next(key for key in keys if key.startswith(folder + "/"))
            raise SettingsError(_collision(owner[folder[:-4]], inside, folder[:-4]))


def case_twins(outputs: pa.ChunkedArray) -> list[tuple[str, str]]:
    """Outputs that are one file where case or Unicode form do not count (macOS, Windows, SMB)."""
    folded = _mapped(outputs, lambda one: unicodedata.normalize("NFC", one).casefold())
    shared = pc.is_in(folded, value_set=_repeated(folded))
    first: dict[str, str] = {}
    twins = []
    for fold, output in zip(
        values_of(folded.filter(shared)), values_of(outputs.filter(shared)), strict=True
    ):
        if first.setdefault(fold, output) != output:
            twins.append((first[fold], output))
    return twins


def values_of(column: pa.ChunkedArray) -> Iterator[Any]:
    """The values of a column, a few at a time: objects of all would be many times the column."""
    for start in range(0, len(column), _FEW):
        yield from column.slice(start, _FEW).to_pylist()


def _mapped(column: pa.ChunkedArray, function: Callable[[str], str]) -> pa.ChunkedArray:
    """A string column of what a function makes of each value."""
    parts = [
        pa.array(map(function, column.slice(start, _FEW).to_pylist()), pa.string())
        for start in range(0, len(column), _FEW)
    ]
    return pa.chunked_array(parts, pa.string())


def _repeated(column: pa.ChunkedArray) -> pa.Array:
    """The values that a column holds more than once."""
    counts = pc.value_counts(column)
    return counts.field("values").filter(pc.greater(counts.field("counts"), 1))


def output_column(keys: pa.ChunkedArray) -> pa.ChunkedArray:
    """As ``output_names``, of a column: what names take as objects is not held for all at once."""
    stems = _mapped(keys, lambda key: posixpath.splitext(key)[0])
    return pc.if_else(pc.is_in(stems, value_set=_repeated(stems)), keys, stems)


def may_collide(outputs: pa.ChunkedArray) -> bool:
    """False where ``refuse_collisions`` would find nothing, which columns can tell."""
    longest = _LONGEST_NAME - len(".png")
    is_long = (len(posixpath.basename(output).encode()) > longest for output in values_of(outputs))
    folders = pc.unique(_mapped(outputs, posixpath.dirname)).to_pylist()
    taken = [one[:-4] for one in _with_parents(folders) if one.endswith(".png")]
    is_folder = pc.is_in(outputs, value_set=pa.array(taken, pa.string()))
    return len(_repeated(outputs)) > 0 or any(is_long) or bool(pc.any(is_folder).as_py())


def _with_parents(folders: Iterable[str]) -> set[str]:
    every: set[str] = set()
    for folder in folders:
        while folder and folder not in every:
            every.add(folder)
            folder = posixpath.dirname(folder)
    return every


def _collision(first: str, second: str, output: str) -> str:
    return f"{first} and {second} would both be written to {output}.png; rename one of them"
