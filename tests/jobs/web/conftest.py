"""A run to look at, and the server over it as `maskmill view` starts it."""

import hashlib
import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from maskmill.pipeline.prelabel.writers.mask_file import mask_to_png
from maskmill.schemas.labels import builtin
from tests.jobs.conftest import ROOT, command_line
from tests.jobs.in_process import run_in_process

VOC = builtin("voc")
NASTY = "<img src=x onerror=alert(1)> & 'quoted' \"name\".png"


def write_pictures(folder: Path) -> None:
    """Shapes of several sizes in two folders, one with a name that would be markup, one broken."""
    rng = np.random.default_rng(4)
    names = ["a/one.png", "a/two.jpg", "b/three.png", "b/four.jpg", "five.png", NASTY, "six.jpg"]
    for number, name in enumerate(names):
        pixels = np.full((60 + 20 * number, 90, 3), 40 * (number % 6), np.uint8)
        pixels[10:40, 20 : 30 + 5 * number] = rng.integers(0, 255, 3)
        pixels[20:50, 60:80] = rng.integers(0, 255, (30, 20, 3))
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    (folder / "zz broken.jpg").write_bytes(b"no picture")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """(pictures, run): a labelled collection with random weights; nobody writes to it."""
    folder = tmp_path_factory.mktemp("viewed")
    write_pictures(folder / "pictures")
    layout = run_in_process(folder / "pictures", folder / "run", writers=("masks", "soft"))
    for block in layout.committed_blocks():
        rows = layout.committed_block(block)
        painted = [painted_row(layout, row) for row in rows.to_pylist()]
        layout.write_table(layout.block_path(block), pa.Table.from_pylist(painted, rows.schema))
    return folder / "pictures", folder / "run"


def painted_row(layout, row):
    """The row with a mask of three classes: random weights may see one everywhere."""
    if row["status"] != "ok":
        return row
    mask = np.zeros((row["height"], row["width"]), np.uint8)
    mask[8:45, 15:55] = 15
    mask[20:50, 60 : 62 + row["image_id"]] = 3
    data = mask_to_png(mask, VOC)
    layout.write(row["mask_path"], data)
    classes = [
        {"index": index, "name": VOC.names[index], "category_id": index or None,
         "pixels": int((mask == index).sum()), "fraction": float((mask == index).mean()),
         "mean_confidence": 0.5, "bbox": None, "components": 1}
        for index in (0, 3, 15)
    ]  # fmt: skip
    return {**row, "classes": classes, "mask_sha256": hashlib.sha256(data).hexdigest()}


class Served:
    """A `maskmill view` that runs; ``ask`` as its browser, ``raw`` as anybody."""

    def __init__(self, *arguments, wait=120):
        self.process = subprocess.Popen(
            command_line("view", *arguments, "--no-browser"),
            cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        if found is None:
            self.process.wait(wait)
            raise AssertionError(f"{line}{self.process.stderr.read()}")
        self.address = found[0]
        self.root, _, self.token = self.address.partition("/?token=")
        self.port = int(self.root.rpartition(":")[2])

    @property
    def cookie(self):
        return {"cookie": f"maskmill_{self.port}={self.token}"}

    def raw(self, path, *, headers=None, method="GET", data=None):
        request = urllib.request.Request(
            f"{self.root}{path}", headers=headers or {}, method=method, data=data
        )
        opener = urllib.request.build_opener(NoRedirects)
        try:
            with opener.open(request, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def ask(self, path, **options):
        status, _, body = self.raw(path, headers=self.cookie, **options)
        assert status == 200, (status, body)
        return json.loads(body)

    def say(self, **word):
        headers = {**self.cookie, "origin": self.root, "content-type": "application/json"}
        return self.raw("/api/say", headers=headers, method="POST", data=json.dumps(word).encode())

    def stop(self, number=signal.SIGINT):
        self.process.send_signal(number)
        return self.process.communicate(timeout=60)


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


@pytest.fixture(scope="session")
def served(made):
    """The server over the made run. Tests may decide, but not rely on nobody having decided."""
    server = Served(made[1])
    yield server
    if server.process.poll() is None:
        server.stop()
