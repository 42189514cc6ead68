"""Groups of images of a run that are alike: DUPLICATES, and a list of those one can do without."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.selection.alike import Copy, Looks, find_copies, similarities
from maskmill.pipeline.selection.image_list import write_list
from maskmill.pipeline.selection.looks import keeping_order, looks_of
from maskmill.pipeline.selection.run_images import FOLDER, RunImages
from maskmill.schemas.tables.selection import DUPLICATES

TABLE: Final = f"{FOLDER}/duplicates.parquet"
LIST: Final = f"{FOLDER}/duplicates.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """``table`` has DUPLICATES' columns; ``images`` is how many were compared."""

    table: pa.Table
    images: int
    with_features: bool

    def counts(self) -> dict[str, int]:
        """Groups, and images in them by kind."""
        kinds = self.table["kind"].to_pylist()
        return {
            "groups": kinds.count("kept"),
            **{kind: kinds.count(kind) for kind in ("exact", "pixels", "near")},
        }


def find_duplicates(images: RunImages, *, threshold: int) -> Duplicates:
    """Every image of a run that is alike to another; the one to keep is the first of its group.

    Kept is the one of most pixels, then of most bytes, then the first by key.
    """
    order = keeping_order(images.table)
    table = images.table.take(pa.array(order))
    features = None if images.features is None else images.features[order]
    looks = looks_of(table, features)
    copies = find_copies(looks, threshold=threshold)
    return Duplicates(
        table=_grouped(table, looks, copies),
        images=len(looks),
        with_features=features is not None and bool(features.any(axis=1).all()),
    )


def write_duplicates(layout: RunLayout, found: Duplicates) -> dict[str, str]:
    """The table, and the list of the images that are not the first of their group; their paths."""
    layout.write_table(TABLE, found.table)
    extra = [row for row in found.table.to_pylist() if row["kind"] != "kept"]
    write_list(layout, LIST, extra)
    return {"table": layout.path(TABLE), "list": layout.path(LIST)}


def _grouped(table: pa.Table, looks: Looks, copies: list[Copy]) -> pa.Table:
    groups: dict[int, list[Copy]] = {}
    for copy in copies:
        groups.setdefault(copy.of, []).append(copy)
    named = table.select(["image_id", "key", "uri"])
    members = {place for copy in copies for place in (copy.place, copy.of)}
    places = sorted(members)
    rows_of = dict(zip(places, named.take(pa.array(places, pa.int64())).to_pylist(), strict=True))
    cosines = _cosines(looks, copies)
    order = sorted(groups, key=lambda of: rows_of[of]["key"])
    rows: list[dict[str, Any]] = []
    for number, of in enumerate(order, 1):
        kept = rows_of[of]
        shared = {"group": number, "of": kept["key"]}
        rows.append({**kept, **shared, "kind": "kept", "distance": None, "similarity": None})
        rows += [
            {**rows_of[copy.place], **shared, "kind": copy.kind, "distance": copy.distance,
             "similarity": cosines.get(copy.place)}
            for copy in sorted(groups[of], key=lambda copy: str(rows_of[copy.place]["key"]))
        ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=DUPLICATES)


def _cosines(looks: Looks, copies: list[Copy]) -> dict[int, float]:
    """The cosine of each copy's feature and that of the kept image, where both are known."""
    first = np.array([copy.place for copy in copies], np.int64)
    second = np.array([copy.of for copy in copies], np.int64)
    found = similarities(looks, first, second)
    if found is None:
        return {}
    pairs = zip(first.tolist(), found.tolist(), strict=True)
    return {place: cosine for place, cosine in pairs if cosine == cosine}
