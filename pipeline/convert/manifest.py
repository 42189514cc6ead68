"""The manifest of a conversion, one row group per block: written and read block by block.

The driver holds the keys of the samples and nothing else of them; workers read their own block.
"""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import pyarrow as pa

from maskmill.pipeline.convert.splits import split_of
from maskmill.pipeline.datasets.item_spool import ItemSpool
from maskmill.pipeline.datasets.samples import SampleItem
from maskmill.pipeline.pictures.names import stem_of
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.manifest import (
    put_manifest_file,
    write_manifest,
)
from maskmill.pipeline.runs.output_names import refuse_collisions
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.tables.convert import CONVERSION_MANIFEST

BLOCK_SAMPLES = 64


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
    spool = items if isinstance(items, ItemSpool) else ItemSpool(items)
    refuse_keys(spool.keys)
    order = sorted(range(len(spool)), key=spool.keys.__getitem__)
    keys = [spool.keys[place] for place in order]
    outputs = output_stems(keys)
    refuse_collisions(keys, outputs)
    digest = hashlib.sha256()

    def blocks() -> Iterator[pa.Table]:
        for first in range(0, len(order), block_samples):
            rows = []
            for place in range(first, min(first + block_samples, len(order))):
                row = _row(spool[order[place]], place, outputs[place], shares or {}, seed)
                hashed = {name: row[name] for name in ("key", "split", "payload")}
                digest.update(json.dumps(hashed, sort_keys=True).encode())
                rows.append({**row, "block": first // block_samples})
            yield pa.Table.from_pylist(rows, schema=CONVERSION_MANIFEST)

    stream = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - lives as long as the plan
    write_manifest(stream, blocks(), CONVERSION_MANIFEST)
    whole, rest = divmod(len(order), block_samples)
    sizes = (block_samples,) * whole + ((rest,) if rest else ())
    return ManifestFile(stream, len(order), digest.hexdigest(), sizes)


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


def _is_safe(key: str) -> bool:
    parts = key.split("/")
    return (
        bool(key)
        and not key.startswith("/")
        and not {"", ".", ".."} & set(parts)
        and ("\0" not in key and "\\" not in key)
    )
