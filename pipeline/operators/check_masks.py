"""CheckMasks: each converted sample read back by the target's reader, held against the source."""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from pipeline.conversion import ConversionPlan
from pipeline.datasets.proof import compare
from pipeline.datasets.registry import dataset_format
from pipeline.datasets.samples import ReadContext, ReadOptions, Sample, SampleItem, stem_of
from pipeline.datasets.trees import FileTree, open_tree
from pipeline.layout import RunLayout
from pipeline.operators.convert_masks import mapped_sample
from schemas.batches import TALLY
from schemas.conversion_rows import CHECK
from schemas.errors import ErrorCode, FileFailure, SettingsError
from schemas.labels import LabelMap


def written_trees(folder: str) -> list[str]:
    """What a reader is pointed at: the archives of a written dataset, else its folder."""
    names = open_tree(folder).names()
    archives = [name for name in names if name.endswith(".zip") and "/" not in name]
    return [f"{folder}/{name}" for name in archives] or [folder]


@dataclass(frozen=True, kw_only=True)
class Readback:
    """The written dataset as its reader sees it: one entry per part (a folder, or each archive)."""

    format: str
    parts: tuple["ReadbackPart", ...]
    images: str | None

    @classmethod
    def open(cls, plan: ConversionPlan, folder: str) -> "Readback":
        """Index what was written in ``folder``.

        Raises:
            FileFailure: the target's own reader cannot make sense of it.
        """
        name = plan.request.to_format
        uris = written_trees(folder)
        images = None if plan.copies_images else plan.request.images
        parts = tuple(ReadbackPart.open(name, uri, plan.mapping.target, images) for uri in uris)
        return cls(format=name, parts=parts, images=images)

    def payloads(self) -> dict[str, str]:
        """Part number and item by key, by key without extension, as JSON."""
        found: dict[str, str] = {}
        for number, part in enumerate(self.parts):
            for item in part.items:
                text = json.dumps([number, item.key, item.payload], ensure_ascii=False)
                found[item.key] = text
                found.setdefault(stem_of(item.key), text)
        return found

    def read(self, text: str) -> Sample:
        """One sample by what :meth:`payloads` gave for it."""
        number, key, payload = json.loads(text)
        part = self.parts[number]
        context = ReadContext(
            tree=_opened(part.uri),
            labels=part.labels,
            extras=part.extras,
            images=_opened(self.images) if self.images else None,
        )
        reader = dataset_format(self.format).load_reader()
        return reader.read(SampleItem(key=key, payload=payload), context)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state["parts"] = tuple(part.without_items() for part in self.parts)
        return state


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadbackPart:
    """One tree of the written dataset."""

    uri: str
    labels: LabelMap
    extras: dict[str, Any]
    items: tuple[SampleItem, ...]

    @classmethod
    def open(cls, name: str, uri: str, labels: LabelMap, images: str | None) -> "ReadbackPart":
        """Index one tree. Its own class names count; ``labels`` only where it has none."""
        reader = dataset_format(name).load_reader()
        pictures = open_tree(images) if images else None
        try:
            index = reader.index(open_tree(uri), ReadOptions(images=pictures))
        except SettingsError:  # the format does not name its classes
            index = reader.index(open_tree(uri), ReadOptions(labels=labels, images=pictures))
        return cls(uri=uri, labels=index.labels, extras=index.extras, items=tuple(index.items))

    def without_items(self) -> "ReadbackPart":
        """The part as it travels to workers."""
        return ReadbackPart(uri=self.uri, labels=self.labels, extras=self.extras, items=())


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckMasks:
    """Compares the samples of a block and writes a table of schema CHECK for it."""

    layout: RunLayout
    plan: ConversionPlan
    readback: Readback
    folder: str
    work: str

    def __call__(self, work: pa.Table) -> pa.Table:
        """A table of blocks in, one of schema TALLY out."""
        tables = []
        for row in work.to_pylist():
            rows = [self._row(sample) for sample in json.loads(row["samples"])]
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
        except FileFailure as failure:
            return {**row, "error_code": failure.code.value, "error_message": str(failure)}
        return {
            **row,
            "pixels": found.pixels,
            "differing": found.differing,
            "ignore_lost": found.ignore_lost,
            "first": found.where,
        }


@lru_cache(maxsize=4)
def _opened(uri: str) -> FileTree:
    return open_tree(uri)
