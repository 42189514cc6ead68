"""push and pull against the registry's Label Studio on loopback; `make label-studio` first."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.datasets.documents.label_studio_brush import brush_to_mask, mask_to_brush
from maskmill.pipeline.runs.layout import RunLayout
from tests.jobs.labelled_run import SIZE, known_mask, labelled_run
from tests.label_studio_server import ENVIRONMENT, PASSWORD, PROGRAM, TOKEN, USER, label_studio
from tests.s3_servers import Faults, fault_proxy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not PROGRAM.exists(), reason="needs .venv-label-studio: make label-studio"),
]
COUNT = 200
SECONDS_OF_OURS = 60
ORACLE = """
import json, sys
from label_studio_sdk.converter.brush import decode_rle
for line in sys.stdin:
    region = json.loads(line)
    shape = region["original_height"], region["original_width"], 4
    inside = decode_rle(region["value"]["rle"]).reshape(shape)[:, :, 3] > 0
    print(json.dumps(inside.astype(int).ravel().tolist()))
"""


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    with label_studio(tmp_path_factory.mktemp("label-studio")) as server:
        yield server


def command(*arguments):
    return [sys.executable, "-m", "maskmill", *(str(one) for one in arguments)]


def maskmill(*arguments, code=0):
    environment = {**os.environ, "LABEL_STUDIO_API_KEY": TOKEN}
    result = subprocess.run(
        command(*arguments), env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == code, result.stdout + result.stderr
    return json.loads(result.stdout) if "--json" in arguments else result.stdout + result.stderr


def push(labels, studio, project, *more, code=0):
    address = ("--url", studio.url, "--project", project)
    return maskmill("push", "labelstudio", labels, *address, *more, code=code)


def key_of(number):
    return f"{'ab'[number % 2]}/{number:03d}.png"


def decoded(regions):
    """(H, W) bool of each region, by the program of others."""
    lines = "\n".join(json.dumps(one) for one in regions)
    python = ENVIRONMENT / "bin/python"
    found = subprocess.run(
        [python, "-c", ORACLE], input=lines, capture_output=True, text=True, check=True
    )
    return [np.array(json.loads(line), bool).reshape(SIZE) for line in found.stdout.splitlines()]


def is_whole(studio, project, count):
    tasks = {task["data"]["maskmill_key"]: task for task in studio.tasks(project)}
    assert len(studio.tasks(project)) == count and set(tasks) == set(map(key_of, range(count)))
    regions, wanted = [], []
    for number in range(count):
        [prediction] = tasks[key_of(number)]["predictions"]
        for region in prediction["result"]:
            regions.append(region)
            index = ["cat", "dog & co"].index(region["value"]["brushlabels"][0]) + 1
            wanted.append(known_mask(number) == index)
    assert len(regions) == 2 * (count - count // 5)
    assert all(map(np.array_equal, decoded(regions), wanted))
    return tasks


def test_two_hundred_images_go_there_and_corrections_come_back(studio, tmp_path):
    labels = labelled_run(tmp_path, COUNT)
    before = os.times()
    told = push(labels, studio, "Two hundred", "--json")
    after = os.times()
    ours = after.children_user + after.children_system
    assert ours - before.children_user - before.children_system < SECONDS_OF_OURS
    assert told["ledger"]["ok"] == COUNT
    project = told["address"]["project"]
    tasks = is_whole(studio, project, COUNT)
    first = tasks[key_of(0)]
    assert studio.bytes_of(first["data"]["image"]) == (tmp_path / "photos" / key_of(0)).read_bytes()
    assert first["file_upload"]  # the server knows which of its files the task is of
    _annotate(studio, tasks)
    out = tmp_path / "pulled"
    pulled = maskmill(
        "pull", "labelstudio", out, "--url", studio.url, "--project", project, "--run", labels,
        "--json",
    )  # fmt: skip
    assert pulled["changes"] == {"changed": 1, "kept": 1, "new": 1}
    assert pulled["others"] == {"skipped": 1, "not annotated": COUNT - 4}
    rows = {
        row["key"]: row
        for table in RunLayout(str(out)).committed_rows()
        for row in table.to_pylist()
    }
    expected = known_mask(1)
    expected[20:24, 28:32] = 1
    mask = np.array(Image.open(out / rows[key_of(1)]["mask_path"]))
    assert np.array_equal(mask, expected) and rows[key_of(1)]["changed_pixels"] == 16
    assert rows[key_of(0)]["annotator"] == USER
    audit = maskmill("audit", labels, out, "--json", "--engine", "local")
    assert audit["corrections"]["predictions"] == {"changed": 1, "kept": 1, "new": 1}


def _annotate(studio, tasks):
    """One prediction kept, one changed, one task skipped, one begun anew."""
    results = [tasks[key_of(number)]["predictions"][0] for number in range(4)]
    for region in results[0]["result"]:
        region["origin"] = "prediction"
    region = results[1]["result"][0]
    inside = brush_to_mask(region["value"]["rle"], SIZE, name="x").copy()
    inside[20:24, 28:32] = True
    region["value"]["rle"] = mask_to_brush(inside)
    region["origin"] = "prediction-changed"
    bodies = [
        {"result": results[0]["result"], "parent_prediction": results[0]["id"], "lead_time": 3.5},
        {"result": results[1]["result"], "parent_prediction": results[1]["id"]},
        {"result": [], "was_cancelled": True},
        {"result": [{**region, "id": "mine", "origin": "manual"}]},
    ]
    for number, body in enumerate(bodies):
        task = tasks[key_of(number)]["id"]
        studio.api("POST", f"/api/tasks/{task}/annotations/", json=body)


@pytest.mark.parametrize("tasks_there", [None, 0, 20])
def test_killed_and_resumed_no_task_is_twice_or_missing(studio, tmp_path, tasks_there):
    """SIGKILL as soon as the project is there, has files, has a first chunk of tasks."""
    labels, name = labelled_run(tmp_path, 60), f"Killed {tasks_there}"
    arguments = ("push", "labelstudio", labels, "--url", studio.url, "--project", name)
    process = subprocess.Popen(
        command(*arguments, "--chunk", "20"),
        env={**os.environ, "LABEL_STUDIO_API_KEY": TOKEN},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not _has(studio, name, tasks_there):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    told = push(labels, studio, name, "--chunk", "20", "--json")
    assert told["ledger"]["ok"] == 60 and told["gone"] == []
    is_whole(studio, told["address"]["project"], 60)


def _has(studio, name, tasks_there):
    found = studio.api("GET", "/api/projects/", params={"title": name})["results"]
    if not found or tasks_there is None:
        return bool(found)
    if tasks_there == 0:
        path = f"/api/projects/{found[0]['id']}/file-uploads?all=true"
        return bool(studio.api("GET", path))
    return found[0]["task_number"] >= tasks_there


FULL = (500, b'{"detail": "database or disk is full"}')


def through(proxy, labels, name):
    """A push by the proxy, which ends in a sentence where it does not end well."""
    address = ("--url", f"http://{proxy.address}", "--project", name, "--chunk", "10")
    result = subprocess.run(
        command("push", "labelstudio", labels, *address, "--timeout", "10"),
        env={**os.environ, "LABEL_STUDIO_API_KEY": TOKEN},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode in (0, 1), result.stderr
    assert result.stderr.count("maskmill: ") == result.returncode  # one sentence
    return result


@pytest.mark.parametrize(
    "faults",
    [
        {"resets": 2},
        {"lost_answers": 3},
        {"torn": 2},
        {"stalls": 1, "stall_seconds": 12.0},
        {"refusals": 3},
    ],
    ids=lambda faults: next(iter(faults)),
)
def test_a_proxy_that_cuts_loses_and_stalls_costs_no_task(studio, tmp_path, faults):
    """Every POST may be done or not, and nobody says which."""
    labels, name = labelled_run(tmp_path, 20), f"Faults {next(iter(faults))}"
    with fault_proxy(studio.url.removeprefix("http://")) as proxy:
        proxy.faults = Faults(**faults, only=("POST",))
        ended = [through(proxy, labels, name).returncode]
        while ended[-1] and len(ended) < 6:
            ended.append(through(proxy, labels, name).returncode)
    assert ended[-1] == 0
    [project] = studio.api("GET", "/api/projects/", params={"title": name})["results"]
    is_whole(studio, project["id"], 20)


def test_a_full_disk_over_there_is_a_sentence_and_the_rest_continues(studio, tmp_path):
    labels = labelled_run(tmp_path, 20)
    push(labels, studio, "Full", "--limit", "10")
    with fault_proxy(studio.url.removeprefix("http://")) as proxy:
        proxy.faults = Faults(refusals=1_000, refusal=FULL, only=("POST",))
        assert "no room left" in through(proxy, labels, "Full").stderr
        assert proxy.refused["POST"]
    told = push(labels, studio, "Full", "--json")
    assert told["ledger"]["ok"] == 10
    is_whole(studio, told["address"]["project"], 20)


def test_a_wrong_token_and_a_deleted_project_lose_nothing(studio, tmp_path):
    labels = labelled_run(tmp_path, 20)
    told = push(labels, studio, "Short-lived", "--limit", "10", "--json")
    project = str(told["address"]["project"])
    (tmp_path / "token").write_text("0" * 40)
    wrong = push(labels, studio, project, "--token-file", tmp_path / "token", code=1)
    assert "refuses the token" in wrong
    studio.api("DELETE", f"/api/projects/{project}/")
    assert f"has no project {project}" in push(labels, studio, project, code=2)
    told = push(labels, studio, "Long-lived", "--json")
    assert told["ledger"]["ok"] == 20
    is_whole(studio, told["address"]["project"], 20)


def test_a_counter_of_predictions_says_what_was_sent(studio, tmp_path):
    """Why the predictions themselves are asked for: the real server drops without a word."""
    labels = labelled_run(tmp_path, 1)
    project = push(labels, studio, "Dropped", "--json")["address"]["project"]
    body = [{"data": {"image": "x", "maskmill_chunk": "c"}, "predictions": ["nonsense"]}]
    with pytest.raises(Exception, match="500"):
        studio.api("POST", f"/api/projects/{project}/import", json=body)
    [task] = [one for one in studio.tasks(project) if one["data"]["image"] == "x"]
    assert task["predictions"] == [] and task["total_predictions"] == 1


def test_pictures_on_the_servers_own_disk_are_shown_without_an_upload(studio, tmp_path):
    labels = labelled_run(tmp_path, 2)
    shutil.copytree(tmp_path / "photos", studio.files / "street/photos")
    where = ("--local-files", studio.files / "street/photos", "--local-files-root", studio.files)
    told = push(labels, studio, "On its disk", *where, "--json")
    tasks = studio.tasks(told["address"]["project"])
    shown = {task["data"]["maskmill_key"]: task["data"]["image"] for task in tasks}
    assert shown[key_of(0)] == "/data/local-files/?d=street/photos/a/000.png"
    assert studio.bytes_of(shown[key_of(1)]) == (tmp_path / "photos" / key_of(1)).read_bytes()
    outside = ("--local-files", "/nowhere/at/all", "--local-files-root", "/nowhere")
    assert "does not exist" in push(labels, studio, "Outside", *outside, code=2)


def test_a_personal_access_token_is_taken(studio, tmp_path):
    token = studio.api("POST", "/api/token/")["token"]
    (tmp_path / "token").write_text(token + "\n")
    labels = labelled_run(tmp_path, 2)
    file = ("--token-file", tmp_path / "token", "--json")
    assert push(labels, studio, "Personal", *file)["ledger"]["ok"] == 2
    (tmp_path / "token").write_text(token[:-4] + "AAAA")
    assert "gives no access" in push(labels, studio, "Personal", *file[:2], code=1)


def test_the_mask_lies_on_the_object_in_a_browser(studio, browser, tmp_path):
    """A white square on black, and its mask: red lies where white was, and nowhere else."""
    labels = labelled_run(tmp_path, 1)
    square = np.zeros((*SIZE, 3), np.uint8)
    square[known_mask(0) == 1] = 255
    Image.fromarray(square).resize((SIZE[1], SIZE[0])).save(tmp_path / "photos" / key_of(0))
    project = push(labels, studio, "Looked at", "--json")["address"]["project"]
    [task] = studio.tasks(project)
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(240_000)  # a busy machine is no failure
    page.goto(f"{studio.url}/user/login/")
    page.fill("input[name=email]", USER)
    page.fill("input[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.goto(f"{studio.url}/projects/{project}/data?task={task['id']}")
    page.wait_for_selector("canvas")
    shot = tmp_path / "shot.png"
    for _ in range(60):  # masks are painted some time after the picture
        page.screenshot(path=shot)
        if _is_painted(np.array(Image.open(shot).convert("RGB")).astype(int)):
            break
        time.sleep(1)
    if keep := os.environ.get("MASKMILL_KEEP_SCREENSHOT"):
        shutil.copy(shot, keep)
    page.close()
    _judge(np.array(Image.open(shot).convert("RGB")).astype(int))


def _picture_box(pixels):
    """Left, top, width, height of the picture in the page: the largest black thing."""
    black = (pixels.max(axis=2) < 12).astype(np.uint8)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(black)
    return max(boxes[1:].tolist(), key=lambda box: box[4], default=[0, 0, 0, 0, 0])[:4]


def _is_painted(pixels):
    left, top, width, height = _picture_box(pixels)
    picture = pixels[top : top + height, left : left + width - width // 10]
    return height > 200 and (picture.max(axis=2) - picture.min(axis=2) > 40).mean() > 0.05


def _judge(pixels):
    """What is painted on the picture, and where."""
    left, top, width, height = _picture_box(pixels)
    assert height > 200 and abs(width / height - SIZE[1] / SIZE[0]) < 0.1
    picture = pixels[top : top + height, left : left + width]
    painted = picture.max(axis=2) - picture.min(axis=2) > 40  # neither black nor white
    truth = cv2.resize(
        (known_mask(0) > 0).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
    )
    edge = max(width // SIZE[1], 1)  # the browser blurs a pixel of the picture
    kernel = np.ones((2 * edge + 1, 2 * edge + 1), np.uint8)
    inside, outside = cv2.erode(truth, kernel) > 0, cv2.dilate(truth, kernel) == 0
    outside[:, -60:] = False  # tools lie there
    assert painted[inside].mean() > 0.95 and painted[outside].mean() < 0.01
