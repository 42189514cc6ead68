"""The manifest of a conversion, one row group per block: written and read block by block.

The samples are sorted on disk, and stream by; workers read their own block.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, cast

import pyarrow as pa

from maskmill.pipeline.convert.splits import split_of
from maskmill.pipeline.datasets.item_spool import NAMES, ItemSpool
from maskmill.pipeline.datasets.samples import SampleItem
from maskmill.pipeline.pictures.names import stem_of
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import put_manifest_file, write_manifest
from maskmill.pipeline.runs.output_names import NamedRows, check_outputs
from maskmill.pipeline.storage.sorted_table import SortedTable, row_tables
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.tables.convert import CONVERSION_MANIFEST

BLOCK_SAMPLES = 64
_ITEMS = pa.schema([*NAMES, ("payload", pa.string())])


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A manifest not yet in its run: its bytes on local disk, its length, and a digest of it."""

    stream: BinaryIO
    samples: int
    sha256: str
    sizes: tuple[int, ...]  # samples of each block

    def put(self, layout: RunLayout) -> None:
        """Into the run folder."""
        put_manifest_file(layout, self.stream)


def manifest_file(
    items: Iterable[SampleItem],
    *,
    shares: Mapping[str, float] | None = None,
    seed: int = 0,
    block_samples: int = BLOCK_SAMPLES,
) -> ManifestFile:
    """CONVERSION_MANIFEST of a dataset's items in key order: ids, outputs, splits, blocks.

    Raises:
        SettingsError: no sample, two of one key, a key that leaves its folder, or two outputs
            that would be one file.
        FileFailure: the source turns out not to follow its format.
    """
    rows = SortedTable(_tables(items, shares or {}, seed), _ITEMS, by="key")
    _refuse_sorted(rows)
    named = NamedRows(rows, stem_of)
    check_outputs(named)
    digest = hashlib.sha256()

    def blocks() -> Iterator[pa.Table]:
        numbered = enumerate(row for table in named for row in table.to_pylist())
        while block := list(islice(numbered, block_samples)):
            for _, row in block:
                hashed = {name: row[name] for name in ("key", "split", "payload")}
                digest.update(json.dumps(hashed, sort_keys=True).encode())
            numbers = ({"image_id": at + 1, "block": at // block_samples} for at, _ in block)
            filled = [{**row, **more} for (_, row), more in zip(block, numbers, strict=True)]
            yield pa.Table.from_pylist(filled, schema=CONVERSION_MANIFEST)

    stream = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - lives as long as the plan
    write_manifest(stream, blocks(), CONVERSION_MANIFEST)
    whole, rest = divmod(rows.num_rows, block_samples)
    sizes = (block_samples,) * whole + ((rest,) if rest else ())
    return ManifestFile(stream, rows.num_rows, digest.hexdigest(), sizes)


def _tables(
    items: Iterable[SampleItem], shares: Mapping[str, float], seed: int
) -> Iterator[pa.Table]:
    rows = (
        (
            item.key,
            item.split or (split_of(item.key, shares, seed) if shares else ""),
            json.dumps(item.payload, ensure_ascii=False),
        )
        for item in items
    )
    return row_tables(rows, _ITEMS)


def refuse_keys(spool: ItemSpool) -> None:
    """Stop at keys that cannot be.

    Raises:
        SettingsError: none, one twice, or one that leaves its folder.
    """
    _refuse_sorted(SortedTable(spool.names(), NAMES, by="key"))


def _refuse_sorted(rows: SortedTable) -> None:
    if not rows.num_rows:
        raise SettingsError("the source holds no sample; check --from and the path")
    repeated = next((table["key"][0].as_py() for table in rows.alike() if table.num_rows), None)
    if repeated is not None:
        raise SettingsError(f"the source has two samples of the key {repeated!r}")
    keys = (key for table in rows for key in table["key"].to_pylist())
    unsafe = next((key for key in keys if not _is_safe(key)), None)
    if unsafe is not None:
        raise SettingsError(f"the source names a picture {unsafe!r}, which leaves its folder")


def _is_safe(key: str) -> bool:
    parts = key.split("/")
    return (
        bool(key)
        and not key.startswith("/")
        and not {"", ".", ".."} & set(parts)
        and ("\0" not in key and "\\" not in key)
    )
