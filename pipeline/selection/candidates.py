"""The images of a run as select sees them: arrays, and what is known of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.selection.duplicates import TABLE as DUPLICATES_TABLE
from maskmill.pipeline.selection.named_images import find_named, read_names
from maskmill.pipeline.selection.run_images import (
    ADD_FEATURES,
    all_features,
    feature_matrix,
    ok_rows,
)
from maskmill.pipeline.selection.scores import rarities
from maskmill.schemas.errors import SettingsError

_COLUMNS = ["image_id", "key", "uri", "mean_entropy", "classes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The ok images of a run, in image_id order.

    ``known`` are those that people have seen already: they are not chosen, but count for what is
    covered. ``closed`` are not chosen either: these, and copies of others. ``classes`` has a column
    per class of ``names`` (none for background); ``features`` is (N, D) float32 of length 1, None
    where they were not asked for.
    """

    table: pa.Table  # image_id, key, uri, mean_entropy
    known: npt.NDArray[np.bool_]
    closed: npt.NDArray[np.bool_]
    classes: npt.NDArray[np.bool_]
    names: tuple[str, ...]
    features: npt.NDArray[np.float32] | None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.known)

    @property
    def entropies(self) -> npt.NDArray[np.float64]:
        """Mean entropy of each image, 0..1."""
        values: npt.NDArray[np.float64] = self.table["mean_entropy"].to_numpy()
        return values

    def rarities(self) -> npt.NDArray[np.float64]:
        """Rarity of each class among the images, in [0, 1]."""
        return rarities(self.classes.sum(axis=0), len(self))


def candidates_of(
    layout: RunLayout, exclude: Sequence[str], *, with_features: bool, distinct: bool = False
) -> Candidates:
    """The images of a run, and which of them the lists or data sets ``exclude`` name.

    ``distinct``: of a group of copies that `duplicates` found, one at most is open, and none where
    one is known.

    Raises:
        SettingsError: no run, no ok image, no feature or table of duplicates where it is needed,
            names that fit nothing.
        FileFailure: a data set that does not follow its format.
    """
    rows = ok_rows(layout, _COLUMNS)
    known = np.zeros(rows.num_rows, np.bool_)
    notes: list[str] = []
    for source in exclude:
        found = find_named(read_names(source), [rows], option="--exclude")
        known |= found.chosen
        notes += found.notes
    classes, names = _class_table(rows)
    copies = _copies(layout, rows["image_id"].to_numpy(), known) if distinct else None
    return Candidates(
        table=rows.drop_columns(["classes"]),
        known=known,
        closed=known if copies is None else known | copies,
        classes=classes,
        names=names,
        features=_features(layout, rows) if with_features else None,
        notes=tuple(notes),
    )


def _copies(
    layout: RunLayout, ids: npt.NDArray[np.int64], known: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Images of a group that are not its first, or of which people know one."""
    if not layout.exists(DUPLICATES_TABLE):
        raise SettingsError(
            f"--distinct needs to know which images are alike: `maskmill duplicates {layout.root}`"
        )
    table = layout.read_table(DUPLICATES_TABLE, ["group", "image_id", "kind"])
    groups, members = (table[name].to_numpy() for name in ("group", "image_id"))
    seen = np.isin(groups, groups[np.isin(members, ids[known])])
    first = np.array(table["kind"].to_pylist()) == "kept"
    return np.isin(ids, members[seen | ~first])


def _class_table(rows: pa.Table) -> tuple[npt.NDArray[np.bool_], tuple[str, ...]]:
    lists = rows["classes"].combine_chunks()
    images, entries = lists.value_parent_indices(), lists.flatten()
    foreground = pc.is_valid(pc.struct_field(entries, "category_id"))
    names = pc.struct_field(entries, "name").filter(foreground).dictionary_encode()
    table = np.zeros((len(lists), len(names.dictionary)), np.bool_)
    table[images.filter(foreground).to_numpy(), names.indices.to_numpy()] = True
    return table, tuple(names.dictionary.to_pylist())


def _features(layout: RunLayout, rows: pa.Table) -> npt.NDArray[np.float32]:
    features = all_features(layout)
    place = pc.index_in(rows["image_id"], features["image_id"].combine_chunks())
    matrix = feature_matrix(features, place)
    if matrix is None or place.null_count:
        lacking = f"{place.null_count:,} of {rows.num_rows:,} images"
        raise SettingsError(
            f"{layout.root}: {lacking} have no features, which this strategy compares: "
            f"{ADD_FEATURES}; or choose --strategy uncertain or rare"
        )
    values = matrix.astype(np.float32)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    values /= np.maximum(lengths, np.finfo(np.float32).tiny)
    return values
