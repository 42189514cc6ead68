"""push cvat and pull cvat, through CVAT's own SDK, against a server that speaks its API."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from cvat_sdk.masks import decode_mask, encode_mask
from PIL import Image

from maskmill.jobs.cli import main
from maskmill.pipeline.runs.layout import RunLayout
from tests.cvat_project_double import TOKEN, CvatProjectDouble
from tests.jobs.labelled_run import SIZE, known_mask, labelled_run
from tests.label_studio_double import Answer, serving
from tests.thorough import sampled


@pytest.fixture
def cvat():
    with serving(CvatProjectDouble()) as double:
        yield double


@pytest.fixture
def labels(tmp_path):
    return labelled_run(tmp_path, 12)


def maskmill(*arguments, token=TOKEN, code=0):
    environment = {"CVAT_ACCESS_TOKEN": token}
    result = CliRunner().invoke(main, [str(one) for one in arguments], env=environment)
    assert result.exit_code == code, (result.output, result.exception)
    return json.loads(result.stdout) if "--json" in arguments else result.output


def push(labels, cvat, *more, **how):
    address = ("--url", cvat.url, "--project", "Street", "--task-images", "4")
    return maskmill("push", "cvat", labels, *address, *more, **how)


def pull(out, cvat, labels, *more, **how):
    where = ("--url", cvat.url, "--project", "Street", "--run", labels)
    return maskmill("pull", "cvat", out, *where, *more, **how)


def rows_of(labels):
    ledger = next((labels / "push").glob("*/*/run.json")).parent
    return [row for table in RunLayout(str(ledger)).committed_rows() for row in table.to_pylist()]


def is_whole(labels, cvat):
    """Every picture is in one task once, every mask on it once, and the ledger knows where."""
    frames = [(task["id"], name) for task in cvat.tasks.values() for name, _ in task["frames"]]
    rows = {(row["task_id"], row["picture"]): row for row in rows_of(labels)}
    assert sorted(frames) == sorted(rows) and len(frames) == 12
    names = {number: one["name"] for number, one in cvat.labels.items()}
    for (task, name), row in rows.items():
        frame = [one for one, _ in cvat.tasks[task]["frames"]].index(name)
        assert frame == row["frame"]
        shapes = [one for one in cvat.tasks[task]["shapes"] if one["frame"] == frame]
        mask = np.zeros(SIZE, np.uint8)
        for shape in shapes:
            inside = decode_mask(shape["points"], image_width=SIZE[1], image_height=SIZE[0])
            mask[inside] = ["cat", "dog & co"].index(names[shape["label_id"]]) + 1
            assert shape["source"] == "auto" and 0.6 < shape["score"] < 0.9
        number = int(row["key"][2:5])
        assert np.array_equal(mask, known_mask(number))
        assert len(shapes) == (2 if number % 5 != 4 else 0)


def test_folders_become_tasks_and_every_pixel_arrives(labels, cvat):
    told = push(labels, cvat, "--json")
    assert told["ledger"]["ok"] == 12
    is_whole(labels, cvat)
    names = [task["name"].partition(" [")[0] for task in cvat.tasks.values()]
    assert names == ["a 1", "a 2", "b 1", "b 2"]
    assert [len(task["frames"]) for task in cvat.tasks.values()] == [4, 2, 4, 2]
    sent = len([one for one in cvat.requests if one[0] != "GET"])
    assert "nothing to send" in push(labels, cvat)
    assert len([one for one in cvat.requests if one[0] != "GET"]) == sent


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("path", sampled(["/annotations/", "/api/tasks", "/data/"], 3))
def test_trouble_that_passes_leaves_everything_once(labels, cvat, place, path):
    left = [2]

    def mood(method, where):
        if method != "GET" and where.endswith(path) and left[0]:
            left[0] -= 1
            raise Answer(502, {"detail": "Bad gateway"})

    setattr(cvat, place, mood)
    push(labels, cvat)
    is_whole(labels, cvat)


def test_a_server_that_takes_too_long_is_given_up_and_found_to_have_done_it(labels, cvat):
    """The SDK itself would wait for ever."""
    left = [1]

    def mood(method, path):
        if path.endswith(("/data/", "/annotations/")) and method != "GET" and left[0]:
            left[0] -= 1
            time.sleep(2.5)

    cvat.after = mood
    push(labels, cvat, "--timeout", "1")
    is_whole(labels, cvat)


@pytest.mark.parametrize(
    "moment", [2, pytest.param(4, marks=pytest.mark.slow), pytest.param(7, marks=pytest.mark.slow)]
)
def test_killed_and_resumed_nothing_is_twice_or_missing(labels, cvat, moment):
    reached, killed = threading.Event(), threading.Event()
    writes = [0]

    def mood(method, path):
        if method != "GET" and not killed.is_set():
            writes[0] += 1
            if writes[0] == moment:
                reached.set()
                killed.wait(20)

    cvat.after = mood
    where = ["--url", cvat.url, "--project", "Street", "--task-images", "4"]
    process = subprocess.Popen(
        [sys.executable, "-m", "maskmill", "push", "cvat", str(labels), *where],
        env={**os.environ, "CVAT_ACCESS_TOKEN": TOKEN},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert reached.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    killed.set()
    push(labels, cvat)
    is_whole(labels, cvat)
    files = [path for path in labels.rglob("*") if path.is_file()]
    assert len(files) > 5 and not any(TOKEN.encode() in path.read_bytes() for path in files)


def test_shapes_that_do_not_arrive_are_named(labels, cvat):
    cvat.drops = lambda shape: shape["frame"] == 1
    told = push(labels, cvat, "--json", code=3)
    assert set(told["ledger"]["failures"]) == {"not_taken"}
    failed = [row for row in rows_of(labels) if row["status"] == "failed"]
    assert failed and all("lacks 2 of its shapes" in row["error_message"] for row in failed)
    cvat.drops = lambda shape: False
    push(labels, cvat, "--retry-failed")
    is_whole(labels, cvat)


def test_a_picture_that_the_server_cannot_read_is_told_in_its_words(labels, cvat):
    (labels.parent / "photos/b/001.png").write_bytes(b"no picture")
    told = push(labels, cvat, "--json", code=3)
    assert told["ledger"]["failed"] == 4  # those of its task
    failed = [row for row in rows_of(labels) if row["status"] == "failed"]
    assert all("cannot identify image file" in row["error_message"] for row in failed)
    assert all(task["frames"] for task in cvat.tasks.values())


def test_wrong_tokens_deleted_projects_and_full_disks_are_sentences(labels, cvat):
    assert "refuses the token" in push(labels, cvat, token="wrong", code=1)
    assert "holds no token" in push(labels, cvat, token="", code=2)

    def full(method, path):
        if path.endswith("/annotations/") and method == "PATCH":
            raise Answer(500, {"detail": "[Errno 28] No space left on device"})

    cvat.before = full
    assert "no room left" in push(labels, cvat, code=1)
    cvat.before = lambda method, path: None
    push(labels, cvat)
    is_whole(labels, cvat)
    cvat.projects.clear()
    gone = ("--url", cvat.url, "--project", "1")
    assert "has no project 1" in maskmill("push", "cvat", labels, *gone, code=2)
    nobody = ("--url", "http://127.0.0.1:9", "--project", "1", "--timeout", "1")
    assert "gave no whole answer" in maskmill("push", "cvat", labels, *nobody, code=1)


def test_a_project_whose_labels_take_no_masks_is_refused(labels, cvat):
    cvat.projects[1] = {"id": 1, "name": "Street"}
    cvat.labels[5] = {"id": 5, "name": "cat", "type": "rectangle", "project": 1}
    assert "no label for masks called cat, dog & co" in push(labels, cvat, code=2)


def test_corrections_come_back_with_source_and_what_changed(labels, cvat, tmp_path):
    push(labels, cvat)
    assert "nobody has annotated" in pull(tmp_path / "out", cvat, labels, code=2)
    begun, drawn = cvat.tasks[1], cvat.tasks[3]
    begun |= {"state": "in progress", "assignee": "ada"}
    shape = next(one for one in drawn["shapes"] if one["frame"] == 0)
    inside = decode_mask(shape["points"], image_width=SIZE[1], image_height=SIZE[0])
    inside[20:24, 28:32] = True
    shape |= {"points": encode_mask(inside), "source": "semi-auto"}
    told = pull(tmp_path / "out", cvat, labels, "--json")
    assert told["changes"] == {"kept": 4, "changed": 1}
    assert told["others"] == {"not annotated": 7} and told["annotators"] == {"ada": 4, "unknown": 1}
    layout = RunLayout(str(tmp_path / "out"))
    rows = {row["key"]: row for table in layout.committed_rows() for row in table.to_pylist()}
    assert set(rows) == {"a/000.png", "a/002.png", "a/004.png", "a/006.png", "b/001.png"}
    one = rows["b/001.png"]
    expected = known_mask(1)
    expected[20:24, 28:32] = 1
    assert np.array_equal(np.array(Image.open(tmp_path / "out" / one["mask_path"])), expected)
    assert one["origins"] == ["auto 1", "semi-auto 1"] and one["changed_pixels"] == 16
    assert "5 images verified" in maskmill("verify", tmp_path / "out")
    audit = maskmill("audit", labels, tmp_path / "out", "--json", "--engine", "local")
    assert audit["corrections"]["predictions"] == {"changed": 1, "kept": 4}


def test_the_token_is_in_no_file_output_or_process_list(labels, cvat, tmp_path):
    seen = []

    def look(method, path):
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                seen.append(entry.read_bytes())

    cvat.before = look
    arguments = ["push", "cvat", str(labels), "--url", cvat.url, "--project", "Street"]
    pushed = subprocess.run(
        [sys.executable, "-m", "maskmill", *arguments],
        env={**os.environ, "CVAT_ACCESS_TOKEN": TOKEN},
        capture_output=True,
        timeout=100,
    )
    assert pushed.returncode == 0, pushed.stderr
    wrong = push(labels, cvat, "--retry-failed", token="f0" * 20, code=1)
    pulled = pull(tmp_path / "pulled", cvat, labels, code=2)  # nobody has drawn anything yet
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 30 and (len(seen) > 30 or not Path("/proc/1").is_dir())
    for place in (pushed.stdout, pushed.stderr, pulled.encode(), *seen, *files):
        assert TOKEN.encode() not in place
    assert "f0f0" not in wrong
