"""Sources on S3, against moto's server."""

import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from maskmill.pipeline.runs.numbering import build_manifest
from maskmill.pipeline.sources.registry import list_source
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.errors import ErrorCode, ImageFailure, SettingsError
from tests.s3_servers import request, s3_server

KEYS = ("a.jpg", "sub/b c.png", "sub/deep/100%25 #1?.jpg", "ünï/e=f&g.jpg", "notes.txt", ".h/x.jpg")
PICTURES = sorted([key for key in KEYS if key.endswith(("jpg", "png")) and key[0] != "."])


@pytest.fixture(scope="module")
def options() -> Iterator[str]:
    """The options of a URI that lead to a fresh server with a bucket."""
    pytest.importorskip("moto.server")
    with s3_server("photos") as address, pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        yield f"?scheme=http&endpoint_override={address}&region=us-east-1"


@pytest.fixture(scope="module")
def bucket(options: str, jpeg: bytes) -> str:
    """A folder of pictures, without its options."""
    for key in KEYS:
        _put(options, key, jpeg + key.encode())
    return "s3://photos/all"


def test_a_folder(bucket: str, options: str, jpeg: bytes):
    listing = list_source(bucket + options)
    assert listing.kind == "folder"
    assert [entry.key for entry in listing.entries] == PICTURES
    assert listing.not_considered == {".txt": 1, "hidden": 1}
    for entry in listing.entries:
        assert entry.size == len(jpeg) + len(entry.key.encode())
        assert read_bytes(entry.uri) == jpeg + entry.key.encode()
    assert build_manifest(listing)[0].num_rows == len(PICTURES)


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        ("*.jpg", ["a.jpg"]),
        ("sub/**/*.*", ["b c.png", "deep/100%25 #1?.jpg"]),
        ("*/e*.jpg", ["ünï/e=f&g.jpg"]),
    ],
)
def test_a_glob(bucket: str, options: str, pattern: str, keys: list[str]):
    listing = list_source(f"{bucket}/{pattern}{options}")
    assert (listing.kind, [entry.key for entry in listing.entries]) == ("glob", keys)


def test_an_output_folder_inside(bucket: str, options: str):
    listing = list_source(bucket + options, exclude=(f"{bucket}/sub{options}",))
    assert [entry.key for entry in listing.entries] == ["a.jpg", "ünï/e=f&g.jpg"]
    with pytest.raises(SettingsError, match="both source and output"):
        list_source(bucket + options, exclude=(f"{bucket}/{options}",))


def test_one_file(bucket: str, options: str):
    (entry,) = list_source(f"{bucket}/sub/b%20c.png{options}").entries
    assert entry.key == "b c.png"
    assert read_bytes(entry.uri).endswith(b"sub/b c.png")


def test_lists(bucket: str, options: str, jpeg: bytes):
    images = [{"file_name": name} for name in ("sub/b c.png", "a.jpg")]
    for name, text in (
        ("x.txt", "a.jpg\nsub/b c.png\ngone.jpg\n"),
        ("x.json", json.dumps({"images": images})),
    ):
        _put(options, name, text.encode())
        listing = list_source(f"{bucket}/{name}{options}")
        found = [entry.key for entry in listing.entries if entry.key != "gone.jpg"]
        assert found == ["a.jpg", "sub/b c.png"]
        for entry in listing.entries:
            if entry.key == "gone.jpg":
                with pytest.raises(ImageFailure) as caught:
                    read_bytes(entry.uri)
                assert caught.value.code is ErrorCode.VANISHED
            else:
                assert read_bytes(entry.uri) == jpeg + entry.key.encode()


def _put(options: str, key: str, data: bytes) -> None:
    address = options.partition("endpoint_override=")[2].partition("&")[0]
    request(address, "PUT", f"/photos/all/{quote(key)}", data=data)


def test_nothing_there(bucket: str, options: str):
    with pytest.raises(SettingsError, match="does not exist"):
        list_source(f"{bucket}/nowhere{options}")
    with pytest.raises(ImageFailure) as caught:
        read_bytes(f"{bucket}/gone.jpg{options}")
    assert caught.value.code is ErrorCode.VANISHED


def test_a_server_that_refuses(monkeypatch):
    """An answer for the user, not a trace."""

    class Refusing:
        def get_file_info(self, path: str) -> None:
            raise OSError(f"AWS Error NETWORK_CONNECTION for {path}")

    resolver = "maskmill.pipeline.sources.registry.resolve"
    monkeypatch.setattr(resolver, lambda uri: (Refusing(), "photos"))
    with pytest.raises(SettingsError, match="cannot look at s3://photos: AWS Error NETWORK"):
        list_source("s3://photos")
