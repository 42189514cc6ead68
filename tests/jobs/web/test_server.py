"""The server as a browser and as a stranger sees it."""

import gzip
import io
import json
import os
import shutil
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import maskmill
from maskmill.pipeline.review.decisions import Decisions
from tests.jobs.conftest import run_to_the_end
from tests.jobs.web.conftest import NASTY, Served


def test_the_token_becomes_a_cookie_and_leaves_the_address(served):
    status, headers, _ = served.raw(f"/?class=3&token={served.token}")
    assert status == 303 and headers["location"] == "/?class=3"
    assert "HttpOnly" in headers["set-cookie"] and "SameSite=lax" in headers["set-cookie"]
    assert served.token in headers["set-cookie"]
    status, headers, body = served.raw("/", headers=served.cookie)
    assert status == 200 and b"/static/main.js" in body
    policy = headers["content-security-policy"]
    assert (
        "script-src 'self'" in policy and "unsafe" not in policy and "default-src 'none'" in policy
    )
    status, headers, _ = served.raw(f"//evil.example/?token={served.token}")
    assert status == 303 and headers["location"] == "/evil.example/"


@pytest.mark.parametrize(
    ("path", "headers", "method", "expected"),
    [
        ("/", {}, "GET", 403),
        ("/?token=guessed", {}, "GET", 403),
        ("/api/run", {"cookie": "maskmill_1=x"}, "GET", 403),
        ("/static/main.js", {}, "GET", 403),
        ("/api/run", {"host": "evil.example", "mine": "1"}, "GET", 421),
        ("/api/run", {"host": "127.0.0.1:1", "mine": "1"}, "GET", 421),
        ("/api/run", {"host": "localhost.evil.example:{port}", "mine": "1"}, "GET", 421),
        ("/api/say", {"mine": "1"}, "POST", 403),
        ("/api/say", {"mine": "1", "origin": "http://evil.example"}, "POST", 403),
        ("/api/say", {"mine": "1", "origin": "null"}, "POST", 403),
        ("/api/try", {"mine": "1", "origin": "http://127.0.0.1:1"}, "POST", 403),
    ],
)
def test_strangers_are_refused(served, path, headers, method, expected):
    headers = {name: value.format(port=served.port) for name, value in headers.items()}
    if headers.pop("mine", None):
        headers |= served.cookie
    data = b"{}" if method == "POST" else None
    status, answered, body = served.raw(path, headers=headers, method=method, data=data)
    assert status == expected and b"labels" not in body
    assert answered["content-security-policy"]


def test_names_of_this_machine_are_let_in(served):
    for host in (f"localhost:{served.port}", f"127.0.0.1:{served.port}"):
        status, _, _ = served.raw("/api/run", headers={**served.cookie, "host": host})
        assert status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../application.py", "/static/..%2fapplication.py", "/static/%2e%2e/guard.py",
        "/static//etc/passwd", "/picture/../../etc/passwd", "/thumb/1/../../x", "/run.json",
        "/layer/1/..%2f..%2frun.json", "/picture/-1", "/picture/99999999999999999999",
        "/layer/1/segments", "/static/__init__.py",
    ],
)  # fmt: skip
def test_no_path_leaves_the_pictures_of_the_run(served, path):
    status, _, body = served.raw(path, headers=served.cookie)
    assert status in (400, 404) and b"root:" not in body and b"import" not in body


def test_pages_filters_and_orders_are_those_of_the_rows(served, made):
    run = maskmill.open_run(made[1])
    rows = {row["key"]: row for row in run.rows.to_pylist()}
    found = served.ask("/api/page?sort=entropy&order=desc&limit=3")
    ok = sorted((row for row in rows.values() if row["status"] == "ok"),
                key=lambda row: -row["mean_entropy"])  # fmt: skip
    assert found["total"] == len(rows)
    assert [row["key"] for row in found["rows"]] == [row["key"] for row in ok[:3]]
    failed = served.ask("/api/page?status=failed")["rows"]
    assert [row["key"] for row in failed] == ["zz broken.jpg"]
    assert (
        failed[0]["error_code"] == "not_an_image" and "zz broken.jpg" in failed[0]["error_message"]
    )
    wanted = set()
    for key, row in rows.items():
        for entry in row["classes"] or []:
            if entry["index"] == ok[0]["classes"][0]["index"] and entry["fraction"] >= 0.3:
                wanted.add(key)
    index = ok[0]["classes"][0]["index"]
    filtered = served.ask(f"/api/page?class={index}&share=0.3..&limit=500")["rows"]
    assert {row["key"] for row in filtered} == wanted
    assert {row["key"] for row in served.ask("/api/page?folder=a")["rows"]} == {
        "a/one.png",
        "a/two.jpg",
    }
    assert [row["key"] for row in served.ask("/api/page?text=FOUR")["rows"]] == ["b/four.jpg"]
    counted = served.ask("/api/counts")
    assert counted["status"] == {"ok": 7, "failed": 1} and counted["errors"] == {"not_an_image": 1}
    by_hand = {}
    for row in rows.values():
        for entry in row["classes"] or []:
            by_hand[str(entry["index"])] = by_hand.get(str(entry["index"]), 0) + 1
    assert counted["classes"] == by_hand


def test_layers_and_pictures_are_those_of_the_files(served, made):
    run = maskmill.open_run(made[1])
    n = served.ask("/api/number?key=b/three.png")
    mask, photo = run.mask("b/three.png"), run.image("b/three.png")
    for crop, rows, columns in (
        ("side=4096", slice(None), slice(None)),
        ("side=4096&box=5,7,40,30", slice(7, 37), slice(5, 45)),
    ):
        _, headers, body = served.raw(f"/layer/{n}/mask?{crop}", headers=served.cookie)
        facts = json.loads(headers["x-facts"])
        values = np.frombuffer(gzip.decompress(body), np.uint8)
        np.testing.assert_array_equal(
            values.reshape(facts["height"], facts["width"]), mask[rows, columns]
        )
        assert facts["whole"] == [mask.shape[1], mask.shape[0]]
        _, _, body = served.raw(f"/picture/{n}?{crop}", headers=served.cookie)
        shown = np.asarray(Image.open(io.BytesIO(body)).convert("RGB")).astype(int)
        assert np.abs(shown - photo[rows, columns]).mean() < 6
    _, headers, body = served.raw(f"/layer/{n}/confidence?side=4096", headers=served.cookie)
    assert len(gzip.decompress(body)) == mask.size
    _, headers, _ = served.raw(f"/layer/{n}/truth?side=64", headers=served.cookie)
    assert "no truth" in json.loads(headers["x-facts"])["error"]
    _, headers, body = served.raw(f"/thumb/{n}?side=48", headers=served.cookie)
    assert max(Image.open(io.BytesIO(body)).size) == 48


def test_names_are_text_and_failures_are_answers(served):
    n = served.ask("/api/page?text=onerror")["rows"][0]["n"]
    image = served.ask(f"/api/image/{n}")
    assert image["key"] == NASTY and image["row"]["key"] == NASTY
    broken = served.ask("/api/page?status=failed")["rows"][0]["n"]
    status, headers, body = served.raw(f"/thumb/{broken}?plain=1", headers=served.cookie)
    assert status == 200 and headers["content-type"].startswith("image/svg") and b"not an" in body


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sort=nonsense", "no order 'nonsense'"), ("entropy=high", "not LOW..HIGH"),
        ("class=x", "no whole number"), ("decision=maybe", "no decision 'maybe'"),
    ],
)  # fmt: skip
def test_addresses_that_cannot_be_are_told(served, query, said):
    status, _, body = served.raw(f"/api/page?{query}", headers=served.cookie)
    assert status == 400 and said in json.loads(body)["error"]


@pytest.fixture
def own(made, tmp_path):
    """A server of the test's own over a copy of the run."""
    shutil.copytree(made[1], tmp_path / "run", ignore=shutil.ignore_patterns("review"))
    started = []

    def start(*arguments):
        started.append(Served(tmp_path / "run", *arguments))
        return started[-1]

    yield start, tmp_path / "run"
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()


@pytest.mark.slow
def test_eight_reviewers_at_once_lose_nothing(own):
    start, run = own
    server = start()
    numbers = [row["n"] for row in server.ask("/api/page?status=ok")["rows"]]

    def review(who):
        for turn in range(12):
            value = ("accepted", "rejected", "flagged")[(turn + who) % 3]
            n = numbers[(turn * 5 + who) % len(numbers)]
            status, _, body = server.say(n=n, kind="decision", value=value, reviewer=f"r{who}")
            assert status == 200, body

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(review, range(8)))
    with sqlite3.connect(run / "review" / "decisions.sqlite") as file:
        rows = file.execute("SELECT reviewer, count(*) FROM history GROUP BY reviewer").fetchall()
        last = dict(file.execute(
            "SELECT key, value FROM history WHERE id IN (SELECT max(id) FROM history GROUP BY key)"
        ))  # fmt: skip
    assert rows == [(f"r{who}", 12) for who in range(8)]
    shown = {row["key"]: row["decision"] for row in server.ask("/api/page?status=ok")["rows"]}
    assert shown == last and len(last) == 7
    assert server.ask("/api/progress")["reviewed"] == 7


def test_a_killed_server_loses_no_decision_that_it_acknowledged(own):
    start, run = own
    server = start()
    numbers = [row["n"] for row in server.ask("/api/page?status=ok")["rows"]]
    acknowledged = []

    def review():
        for turn in range(10_000):
            n = numbers[turn % len(numbers)]
            value = ("accepted", "rejected")[turn // len(numbers) % 2]
            try:
                status, _, _ = server.say(n=n, kind="decision", value=value, reviewer=str(turn))
            except OSError:
                return
            if status == 200:
                acknowledged.append(str(turn))

    writer = threading.Thread(target=review)
    writer.start()
    while len(acknowledged) < 25:
        time.sleep(0.01)
    os.kill(server.process.pid, signal.SIGKILL)
    writer.join(60)
    kept = Decisions(run / "review")
    found = {word.reviewer for one in kept.standing() for word in kept.history(one.key)}
    kept.close()
    assert len(acknowledged) >= 25 and set(acknowledged) <= found
    again = start()
    assert again.ask("/api/progress")["reviewed"] == 7


@pytest.mark.thorough
def test_decisions_and_notes_are_exported(own, tmp_path):
    start, run = own
    server = start()
    numbers = {row["key"]: row["n"] for row in server.ask("/api/page")["rows"]}
    for key, value in (("a/one.png", "accepted"), ("five.png", "rejected"), (NASTY, "flagged")):
        server.say(n=numbers[key], kind="decision", value=value, reviewer="ann")
    server.say(n=numbers["a/one.png"], kind="note", value="=cmd()", reviewer="bob")
    server.say(n=numbers["five.png"], kind="decision", value="", reviewer="bob")  # taken back
    status, _, body = server.say(n=numbers["five.png"], kind="decision", value="maybe", reviewer="")
    assert status == 400 and b"no decision" in body
    server.stop()
    done = run_to_the_end("review", "export", run, "--out", tmp_path / "out", "--json")
    said = json.loads(done.stdout)
    assert said["counts"] == {"accepted": 1, "rejected": 0, "flagged": 1} and said["notes"] == 1
    assert (tmp_path / "out" / "accepted.txt").read_text() == "a/one.png\n"
    assert (tmp_path / "out" / "flagged.txt").read_text() == f"{NASTY}\n"
    import pyarrow.parquet as pq

    rows = pq.read_table(tmp_path / "out" / "decisions.parquet").to_pylist()
    assert [(row["key"], row["decision"], row["note"]) for row in rows] == [
        (NASTY, "flagged", ""), ("a/one.png", "accepted", "=cmd()"),
    ]  # fmt: skip
    assert "'=cmd()" in (tmp_path / "out" / "decisions.csv").read_text()


@pytest.mark.slow
def test_ctrl_c_ends_it_and_a_busy_port_is_told(own):
    start, run = own
    server = start()
    taken = run_to_the_end("view", run, "--port", server.port, "--no-browser")
    assert taken.returncode == 2 and "choose another --port" in taken.stderr
    out, err = server.stop()
    assert server.process.returncode == 0 and "stopped" in err and "Traceback" not in err
    assert out.count("http://") == 0  # the address was said once, in the first line


@pytest.mark.slow
def test_what_is_no_run_is_refused_with_the_reason(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    for arguments, said in (
        ((tmp_path,), "no run (there is no run.json in it) and no data set"),
        ((tmp_path / "nowhere",), "there is nothing at"),
        ((), "give a run or a data set"),
    ):
        done = run_to_the_end("view", *arguments, "--no-browser")
        assert done.returncode == 2 and said in done.stderr, done.stderr


@pytest.mark.slow
def test_without_a_place_for_decisions_the_page_says_how(made, tmp_path):
    masks = made[1] / "masks"
    server = Served(masks, "--from", "palette", "--labels", "voc", "--images", made[0])
    try:
        facts = server.ask("/api/run")
        assert facts["command"] == "dataset" and not facts["review"]
        assert "--review-dir" in facts["why_no_review"]
        status, _, body = server.say(n=1, kind="decision", value="accepted", reviewer="")
        assert status == 400 and b"--review-dir" in body
    finally:
        server.stop()
    assert not (masks / "review").exists()
