"""The house stands: import direction, homes of third parties, no cycles, short files."""

import ast
import subprocess
import sys
import time
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("schemas", "pipeline", "jobs")
MAY_IMPORT = {
    "schemas": {"schemas"},
    "pipeline": {"schemas", "pipeline"},
    "jobs": set(FOLDERS),
    "maskmill": {*FOLDERS, "maskmill"},
}
ORDER = (  # lowest first: a package imports only those before it
    "storage",
    "pictures",
    "metrics",
    "masks",
    "sources",
    "runs",
    "views",
    "models",
    "labelling",
    "datasets",
    "selection",
    "prelabel",
    "convert",
    "audit",
    "inspect",
    "training",
    "review",
    "reports",
    "exchange",
)
MAX_LINES = 300
MAX_FUNCTION_LINES = 40
BANNED = {"utils", "util", "helpers", "common", "misc", "base", "core", "manager"}
HOMES = {
    "ray": ("jobs/",),
    "click": ("jobs/",),
    "rich": ("jobs/",),
    "starlette": ("jobs/",),
    "uvicorn": ("jobs/",),
    "cvat_sdk": ("maskmill/", "pipeline/exchange/"),
    "torch": (
        "pipeline/models/",
        "pipeline/views/",
        "pipeline/labelling/",
        "pipeline/pictures/",
        "pipeline/training/",
    ),
    "torchvision": ("pipeline/models/", "pipeline/pictures/", "pipeline/training/"),
    "timm": ("pipeline/models/",),
    "PIL": (
        "maskmill/",  # pictures go in and come out there
        "pipeline/pictures/",
        "pipeline/masks/",
        "pipeline/datasets/",
        "pipeline/prelabel/",
        "pipeline/audit/",
    ),
    "pycocotools": ("pipeline/masks/",),
    "zlib_ng": ("pipeline/masks/",),
    "cv2": (  # pixel geometry: components, contours, distances
        "pipeline/masks/",
        "pipeline/metrics/",
        "pipeline/prelabel/",
        "pipeline/convert/",
        "pipeline/audit/",
        "pipeline/inspect/",
    ),
    "jinja2": ("pipeline/audit/report/", "pipeline/reports/"),
    "defusedxml": ("pipeline/datasets/",),
    "ijson": ("pipeline/sources/", "pipeline/datasets/"),
    "yaml": ("schemas/", "pipeline/datasets/"),
    "tflite": ("pipeline/models/",),
    "safetensors": ("pipeline/models/", "pipeline/training/"),
    "av": ("pipeline/pictures/",),
    "pillow_heif": ("pipeline/pictures/",),
    "duckdb": ("pipeline/review/",),
    "sqlite3": ("pipeline/review/",),
    "obstore": ("pipeline/storage/",),
    "botocore": ("pipeline/storage/",),
    "requests": ("pipeline/exchange/",),
}
SOURCES = sorted(
    path for folder in (*FOLDERS, "maskmill") for path in (ROOT / folder).rglob("*.py")
)
SCHEMAS_THIRD_PARTIES = {"numpy", "pyarrow", "yaml"}  # yaml: the label file of YOLO data sets


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    name = relative(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    return name if name.startswith("maskmill") else f"maskmill.{name}"


def imports_of(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """Every import of a file, those inside functions too: a circle is a circle."""
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


def modules_meant(path: Path, modules: Container[str]) -> set[str]:
    """Of our modules those whose definitions a file asks for: not the package around a module."""
    names: set[str] = set()
    for node in imports_of(path):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
            continue
        inner = {f"{node.module}.{alias.name}" for alias in node.names}
        names |= inner if all(name in modules for name in inner) else {node.module or ""}
    return {name for name in names if name in modules}


def offenders(rule: Callable[[Path], Iterable[str]]) -> list[str]:
    """What a rule says against each file, with the file's name before it."""
    return [f"{relative(path)}: {fault}" for path in SOURCES for fault in rule(path)]


def test_imports_point_down_and_are_absolute() -> None:
    def rule(path: Path) -> Iterator[str]:
        folder = relative(path).split("/")[0]
        for node in imports_of(path):
            if isinstance(node, ast.ImportFrom) and node.level:
                yield "relative import"
        for name in imported_modules(path):
            parts = name.split(".")
            ours = parts[1] if parts[0] == "maskmill" and len(parts) > 1 else ""
            if ours in FOLDERS and ours not in MAY_IMPORT[folder]:
                yield f"imports {name}"

    assert offenders(rule) == []


def test_nothing_is_imported_by_its_folder_alone() -> None:
    """`import pipeline` works beside a checkout and gives every class a second time."""
    everything = [*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    bare = [
        f"{relative(path)}: {name}"
        for path in everything
        for name in imported_modules(path)
        if name.split(".")[0] in FOLDERS
    ]
    assert bare == []


def test_third_parties_stay_in_their_homes() -> None:
    def rule(path: Path) -> Iterator[str]:
        for name in {module.split(".")[0] for module in imported_modules(path)}:
            homes = HOMES.get(name)
            if homes is not None and not relative(path).startswith(homes):
                yield f"{name} has no home here"

    assert offenders(rule) == []


def test_schemas_need_little() -> None:
    allowed = {*sys.stdlib_module_names, *SCHEMAS_THIRD_PARTIES, "maskmill"}

    def rule(path: Path) -> set[str]:
        if not relative(path).startswith("schemas/"):
            return set()
        return {module.split(".")[0] for module in imported_modules(path)} - allowed

    assert offenders(rule) == []


def test_the_pipeline_holds_packages_in_their_order() -> None:
    folder = ROOT / "pipeline"
    assert {path.name for path in folder.glob("*.py")} == {"__init__.py"}
    assert {path.parent.name for path in folder.glob("*/__init__.py")} == set(ORDER)

    def rule(path: Path) -> Iterator[str]:
        parts = relative(path).split("/")
        if parts[0] != "pipeline" or len(parts) < 3:
            return
        below = ORDER[: ORDER.index(parts[1]) + 1]
        for name in imported_modules(path):
            other = name.split(".")[2:3] if name.startswith("maskmill.pipeline.") else []
            if other and other[0] not in below:
                yield f"imports {name}"

    assert offenders(rule) == []


def test_no_cycles() -> None:
    modules = {module_of(path): path for path in SOURCES}
    graph = {
        name: {found for found in modules_meant(path, modules) if found != name}
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


def test_names_say_something() -> None:
    assert offenders(lambda path: set(Path(relative(path)).with_suffix("").parts) & BANNED) == []


def test_files_and_functions_are_short() -> None:
    def rule(path: Path) -> Iterator[str]:
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > MAX_LINES:
            yield f"{len(text.splitlines())} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                if length > MAX_FUNCTION_LINES:
                    yield f"{node.name} has {length} lines"

    assert offenders(rule) == []


def test_every_module_says_what_it_is() -> None:
    def rule(path: Path) -> Iterator[str]:
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))):
            yield "has no docstring"

    assert offenders(rule) == []


def test_every_package_folder_is_a_package_and_is_installed() -> None:
    folders = {path.parent for path in SOURCES}
    assert all((folder / "__init__.py").exists() for folder in folders)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = settings["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(module_of(folder / "__init__.py") for folder in folders)


def test_the_machine_that_starts_a_run_needs_no_torch() -> None:
    """Its import takes seconds and hundreds of megabytes that only workers have a use for."""
    modules = "maskmill.jobs.run, maskmill.pipeline.prelabel.job"
    code = f"import sys, {modules}; print({{'torch', 'ray'}} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"


def test_help_is_quick() -> None:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "maskmill", "--help"], cwd=ROOT, capture_output=True, check=True
    )
    assert time.perf_counter() - started < 1.0
