"""The side table of features: what each image of a run looks like to people and to the network.

One Parquet file per block, ``features/block-0000017.parquet``, put in place whole before the
block's rows are committed. A row of METADATA that has the name ``features`` among its ``files`` has
a row here, and carries its hash.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from maskmill.pipeline.pictures.fingerprints import PictureFingerprint
from maskmill.pipeline.runs.layout import BLOCK_NAME, RunLayout
from maskmill.schemas.arrays import FeatureVector
from maskmill.schemas.tables.selection import FEATURES

NAME: Final = "features"
"""What --write and the rows call it."""

FOLDER: Final = "features"

_LEAST = float(np.finfo(np.float64).tiny)


def features_path(block: int) -> str:
    """The file of one block, relative to the run folder."""
    return f"{FOLDER}/{BLOCK_NAME.format(block)}"


def mean_feature(views: Sequence[npt.NDArray[np.float32]]) -> FeatureVector:
    """The mean of what a picture's views gave, at length 1: float16 holds it whatever its scale.

    Zeros where all of it is 0.
    """
    mean = np.mean(np.stack(views), axis=0, dtype=np.float64)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), _LEAST), np.float16)


def feature_row(
    image_id: int, seen: PictureFingerprint | None, feature: FeatureVector | None
) -> dict[str, Any]:
    """One row of FEATURES."""
    if seen is None or feature is None:
        raise ValueError(f"image {image_id} was predicted without being looked at")
    return {
        "image_id": image_id,
        "pixels_sha256": seen.pixels_sha256,
        "perceptual_hash": seen.perceptual_hash,
        "tones": seen.tones,
        "feature": feature,
    }


def row_sha256(row: Mapping[str, Any]) -> str:
    """Hash of what a row of FEATURES says of its image."""
    digest = hashlib.sha256(np.asarray(row["feature"], np.float16).tobytes())
    said = (row["pixels_sha256"], row["perceptual_hash"], row["tones"].hex())
    digest.update("\0".join(map(str, said)).encode())
    return digest.hexdigest()


def put_features(
    layout: RunLayout, block: int, done: Collection[int], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Put the rows of a block in place; of images not ``done`` now, those that are there stay."""
    in_order = sorted(rows, key=lambda row: int(row["image_id"]))  # threads made them
    table = pa.Table.from_pylist(in_order, schema=FEATURES)
    if layout.exists(features_path(block)):
        old = block_features(layout, block)
        again = pc.is_in(old["image_id"], pa.array(sorted(done), pa.int64()))
        table = pa.concat_tables([old.filter(pc.invert(again)), table]).sort_by("image_id")
    layout.write_table(features_path(block), table)


def block_features(layout: RunLayout, block: int, columns: list[str] | None = None) -> pa.Table:
    """The rows of one block, in image_id order.

    Raises:
        FileNotFoundError: the block has no such file.
        RunFailed: a file that is not readable Parquet.
    """
    remedy = "delete it, and the block's file in metadata/, and run the same prelabel again"
    found = layout.read_table(features_path(block), columns, remedy=remedy)
    wanted = FEATURES if columns is None else pa.schema([FEATURES.field(name) for name in columns])
    return found.cast(wanted)


def feature_problems(
    layout: RunLayout, block: int, rows: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """What is wrong with a block's features, held against its rows of METADATA."""
    said = {
        row["image_id"]: (row["key"], file["sha256"])
        for row in rows
        for file in row["files"] or ()
        if row["status"] == "ok" and file["name"] == NAME
    }
    path = features_path(block)
    if not layout.exists(path):
        if said:
            yield f"{path} is missing"
        return
    found = {row["image_id"]: row_sha256(row) for row in block_features(layout, block).to_pylist()}
    for number, (key, digest) in said.items():
        if found.pop(number, None) != digest:
            yield f"{key}: its row in {path} is missing or not what was written"
    if found:
        yield f"{path} has {len(found)} rows that belong to no row of the run"
