"""No command hands a terminal what a file's name says."""

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from PIL import Image

from maskmill.jobs.cli import main
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.tables.prelabel import METADATA

NASTY = "a\x1b[2J\u202e\n[red]b"
SHOWN = r"a\x1b[2J\u202e\n[red]b"


def output_of(*words: str) -> str:
    result = CliRunner().invoke(main, list(words), prog_name="maskmill")
    assert isinstance(result.exception, SystemExit | None), result.exception
    text = result.output
    assert "\x1b" not in text and "\u202e" not in text
    return text


@pytest.fixture
def run_folder(tmp_path):
    row = {
        "image_id": 1, "key": f"{NASTY}.jpg", "uri": f"/{NASTY}.jpg", "block": 0, "status": "ok",
        "mean_entropy": 0.5, "mean_margin": 0.5, "low_confidence_fraction": 0.0,
        "mask_path": f"masks/{NASTY}.png", "mask_sha256": "0" * 64,
        "classes": [{"index": 1, "name": NASTY, "category_id": 1}],
    }  # fmt: skip
    layout = RunLayout(str(tmp_path / "out"))
    layout.write_table(layout.block_path(0), pa.Table.from_pylist([row], schema=METADATA))
    return tmp_path / "out"


def test_rank(run_folder):
    assert output_of("rank", str(run_folder)).count(SHOWN) == 2  # picture and class


def test_inspect(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "good.png")
    (tmp_path / f"{NASTY}.png").write_bytes(b"no picture")
    assert SHOWN in output_of("inspect", str(tmp_path))


@pytest.mark.parametrize("command", ["verify", "rank", "inspect"])
def test_failures(command, tmp_path):
    """Messages of several lines keep their line feeds; nothing else acts."""
    assert SHOWN.replace("\\n", "\n") in output_of(command, str(tmp_path / NASTY))
