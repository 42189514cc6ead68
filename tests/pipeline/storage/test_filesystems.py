"""Paths, URIs, and reading one file with every way it can fail."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import fs

from maskmill.pipeline.sources.registry import list_source
from maskmill.pipeline.storage.filesystems import (
    bucket_place,
    is_uri,
    join_uri,
    local_path,
    read_bytes,
    resolve,
)
from maskmill.schemas.errors import ErrorCode, ImageFailure, SettingsError

ODD_NAMES = ("a b", "100%", "a%20b", "x#1", "what?", "a=b&c", "ñ 日本", "c:d", "'\"", "new\nline")


def failure_of(uri: str, **options) -> ImageFailure:
    with pytest.raises(ImageFailure) as caught:
        read_bytes(uri, **options)
    assert uri in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_plain_path_is_never_a_uri(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(name.encode())
    filesystem, path = resolve(tmp_path / name)
    assert (type(filesystem), path) == (fs.LocalFileSystem, str(tmp_path / name))
    assert filesystem.get_file_info(path).is_file
    assert read_bytes(str(tmp_path / name)) == name.encode()
    assert read_bytes(join_uri(str(tmp_path), name)) == name.encode()
    assert read_bytes((tmp_path / name).as_uri()) == name.encode()


def test_relative_paths(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_bytes(b"1")
    assert resolve("sub/../x")[1] == str(tmp_path / "x")
    assert read_bytes("x") == b"1"


def test_loosely_written_file_uris(tmp_path: Path):
    (tmp_path / "a b#ü%").write_bytes(b"1")
    assert local_path(f"file://{tmp_path}/a b#ü%") == str(tmp_path / "a b#ü%")
    assert local_path(f"file://localhost{tmp_path}/x") == str(tmp_path / "x")
    with pytest.raises(SettingsError, match="three slashes"):
        local_path("file://tmp/x")


@given(st.text(min_size=1).filter(lambda name: not set(name) & set("/\0")))
@settings(max_examples=200)
def test_any_name_survives_a_uri(name: str):
    if name in (".", ".."):
        return
    joined = join_uri("/data", name)
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    assert local_path(joined) == f"/data/{name}"
    remote = join_uri("mock://bucket/some folder", name)
    assert resolve(remote)[1].endswith(f"some folder/{name}".strip("/"))


def test_bytes_that_are_not_utf8_survive_a_uri(tmp_path: Path):
    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / name).write_bytes(b"1")
    uri = join_uri(str(tmp_path), name)
    assert uri.startswith("file://") and uri.encode()
    assert read_bytes(uri) == b"1"


def test_options_of_a_uri_stay_at_its_end():
    assert join_uri("s3://b/p?region=eu", "x 1/y.jpg") == "s3://b/p/x%201/y.jpg?region=eu"
    filesystem, path = resolve("s3://bucket/a b/c%23.jpg?region=eu-central-1")
    assert path == "bucket/a b/c#.jpg"
    bucket, key = bucket_place(filesystem, path)
    assert (bucket.settings.region, key) == ("eu-central-1", "a b/c#.jpg")


@pytest.mark.parametrize("uri", ["ftp://host/x", "nonsense://x", "s3://b/x?no_such_option=1"])
def test_unknown_schemes_and_options(uri: str):
    with pytest.raises(SettingsError, match="s3://bucket/folder"):
        resolve(uri)


def test_what_is_a_uri():
    assert is_uri("s3://b/x") and is_uri("file:///x")
    for text in ("/a/b", "a://b"[1:], "C:/x", "x:y", "://", Path("s3://b")):
        assert not is_uri(text)


# --- failures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gone.jpg", "gone/x.jpg", "file/x.jpg"])
def test_vanished(tmp_path: Path, name: str):
    (tmp_path / "file").write_bytes(b"1")
    failure = failure_of(str(tmp_path / name))
    assert failure.code is ErrorCode.VANISHED


def test_permission_denied(tmp_path: Path):
    path = tmp_path / "x.jpg"
    path.write_bytes(b"1")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file (root); the next test simulates it")
    assert failure_of(str(path)).code is ErrorCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PermissionError(13, "Permission denied"), ErrorCode.PERMISSION_DENIED),
        (OSError(5, "Input/output error"), ErrorCode.UNREADABLE),
        (FileNotFoundError(2, "No such file or directory"), ErrorCode.VANISHED),
        (OSError("AWS Error ACCESS_DENIED during HeadObject"), ErrorCode.PERMISSION_DENIED),
        (OSError("AWS Error NETWORK_CONNECTION during GetObject"), ErrorCode.UNREADABLE),
        (MemoryError(), ErrorCode.OUT_OF_MEMORY),
    ],
)
def test_errors_of_the_system(monkeypatch, error: Exception, code: ErrorCode):
    def refuse(*_args):
        raise error

    monkeypatch.setattr("os.open", refuse)
    failure = failure_of("/data/x.jpg")
    assert failure.code is code
    assert ";" in str(failure) or code is ErrorCode.OUT_OF_MEMORY


def test_folders_pipes_and_link_loops_are_unreadable(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name in (".", "pipe", "loop"):
        assert failure_of(str(tmp_path / name)).code is ErrorCode.UNREADABLE


def test_the_limit(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"12345")
    assert read_bytes(str(tmp_path / "x"), limit=5) == b"12345"
    failure = failure_of(str(tmp_path / "x"), limit=4)
    assert failure.code is ErrorCode.UNSAFE_SIZE
    assert "5 bytes" in str(failure)


@pytest.mark.parametrize("name", ["a\0b", "/a\0b", "file:///a%00b", "s3://bucket/a%00b?region=x"])
def test_a_nul_is_one_sentence(name: str):
    with pytest.raises(SettingsError, match="no file has a NUL in its name"):
        resolve(name)
    with pytest.raises(SettingsError, match="no file has a NUL in its name"):
        list_source(name)
    with pytest.raises(ImageFailure, match="no file has a NUL in its name"):
        read_bytes(name)


def test_a_nul_in_a_name_of_a_percent_sign(tmp_path: Path):
    (tmp_path / "a%00b").write_bytes(b"1")
    assert read_bytes(str(tmp_path / "a%00b")) == b"1"


def test_remote_failures():
    """On a filesystem of pyarrow's own, in memory."""
    filesystem, path = resolve("mock://bucket/a b.jpg")
    with filesystem.open_output_stream(path) as stream:
        stream.write(b"12345")
    assert read_bytes("mock://bucket/a b.jpg") == b"12345"
    assert failure_of("mock://bucket/a b.jpg", limit=4).code is ErrorCode.UNSAFE_SIZE
    assert failure_of("mock://bucket/gone.jpg").code is ErrorCode.VANISHED
