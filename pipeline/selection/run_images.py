"""The ok images of a run, and what each looks like: from its features, else from its file."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.selection.feature_table import block_features, features_path
from maskmill.pipeline.selection.looks import look_at
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.tables.prelabel import METADATA
from maskmill.schemas.tables.selection import FEATURES, FINGERPRINTS

FOLDER: Final = "selection"
"""Where select and duplicates write, in the run folder."""

LOOKED_AT: Final = f"{FOLDER}/fingerprints.parquet"
"""Of files that were read because the run has no features: they are not read again."""

ADD_FEATURES: Final = (
    "give its prelabel command again with --write masks,features: only the features are added"
)
_COLUMNS = ["image_id", "key", "uri", "bytes", "sha256", "width", "height"]
_SEEN = ["pixels_sha256", "perceptual_hash", "tones"]
_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class RunImages:
    """``table`` has image_id and FINGERPRINTS' columns, in image_id order.

    ``features`` is (N, D), rows of zeros where an image has none; None where no image has one.
    """

    table: pa.Table
    features: npt.NDArray[np.float16] | None


def looked_at_images(layout: RunLayout, *, max_pixels: int, max_bytes: int) -> RunImages:
    """The ok images of a run; files of those without features are read, once and for all.

    Raises:
        SettingsError: the folder holds no run, or one without an ok image.
        RunFailed: a table of it that cannot be read.
    """
    rows = ok_rows(layout, _COLUMNS)
    features = all_features(layout)
    place = pc.index_in(rows["image_id"], features["image_id"].combine_chunks())
    unseen = rows.filter(pc.is_null(place))
    if unseen.num_rows:
        looked_at = _looked_at(layout, unseen, max_pixels=max_pixels, max_bytes=max_bytes)
        seen = pa.concat_tables([features.select(_SEEN), looked_at.select(_SEEN)])
        own = pc.add(pc.index_in(rows["key"], looked_at["key"].combine_chunks()), features.num_rows)
        columns = seen.combine_chunks().take(pc.coalesce(place, own))
    else:
        columns = features.select(_SEEN).take(place)
    table = rows
    for name in _SEEN:
        table = table.append_column(FINGERPRINTS.field(name), columns[name])
    return RunImages(table=table, features=feature_matrix(features, place))


def ok_rows(layout: RunLayout, columns: list[str]) -> pa.Table:
    """Columns of METADATA of the ok rows, in image_id order.

    Raises:
        SettingsError: the folder holds no run, or one without an ok image.
    """
    schema = pa.schema([METADATA.field(name) for name in columns])
    tables = [
        table.filter(pc.equal(table["status"], "ok")).select(columns).cast(schema)
        for table in layout.committed_rows([*columns, "status"])
    ]
    rows = pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()
    if not rows.num_rows:
        raise SettingsError(f"{layout.root} holds no labelled image: it is no run, or all failed")
    return rows


def all_features(layout: RunLayout) -> pa.Table:
    """FEATURES of every committed block that has them."""
    blocks = (block for block in layout.committed_blocks() if layout.exists(features_path(block)))
    tables = [FEATURES.empty_table(), *(block_features(layout, block) for block in blocks)]
    return pa.concat_tables(tables).combine_chunks()


def feature_matrix(features: pa.Table, place: pa.ChunkedArray) -> npt.NDArray[np.float16] | None:
    """(N, D) of the images whose rows in ``features`` are at ``place``; zeros for null."""
    if not features.num_rows:
        return None
    lists = features["feature"].combine_chunks()
    values = lists.flatten().to_numpy(zero_copy_only=False).reshape(len(lists), -1)
    at = place.fill_null(-1).to_numpy()
    matrix: npt.NDArray[np.float16] = values[at]
    matrix[at < 0] = 0
    return matrix


def _looked_at(layout: RunLayout, unseen: pa.Table, **limits: Any) -> pa.Table:
    """FINGERPRINTS of files, those of an earlier time as long as the file's hash is the same."""
    known = FINGERPRINTS.empty_table()
    if layout.exists(LOOKED_AT):
        remedy = "delete it: the pictures are looked at anew"
        known = layout.read_table(LOOKED_AT, remedy=remedy).cast(FINGERPRINTS)
    same = pc.is_in(known["sha256"], unseen["sha256"].combine_chunks())
    known = known.filter(pc.and_(same, pc.is_in(known["key"], unseen["key"].combine_chunks())))
    left = unseen.filter(pc.invert(pc.is_in(unseen["key"], known["key"].combine_chunks())))
    if left.num_rows:
        known = pa.concat_tables([known, look_at(_dicts(left), **limits)]).combine_chunks()
        layout.write_table(LOOKED_AT, known)
    return known


def _dicts(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=_AT_ONCE):
        yield from batch.to_pylist()
