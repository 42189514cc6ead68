"""`maskmill convert` under Ray: proof, ledger, and kills that really kill.

What needs no engine is in test_convert_command.py.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from maskmill.pipeline.convert.proof import verify_conversion
from maskmill.pipeline.runs.layout import RunLayout
from tests.jobs.convert_in_process import convert_in_process, write_voc

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "maskmill", "convert", *(str(argument) for argument in arguments)]


def convert(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, "--json"),
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def problems_of(out: Path) -> list[str]:
    return [one for step in verify_conversion(RunLayout(str(out))) for one in step.problems]


def test_voc_to_coco_is_lossless_and_pycocotools_agrees(tmp_path: Path) -> None:
    masks = write_voc(tmp_path / "in", 10)
    out = tmp_path / "out"
    done = convert(tmp_path / "in", out, "--from", "voc", "--to", "coco", "--check",
                   "--block-samples", 3)  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ledger"]["ok"] == report["ledger"]["inputs"] == 10
    assert report["check"]["lossless"]
    assert report["check"]["pixels"] == 10 * 40 * 40
    document = COCO(str(out / "dataset/annotations/instances_default.json"))
    for image in document.loadImgs(document.getImgIds()):
        found = np.zeros((image["height"], image["width"]), np.uint8)
        for annotation in document.loadAnns(document.getAnnIds(image["id"])):
            found[document.annToMask(annotation) == 1] = annotation["category_id"]
        assert np.array_equal(found, masks[image["file_name"]])
    assert problems_of(out) == []

    again = convert(
        tmp_path / "in", out, "--from", "voc", "--to", "coco", "--block-samples", 3
    )  # fmt: skip
    assert again.returncode == 0
    assert json.loads(again.stdout)["done_now"] == 0

    other = convert(tmp_path / "in", out, "--from", "voc", "--to", "yolo")
    assert other.returncode == 2
    assert "different run" in other.stderr

    (out / "dataset/annotations/instances_default.json").write_text("{}")
    assert any("not what the rows give" in problem for problem in problems_of(out))


def test_killed_and_resumed_is_byte_identical(tmp_path: Path) -> None:
    write_voc(tmp_path / "in", 120, side=64)
    arguments = ("--from", "voc", "--to", "coco_polygons", "--block-samples", 4, "--max-loss", 0.02)
    calm = convert_in_process(tmp_path / "in", tmp_path / "calm", *arguments)
    assert calm.exit_code == 0, calm.stderr
    out = tmp_path / "killed"
    committed = 0
    for wanted in (1, 10):
        process = subprocess.Popen(
            command(tmp_path / "in", out, *arguments),
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            committed = len(list((out / "metadata").glob("block-*")))
            if committed >= wanted:
                break
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert committed >= wanted
    done = convert(tmp_path / "in", out, *arguments)
    assert done.returncode == 0, done.stderr
    assert digests(out / "dataset") == digests(tmp_path / "calm/dataset")
    assert problems_of(out) == []
