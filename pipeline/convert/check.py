"""CheckMasks: each converted sample read back by the target's reader, held against the source."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from maskmill.pipeline.convert.conversion import ConversionPlan, opened_tree
from maskmill.pipeline.convert.decoders import PICTURES, confirm_picture
from maskmill.pipeline.convert.operator import mapped_sample
from maskmill.pipeline.datasets.item_spool import ItemSpool
from maskmill.pipeline.datasets.proof import compare
from maskmill.pipeline.datasets.registry import dataset_format
from maskmill.pipeline.datasets.samples import ReadContext, ReadOptions, Sample, SampleItem
from maskmill.pipeline.datasets.trees import open_tree
from maskmill.pipeline.pictures.names import stem_of
from maskmill.pipeline.runs.isolation import spread
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import row_group
from maskmill.schemas.errors import ErrorCode, FileFailure, SettingsError
from maskmill.schemas.labels import LabelMap
from maskmill.schemas.tables.blocks import TALLY
from maskmill.schemas.tables.convert import CHECK


def written_trees(folder: str) -> list[str]:
    """What a reader is pointed at: the archives of a written dataset, else its folder."""
    names = open_tree(folder).names()
    archives = [name for name in names if name.endswith(".zip") and "/" not in name]
    return [f"{folder}/{name}" for name in archives] or [folder]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadbackPart:
    """One tree of the written dataset: a folder, or one of its archives."""

    uri: str
    labels: LabelMap
    extras: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readback:
    """The written dataset as its reader sees it."""

    format: str
    parts: tuple[ReadbackPart, ...]
    images: str | None

    def read(self, text: str) -> Sample:
        """One sample by what :meth:`WrittenItems.find` gave for it."""
        number, key, payload = json.loads(text)
        part = self.parts[number]
        context = ReadContext(
            tree=opened_tree(part.uri),
            labels=part.labels,
            extras=part.extras,
            images=opened_tree(self.images) if self.images else None,
        )
        reader = dataset_format(self.format).load_checker()
        return reader.read(SampleItem(key=key, payload=payload), context)


class WrittenItems:
    """Where each sample is in the written dataset. Memory holds keys, a file the rest."""

    def __init__(self) -> None:
        self._spools: list[ItemSpool] = []
        self._places: dict[str, tuple[int, int]] = {}

    def add(self, items: Iterable[SampleItem]) -> None:
        """The items of the next part, by key and by key without extension."""
        spool = items if isinstance(items, ItemSpool) else ItemSpool(items)
        number = len(self._spools)
        self._spools.append(spool)
        keys = [item.key for item in spool]
        self._places |= {key: (number, place) for place, key in enumerate(keys)}
        for place, key in enumerate(keys):
            self._places.setdefault(stem_of(key), (number, place))

    def find(self, *names: str) -> str | None:
        """Part, key and payload of the first of the names that is there, as JSON."""
        found = next((self._places[name] for name in names if name in self._places), None)
        if found is None:
            return None
        number, place = found
        item = self._spools[number][place]
        return json.dumps([number, item.key, item.payload], ensure_ascii=False)


def open_readback(plan: ConversionPlan, folder: str) -> tuple[Readback, WrittenItems]:
    """Index what was written in ``folder``. Its own class names count, where it has any.

    Raises:
        FileFailure: the target's own reader cannot make sense of it.
    """
    name = plan.request.to_format
    images = None if plan.copies_images else plan.request.images
    pictures = open_tree(images) if images else None
    reader = dataset_format(name).load_checker()
    parts, items = [], WrittenItems()
    for uri in written_trees(folder):
        try:
            index = reader.index(open_tree(uri), ReadOptions(images=pictures))
        except SettingsError:  # the format does not name its classes
            options = ReadOptions(labels=plan.mapping.target, images=pictures)
            index = reader.index(open_tree(uri), options)
        items.add(index.items)
        parts.append(ReadbackPart(uri=uri, labels=index.labels, extras=index.extras))
    return Readback(format=name, parts=tuple(parts), images=images), items


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckMasks:
    """Compares the samples of a block and writes a table of schema CHECK for it.

    ``samples`` is the file with a row group per block: what a row of PENDING calls a block is the
    number of such a group.
    """

    layout: RunLayout
    plan: ConversionPlan
    readback: Readback
    folder: str
    samples: str

    def __call__(self, pending: pa.Table) -> pa.Table:
        """A table of schema PENDING in, one of schema TALLY out."""
        tables = []
        for group in pending["block"].to_pylist():
            (row,) = row_group(self.layout, self.samples, group)
            rows = list(spread(self._row, json.loads(row["samples"])))
            table = pa.Table.from_pylist(rows, schema=CHECK)
            self.layout.write_table(f"{self.folder}/block-{row['block']:07d}.parquet", table)
            tables.append(table)
        return pa.concat_tables(tables).select(TALLY.names).cast(TALLY)

    def _row(self, entry: dict[str, Any]) -> dict[str, Any]:
        row = {name: entry[name] for name in ("image_id", "key", "block")}
        if entry["written"] is None:
            code, message = ErrorCode.MISSING_PREDICTION, "is not in the written dataset"
            return {**row, "error_code": code.value, "error_message": f"{entry['key']} {message}"}
        try:
            found = compare(mapped_sample(self.plan, entry), self.readback.read(entry["written"]))
            confirmed = [self._confirm(path) for path in entry["files"]]
        except FileFailure as failure:
            return {**row, "error_code": failure.code.value, "error_message": str(failure)}
        return {
            **row,
            "pixels": found.pixels,
            "differing": found.differing,
            "ignore_lost": found.ignore_lost,
            "first": found.where,
            "checked_by": dataset_format(self.readback.format).checked_by
            + (", pictures by OpenCV" if any(confirmed) else ""),
        }

    def _confirm(self, path: str) -> bool:
        """Whether OpenCV sees the same pixels in a written picture.

        Raises:
            MaskFailure: it sees others.
        """
        if not path.lower().endswith(PICTURES):
            return False
        return confirm_picture(self.layout.read(path), path)
