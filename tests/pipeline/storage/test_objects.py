"""Files on S3 through the run folder and pyarrow: what is sent, and what is ridden out."""

import io
import os
import pickle
import re
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.storage.filesystems import join_uri, read_bytes, resolve
from maskmill.pipeline.storage.objects import PIECE_BYTES
from maskmill.pipeline.storage.retries import RETRIES, RetryTally
from maskmill.schemas.errors import ErrorCode, ImageFailure, SettingsError
from tests.s3_servers import FaultProxy, free_port, request


@pytest.fixture
def layout(place: str) -> RunLayout:
    return RunLayout(place)


def test_a_small_file_is_one_request_each_way(layout, proxy: FaultProxy):
    layout.write("masks/ü #1?.png", b"mask")
    assert proxy.counts == {"PUT": 1}
    assert layout.read("masks/ü #1?.png") == b"mask"
    layout.write_stream("a.json", io.BytesIO(b"{}"))
    layout.write_table("t.parquet", pa.table({"x": [1, 2]}))
    assert proxy.counts == {"PUT": 3, "GET": 1}
    assert layout.read_table("t.parquet")["x"].to_pylist() == [1, 2]
    assert read_bytes(join_uri(layout.root, "a.json")) == b"{}"
    assert proxy.counts["GET"] == 3 and proxy.counts["PUT"] == 3


def test_what_is_written_is_there_as_bytes_for_others(layout, bucket: str, server: str):
    """Read with AWS's own client: no framing of an upload stays in the object."""
    from botocore.session import Session

    client = Session().create_client("s3", endpoint_url=f"http://{server}", region_name="us-east-1")
    for key, data in (("empty", b""), ("some.json", b'{"a": 1}')):
        layout.write(key, data)
        answer = client.get_object(Bucket=bucket, Key=f"out put/{key}")
        assert answer["Body"].read() == data


def test_large_files_go_up_in_pieces_and_are_read_in_parts(layout, proxy: FaultProxy):
    data = os.urandom(2 * PIECE_BYTES + 5)
    layout.write("big", data)
    assert proxy.counts == {"POST": 2, "PUT": 3}  # begin, three pieces, end
    layout.write_stream("big too", io.BytesIO(data))
    assert layout.read("big") == layout.read("big too") == data
    with layout.filesystem.open_input_file(layout.path("big")) as stream:
        assert stream.size() == len(data)
        stream.seek(PIECE_BYTES - 3)
        assert stream.read(9) == data[PIECE_BYTES - 3 : PIECE_BYTES + 6]
    assert read_bytes(join_uri(layout.root, "big"), limit=len(data)) == data
    before = proxy.counts["GET"]
    with pytest.raises(ImageFailure) as caught:
        read_bytes(join_uri(layout.root, "big"), limit=9)
    assert caught.value.code is ErrorCode.UNSAFE_SIZE and proxy.counts["GET"] == before + 1


def test_a_stream_that_cannot_be_rewound(layout, proxy: FaultProxy):
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    data = os.urandom(PIECE_BYTES + 5)
    proxy.faults.resets, proxy.faults.only = 2, ("PUT",)
    layout.write_stream("piped", Pipe(data))
    assert layout.read("piped") == data


def test_folders_are_what_lies_below_them(layout, bucket: str, server: str):
    for key in ("a.png", "sub/b.png", "sub/deep/c.png", "empty"):
        layout.write(key, key.encode() * (key != "empty"))
    request(server, "PUT", f"/{bucket}/out%20put/sub/")  # a marker, as other tools leave them
    assert layout.exists("sub") and layout.exists("a.png") and not layout.exists("su")
    root = layout.path("")

    def listed(**options) -> list[str]:
        selector = fs.FileSelector(root, **options)
        found = layout.filesystem.get_file_info(selector)
        return sorted(info.path[len(root) + 1 :] + "/" * (not info.is_file) for info in found)

    assert listed(recursive=True) == ["a.png", "empty", "sub/b.png", "sub/deep/c.png"]
    assert listed() == ["a.png", "empty", "sub/"]
    layout.clear("sub")
    layout.clear("never was")
    layout.delete("a.png")
    layout.delete("never was")
    assert [name for name in listed(recursive=True) if name != "sub"] == ["empty"]
    with pytest.raises(FileNotFoundError):
        layout.filesystem.get_file_info(fs.FileSelector(f"{root}/nothing"))
    with pytest.raises(FileNotFoundError):
        layout.read("nothing")


@pytest.mark.thorough
def test_long_lists_are_whole(layout, bucket: str, server: str):
    names = {f"{number:04d}.txt" for number in range(1001)}
    for name in names:
        request(server, "PUT", f"/{bucket}/out%20put/many/{name}", data=b"1")
    selector = fs.FileSelector(layout.path("many"), recursive=True)
    found = [info.base_name for info in layout.filesystem.get_file_info(selector)]
    assert found == sorted(names)


def test_the_filesystem_travels_to_workers(layout):
    layout.write_table("rows.parquet", pa.table({"x": [1]}))
    filesystem = pickle.loads(pickle.dumps(layout.filesystem))
    assert filesystem == layout.filesystem
    assert pq.read_table(layout.path("rows.parquet"), filesystem=filesystem).num_rows == 1


# --- trouble ------------------------------------------------------------------------------------


def test_throttling_is_ridden_out_and_counted(layout, proxy: FaultProxy):
    """20 % of the requests are told to slow down."""
    proxy.faults.slow_down = 0.2
    before = RETRIES.retries
    for number in range(40):
        layout.write(f"{number:02d}", str(number).encode())
    read = [int(layout.read(f"{number:02d}")) for number in range(40)]
    selector = fs.FileSelector(layout.path(""))
    names = [info.base_name for info in layout.filesystem.get_file_info(selector)]
    assert read == list(range(40)) and names == [f"{number:02d}" for number in range(40)]
    told = sum(proxy.refused.values())
    assert told > 10 and RETRIES.retries - before == told
    assert proxy.counts["PUT"] == 40 + proxy.refused["PUT"]


def test_pieces_of_a_large_file_are_ridden_out_too(layout, proxy: FaultProxy):
    data = os.urandom(3 * PIECE_BYTES)
    proxy.faults.slow_down = 0.4
    layout.write("big", data)
    proxy.faults.slow_down = 0.0
    assert layout.read("big") == data


@pytest.mark.parametrize("trouble", ["resets", "lost_answers", "stalls", "torn"])
def test_broken_connections_are_ridden_out(layout, proxy: FaultProxy, trouble: str):
    layout.write("x", b"0123456789")
    proxy.faults.stall_seconds = 3.0
    before = RETRIES.retries
    for method in ("GET", "PUT"):
        if (trouble, method) == ("torn", "PUT"):
            continue
        proxy.faults.only = (method,)
        setattr(proxy.faults, trouble, 2)
        if method == "GET":
            assert layout.read("x") == b"0123456789"
        else:
            layout.write("x", b"new")
            assert layout.read("x") == b"new"
        assert getattr(proxy.faults, trouble) == 0
    assert RETRIES.retries - before == (2 if trouble == "torn" else 4)


@pytest.mark.thorough
def test_a_stall_of_thirty_seconds_with_the_usual_timeouts(layout, proxy: FaultProxy):
    patient = RunLayout(layout.root.replace("&request_timeout=1", ""))
    proxy.faults.stalls, proxy.faults.stall_seconds = 1, 30.0
    before, started = RETRIES.retries, time.monotonic()
    patient.write("x", b"1")
    assert 20 < time.monotonic() - started < 30
    assert patient.read("x") == b"1" and RETRIES.retries - before == 1


def test_a_store_that_stays_down_is_an_error_that_says_so(layout, proxy: FaultProxy):
    layout.write("x", b"1")
    impatient = RunLayout(layout.root + "&retry_seconds=1")
    impatient.write("x", b"1")
    proxy.faults.down = True
    with pytest.raises(OSError, match=r"gave up after \d+ tries in \d s: .*PUT"):
        impatient.write("x", b"1")
    with pytest.raises(ImageFailure, match="gave up after") as caught:
        read_bytes(join_uri(impatient.root, "x"))
    assert caught.value.code is ErrorCode.UNREADABLE


def test_an_address_where_nobody_is_fails_soon(bucket: str):
    uri = f"s3://{bucket}/x?scheme=http&endpoint_override=127.0.0.1:{free_port()}"
    started = time.monotonic()
    with pytest.raises(ImageFailure, match="gave up after") as caught:
        read_bytes(uri)
    assert caught.value.code is ErrorCode.UNREADABLE and time.monotonic() - started < 8


def test_the_tally_is_a_sentence():
    tally = RetryTally()
    assert tally.sentence() == ""
    tally.add(1, 0.5)
    assert tally.sentence() == "1 retry, storage is slow"
    tally.add(1233, 0.5)
    assert tally.sentence() == "1,234 retries, storage is slow"


FORK = """
import os, sys
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.errors import ImageFailure
def read():
    try:
        read_bytes(sys.argv[1])
    except ImageFailure as failure:
        print("failed", flush=True)
read()
if os.fork() == 0:
    try:
        read()
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""


def test_a_fork_fails_and_does_not_wait_for_ever(bucket: str):
    uri = f"s3://{bucket}/x?scheme=http&endpoint_override=127.0.0.1:{free_port()}&region=x"
    result = subprocess.run(
        [sys.executable, "-c", FORK, f"{uri}&retry_seconds=0.1"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stdout.splitlines()[0] == "failed", result.stderr
    assert "start its children by spawn" in result.stdout.splitlines()[1]


# --- what cannot be ----------------------------------------------------------------------------


def test_a_bucket_that_is_not_there(place: str):
    uri = re.sub("//[^/]+/", "//no-such-bucket/", place)
    with pytest.raises(ImageFailure, match="no bucket no-such-bucket") as caught:
        read_bytes(join_uri(uri, "x.jpg"))
    assert caught.value.code is ErrorCode.VANISHED
    with pytest.raises(FileNotFoundError, match="no bucket no-such-bucket"):
        RunLayout(uri).write("x", b"1")
    assert not RunLayout(uri).exists("x")


def test_keys_that_this_client_cannot_take(layout, bucket: str, server: str):
    request(server, "PUT", f"/{bucket}/out%20put/odd/a%09b.jpg", data=b"1")
    with pytest.raises(OSError, match=r"a key that cannot be used.*rename it"):
        layout.filesystem.get_file_info(fs.FileSelector(layout.path("odd"), recursive=True))
    with pytest.raises(ImageFailure, match="rename it"):
        read_bytes(join_uri(layout.root, "odd/a\tb.jpg"))


@pytest.mark.parametrize(
    "options",
    ["no_such=1", "anonymous=perhaps", "request_timeout=soon", "retry_seconds=-1", "="],
)
def test_options_that_cannot_be(options: str):
    with pytest.raises(SettingsError, match=r"option"):
        resolve(f"s3://bucket/x?{options}")


def test_no_bucket():
    with pytest.raises(SettingsError, match="names no bucket"):
        resolve("s3:///x")


def test_nothing_remote_is_imported_for_local_paths(tmp_path):
    code = (
        "import sys\n"
        "from maskmill.pipeline.runs.layout import RunLayout\n"
        "from maskmill.pipeline.runs.lock import run_lock\n"
        "from maskmill.pipeline.sources.registry import list_source\n"
        "layout = RunLayout(sys.argv[1])\n"
        "with run_lock(layout):\n"
        "    layout.write('a.jpg', b'1'); list_source(sys.argv[1]); layout.read('a.jpg')\n"
        "print({'obstore', 'botocore', 'fsspec'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"
