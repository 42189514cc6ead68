"""The manifest of a conversion, one row group per block: written and read block by block.

The driver holds the keys of the samples and nothing else of them; workers read their own block.
"""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from maskmill.pipeline.convert.splits import split_of
from maskmill.pipeline.datasets.item_spool import ItemSpool
from maskmill.pipeline.datasets.samples import SampleItem, stem_of
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import refuse_collisions
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.tables.convert import CONVERSION_MANIFEST, CONVERSION_WORK

BLOCK_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A manifest not yet in its run: its bytes on local disk, its length, and a digest of it."""

    stream: BinaryIO
    samples: int
    sha256: str

    def put(self, layout: RunLayout) -> None:
        """Into the run folder."""
        self.stream.seek(0)
        layout.filesystem.create_dir(layout.path(layout.manifest).rpartition("/")[0])
        layout.write_stream(layout.manifest, self.stream)


@contextmanager
def manifest_file(
    items: Iterable[SampleItem],
    *,
    shares: Mapping[str, float] | None = None,
    seed: int = 0,
    block_samples: int = BLOCK_SAMPLES,
) -> Iterator[ManifestFile]:
    """CONVERSION_MANIFEST of a dataset's items in key order: ids, outputs, splits, blocks.

    Raises:
        SettingsError: no sample, two of one key, a key that leaves its folder, or two outputs
            that would be one file.
        FileFailure: the source turns out not to follow its format.
    """
    spool = items if isinstance(items, ItemSpool) else ItemSpool(items)
    refuse_keys(spool.keys)
    order = sorted(range(len(spool)), key=spool.keys.__getitem__)
    keys = [spool.keys[place] for place in order]
    outputs = output_stems(keys)
    refuse_collisions(keys, outputs)
    digest = hashlib.sha256()
    with tempfile.TemporaryFile() as stream:
        with pq.ParquetWriter(stream, CONVERSION_MANIFEST, compression="zstd") as writer:
            for first in range(0, len(order), block_samples):
                rows = []
                for place in range(first, min(first + block_samples, len(order))):
                    row = _row(spool[order[place]], place, outputs[place], shares or {}, seed)
                    hashed = {name: row[name] for name in ("key", "split", "payload")}
                    digest.update(json.dumps(hashed, sort_keys=True).encode())
                    rows.append({**row, "block": first // block_samples})
                writer.write_table(pa.Table.from_pylist(rows, schema=CONVERSION_MANIFEST))
        yield ManifestFile(cast(BinaryIO, stream), len(order), digest.hexdigest())


def _row(
    item: SampleItem, place: int, output: str, shares: Mapping[str, float], seed: int
) -> dict[str, Any]:
    return {
        "image_id": place + 1,
        "key": item.key,
        "output": output,
        "split": item.split or (split_of(item.key, shares, seed) if shares else ""),
        "payload": json.dumps(item.payload, ensure_ascii=False),
    }


def refuse_keys(keys: Sequence[str]) -> None:
    """Stop at keys that cannot be.

    Raises:
        SettingsError: none, one twice, or one that leaves its folder.
    """
    if not keys:
        raise SettingsError("the source holds no sample; check --from and the path")
    if len(set(keys)) < len(keys):
        repeated = next(key for key, count in Counter(keys).items() if count > 1)
        raise SettingsError(f"the source has two samples of the key {repeated!r}")
    unsafe = next((key for key in keys if not _is_safe(key)), None)
    if unsafe is not None:
        raise SettingsError(f"the source names a picture {unsafe!r}, which leaves its folder")


def output_stems(keys: Sequence[str]) -> list[str]:
    """Keys without picture extension; with it for all that would collide."""
    stems = [stem_of(key) for key in keys]
    members = Counter(stems)
    return [stem if members[stem] == 1 else key for key, stem in zip(keys, stems, strict=True)]


def block_rows(layout: RunLayout, relative: str, group: int) -> list[dict[str, Any]]:
    """One row group of a Parquet file of the run, as dicts."""
    path = layout.path(relative)
    info = layout.filesystem.get_file_info(path)
    file = _opened(layout, path, info.mtime_ns, info.size)
    rows: list[dict[str, Any]] = file.read_row_group(group).to_pylist()
    return rows


def pending_blocks(layout: RunLayout, *, retry_failed: bool) -> pa.Table:
    """CONVERSION_WORK: blocks without rows and, if asked for, failed samples of the others."""
    sizes = block_sizes(layout)
    committed = set(layout.committed_blocks())
    rows: list[dict[str, Any]] = [
        {"block": block, "samples": size, "image_ids": None}
        for block, size in enumerate(sizes)
        if block not in committed
    ]
    if retry_failed:
        rows += [
            {"block": block, "samples": len(ids), "image_ids": ids}
            for block, ids in _failed(layout).items()
        ]
        rows.sort(key=lambda row: int(row["block"]))
    return pa.Table.from_pylist(rows, schema=CONVERSION_WORK)


def _failed(layout: RunLayout) -> dict[int, list[int]]:
    """Ids of the failed samples, by block."""
    found: dict[int, list[int]] = {}
    for table in layout.committed_rows(["image_id", "block", "status"]):
        for row in table.filter(pc.equal(table["status"], "failed")).to_pylist():
            found.setdefault(row["block"], []).append(row["image_id"])
    return found


def block_sizes(layout: RunLayout) -> list[int]:
    """Samples of each block of the manifest, from its footer."""
    with layout.filesystem.open_input_file(layout.path(layout.manifest)) as stream:
        footer = pq.ParquetFile(stream).metadata
        return [footer.row_group(block).num_rows for block in range(footer.num_row_groups)]


@lru_cache(maxsize=2)
def _opened(layout: RunLayout, path: str, mtime_ns: int, size: int) -> pq.ParquetFile:
    """A file once per process, as long as it is the same one: large footers take time."""
    return pq.ParquetFile(layout.filesystem.open_input_file(path))


def _is_safe(key: str) -> bool:
    parts = key.split("/")
    return (
        bool(key)
        and not key.startswith("/")
        and not {"", ".", ".."} & set(parts)
        and ("\0" not in key and "\\" not in key)
    )
