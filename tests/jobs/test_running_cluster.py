"""`--address`: the same run on a cluster somebody else started, with the code brought along."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile

import pyarrow.parquet as pq
import pytest

from benchmarks.processes import descendants, is_alive
from tests.sick_images import write_small_pictures

JOINING = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray then takes 127.0.0.1 for its address
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "for-this-test-only-" + "0" * 45,
}
RAY = (sys.executable, "-m", "ray.scripts.scripts")
"""Ray's own command, wherever its script lies."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def address(tmp_path):
    """A cluster on loopback that knows nothing of our checkout."""
    with tempfile.TemporaryDirectory(prefix="ray-") as session:  # socket names must be short
        yield from started_cluster(tmp_path, session)


def started_cluster(tmp_path, session):
    port = free_port()
    environment = {**os.environ, **JOINING, "RAY_USAGE_STATS_ENABLED": "0"}
    environment.pop("PYTHONPATH", None)
    head = subprocess.Popen(
        [
            *RAY,
            "start",
            "--head",
            "--block",
            "--num-cpus=4",
            f"--port={port}",
            "--include-dashboard=false",
            "--object-store-memory=500000000",
            "--disable-usage-stats",
            f"--temp-dir={session}",
        ],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in head.stdout:
        if re.search("This command will now block|Ray runtime started", line):
            break
    yield f"127.0.0.1:{port}"
    started = descendants(head.pid)
    head.kill()
    head.wait()
    for pid in started:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_run_on_a_running_cluster_equals_a_local_one(tmp_path, maskmill, address):
    source = tmp_path / "in"
    write_small_pictures(source, 12, seed=8)
    settings = ("--image-size", 65, "--block-images", 4)
    local = maskmill("prelabel", source, tmp_path / "local", *settings)
    assert local.returncode == 0, local.stderr
    remote = maskmill(
        "prelabel",
        source,
        tmp_path / "remote",
        "--address",
        address,
        *settings,
        environment=JOINING,
    )
    assert remote.returncode == 0, remote.stderr
    for name in ("annotations.json", "masks"):
        one, other = tmp_path / "local" / name, tmp_path / "remote" / name
        files = (
            [one] if one.is_file() else sorted(path for path in one.rglob("*") if path.is_file())
        )
        assert files
        for path in files:
            assert path.read_bytes() == (other / path.relative_to(one)).read_bytes()
    assert pq.read_table(tmp_path / "remote/metadata").num_rows == 12


def test_an_address_where_no_cluster_answers_is_said(tmp_path, maskmill):
    write_small_pictures(tmp_path / "in", 1, seed=8)
    result = maskmill(
        "prelabel",
        tmp_path / "in",
        tmp_path / "out",
        "--address",
        f"127.0.0.1:{free_port()}",
    )
    assert result.returncode == 1
    assert "no Ray cluster answers at 127.0.0.1" in result.stderr
    assert "Traceback" not in result.stderr
