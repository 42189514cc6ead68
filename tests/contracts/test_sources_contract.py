"""Every kind of source keeps the same promises."""

import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.pipeline.pictures.decoding import decode_image
from maskmill.pipeline.runs.numbering import build_manifest
from maskmill.pipeline.sources.frame_choice import FrameChoice
from maskmill.pipeline.sources.registry import (
    GLOBBED_KINDS,
    KIND_OF_EXTENSION,
    SOURCES,
    list_source,
)
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.errors import MaskmillError, SettingsError
from tests.sick_images import write_small_pictures
from tests.video_clips import constant_rate

DOCS = Path(__file__).resolve().parents[2] / "docs" / "sources.md"


def _zip(folder: Path, keys: list[str]) -> Path:
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        for key in keys:
            archive.write(folder / key, key)
    return folder / "x.zip"


def _tar(folder: Path, keys: list[str]) -> Path:
    with tarfile.open(folder / "x.tar", "w") as archive:
        for key in keys:
            archive.add(folder / key, key)
    return folder / "x.tar"


def _written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _coco(folder: Path, keys: list[str]) -> Path:
    images = [{"id": number, "file_name": key} for number, key in enumerate(keys, 1)]
    return _written(folder / "x.json", json.dumps({"images": images}))


def _voc(folder: Path, keys: list[str]) -> Path:
    ids = [Path(key).stem for key in keys if key.endswith(".jpg")]
    images = folder / "JPEGImages"
    images.mkdir()
    for key in keys:
        if key.endswith(".jpg"):
            (images / Path(key).name).write_bytes((folder / key).read_bytes())
    return _written(folder / "ImageSets" / "Segmentation" / "val.txt", "\n".join(ids))


def _parquet(folder: Path, keys: list[str]) -> Path:
    table = pa.table({"image": [(folder / key).read_bytes() for key in keys]})
    pq.write_table(table, folder / "x.parquet", row_group_size=4)
    return folder / "x.parquet"


SAMPLES: dict[str, Callable[[Path, list[str]], Path]] = {
    "folder": lambda folder, keys: folder,
    "glob": lambda folder, keys: folder / "**" / "*.*",
    "file": lambda folder, keys: folder / keys[0],
    "list": lambda folder, keys: _written(folder / "x.txt", "\n".join(reversed(keys))),
    "coco": _coco,
    "voc": _voc,
    "zip": _zip,
    "tar": _tar,
    "parquet": _parquet,
    "video": lambda folder, keys: constant_rate(folder),
}
ALL = FrameChoice()


@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_every_kind_lists_pictures_that_can_be_read(tmp_path: Path, kind: str):
    keys = write_small_pictures(tmp_path, 9, seed=3)
    before = set(tmp_path.rglob("*"))
    source = str(SAMPLES[kind](tmp_path, keys))
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    listing = list_source(source, frames=ALL)
    assert listing.kind == kind
    found = [entry.key for entry in listing.entries]
    assert found == sorted(found) and len(set(found)) == len(found) == len(listing) > 0
    for entry in listing.entries:
        data = read_bytes(entry.uri)
        assert kind == "video" or entry.size in (len(data), None)  # a frame's size is encoded
        assert decode_image(data, name=entry.key).pixels.shape[2] == 3
    manifest, _ = build_manifest(listing)
    again, _ = build_manifest(list_source(source, frames=ALL))
    assert list(manifest.tables()) == list(again.tables()) and manifest.sha256 == again.sha256
    # Nothing is written into a source.
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == made
    assert before <= set(made)


@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_every_kind_refuses_in_a_sentence(tmp_path: Path, kind: str):
    for source in (tmp_path / "nowhere", tmp_path, _written(tmp_path / "x.bin", "hello")):
        if (kind, source.name) == ("file", "x.bin"):
            continue  # one file is taken whatever it holds; decoding it will fail
        try:
            listing = list_source(str(source), kind=kind, frames=ALL)
        except MaskmillError as error:
            assert str(source) in str(error)
            continue
        assert kind == "list", "only a list takes names on trust"
        assert len(listing) == 1


def test_the_tables_of_kinds_agree():
    assert set(KIND_OF_EXTENSION.values()) <= set(SOURCES)
    assert set(GLOBBED_KINDS) <= set(SOURCES)
    with pytest.raises(SettingsError):
        list_source("x", kind="nonsense")


@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_every_kind_is_documented(kind: str):
    assert f"| `{kind}` |" in DOCS.read_text(encoding="utf-8")
