"""Where the output of each key lies, and whether two would be one file.

What is the same among many names is found by sorting them (:class:`SortedTable`): memory holds some
thousands of them at a time, and a bit for each key.
"""

import posixpath
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.storage.sorted_table import SortedTable
from maskmill.schemas.errors import SettingsError

BoolArray = npt.NDArray[np.bool_]

_LONGEST_NAME = 255  # bytes of one name on the usual filesystems
_MASK = ".png"
_STEMS = pa.schema([("stem", pa.string()), ("row", pa.int64())])
_CLAIMS = pa.schema(
    [("fold", pa.string()), ("name", pa.string()), ("key", pa.string()), ("is_folder", pa.bool_())]
)
"""A name below ``masks/`` that an output has, or that a folder takes from it."""


class CaseTwins(NamedTuple):
    """Outputs that are one file where case or Unicode form do not count (macOS, Windows, SMB)."""

    pairs: int
    first: tuple[str, str] | None


def _stem(key: str) -> str:
    return posixpath.splitext(key)[0]


def output_names(keys: Sequence[str]) -> list[str]:
    """Output of each key: the key without its extension; with it for all that would collide."""
    column = pa.array(keys, pa.string())
    names: list[str] = _outputs_of(column, _shares_stem([column], _stem), _stem).to_pylist()
    return names


class NamedRows:
    """Rows in key order with the column ``output``, as often as asked for.

    A row that has an output already keeps it. ``stem`` gives what a key is without its extension.
    """

    def __init__(self, rows: SortedTable, stem: Callable[[str], str] = _stem) -> None:
        self._rows, self._stem = rows, stem
        self._shares = _shares_stem((table["key"].combine_chunks() for table in rows), stem)

    def __iter__(self) -> Iterator[pa.Table]:
        first = 0
        for table in self._rows:
            keys = table["key"].combine_chunks()
            outputs = _outputs_of(keys, self._shares[first : first + len(keys)], self._stem)
            first += len(keys)
            if "output" in table.column_names:
                outputs = pc.coalesce(table["output"].combine_chunks(), outputs)
                table = table.drop_columns("output")
            yield table.append_column("output", outputs)


def _outputs_of(keys: pa.Array, shares: BoolArray, stem: Callable[[str], str]) -> pa.Array:
    """Outputs of a few keys; ``shares`` says of each what :func:`_shares_stem` found."""
    return pc.if_else(pa.array(shares), keys, _mapped(keys, stem))


def _shares_stem(keys: Iterable[pa.Array], stem: Callable[[str], str]) -> BoolArray:
    """Of each key, in the order they come, whether another one differs in its extension only."""
    stems = SortedTable(_stems(keys, stem), _STEMS, by="stem")
    shares = np.zeros(stems.num_rows, np.bool_)
    for table in stems.alike():
        shares[table["row"].to_numpy()] = True
    return shares


def refuse_collisions(keys: Sequence[str], outputs: Sequence[str]) -> None:
    """As :func:`check_outputs`, for what is held in memory anyway."""
    check_outputs([pa.table({"key": pa.array(keys, pa.string()), "output": outputs})])


def check_outputs(names: Iterable[pa.Table]) -> CaseTwins:
    """Stop where two outputs would be one file, or one would be a folder of another.

    Names that differ in the case of letters only are two outputs, and counted.

    Args:
        names: all keys and outputs, some at a time: tables with columns of these names.

    Raises:
        SettingsError: naming both keys, or one whose mask would have too long a name.
    """
    claims = SortedTable(map(_claims, names), _CLAIMS, by="fold")
    group = _Group("")
    twins, first = 0, None
    for table in claims.alike():
        for fold, name, key, is_folder in zip(
            *(column.to_pylist() for column in table.columns), strict=True
        ):
            if fold != group.fold:
                group = _Group(fold)
            other = group.add(name, key, is_folder)
            twins += other is not None
            first = first or other
    return CaseTwins(twins, first)


class _Group:
    """Claims of names that are alike but for case."""

    def __init__(self, fold: str) -> None:
        self.fold = fold
        self._keys: dict[str, str] = {}
        self._inside: dict[str, str] = {}  # keys below a folder of that name

    def add(self, name: str, key: str, is_folder: bool) -> tuple[str, str] | None:
        """One more claim; the outputs that it makes twins, if it does."""
        same = self._keys.get(name)
        inside = key if is_folder else self._inside.get(name)
        owner = same if is_folder else key
        if owner is not None and inside is not None:
            raise SettingsError(_collision(owner, inside, name))
        if is_folder:
            self._inside[name] = key
            return None
        if same is not None:
            raise SettingsError(_collision(min(same, key), max(same, key), name))
        other = next(iter(self._keys), None)
        self._keys[name] = key
        return None if other is None else (other, name)


def _claims(names: pa.Table) -> pa.Table:
    """The outputs of a table, and the folders above them that masks could be called."""
    keys, outputs = names["key"].to_pylist(), names["output"].to_pylist()
    folders: dict[str, str] = {}
    for key, output in zip(keys, outputs, strict=True):
        if len(posixpath.basename(output).encode()) + len(_MASK) > _LONGEST_NAME:
            raise SettingsError(f"{key}: its mask would have a name of over {_LONGEST_NAME} bytes")
        folders.setdefault(posixpath.dirname(output), key)
    taken = _masks_above(folders)
    claimed = [*outputs, *taken]
    folds = [unicodedata.normalize("NFC", name).casefold() for name in claimed]
    is_folder = [False] * len(outputs) + [True] * len(taken)
    return pa.table([folds, claimed, [*keys, *taken.values()], is_folder], schema=_CLAIMS)


def _masks_above(folders: dict[str, str]) -> dict[str, str]:
    """Outputs whose masks would be called as one of the folders, or as one above; a key inside."""
    every: dict[str, str] = {}
    for folder, key in folders.items():
        while folder and folder not in every:
            every[folder] = key
            folder = posixpath.dirname(folder)
    return {
        folder.removesuffix(_MASK): key for folder, key in every.items() if folder.endswith(_MASK)
    }


def _stems(keys: Iterable[pa.Array], stem: Callable[[str], str]) -> Iterator[pa.Table]:
    first = 0
    for column in keys:
        rows = pa.array(np.arange(first, first + len(column)))
        first += len(column)
        yield pa.table([_mapped(column, stem), rows], schema=_STEMS)


def _mapped(column: pa.Array, function: Callable[[str], str]) -> pa.Array:
    return pa.array(map(function, column.to_pylist()), pa.string())


def _collision(first: str, second: str, output: str) -> str:
    return f"{first} and {second} would both be written to {output}.png; rename one of them"
