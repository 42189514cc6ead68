"""How a command ends when it is told to stop, when its reader goes, and what it can print."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from maskmill.jobs.temporary_root import SOCKET_BYTES, short_temporary_root
from maskmill.schemas.errors import RunFailed
from maskmill.signals import handlers_kept

MASKMILL = [sys.executable, "-m", "maskmill"]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
COMMAND = """
import sys, time
from maskmill.jobs.options import exits_cleanly
from maskmill.signals import leave_if_stopped, stop_on_signals

@exits_cleanly
def command():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaning up", flush=True)
        time.sleep(float(sys.argv[1]))
        print("cleaned up", flush=True)

stop_on_signals()
try:
    command()
finally:
    leave_if_stopped()
"""


@contextmanager
def started(cleaning_seconds: float, **options: object) -> Iterator[subprocess.Popen[str]]:
    """A command that waits for a signal and then cleans up for so long."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(cleaning_seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def descendants_of(pid: int) -> list[int]:
    children = children_of(pid)
    return [*children, *(one for child in children for one in descendants_of(child))]


def gone_within(seconds: float, pids: list[int]) -> bool:
    end = time.monotonic() + seconds
    while any(map(is_alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(is_alive, pids))


def test_a_signal_ends_with_a_sentence_and_its_code_after_cleaning_up() -> None:
    for number, code in CODES.items():
        with started(0.0) as process:
            process.send_signal(number)
            out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (code, "cleaning up\ncleaned up\n")
        by = "" if number == signal.SIGINT else f" by {number.name}"
        assert err == (
            f"maskmill: stopped{by}; what is committed stays. The same command continues.\n"
        )


def test_a_second_signal_ends_at_once_without_a_traceback() -> None:
    for first, second in ((signal.SIGINT, signal.SIGINT), (signal.SIGHUP, signal.SIGTERM)):
        with started(60) as process:
            process.send_signal(first)
            assert process.stdout is not None
            assert process.stdout.readline() == "cleaning up\n"
            began = time.monotonic()
            process.send_signal(second)
            out, err = process.communicate(timeout=20)
        assert time.monotonic() - began < 2
        assert (process.returncode, out) == (CODES[first], "")
        assert err == "maskmill: stopped at once\n"


def test_cleaning_up_that_hangs_is_cut_short() -> None:
    with started(60) as process:
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        process.communicate(timeout=20)
        assert time.monotonic() - began < 5
    assert process.returncode == 143


def test_an_ignored_signal_stays_ignored() -> None:
    """``nohup`` ignores SIGHUP, and a shell SIGINT for what it starts in the background."""
    for number in (signal.SIGHUP, signal.SIGINT):
        ignoring = lambda number=number: signal.signal(number, signal.SIG_IGN)  # noqa: E731
        with started(0.0, preexec_fn=ignoring) as process:
            process.send_signal(number)
            time.sleep(0.3)
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
        assert process.returncode == 143


def test_a_command_that_waits_for_a_file_ends(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "mask.png")
    os.mkfifo(tmp_path / "labels.json")
    command = [*MASKMILL, "inspect", "mask.png", "--labels", "labels.json"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    with (tmp_path / "labels.json").open("w"):  # opens once the command reads
        time.sleep(0.2)  # now it waits
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    sentence = "maskmill: stopped by SIGTERM; what is committed stays. The same command continues."
    assert (process.returncode, err) == (143, f"{sentence}\n")


def test_no_worker_outlives_its_command(tmp_path: Path) -> None:
    Image.new("P", (4000, 4000), 1).save(tmp_path / "large.png")
    for number in range(400):
        (tmp_path / f"{number}.png").symlink_to("large.png")
    for number in (signal.SIGTERM, signal.SIGKILL):
        command = [*MASKMILL, "inspect", str(tmp_path), "--workers", "2"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, text=True, **quiet)
        while len(workers := children_of(process.pid)) < 3:  # two, and multiprocessing's own
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(number)
        assert gone_within(5, [process.pid, *workers])
        _, err = process.communicate(timeout=20)
        assert "Traceback" not in err


def stop_labelling(folder: Path, engine: str, number: signal.Signals) -> None:
    """Stop a run under way; it must end in time, with its sentence, and be there to continue."""
    source, out = folder / "photos", folder / f"out-{engine}-{number.name}"
    options = [
        "--model",
        "deeplabv3_mobilenet_v3_large",
        "--untrained",
        "--block-images",
        "2",
        "--engine",
    ]
    command = [*MASKMILL, "prelabel", str(source), str(out), *options, engine]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(out.glob("metadata/*.parquet")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    started = [process.pid, *descendants_of(process.pid)]
    process.send_signal(number)
    assert gone_within(5, started), (engine, number)
    printed, err = process.communicate(timeout=20)
    assert (process.returncode, printed) == (CODES[number], "")
    assert err.splitlines()[-1].startswith("maskmill: stopped")
    assert "Traceback" not in err


@pytest.fixture(scope="module")
def many_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    (folder / "photos").mkdir()
    for number in range(200):
        Image.new("RGB", (640, 480), (number, 90, 30)).save(folder / "photos" / f"{number}.png")
    return folder


@pytest.mark.thorough
def test_labelling_by_threads_stops_in_time(many_photos: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        stop_labelling(many_photos, "local", number)


@pytest.mark.slow
def test_labelling_by_ray_stops_in_time(many_photos: Path) -> None:
    for number in CODES:
        stop_labelling(many_photos, "ray", number)


def test_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with handlers_kept():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as ray.init puts in one of its own
    assert signal.getsignal(signal.SIGTERM) == before


def run_in(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, **variables}
    return subprocess.run([*MASKMILL, *words], cwd=folder, env=environment, capture_output=True)


def test_every_name_can_be_printed(tmp_path: Path) -> None:
    names = {"Größe.png", "图片.png", "🦆.png", "tab\tred\x1b[31m.png"}
    for name in names:
        (tmp_path / name).write_bytes(b"no mask")
    for variables in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8"}):
        said = run_in(tmp_path, "inspect", ".", **variables)
        assert (said.returncode, said.stderr) == (3, b"")
        listed = run_in(tmp_path, "inspect", ".", "--json", **variables)
        assert {found["file"] for found in json.loads(listed.stdout)["findings"]} == names
        absent = run_in(tmp_path, "models", "info", os.fsdecode(b"\xff\x1b.png"), **variables)
        assert absent.returncode == 2
        assert b"\\udcff\\x1b.png" in absent.stderr
        if variables.get("PYTHONIOENCODING") == "ascii":
            assert (said.stdout + listed.stdout).isascii()
            assert b"Gr\\xf6\\xdfe.png" in said.stdout


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    for number in range(60):
        Image.new("L", (64, 64), number).save(tmp_path / f"{number}.png")
    for words in (
        ("models", "list"),
        ("inspect", str(tmp_path)),
        ("inspect", str(tmp_path), "--json"),
    ):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([*MASKMILL, *words], stdout=writer, stderr=subprocess.PIPE)
        os.close(writer)
        assert (done.returncode, done.stderr) == (141, b"")


def test_the_temporary_root_leaves_room_for_sockets(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    assert short_temporary_root([str(long), "/tmp"]) == Path("/tmp")
    socket = "/maskmill-abcdefgh/session_2026-11-21_15-16-01_123456_4194304/sockets/plasma_store"
    for root in (short_temporary_root(), short_temporary_root(["/tmp"])):
        assert len(f"{root}{socket}".encode()) <= SOCKET_BYTES
    with pytest.raises(RunFailed, match="set TMPDIR"):
        short_temporary_root([str(long), str(tmp_path / "absent")])
