"""Shards: what a block writes for its images as one tar, put in place by one request.

Millions of small files are slow to make, to list and to pay for in a bucket. Members are named as
WebDataset does: ``key.mask.png`` and ``key.json`` beside it are one sample; a dot in the last part
of a key would end it there, so it is written as ``%2E``. A shard is named after its bytes: a block
done again the same way writes the same shard, done in another way a second one, and the rows say
which one holds an image.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa
from pyarrow import fs

from maskmill.pipeline.runs.layout import SHARDS, RunLayout, place_in_shard, shard_of
from maskmill.pipeline.storage.parts import Stretch

_NAME_DIGITS = 12


class Member(NamedTuple):
    """One file for a shard."""

    name: str
    data: bytes


def member_name(output: str, ending: str) -> str:
    """The member for an image with that ``output``; ``ending`` is as ``mask.png``."""
    folder, slash, base = output.rpartition("/")
    return f"{folder}{slash}{base.replace('.', '%2E')}.{ending}"


def write_shard(layout: RunLayout, block: int, members: Sequence[Member]) -> list[str]:
    """Put the members in place as one tar; where each of them is, relative to the run folder.

    The same members give the same bytes under the same name.
    """
    buffer, stretches = _tar(members)
    data = buffer.getbuffer()
    digest = hashlib.sha256(data).hexdigest()[:_NAME_DIGITS]
    shard = f"{SHARDS}/block-{block:07d}-{digest}.tar"
    layout.write(shard, data)
    return [place_in_shard(shard, stretch) for stretch in stretches]


def _tar(members: Sequence[Member]) -> tuple[io.BytesIO, list[Stretch]]:
    buffer = io.BytesIO()
    stretches = []
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members:
            entry = tarfile.TarInfo(name)  # no owner and no time: nothing but names and bytes
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
            padded = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            stretches.append(Stretch(tar.offset - padded, len(data), name))
    return buffer, stretches


def shards_of(rows: pa.Table) -> set[str]:
    """The shards that rows with the columns ``mask_path`` and ``files`` point into."""
    paths = rows["mask_path"].to_pylist()
    for files in rows["files"].to_pylist():
        paths += [file["path"] for file in files or ()]
    found = (shard_of(path) for path in paths if path)
    return {shard for shard in found if shard is not None}


def stray_shards(layout: RunLayout) -> list[str]:
    """Shards in the run folder that no committed row points into, relative to it."""
    names = _shard_names(layout)
    if not names:
        return []
    for rows in layout.committed_rows(["mask_path", "files"]):
        names -= shards_of(rows)
    return sorted(names)


def sweep_shards(layout: RunLayout) -> None:
    """Remove the shards of starts that were done again in another way."""
    for shard in stray_shards(layout):
        layout.delete(shard)


def _shard_names(layout: RunLayout) -> set[str]:
    selector = fs.FileSelector(layout.path(SHARDS), allow_not_found=True)
    found: Iterable[fs.FileInfo] = layout.filesystem.get_file_info(selector)
    return {f"{SHARDS}/{info.base_name}" for info in found if info.type == fs.FileType.File}
