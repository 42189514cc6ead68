"""The house stands: import direction, homes of third parties, no cycles, short files."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("schemas", "pipeline", "jobs")
MAY_IMPORT = {"schemas": {"schemas"}, "pipeline": {"schemas", "pipeline"}, "jobs": set(PACKAGES)}
MAX_LINES = 300
MAX_FUNCTION_LINES = 40
BANNED = {"utils", "util", "helpers", "common", "misc", "base", "core", "manager"}
HOMES = {
    "ray": ("jobs/",),
    "click": ("jobs/",),
    "rich": ("jobs/",),
    "torch": ("pipeline/models/", "pipeline/training/", "pipeline/jpeg.py"),
    "torchvision": ("pipeline/models/", "pipeline/training/", "pipeline/jpeg.py"),
    "timm": ("pipeline/models/", "pipeline/training/"),
    "PIL": (
        "pipeline/images.py",
        "pipeline/masks/",
        "pipeline/writers/",
        "pipeline/datasets/",
        "pipeline/reports/",
    ),
    "pycocotools": ("pipeline/masks/rle.py", "pipeline/polygons.py"),
    "cv2": (  # pixel geometry: components, contours, distances
        "pipeline/segments.py",
        "pipeline/polygons.py",
        "pipeline/metrics/boundary.py",
        "pipeline/audits/disagreement.py",
        "pipeline/audits/alignment.py",
        "pipeline/audits/truth_checks.py",
        "pipeline/inspection/census.py",
        "pipeline/conversions/decoders.py",
        "pipeline/cutout.py",
        "pipeline/edge_fit.py",
    ),
    "jinja2": ("pipeline/reports/",),
    "matplotlib": ("pipeline/reports/",),
    "defusedxml": ("pipeline/datasets/",),
    "tflite": ("pipeline/models/",),
    "safetensors": ("pipeline/models/",),
}
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SCHEMAS_THIRD_PARTIES = {"numpy", "pyarrow"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    name = relative(path).removesuffix(".py").replace("/", ".")
    return name.removesuffix(".__init__")


def imports_of(path: Path) -> list[ast.Import | ast.ImportFrom]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def imported_modules(path: Path) -> set[str]:
    names: set[str] = set()
    for node in imports_of(path):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        else:
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def top_level_imports(path: Path) -> set[str]:
    """Modules imported when the file is, not inside functions or for type checkers only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_point_down_and_are_absolute(path: Path) -> None:
    package = relative(path).split("/")[0]
    for node in imports_of(path):
        assert not (isinstance(node, ast.ImportFrom) and node.level), "relative import"
    ours = {name.split(".")[0] for name in imported_modules(path)} & set(PACKAGES)
    assert ours <= MAY_IMPORT[package]


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_third_parties_stay_in_their_homes(path: Path) -> None:
    for name in {module.split(".")[0] for module in imported_modules(path)}:
        homes = HOMES.get(name)
        assert homes is None or relative(path).startswith(homes), f"{name} has no home here"


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if relative(p).startswith("schemas/")], ids=relative
)
def test_schemas_need_little(path: Path) -> None:

    names = {module.split(".")[0] for module in imported_modules(path)}
    foreign = names - set(sys.stdlib_module_names) - SCHEMAS_THIRD_PARTIES - {"schemas"}
    assert not foreign


def test_no_cycles() -> None:
    modules = {module_of(path): path for path in SOURCES}
    graph = {
        name: {found for found in top_level_imports(path) if found in modules and found != name}
        for name, path in modules.items()
    }
    finished: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"import cycle: {' -> '.join((*trail, name))}"
        if name not in finished:
            for found in graph[name]:
                visit(found, (*trail, name))
            finished.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_names_say_something(path: Path) -> None:
    parts = set(Path(relative(path)).with_suffix("").parts)
    assert not parts & BANNED


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_every_package_folder_is_a_package() -> None:
    folders = {path.parent for path in SOURCES}
    assert all((folder / "__init__.py").exists() for folder in folders)


def test_the_machine_that_starts_a_run_needs_no_torch() -> None:
    """Its import takes seconds and hundreds of megabytes that only workers have a use for."""
    code = "import sys, jobs.prelabel_run; print({'torch', 'timm', 'ray'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"


def test_help_is_quick() -> None:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "jobs", "--help"], cwd=ROOT, capture_output=True, check=True
    )
    assert time.perf_counter() - started < 1.0
