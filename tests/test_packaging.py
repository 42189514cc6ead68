"""What is built and installed: one import package with its data, quick to import."""

import os
import resource
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from maskmill.pipeline.metrics.compiled import native

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("maskmill", "schemas", "pipeline", "jobs", "pyproject.toml", "README.md", "LICENSE")


def copy_sources(target: Path) -> None:
    """Without what was built in them."""
    target.mkdir(exist_ok=True)
    for name in SOURCES:
        if (ROOT / name).is_dir():
            left = shutil.ignore_patterns("__pycache__", "*.so")
            shutil.copytree(ROOT / name, target / name, ignore=left)
        else:
            shutil.copy(ROOT / name, target)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, for building leaves folders behind."""
    pytest.importorskip("setuptools", minversion="77", reason="builds with setuptools 77 or later")
    copy, target = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    copy_sources(copy)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(target)]
    command = [sys.executable, "-m", "pip", "wheel", str(copy), *options]
    subprocess.run(command, check=True, capture_output=True)
    return next(target.glob("maskmill-*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_one_package_and_all_of_it(wheel: Path) -> None:
    files = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in files} == {"maskmill"}
    expected = {"maskmill/py.typed"} | {
        (
            path.relative_to(ROOT)
            if folder == "maskmill"
            else Path("maskmill", path.relative_to(ROOT))
        ).as_posix()
        for folder in SOURCES[:4]
        for path in (ROOT / folder).rglob("*")
        if path.suffix == ".py" or path.parent.name in ("labelsets", "templates", "static")
        if path.is_file()
    }
    compiled = {name for name in files if name.startswith("maskmill/pipeline/metrics/_native.")}
    assert files - compiled == expected
    assert len(compiled) == (native() is not None)


@pytest.mark.slow
def test_the_wheel_works_from_a_folder_named_by_pythonpath(wheel: Path, tmp_path: Path) -> None:
    """As ``pip install --target`` leaves it, seen from a checkout that is not installed."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "target")
    with (tmp_path / "target" / "maskmill" / "__init__.py").open("a") as file:
        file.write("\nprint('from the wheel')\n")
    shutil.copytree(ROOT / "maskmill", tmp_path / "checkout" / "maskmill")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "target")}
    for words in (("models", "list"), ("models", "info", "deeplabv3_resnet50")):
        command = [sys.executable, "-m", "maskmill", *words]
        done = subprocess.run(
            command, cwd=tmp_path / "checkout", env=environment, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("from the wheel\n")
        assert "deeplabv3_resnet50" in done.stdout


def test_importing_takes_no_time(tmp_path: Path) -> None:
    """In seconds of a processor, which other processes do not lengthen."""

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        code = "import maskmill; dir(maskmill)"
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.1


def test_importing_imports_nothing(tmp_path: Path) -> None:
    """The package is imported before the user's folders have left the path."""
    code = "import sys; before = set(sys.modules); import maskmill, maskmill.search_path; "
    code += "print(sorted(set(sys.modules) - before))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "['maskmill', 'maskmill.search_path']"


@pytest.mark.slow
def test_without_a_compiler_the_package_is_built_all_the_same(tmp_path: Path) -> None:
    """Arrays do then what the compiled loops would; and it says so to no one but pip's log."""
    pytest.importorskip("setuptools", minversion="77", reason="builds with setuptools 77 or later")
    copy_sources(tmp_path / "copy")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(tmp_path)]
    command = [sys.executable, "-m", "pip", "wheel", str(tmp_path / "copy"), *options]
    environment = {**os.environ, "CC": "/no/compiler/here"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    names = zipfile.ZipFile(next(tmp_path.glob("maskmill-*.whl"))).namelist()
    assert "maskmill/pipeline/metrics/compiled.py" in names
    assert not [name for name in names if "_native" in name]


@pytest.mark.slow
def test_what_is_compiled_goes_into_the_source_archive(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77", reason="builds with setuptools 77 or later")
    copy_sources(tmp_path / "copy")
    code = f"import setuptools.build_meta as meta; meta.build_sdist({str(tmp_path)!r})"
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "copy", check=True, capture_output=True
    )
    with tarfile.open(next(tmp_path.glob("maskmill-*.tar.gz"))) as archive:
        names = archive.getnames()
    packed = {name.split("/", 1)[1] for name in names if name.endswith((".c", ".h"))}
    folder = ROOT / "pipeline" / "metrics" / "c"
    assert packed == {path.relative_to(ROOT).as_posix() for path in folder.iterdir()}
