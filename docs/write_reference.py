"""Writes the reference pages from what they describe; a test keeps them true.

docs/commands.md from --help, docs/tables.md from the schemas, docs/metrics.md from the registry:
python docs/write_reference.py
"""

import ast
import inspect
import itertools
from pathlib import Path
from types import ModuleType

import click
import pyarrow as pa
from click.testing import CliRunner

from maskmill.jobs.cli import COMMANDS, main
from maskmill.pipeline.metrics.registry import METRICS
from maskmill.schemas.tables import (
    audit,
    convert,
    exchange,
    finetune,
    prelabel,
    review,
    selection,
)
from maskmill.schemas.tables.columns import description_of, fields_of

ROOT = Path(__file__).resolve().parents[1]
TABLES = (prelabel, selection, audit, convert, finetune, exchange, review)


def commands_page() -> str:
    """Every command's --help, in the order of the command table."""
    parts = [
        "# Commands\n\nWhat `--help` says; `python docs/write_reference.py` writes this page.\n"
    ]
    for path in command_paths():
        result = CliRunner().invoke(
            main, [*path, "--help"], prog_name="maskmill", terminal_width=100
        )
        if result.exit_code:
            raise RuntimeError(f"{path}: {result.output}")
        parts.append(f"## maskmill {' '.join(path)}\n\n```text\n{result.output.rstrip()}\n```\n")
    return "\n".join(parts)


def command_paths() -> list[tuple[str, ...]]:
    """("prelabel",), ("models", "list"), …"""
    paths: list[tuple[str, ...]] = []
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        paths.append((name,))
        if isinstance(command, click.Group):
            paths += [(name, below) for below in command.commands]
    return paths


def tables_page() -> str:
    """Every schema of every table module, its columns, types and descriptions."""
    parts = [
        "# Tables\n\nEvery Parquet schema; `python docs/write_reference.py` writes this page.\n"
    ]
    for module in TABLES:
        parts += [_table(name, schema, module) for name, schema in tables_of(module).items()]
    return "\n".join(parts)


def tables_of(module: ModuleType) -> dict[str, pa.Schema]:
    """The schemas that a module defines, by the names of its constants."""
    return {name: one for name, one in vars(module).items() if isinstance(one, pa.Schema)}


def metrics_page() -> str:
    """Every metric: its name, what it is called, whether classes have it, how it is defined."""
    lines = [
        "# Metrics\n\nThe numbers of an [audit](audit.md); `python docs/write_reference.py` writes "
        "this page.\n",
        "| name | title | of classes too | better | definition |",
        "|---|---|---|---|---|",
    ]
    for name, metric in METRICS.items():
        classes = "yes" if metric.per_class else ""
        better = "lower" if metric.lower_is_better else "higher"
        text = _cell(metric.definition)
        lines.append(f"| `{name}` | {_cell(metric.title)} | {classes} | {better} | {text} |")
    return "\n".join(lines) + "\n"


def _table(name: str, schema: pa.Schema, module: ModuleType) -> str:
    lines = [f"## {name}\n"]
    if words := _words_after(name, module):
        lines.append(f"{words}\n")
    lines += ["| column | type | meaning |", "|---|---|---|"]
    for path, field in fields_of(schema):
        kind = _kind(field.type) + ("" if field.nullable else ", never null")
        lines.append(f"| {path} | {kind} | {_cell(description_of(field))} |")
    return "\n".join(lines) + "\n"


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {_kind(kind.value_type)}"
    return "struct" if pa.types.is_struct(kind) else str(kind)


def _words_after(name: str, module: ModuleType) -> str:
    """The string that stands below a constant and says what it is."""
    body = ast.parse(inspect.getsource(module)).body
    for constant, below in itertools.pairwise(body):
        if isinstance(constant, ast.Assign) and ast.unparse(constant.targets[0]) == name:
            is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            return inspect.cleandoc(str(ast.literal_eval(below.value))) if is_text else ""
    return ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


PAGES = {"commands.md": commands_page, "tables.md": tables_page, "metrics.md": metrics_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (ROOT / "docs" / name).write_text(page(), encoding="utf-8")
