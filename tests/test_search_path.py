"""Nothing of the user's folders is imported, whatever it is called, however it gets on the path."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image

from maskmill.search_path import clean_environment

ROOT = Path(__file__).resolve().parents[1]
HOSTILE = "raise SystemExit('imported from the user')\n"
PACKAGES = ("schemas", "jobs", "pipeline")
MODULES = ("schemas.py", "torch.py", "json.py")
SCRIPT = Path(sys.executable).with_name("maskmill")
STARTS = {"script": [str(SCRIPT)], "module": [sys.executable, "-m", "maskmill"]}


def hostile(folder: Path, names: Iterable[str]) -> Path:
    """A folder of the user's with modules and packages that must not be imported."""
    for name in names:
        file = folder / name if name.endswith(".py") else folder / name / "__init__.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(HOSTILE)
    return folder


def run_from(folder: Path, path: str, start: list[str], *words: str, **variables: str) -> str:
    environment = {**os.environ, "PYTHONPATH": path, **variables}
    done = subprocess.run(
        [*start, *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert "imported from the user" not in done.stderr, (start, folder, path, words)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_each_hostile_folder_is_left_out(tmp_path: Path) -> None:
    for name in (*PACKAGES, *MODULES):
        here = hostile(tmp_path / "here" / name, [name])
        named = hostile(tmp_path / "named" / name, [name])
        for start in STARTS.values():
            for path in (str(named), ""):
                assert "the default" in run_from(here, path, start, "models", "list")


def test_commands_work_among_them_all(tmp_path: Path) -> None:
    """``inspect`` of many files starts processes of its own."""
    here = hostile(tmp_path / "here", (*PACKAGES, *MODULES))
    named = hostile(tmp_path / "named", (*PACKAGES, *MODULES))
    for number in range(70):
        (here / "masks").mkdir(exist_ok=True)
        Image.new("L", (8, 8), number % 3).save(here / "masks" / f"{number}.png")
    for start in STARTS.values():
        for path in (str(named), f":{named}"):  # an empty entry is the working folder
            said = run_from(here, path, start, "inspect", "masks", "--workers", "2")
            assert said.startswith("masks: 70 masks")
        said = run_from(
            here, str(named), start, *["prelabel", "masks", "out", "--untrained", "--dry-run"]
        )
        assert said.startswith("70 images")


@pytest.mark.slow
def test_both_engines_label_among_them_all(tmp_path: Path) -> None:
    """Also below a TMPDIR that is too long for the names of Ray's sockets."""
    here = hostile(tmp_path / "here", (*PACKAGES, *MODULES))
    named = hostile(tmp_path / "named", (*PACKAGES, *MODULES))
    long = tmp_path / ("long" * 25)
    for folder in (here / "photos", long):
        folder.mkdir()
    for number in range(3):
        Image.new("RGB", (40, 30), (number, 90, 30)).save(here / "photos" / f"{number}.png")
    options = ["--untrained", "--image-size", "65", "--json"]
    for engine, start in (("local", "module"), ("ray", "script")):
        words = ["prelabel", "photos", f"out-{engine}-{start}", *options, "--engine", engine]
        said = run_from(here, str(named), STARTS[start], *words, TMPDIR=str(long))
        assert json.loads(said)["ledger"]["ok"] == 3


def test_packages_installed_into_a_folder_are_still_found(tmp_path: Path) -> None:
    """``pip install --target`` folders are named by PYTHONPATH; they come after all others."""
    (tmp_path / "extra_of_the_user.py").touch()
    (tmp_path / "json.py").write_text(HOSTILE)
    code = (
        "import sys; sys.argv[0] = 'maskmill'; from maskmill.search_path import clean_search_path;"
        "clean_search_path(); import json, extra_of_the_user, sys; print(sys.path[-1])"
    )
    start = [sys.executable, "-c", code]
    assert run_from(ROOT, str(tmp_path), start).strip() == str(tmp_path)


def test_a_checkout_in_the_working_folder_is_passed_over(tmp_path: Path) -> None:
    """Its folder ``maskmill`` is a part of the whole; the installed package is complete."""
    folder = tmp_path / "maskmill"
    shutil.copytree(ROOT / "maskmill", folder, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "__init__.py").open("a") as file:
        file.write("\nprint('the part')\n")
    (tmp_path / "torch.py").write_text(HOSTILE)
    said = run_from(tmp_path, "", STARTS["module"], "models", "list")
    assert said.startswith("the part\n* deeplab")
    assert run_from(tmp_path, str(tmp_path), STARTS["script"], "models", "list").startswith("the ")
    lone = subprocess.run(
        [sys.executable, "-S", "-m", "maskmill"], cwd=tmp_path, capture_output=True, text=True
    )
    assert lone.returncode == 1
    assert lone.stderr.startswith("maskmill: this folder holds a part of maskmill only")


def test_what_is_started_sees_only_installed_folders(tmp_path: Path, monkeypatch) -> None:
    target, own, empty = (tmp_path / name for name in ("target", "own", "empty"))
    for folder in (target / "torch-9.dist-info", own, empty):
        folder.mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", str(own), str(target)]))
    before = dict(os.environ), Path.cwd()
    with clean_environment(str(empty)):
        assert os.environ["PYTHONPATH"] == str(target)
        assert os.environ["PYTHONSAFEPATH"] == "1"
        assert Path.cwd() == empty
    assert (dict(os.environ), Path.cwd()) == before
    monkeypatch.setenv("PYTHONPATH", str(own))
    with clean_environment(str(empty)):
        assert "PYTHONPATH" not in os.environ
