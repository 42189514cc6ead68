"""Answers of a server, kept as files of OUT: a pull that is stopped goes on behind the last one.

They stay: what annotators did is there word for word, whatever becomes of the server.
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from maskmill.pipeline.runs.layout import RunLayout
from maskmill.schemas.errors import RunFailed, RunRefused

FOLDER: Final = "pages"
ABOUT: Final = f"{FOLDER}/about.json"
NAME: Final = "page-{:06d}.json.zlib"
"""Not .gz: pyarrow would unpack that on its own, on some filesystems."""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer: the annotated ``tasks``, and ``counts`` of the others by what they are.

    ``last`` is what the next page is asked for by.
    """

    tasks: Sequence[Document]
    counts: Mapping[str, int]
    last: int


@dataclass(frozen=True, slots=True)
class PageFiles:
    """The pages of one pull, in OUT."""

    layout: RunLayout

    def names(self) -> list[str]:
        """Of all pages that are there, in order."""
        found: list[str] = []
        while self.layout.exists(name := f"{FOLDER}/{NAME.format(len(found))}"):
            found.append(name)
        return found

    def read(self, name: str) -> Document:
        """One page.

        Raises:
            RunFailed: it is damaged.
        """
        try:
            page: Document = json.loads(zlib.decompress(self.layout.read(name)))
            return page
        except (zlib.error, ValueError) as error:
            raise RunFailed(
                f"{self.layout.path(name)} is damaged ({error}); choose another output folder and "
                "pull again"
            ) from error

    def begin(self, about: Mapping[str, Any]) -> None:
        """Say what is pulled, or find that an earlier start pulled the same.

        Raises:
            RunRefused: OUT holds pages of something else.
        """
        try:
            known = json.loads(self.layout.read(ABOUT))
        except FileNotFoundError:
            self.layout.write(ABOUT, json.dumps(dict(about), sort_keys=True).encode())
            return
        for name, value in about.items():
            if known.get(name) != value:
                raise RunRefused(
                    f"{self.layout.root} holds pages of {name} {known.get(name)!r}, not "
                    f"{value!r}: choose another output folder"
                )

    def keep(self, pages: Iterable[Page], first: int) -> None:
        """Put pages in place as they come, numbered from ``first``; the end is a page as well."""
        number = first
        for page in pages:
            self._put(number, page, is_end=False)
            number += 1
        self._put(number, Page(tasks=(), counts={}, last=0), is_end=True)

    def _put(self, number: int, page: Page, *, is_end: bool) -> None:
        document = {
            "tasks": list(page.tasks), "counts": dict(page.counts), "last": page.last,
            "end": is_end,
        }  # fmt: skip
        data = zlib.compress(json.dumps(document).encode(), 5)
        self.layout.write(f"{FOLDER}/{NAME.format(number)}", data)

    def all(self) -> Iterator[tuple[str, Document]]:
        """(name, page) of every page."""
        for name in self.names():
            yield name, self.read(name)

    def counts(self) -> Counter[str]:
        """What was seen and not taken, over all pages."""
        total: Counter[str] = Counter()
        for _, page in self.all():
            total.update(page["counts"])
        return total
