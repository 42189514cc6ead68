"""The manual is true: reference pages are up to date, and everything that can be named is named."""

import importlib
import importlib.util
import re
import shlex
import sys
from pathlib import Path

import click
import pyarrow as pa
import pytest
from click.testing import CliRunner

from maskmill.jobs.cli import COMMANDS, main
from maskmill.pipeline.datasets.registry import DATASET_FORMATS
from maskmill.pipeline.masks.registry import MASK_FORMATS
from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.prelabel.writers.registry import FINISHERS, WRITERS
from maskmill.pipeline.sources.registry import SOURCES
from maskmill.schemas.errors import ErrorCode

ROOT = Path(__file__).resolve().parents[1]
DOCS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
README = (ROOT / "README.md").read_text(encoding="utf-8")


def reference():
    spec = importlib.util.spec_from_file_location(
        "write_reference", ROOT / "docs/write_reference.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", reference().PAGES)
def test_reference_pages_are_what_they_describe(name: str) -> None:
    assert DOCS[name] == reference().PAGES[name](), "run python docs/write_reference.py"


def test_every_field_of_every_table_has_a_description_and_a_row_of_the_page() -> None:
    """Asked of the schemas of the package, not of the list that the page is made from."""
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", DOCS["tables.md"], re.M | re.S))
    found, missing = 0, []
    for path in sorted((ROOT / "schemas/tables").glob("*.py")):
        if path.stem == "blocks":  # what travels between operators and is never kept
            continue
        module = importlib.import_module(f"maskmill.schemas.tables.{path.stem}")
        for table, schema in vars(module).items():
            if isinstance(schema, pa.Schema):
                rows = sections.get(table, "")
                for column, words in every_field(schema):
                    found += 1
                    if len(words) < 4 or not re.search(
                        rf"^\| {re.escape(column)} \|.*", rows, re.M
                    ):
                        missing.append(f"{table}.{column}")
    assert found > 200 and missing == []


def every_field(schema: pa.Schema) -> list[tuple[str, str]]:
    """(path, description), inside structs and lists too; not by the code that makes the page."""
    waiting = [(field.name, field) for field in schema]
    fields = []
    while waiting:
        path, field = waiting.pop()
        kind = field.type
        while hasattr(kind, "value_type"):
            kind = kind.value_type
        fields.append((path, (field.metadata or {}).get(b"description", b"").decode()))
        if pa.types.is_struct(kind):
            waiting += [(f"{path}.{inner.name}", inner) for inner in kind]
    return fields


@pytest.mark.parametrize("path", reference().command_paths(), ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"], prog_name="maskmill")
    assert result.exit_code == 0, result.output
    assert f"maskmill {path[0]}" in result.output.split("Options:")[0].replace("Usage:", "", 1)
    assert "xample" in result.output or path[-1] == "list"


@pytest.mark.parametrize(
    ("names", "page"),
    [
        (MODELS, "models.md"),
        (SOURCES, "sources.md"),
        (WRITERS, "masks.md"),
        (FINISHERS, "masks.md"),
    ],
)
def test_registered_names_are_documented(names, page) -> None:
    missing = [name for name in names if name not in DOCS[page]]
    assert not missing


def test_every_error_code_is_explained() -> None:
    missing = [code.value for code in ErrorCode if f"`{code.value}`" not in DOCS["errors.md"]]
    assert not missing


def test_pages_and_files_that_are_linked_exist() -> None:
    for page, text in {**{f"docs/{k}": v for k, v in DOCS.items()}, "README.md": README}.items():
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


def test_readme_names_every_command() -> None:
    assert all(name in README for name in COMMANDS)


def command_lines() -> list[str]:
    """Every `maskmill …` line of a code block: README, pages, help."""
    blocks = [
        block
        for text in (README, *DOCS.values())
        for block in re.findall(r"```\w*\n(.*?)```", text.replace("\\\n", " "), re.DOTALL)
    ]
    lines = [line for block in blocks for line in block.splitlines()]
    found = [re.sub(r"^(\$|next:)? *", "", line).partition("  #")[0] for line in lines]
    return sorted({line for line in found if re.match(r"maskmill [a-z]+ [^ ]", line)})


@pytest.mark.parametrize("line", command_lines())
def test_commands_that_pages_show_can_be_typed(line: str) -> None:
    words = shlex.split(line)[1:]
    command = main
    while isinstance(command, click.Group):
        is_named = words[0] in command.list_commands(None)
        command = command.get_command(None, words.pop(0) if is_named else "")
    options = {name: option for option in command.params for name in option.opts}
    for place, word in enumerate(words):
        if word.startswith("--"):
            assert word in options, f"{command.name} has no {word}"
            if isinstance(options[word].type, click.Choice):
                assert words[place + 1] in options[word].type.choices
        if word in ("--from", "--to"):
            assert words[place + 1] in {*DATASET_FORMATS, *MASK_FORMATS, "OUT", "FORMAT"}


def test_every_benchmark_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """They use what moves, and nobody runs them daily."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    names = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
    started = {script for script, *_ in importlib.import_module("run").BENCHMARKS.values()}
    assert started < {f"{name}.py" for name in names}
    for name in names:
        assert callable(getattr(importlib.import_module(name), "main", print))
        monkeypatch.delitem(sys.modules, name)
