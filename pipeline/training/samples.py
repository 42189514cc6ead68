"""Every sample of the data looked at before the first step: its role, its classes, or its fault."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from maskmill.pipeline.convert.splits import split_of
from maskmill.pipeline.masks.run_lengths import value_counts
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.training.pairs import PairReader
from maskmill.schemas.errors import SettingsError

TRAIN: Final = "train"
VALIDATE: Final = "validate"
UNUSED: Final = "unused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Which splits are learnt from and which are measured on.

    ``share`` of the samples of the ``train`` splits is measured on instead, chosen by key alone:
    0 where there is a split for it.
    """

    train: tuple[str, ...]
    validate: tuple[str, ...]
    share: float
    seed: int

    def of(self, key: str, split: str) -> str:
        """TRAIN, VALIDATE or UNUSED."""
        if split in self.validate:
            return VALIDATE
        if split not in self.train:
            return UNUSED
        shares = {VALIDATE: self.share, TRAIN: 1 - self.share}
        return split_of(key, shares, self.seed) if self.share else TRAIN


def roles_of(
    splits: Iterable[str],
    *,
    train: tuple[str, ...] = (),
    validate: tuple[str, ...] = (),
    share: float = 0.1,
    seed: int = 0,
) -> Roles:
    """The roles of the splits that a data set has; '' is that of samples without one.

    Unless named, splits that begin with ``train`` are learnt from, samples without split too, and
    those that begin with ``val`` are measured on; ``test`` is never touched. Without a split to
    measure on, a ``share`` of the others is.

    Raises:
        SettingsError: a name that no sample has, one in both lists, or nothing to learn from.
    """
    found = sorted(set(splits))
    named = ", ".join(found) or "no split at all"
    for option, names in (("--train-on", train), ("--validate-on", validate)):
        missing = [name for name in names if name not in found]
        if missing:
            raise SettingsError(
                f"{option} {missing[0]}: the data has no such split; it has {named}"
            )
    both = sorted(set(train) & set(validate))
    if both:
        raise SettingsError(
            f"--train-on and --validate-on both name {both[0]}: what is learnt from cannot say how "
            "good the model is"
        )
    measured = validate or tuple(
        one for one in found if one.lower().startswith("val") and one not in train
    )
    learnt = train or tuple(
        one for one in found if one not in measured and (not one or one.lower().startswith("train"))
    )
    if not learnt:
        raise SettingsError(
            f"no split of the data is for training: it has {named}; name one with --train-on"
        )
    return Roles(train=learnt, validate=measured, share=0.0 if measured else share, seed=seed)


def manifest_splits(stream: BinaryIO) -> list[tuple[str, str]]:
    """(key, split) of every sample of a spooled manifest."""
    stream.seek(0)
    table = pq.read_table(stream, columns=["key", "split"])
    return list(zip(table["key"].to_pylist(), table["split"].to_pylist(), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSamples:
    """Reads each sample as training will, and notes what is in it. The columns of SAMPLES."""

    reader: PairReader
    roles: Roles

    def facts(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """The columns that every row has."""
        role = self.roles.of(entry["key"], entry["split"])
        return {
            **{name: entry[name] for name in ("image_id", "key", "block", "split")},
            "role": role,
        }

    def of_block(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """A function from a manifest row to the columns of an ok row."""
        return self._check

    def _check(self, entry: dict[str, Any]) -> dict[str, Any]:
        if self.roles.of(entry["key"], entry["split"]) == UNUSED:
            return {"notes": ["not read: its split is not used"]}
        pair = self.reader(entry)
        values, counts = value_counts(pair.mask)
        pixels = dict(zip(values.tolist(), counts.tolist(), strict=True))
        ignored = pixels.pop(self.reader.plan.mapping.target.ignore_index, 0)
        return {
            "width": pair.mask.shape[1],
            "height": pair.mask.shape[0],
            "resized_from": pair.resized_from,
            "classes": [{"index": index, "pixels": count} for index, count in pixels.items()],
            "ignore_pixels": ignored,
            "notes": list(pair.notes),
        }


@dataclass(frozen=True, slots=True)
class Census:
    """What the good samples of a role hold.

    ``seen_in`` are the valid pixels of the masks that have a class; ``first_failure`` is why the
    first failed sample did, '' without any.
    """

    samples: int
    failed: int
    pixels: npt.NDArray[np.int64]  # (C,)
    seen_in: npt.NDArray[np.int64]  # (C,)
    longest_side: int  # pixels, the median over the pictures; 0 without any
    first_failure: str


def census(layout: RunLayout, role: str, num_classes: int) -> Census:
    """Counts over the committed rows of a role; a block of rows is in memory at a time."""
    counts = np.zeros((2, num_classes), dtype=np.int64)
    found: Counter[str] = Counter()
    sides: Counter[int] = Counter()
    first = ""
    columns = ["role", "status", "classes", "width", "height", "error_message"]
    for table in layout.committed_rows(columns):
        for row in table.to_pylist():
            if row["role"] == role:
                found[row["status"]] += 1
                first = first or row["error_message"] or ""
                _add(counts, row["classes"] or ())
                sides[max(row["width"] or 0, row["height"] or 0)] += row["status"] == "ok"
    median = int(np.median(list(sides.elements()))) if found["ok"] else 0
    return Census(found["ok"], found["failed"], counts[0], counts[1], median, first)


def _add(counts: npt.NDArray[np.int64], classes: Iterable[Mapping[str, int]]) -> None:
    valid = sum(one["pixels"] for one in classes)
    for one in classes:
        counts[0, one["index"]] += one["pixels"]
        counts[1, one["index"]] += valid
