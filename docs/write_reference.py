"""Writes docs/commands.md from --help and docs/tables.md from the schemas; a test keeps both true.

python docs/write_reference.py
"""

import re
from pathlib import Path

import click
from click.testing import CliRunner

from maskmill.jobs.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
SCHEMA_FILES = tuple(f"schemas/tables/{name}.py" for name in ("prelabel", "audit", "convert"))
_TABLE = re.compile(r"^([A-Z_]+) = pa\.(?:schema|struct)\(\s*\[\n(.*?)^\s*\]\s*\)", re.S | re.M)
_REPEATED = re.compile(r"\*([A-Z_]+),$")
_FIELD = re.compile(r'pa\.field\("(\w+)",\s*(.+?)(?:,\s*(?:nullable=)?False)?\),?\s*(?:#\s*(.*))?$')


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
    """Every schema, its columns, types and comments."""
    parts = [
        "# Tables\n\nEvery Parquet schema; `python docs/write_reference.py` writes this page.\n"
    ]
    for name in SCHEMA_FILES:
        path = ROOT / name
        if path.exists():
            for title, body in _TABLE.findall(path.read_text(encoding="utf-8")):
                parts.append(_section(title, body))
    return "\n".join(parts)


def _section(title: str, body: str) -> str:
    lines = [f"## {title}\n", "| column | type | meaning |", "|---|---|---|"]
    for line in body.splitlines():
        repeated = _REPEATED.match(line.strip())
        match = _FIELD.match(line.strip())
        if repeated:
            lines.append(f"| … | | the columns of {repeated.group(1)} |")
        if match:
            column, kind, comment = match.groups()
            kind = kind.replace("pa.", "").replace("()", "").replace("list_", "list")
            lines.append(f"| {column} | {kind} | {(comment or '').replace('|', 'or')} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (ROOT / "docs/commands.md").write_text(commands_page(), encoding="utf-8")
    (ROOT / "docs/tables.md").write_text(tables_page(), encoding="utf-8")
