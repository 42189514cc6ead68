"""Lists of images as text, for people and commands.

A list that is written here says in its first line where the keys of its images start, so that
`prelabel LIST` gives them the same keys, and the same names of masks, as the run they come from.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.sources.text_list import ROOT_MARK


def write_list(layout: RunLayout, relative: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """A list of rows with key and uri, in their order, into a run folder."""
    layout.write(relative, list_text(rows).encode("utf-8", "surrogateescape"))


def list_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """One path or URI per line, and before them the root of the keys where all have the same."""
    lines, roots = [], set()
    for row in rows:
        lines.append(row["uri"])
        roots.add(root_of(row["uri"], row["key"]))
    root = roots.pop() if len(roots) == 1 else None
    head = [f"{ROOT_MARK}{root}"] if root else []
    return "".join(f"{line}\n" for line in [*head, *lines])


def root_of(uri: str, key: str) -> str | None:
    """What a path or URI has before its key; None where the key is no end of it."""
    base, mark, options = uri.partition("?") if "://" in uri else (uri, "", "")
    end = "/" + (quote(key) if "://" in uri else key)
    return base.removesuffix(end) + mark + options if base.endswith(end) else None
