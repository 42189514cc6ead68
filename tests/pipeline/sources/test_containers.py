"""Pictures inside zip, tar and Parquet files."""

import io
import tarfile
import threading
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskmill.pipeline.sources.registry import list_source
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.pipeline.storage.members import member_uri, split_member_uri
from maskmill.schemas.errors import ArchiveFailure, ErrorCode, ImageFailure, SettingsError

MEMBERS = ("a.jpg", "sub/b 1.png", "ünï/100%#?!.jpg", "sub/notes.txt", "__MACOSX/a.jpg", "x!/y.jpg")
PICTURES = ["a.jpg", "sub/b 1.png", "x!/y.jpg", "ünï/100%#?!.jpg"]


def contents(jpeg: bytes) -> dict[str, bytes]:
    """Every member differs, so that a wrong one is noticed."""
    return {name: jpeg + name.encode() for name in MEMBERS}


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


WRITERS = {"zip": write_zip, "tar": write_tar}


@pytest.mark.parametrize("kind", sorted(WRITERS))
@pytest.mark.parametrize("name", ["photos", "odd name! 50% #1?"])
def test_members_are_listed_and_read(tmp_path: Path, jpeg: bytes, kind: str, name: str):
    members = contents(jpeg)
    archive = WRITERS[kind](tmp_path / f"{name}.{kind}", members)
    listing = list_source(str(archive))
    assert listing.kind == kind
    assert [entry.key for entry in listing.entries] == PICTURES
    assert listing.not_considered == {".txt": 1, "hidden": 1}
    for entry in listing.entries:
        assert entry.size == len(members[entry.key])
        assert read_bytes(entry.uri) == members[entry.key]
        with pytest.raises(ImageFailure) as caught:
            read_bytes(entry.uri, limit=len(jpeg))
        assert caught.value.code is ErrorCode.UNSAFE_SIZE


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_a_glob_of_shards(tmp_path: Path, jpeg: bytes, kind: str):
    for shard in ("b/000001", "b/000000", "c/000000"):
        WRITERS[kind](
            tmp_path / f"{shard}.{kind}", {"x.jpg": jpeg + shard.encode(), "x.json": b"1"}
        )
    listing = list_source(str(tmp_path / "*" / f"*.{kind}"))
    assert (listing.kind, listing.root) == (kind, str(tmp_path))
    assert [entry.key for entry in listing.entries] == [
        "b/000000/x.jpg",
        "b/000001/x.jpg",
        "c/000000/x.jpg",
    ]
    for entry in listing.entries:
        assert read_bytes(entry.uri) == jpeg + entry.key.removesuffix("/x.jpg").encode()


@pytest.mark.parametrize("kind", sorted(WRITERS))
@pytest.mark.parametrize("name", ["../evil.jpg", "/etc/evil.jpg", "a/../../evil.jpg", "C:\\x.jpg"])
def test_paths_that_lead_out_refuse_the_archive(tmp_path: Path, jpeg: bytes, kind: str, name: str):
    archive = WRITERS[kind](tmp_path / f"x.{kind}", {"good.jpg": jpeg, name: jpeg})
    with pytest.raises(ArchiveFailure) as caught:
        list_source(str(archive))
    assert caught.value.code is ErrorCode.UNSAFE_PATH


def test_links_refuse_the_archive(tmp_path: Path, jpeg: bytes):
    archive = write_tar(tmp_path / "x.tar", {"good.jpg": jpeg})
    with tarfile.open(archive, "a") as tar:
        link = tarfile.TarInfo("passwd.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(ArchiveFailure) as caught:
        list_source(str(archive))
    assert caught.value.code is ErrorCode.UNSAFE_LINK


def test_a_zip_bomb_is_refused(tmp_path: Path):
    archive = tmp_path / "x.zip"
    with (
        zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bomb,
        bomb.open("bomb.jpg", "w") as stream,
    ):
        for _ in range(80):
            stream.write(bytes(2**20))
    with pytest.raises(ArchiveFailure) as caught:
        list_source(str(archive))
    assert caught.value.code is ErrorCode.UNSAFE_SIZE


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tgz"])
def test_compressed_tars_are_refused_with_the_remedy(tmp_path: Path, jpeg: bytes, name: str):
    write_tar(tmp_path / name, {"a.jpg": jpeg}, "w:gz")
    with pytest.raises(ArchiveFailure, match="unpack"):
        list_source(str(tmp_path / name))


def test_what_is_no_archive(tmp_path: Path):
    for kind in WRITERS:
        (tmp_path / f"x.{kind}").write_bytes(b"hello" * 300)
        with pytest.raises(ArchiveFailure):
            list_source(str(tmp_path / f"x.{kind}"))


def test_an_archive_that_goes_away_or_is_replaced(tmp_path: Path, jpeg: bytes):
    archive = write_zip(tmp_path / "x.zip", {"a.jpg": jpeg})
    (entry,) = list_source(str(archive)).entries
    assert read_bytes(entry.uri) == jpeg
    write_zip(archive, {"b.jpg": jpeg, "c.jpg": jpeg})
    with pytest.raises(ArchiveFailure) as replaced:
        read_bytes(entry.uri)
    archive.unlink()
    with pytest.raises(ImageFailure) as gone:
        read_bytes(entry.uri)
    assert replaced.value.code is gone.value.code is ErrorCode.VANISHED


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_threads_read_their_own_members(tmp_path: Path, jpeg: bytes, kind: str):
    members = {
        f"{number:03d}.jpg": jpeg * (1 + number % 5) + b"%d" % number for number in range(80)
    }
    entries = list(list_source(str(WRITERS[kind](tmp_path / f"x.{kind}", members))).entries)
    wrong: list[str] = []

    def work(start: int) -> None:
        for entry in entries[start::4] * 3:
            if read_bytes(entry.uri) != members[entry.key]:
                wrong.append(entry.key)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@given(st.text(min_size=1), st.text(min_size=1))
def test_member_uris_hold_any_names(container: str, inner: str):
    assert split_member_uri(member_uri("zip", container, inner)) == (container, inner)


# --- Parquet ------------------------------------------------------------------------------------


def write_parquet(path: Path, table: pa.Table, rows: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows)
    return path


def pictures(count: int, jpeg: bytes) -> list[bytes]:
    return [jpeg + b"%d" % number for number in range(count)]


@pytest.mark.parametrize("layout", ["binary", "large_binary", "struct"])
def test_rows_are_listed_and_read(tmp_path: Path, jpeg: bytes, layout: str):
    data = pictures(8, jpeg)
    if layout == "struct":  # as Hugging Face writes its Image feature
        column = pa.array([{"bytes": item, "path": "same.jpg"} for item in data])
    else:
        column = pa.array(data, pa.binary() if layout == "binary" else pa.large_binary())
    table = pa.table({"label": list(range(8)), "image": column, "thumbnail": pa.array(data)})
    listing = list_source(str(write_parquet(tmp_path / "odd name!.parquet", table)))
    assert listing.kind == "parquet"
    assert [entry.key for entry in listing.entries] == [f"{row:08d}" for row in range(8)]
    assert [read_bytes(entry.uri) for entry in listing.entries] == data
    with pytest.raises(ImageFailure) as caught:
        read_bytes(next(listing.entries).uri, limit=10)
    assert caught.value.code is ErrorCode.UNSAFE_SIZE


def test_a_glob_of_parquet_files(tmp_path: Path, jpeg: bytes):
    for name in ("train-1", "train-0"):
        write_parquet(tmp_path / f"{name}.parquet", pa.table({"jpg": [jpeg + name.encode()]}))
    listing = list_source(str(tmp_path / "*.parquet"))
    assert [entry.key for entry in listing.entries] == ["train-0/00000000", "train-1/00000000"]
    assert [read_bytes(e.uri) for e in listing.entries] == [jpeg + b"train-0", jpeg + b"train-1"]


def test_a_null_is_an_empty_file(tmp_path: Path, jpeg: bytes):
    table = pa.table({"image": pa.array([jpeg, None], pa.binary())})
    entries = list(list_source(str(write_parquet(tmp_path / "x.parquet", table))).entries)
    assert [read_bytes(entry.uri) for entry in entries] == [jpeg, b""]


@pytest.mark.parametrize(
    "columns", [{"name": ["a"]}, {"left": [b"a"], "right": [b"b"]}, {"image": [[1, 2]]}]
)
def test_parquet_without_one_column_of_pictures(tmp_path: Path, columns):
    with pytest.raises(SettingsError, match="name the one with pictures"):
        list_source(str(write_parquet(tmp_path / "x.parquet", pa.table(columns))))


def test_what_is_no_parquet(tmp_path: Path):
    (tmp_path / "x.parquet").write_bytes(b"hello" * 99)
    with pytest.raises(SettingsError, match="not a Parquet file"):
        list_source(str(tmp_path / "x.parquet"))
