"""Members of a tar in a bucket, many by one request."""

import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.sources.registry import list_source
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.pipeline.storage.forwards import SKIP_BYTES
from maskmill.pipeline.storage.parts import Stretch, parse_stretch, part_uri, read_part
from maskmill.pipeline.storage.readahead import GAP_BYTES, SPAN_BYTES, read_ahead
from maskmill.pipeline.storage.retries import RETRIES
from maskmill.schemas.errors import ErrorCode, FileFailure, SettingsError
from tests.s3_servers import FaultProxy


def tar_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def noise(count: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(count)


@pytest.fixture
def photos(place: str) -> tuple[str, dict[str, bytes]]:
    """A tar in the bucket, and what is in it."""
    members = {f"a b/{number:03}.jpg": noise(1000 + number, number) for number in range(100)}
    layout = RunLayout(place)
    layout.write("photos.tar", tar_of(members))
    return layout.uri("photos.tar"), members


@pytest.mark.parametrize("torn", [0, 3])
def test_a_large_tar_is_listed_by_one_sequential_read(place: str, proxy: FaultProxy, torn: int):
    """Kills: a request for each header; a tar read anew from its start when a connection breaks."""
    members = {f"{number:02}.jpg": noise(1 << 20, number) for number in range(12)}
    layout = RunLayout(place)
    layout.write("x.tar", tar_of(members))
    proxy.counts.clear()
    proxy.faults.torn, proxy.faults.only = torn, ("GET",)
    before = RETRIES.retries
    entries = list(list_source(layout.uri("x.tar")).entries)
    assert [(entry.key, entry.size) for entry in entries] == [(k, 1 << 20) for k in members]
    assert proxy.counts["GET"] == 1 + torn == 1 + RETRIES.retries - before
    assert read_bytes(entries[7].uri) == members["07.jpg"]


@pytest.mark.thorough
def test_a_member_that_is_too_large_to_be_read_along_is_passed_over(place: str, proxy: FaultProxy):
    layout = RunLayout(place)
    layout.write("x.tar", tar_of({"a.jpg": bytes(3 * SKIP_BYTES), "b.jpg": b"1", "c.jpg": b"23"}))
    proxy.counts.clear()
    sizes = [entry.size for entry in list_source(layout.uri("x.tar")).entries]
    assert sizes == [3 * SKIP_BYTES, 1, 2]
    assert proxy.counts["GET"] == 2


def test_a_tar_that_ends_too_early_is_called_broken(place: str):
    layout = RunLayout(place)
    layout.write("x.tar", tar_of({"a.jpg": noise(4000, 1), "b.jpg": noise(4000, 2)})[:3000])
    with pytest.raises(FileFailure, match=r"x\.tar"):
        list(list_source(layout.uri("x.tar")).entries)


def test_a_block_of_neighbours_is_one_request(photos, proxy: FaultProxy):
    source, members = photos
    entries = list(list_source(source).entries)
    assert [entry.key for entry in entries] == list(members)
    proxy.counts.clear()
    read = read_ahead(entry.uri for entry in entries)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda entry: read(entry.uri, None), entries))
    assert found == list(members.values())
    assert proxy.counts == {"GET": 1}


def test_what_lies_apart_or_is_read_again_is_fetched_by_itself(photos, proxy: FaultProxy):
    source, members = photos
    entries = list(list_source(source).entries)
    proxy.counts.clear()
    read = read_ahead([entries[3].uri])
    assert read(entries[3].uri, None) == read(entries[3].uri, None) == members["a b/003.jpg"]
    assert read(entries[9].uri, None) == members["a b/009.jpg"]  # not announced
    assert proxy.counts == {"GET": 3}


def test_spans_end_at_gaps_and_at_their_size(place: str, proxy: FaultProxy):
    layout = RunLayout(place)
    size = SPAN_BYTES // 3
    members = {name: noise(size, seed) for seed, name in enumerate(("a", "b", "c", "d"))}
    members |= {"e": noise(10, 5), "f": noise(GAP_BYTES + 1, 6), "g": noise(10, 7)}
    data = tar_of(members)
    layout.write("x.tar", data)
    uris = {
        name: part_uri(layout.uri("x.tar"), Stretch(data.index(content), len(content), name))
        for name, content in members.items()
    }
    proxy.counts.clear()
    wanted = [name for name in members if name != "f"]
    read = read_ahead(uris[name] for name in wanted)
    assert [read(uris[name], None) for name in wanted] == [members[name] for name in wanted]
    assert proxy.counts == {"GET": 3}  # a b, c d e, g


def test_what_cannot_be_had_fails_by_itself(photos, place: str):
    source, _ = photos
    entries = list(list_source(source).entries)
    with pytest.raises(FileFailure) as large:
        read_ahead([entries[0].uri])(entries[0].uri, 10)
    assert large.value.code == ErrorCode.UNSAFE_SIZE
    RunLayout(place).write("photos.tar", b"short")
    with pytest.raises(FileFailure):
        read_ahead(entry.uri for entry in entries)(entries[50].uri, None)


def test_local_files_are_read_as_ever(tmp_path: Path):
    (tmp_path / "a.bin").write_bytes(b"0123456789")
    uri = part_uri(str(tmp_path / "a.bin"), Stretch(2, 3, "x !/y"))
    assert read_bytes(uri) == read_ahead([uri])(uri, None) == b"234"
    with pytest.raises(FileFailure, match="has 1 of its 3 bytes"):
        read_part(part_uri(str(tmp_path / "a.bin"), Stretch(9, 3, "x")), None)
    with pytest.raises(SettingsError, match="OFFSET"):
        parse_stretch("2+x/y")
