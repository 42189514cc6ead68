"""`maskmill inspect` as people use it: table, JSON, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def inspect(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "maskmill", "inspect", *(str(argument) for argument in arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def write_masks(folder: Path, count: int) -> None:
    generator = np.random.default_rng(1)
    for number in range(count):
        mask = generator.integers(0, 5, (6, 6)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        Image.fromarray(mask).save(folder / f"{number:03d}.png")


def test_healthy_masks_exit_0_in_several_processes(tmp_path: Path) -> None:
    write_masks(tmp_path, 70)
    done = inspect(tmp_path, "--labels", "voc", "--workers", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "70 masks" in done.stdout
    assert "next: maskmill convert" in done.stdout


def test_a_sick_mask_exits_3_and_json_names_it(tmp_path: Path) -> None:
    write_masks(tmp_path, 3)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no more")
    done = inspect(tmp_path, "--json")
    assert done.returncode == 3, done.stderr
    document = json.loads(done.stdout)
    assert [one["file"] for one in document["findings"] if one["severity"] == "sick"] == [
        "broken.png"
    ]
    assert document["sick"] is True


def test_nothing_there_is_a_usage_error(tmp_path: Path) -> None:
    assert inspect(tmp_path / "missing").returncode == 2
    assert inspect(tmp_path).returncode == 2
