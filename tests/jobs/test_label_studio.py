"""push and pull against a Label Studio that fails on request: nothing twice, nothing lost."""

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
from PIL import Image

from maskmill.jobs.cli import main
from maskmill.pipeline.datasets.documents.label_studio_brush import brush_to_mask, mask_to_brush
from maskmill.pipeline.datasets.formats.label_studio import task_to_sample
from maskmill.pipeline.datasets.samples import ReadContext
from maskmill.pipeline.datasets.trees import open_tree
from maskmill.pipeline.prelabel.writers.mask_file import mask_to_png
from maskmill.pipeline.review import gallery
from maskmill.pipeline.review.opening import Opening, open_subject
from maskmill.pipeline.review.query import Query
from maskmill.pipeline.review.renditions import Crop, Renditions
from maskmill.pipeline.review.slim_index import SlimIndex
from maskmill.pipeline.runs.layout import RunLayout
from tests.jobs.labelled_run import LABELS, SIZE, known_mask, labelled_run
from tests.label_studio_double import (
    PERSONAL,
    TOKEN,
    Answer,
    LabelStudioDouble,
    serving,
    slow,
    until,
)


@pytest.fixture
def studio():
    with serving(LabelStudioDouble()) as double:
        yield double


@pytest.fixture
def labels(tmp_path):
    return labelled_run(tmp_path, 12)


def maskmill(*arguments, token=TOKEN, code=0):
    """The command in this process; its JSON where it succeeds, else what it says."""
    environment = {"LABEL_STUDIO_API_KEY": token}
    result = CliRunner().invoke(main, [str(one) for one in arguments], env=environment)
    assert result.exit_code == code, (result.output, result.exception)
    if code in (0, 3) and "--json" in arguments:
        return json.loads(result.stdout)
    return result.output


def push(labels, studio, *more, **how):
    address = ("--url", studio.url, "--project", "Street", "--chunk", "5")
    return maskmill("push", "labelstudio", labels, *address, *more, **how)


def pull(out, studio, *more, **how):
    return maskmill(
        "pull", "labelstudio", out, "--url", studio.url, "--project", "Street", *more, **how
    )


def pushed_rows(labels):
    ledgers = sorted((labels / "push").glob("*/*/run.json"))
    return [
        row
        for ledger in ledgers
        for table in RunLayout(str(ledger.parent)).committed_rows()
        for row in table.to_pylist()
    ]


def is_whole(labels, studio, count=12):
    """Every image is one task with its prediction, and the ledger knows which."""
    assert sorted(studio.keys()) == sorted(set(studio.keys())) and len(studio.keys()) == count
    assert all(len(task["predictions"]) == 1 for task in studio.tasks.values())
    rows = {row["key"]: row["task_id"] for row in pushed_rows(labels) if row["status"] == "ok"}
    there = {task["data"]["maskmill_key"]: number for number, task in studio.tasks.items()}
    assert rows == there


def test_a_push_makes_the_project_and_every_pixel_arrives(labels, studio):
    told = push(labels, studio, "--json")
    assert told["ledger"]["ok"] == 12 and told["gone"] == []
    is_whole(labels, studio)
    assert 'name="tag" toName="image"' in studio.projects[1]["label_config"]
    context = ReadContext(tree=open_tree(str(labels)), labels=LABELS)
    for number in range(12):
        key = f"{'ab'[number % 2]}/{number:03d}.png"
        task = next(t for t in studio.tasks.values() if t["data"]["maskmill_key"] == key)
        prediction = task["predictions"][0]
        assert prediction["model_version"] == "toy@sha256:abababababab"
        sample = task_to_sample({**task, "annotations": []}, key, context)
        assert np.array_equal(sample.mask, known_mask(number))
        shown = studio.files[int(task["data"]["image"].rpartition("/")[2][:8], 16)]
        assert shown["data"] == (labels.parent / "photos" / key).read_bytes()


def test_the_same_command_again_sends_nothing_and_says_what_is_gone(labels, studio):
    push(labels, studio)
    sent = len([one for one in studio.requests if one[0] == "POST"])
    assert "nothing to send" in push(labels, studio)
    assert len([one for one in studio.requests if one[0] == "POST"]) == sent
    key = studio.tasks.pop(7)["data"]["maskmill_key"]
    assert key in push(labels, studio, code=3)


def test_what_is_not_sent_is_said(labels, studio):
    """Images of the run without a mask, and pixels that it ignores."""
    record = json.loads((labels / "run.json").read_text())
    record["ledger"] = {"failed": 3}
    (labels / "run.json").write_text(json.dumps(record))
    ignored = known_mask(0)
    ignored[20:22, 0:10] = LABELS.ignore_index
    (labels / "masks/a/000.png").write_bytes(mask_to_png(ignored, LABELS))
    output = push(labels, studio)
    assert "3 images of the run failed" in output and "20 pixels that the run ignores" in output


def test_order_limit_and_list_decide_what_annotators_get_first(labels, studio, tmp_path):
    push(labels, studio, "--order", "rank", "--limit", "4")
    ranked = maskmill("rank", labels, "--json")["top"]
    assert studio.keys() == [row["key"] for row in ranked[:4]]
    (tmp_path / "list.txt").write_text("b/011.png\na/002.png\n" + ranked[0]["key"] + "\n")
    output = push(labels, studio, "--only", tmp_path / "list.txt", "--order", "list")
    assert "in the project already" in output
    assert studio.keys()[4:] == [
        key for key in ("b/011.png", "a/002.png") if key not in studio.keys()[:4]
    ]
    (tmp_path / "list.txt").write_text("a/000.png\nz/1.png\n")
    assert "z/1.png" in push(labels, studio, "--only", tmp_path / "list.txt", code=2)


def test_pictures_by_url_upload_nothing(labels, studio):
    push(labels, studio, "--picture-urls", "https://pictures.example.org/x/")
    assert not studio.files
    assert studio.tasks[1]["data"]["image"] == "https://pictures.example.org/x/a/000.png"


def test_pictures_that_no_browser_shows_are_rows_that_say_so(tmp_path, studio):
    labels = labelled_run(tmp_path, 2, suffix=".tif")
    output = push(labels, studio, code=3)
    assert "failed 2" in output and "browsers show no .tif" in output and not studio.tasks
    assert push(labels, studio, "--picture-urls", "https://p.example.org/", code=2)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize(
    "trouble",
    [
        "502",
        pytest.param("cut", marks=pytest.mark.slow),
        pytest.param("slow", marks=pytest.mark.slow),
    ],
)
def test_trouble_that_passes_leaves_every_task_once(labels, studio, place, trouble):
    """Before the work or after it: whether it was done cannot be told from the answer."""

    def mood():
        if trouble == "slow":
            slow(1.5)()
            return
        if trouble == "cut":
            raise ConnectionAbortedError
        raise Answer(502, {"detail": "Bad gateway"})

    setattr(studio, place, until(3, mood))
    push(labels, studio, "--timeout", "1")
    is_whole(labels, studio)


def test_trouble_that_stays_is_one_sentence_and_the_rest_continues(labels, studio):
    def mood(method, path):
        if path.endswith("/import") and len(studio.tasks) >= 5:
            raise Answer(500, {"detail": "database or disk is full"})

    studio.before = mood
    output = push(labels, studio, code=1)
    assert "no room left" in output and output.count("maskmill:") == 1
    assert len(pushed_rows(labels)) == 5
    studio.before = lambda method, path: None
    push(labels, studio)
    is_whole(labels, studio)


def test_a_late_answer_that_doubles_a_chunk_is_found_out(labels, studio):
    """A request that was given up may still be done, minutes later."""
    push(labels, studio)
    twin = json.loads(json.dumps(studio.tasks[3]))
    studio.add_task(1, twin["data"], twin["predictions"])
    annotated = json.loads(json.dumps(studio.tasks[4]))
    number = studio.add_task(1, annotated["data"], annotated["predictions"])
    studio.tasks[number]["annotations"].append({"was_cancelled": False})
    assert "1 removed" in push(labels, studio)
    assert studio.keys().count(twin["data"]["maskmill_key"]) == 1
    assert number in studio.tasks  # work is never removed


def test_predictions_that_the_server_drops_are_named(labels, studio):
    """It counts them all the same: only the predictions themselves tell."""
    lost = {"a/002.png", "b/007.png"}
    studio.drops = lambda task: task["data"]["maskmill_key"] in lost
    told = push(labels, studio, "--json", code=3)
    assert told["ledger"]["failures"] == {"not_taken": 2}
    failed = [row for row in pushed_rows(labels) if row["status"] == "failed"]
    assert {row["key"] for row in failed} == lost
    assert all("without a word" in row["error_message"] for row in failed)
    studio.drops = lambda task: False
    push(labels, studio, "--retry-failed")
    is_whole(labels, studio)


def test_one_task_that_is_refused_costs_itself_only(labels, studio):
    studio.refuses = lambda task: task["data"]["maskmill_key"] == "b/003.png"
    told = push(labels, studio, "--json", code=3)
    assert (told["ledger"]["ok"], told["ledger"]["failed"]) == (11, 1)
    [failed] = [row for row in pushed_rows(labels) if row["status"] == "failed"]
    assert failed["key"] == "b/003.png" and "unknown label" in failed["error_message"]


def test_wrong_tokens_deleted_projects_and_strange_servers_are_sentences(labels, studio, tmp_path):
    assert "refuses the token" in push(labels, studio, token="wrong", code=1)
    assert "holds no token" in push(labels, studio, token="", code=2)
    assert "cannot read the token file" in push(labels, studio, "--token-file", "nix", code=2)
    push(labels, studio)
    del studio.projects[1]
    address = ("--url", studio.url, "--project", "1")
    assert "has no project 1" in maskmill("push", "labelstudio", labels, *address, code=2)
    assert len(pushed_rows(labels)) == 12
    studio.before = lambda method, path: (_ for _ in ()).throw(Answer(301, {}))
    assert "redirects" in push(labels, studio, code=1)
    nobody = ("--url", "http://127.0.0.1:9", "--project", "x", "--timeout", "1")
    assert "cannot be reached" in maskmill("push", "labelstudio", labels, *nobody, code=1)
    secret = ("--url", f"http://me:pw@{studio.url[7:]}", "--project", "x")
    assert "no names, passwords" in maskmill("push", "labelstudio", labels, *secret, code=2)


def test_a_project_of_other_classes_is_refused_before_anything_is_sent(labels, studio):
    config = '<View><Image name="image" value="$image"/>{}</View>'
    tag = '<BrushLabels name="tag" toName="image"><Label value="cat"/></BrushLabels>'
    studio.projects[1] = {"id": 1, "title": "Street", "label_config": config.format(tag)}
    assert "lacks dog & co" in push(labels, studio, code=2)
    studio.projects[1]["label_config"] = config.format("")
    assert "no tag for brush labels" in push(labels, studio, code=2)
    studio.projects[1]["label_config"] = "<View></View>"
    push(labels, studio)
    assert "dog &amp; co" in studio.projects[1]["label_config"]


def test_a_personal_token_buys_access_and_buys_it_again(labels, studio):
    def expire(method, path):
        studio.access = f"access-{len(studio.requests) // 6}"

    studio.after = expire
    push(labels, studio, token=PERSONAL)
    is_whole(labels, studio)
    assert not any(PERSONAL in one for one in studio.authorizations)


@pytest.mark.parametrize(
    "moment", [pytest.param(1, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow), 5]
)
def test_killed_and_resumed_no_task_is_twice_or_missing(labels, studio, moment):
    """SIGKILL after the project is made, pictures are uploaded, tasks are there."""
    reached, killed = threading.Event(), threading.Event()
    imports = [0]

    def mood(method, path):
        if method == "POST" and not killed.is_set():
            imports[0] += 1
            if imports[0] == moment:
                reached.set()
                killed.wait(20)

    studio.after = mood
    process = started(labels, studio)
    assert reached.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    killed.set()
    time.sleep(0.2)
    push(labels, studio)
    is_whole(labels, studio)


def started(labels, studio):
    arguments = ["push", "labelstudio", str(labels), "--url", studio.url, "--project", "Street"]
    return subprocess.Popen(
        [sys.executable, "-m", "maskmill", *arguments, "--chunk", "5"],
        env={**os.environ, "LABEL_STUDIO_API_KEY": TOKEN},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_the_token_is_in_no_file_output_or_process_list(labels, studio, tmp_path):
    seen = []

    def look(method, path):
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.append(entry.read_bytes())
            except OSError:
                continue

    if Path("/proc").is_dir():
        studio.before = look
    process = started(labels, studio)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    pull_out = tmp_path / "pulled"
    studio.annotate("a/000.png", [])
    text = pull(pull_out, studio)
    wrong = push(labels, studio, token="f0" * 20, code=1)
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 30
    for place in (output, text.encode(), *seen, *files):
        assert TOKEN.encode() not in place
    assert "f0f0" not in wrong


def change(prediction, box):
    """What an annotator paints over the first region."""
    result = prediction["result"]
    inside = brush_to_mask(result[0]["value"]["rle"], SIZE, name="x").copy()
    inside[box] = True
    result[0]["value"]["rle"] = mask_to_brush(inside)
    for region in result:
        region["origin"] = "prediction"
    result[0]["origin"] = "prediction-changed"
    return result


def seen(out):
    """(who, how many pixels) by key as `view` has them; every picture and every mask is shown."""
    subject = open_subject(str(out))
    index = SlimIndex(subject, None)
    index.refresh()
    found = {}
    for row in gallery.page(index, Query(), 0, 50):
        item = gallery.item(index, row["n"])
        assert subject.mask(item).shape == SIZE and Renditions(subject).picture(item, Crop(64))
        known = subject.row(item)
        found[row["key"]] = known["annotator"], known["changed_pixels"]
    return found


def test_corrections_come_back_with_who_when_and_what_changed(labels, studio, tmp_path):
    push(labels, studio)
    kept = studio.prediction("a/000.png")
    studio.annotate("a/000.png", kept["result"], parent_prediction=kept["id"])
    changed = studio.prediction("b/001.png")
    box = np.s_[20:24, 28:32]
    studio.annotate("b/001.png", change(changed, box), parent_prediction=changed["id"])
    fresh = {**kept["result"][0], "id": "mine", "origin": "manual"}
    studio.annotate("a/004.png", [fresh])
    studio.annotate("b/003.png", kept["result"], was_cancelled=True)
    told = pull(tmp_path / "out", studio, "--run", labels, "--json")
    assert told["changes"] == {"kept": 1, "changed": 1, "new": 1}
    assert told["others"] == {"skipped": 1, "not annotated": 8}
    layout = RunLayout(str(tmp_path / "out"))
    rows = {row["key"]: row for table in layout.committed_rows() for row in table.to_pylist()}
    mask = known_mask(1)
    mask[box] = 1
    one = rows["b/001.png"]
    assert np.array_equal(np.array(Image.open(tmp_path / "out" / one["mask_path"])), mask)
    assert (one["changed_pixels"], one["annotator"]) == (16, "ada@example.org")
    assert (one["parent_prediction"], one["lead_seconds"]) == (changed["id"], 12.5)
    assert one["origins"] == ["prediction 1", "prediction-changed 1"]
    assert one["uri"] == str(labels.parent / "photos/b/001.png")
    assert rows["a/000.png"]["changed_pixels"] == 0 and rows["a/004.png"]["change"] == "new"
    assert "3 images verified" in maskmill("verify", tmp_path / "out")
    audit = maskmill("audit", labels, tmp_path / "out", "--json", "--engine", "local")
    found = {entry["name"]: entry for entry in audit["corrections"]["classes"]}
    drawn = int((known_mask(0) == 1).sum())
    assert found["cat"]["changed_to"] == 16 + drawn and found["cat"]["changed_from"] == 0
    assert found["cat"]["images"] == 2 and found["dog & co"]["images"] == 0
    assert audit["corrections"]["predictions"] == {"changed": 1, "kept": 1, "new": 1}
    assert audit["ledger"]["failed"] == 0  # nine images are to come
    assert seen(tmp_path / "out")["b/001.png"] == ("ada@example.org", 16)
    beside = open_subject(str(tmp_path / "out"), Opening(truth=str(labels)))
    index = SlimIndex(beside, None)
    index.refresh()
    item = gallery.item(index, gallery.number_of(index, "b/001.png"))
    np.testing.assert_array_equal(beside.mask(item), mask)
    np.testing.assert_array_equal(beside.truth(item), known_mask(1))
    (tmp_path / "out" / one["mask_path"]).write_bytes(b"")
    assert "another SHA-256" in maskmill("verify", tmp_path / "out", code=1)
    assert "holds the annotations as they were" in pull(tmp_path / "out", studio, "--run", labels)


def test_a_pull_that_is_stopped_goes_on_behind_the_last_page(tmp_path, studio):
    labels = labelled_run(tmp_path, 60)
    push(labels, studio)
    pushed = studio.keys()
    for key in pushed:
        studio.annotate(key, studio.prediction(key)["result"])
    whole = [0]

    def mood(method, path):
        if path == "/api/tasks" and whole[0] == 3:
            raise Answer(401, {"detail": "Invalid token."})
        whole[0] += path == "/api/tasks"

    studio.before = mood
    assert "refuses the token" in pull(tmp_path / "out", studio, code=1)
    before = whole[0]
    studio.before = lambda method, path: None
    asked = len(studio.requests)
    told = pull(tmp_path / "out", studio, "--json")
    assert told["ledger"]["ok"] == 60 and before == 3
    lists = [one for one in studio.requests[asked:] if one == ("GET", "/api/tasks")]
    assert len(lists) < 6  # not from the beginning


def test_annotations_that_cannot_be_read_are_rows_that_say_so(labels, studio, tmp_path):
    push(labels, studio)
    region = studio.prediction("a/000.png")["result"][0]
    studio.annotate("a/000.png", [{**region, "value": {**region["value"], "rle": [1, 2, 3]}}])
    studio.annotate("b/001.png", [{**region, "value": {**region["value"], "brushlabels": ["?"]}}])
    studio.annotate("a/002.png", [region])
    output = pull(tmp_path / "out", studio, "--run", labels, code=3)
    assert "failed 2" in output and "malformed 1" in output and "unknown_class 1" in output


def test_a_project_without_annotations_is_no_empty_data_set(labels, studio, tmp_path):
    push(labels, studio)
    assert "nobody has annotated" in pull(tmp_path / "out", studio, code=2)
    studio.annotate("a/000.png", [])
    assert pull(tmp_path / "out", studio, "--json")["changes"] == {"new": 1}
