"""Names of files and classes on their way out: to a terminal, a spreadsheet, a Markdown page.

Names come from outside. None of them may move a cursor, begin a formula or become markup. Tables,
JSON and file names keep them as they are.
"""

import re
import unicodedata
from typing import Final

_DANGEROUS: Final = ("Cc", "Cs", "Zl", "Zp")
_TURNING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Directions that make a text read otherwise than it is (Unicode UAX 9, explicit formatting)."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_MARKUP: Final = re.compile(r"[\\`*\[\]{}|~]|(?<![^\W_])_|_(?![^\W_])")
_ENTITIES: Final = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}


def printable(text: object, *, lines: bool = False) -> str:
    r"""The text with everything a terminal would act on written out: ``\x1b``, ``\n``, ``\u202e``.

    Control characters, lone surrogates, line separators and changes of direction; all else stays.

    Args:
        text: a name or a sentence with names in it.
        lines: keep line feeds, for output of several lines.
    """
    return "".join(
        _written_out(one) if _acts(one) and not (lines and one == "\n") else one
        for one in str(text)
    )


def inert_cell(text: str) -> str:
    """A text as a cell of CSV: one that a spreadsheet would compute gets an apostrophe before it.

    That is what begins with ``= + - @``, a tab or a carriage return; blanks before it do not help.
    """
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def markdown_text(text: object) -> str:
    """The text as Markdown that shows just it: no markup, no HTML, no new cell, one line."""
    plain = printable(text).translate(_ENTITIES)
    return _MARKUP.sub(r"\\\g<0>", plain)


def count_of(number: int, one: str, many: str = "") -> str:
    """``1 file``, ``2,000 files``; ``many`` where it is not ``one`` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _acts(one: str) -> bool:
    return unicodedata.category(one) in _DANGEROUS or one in _TURNING


def _written_out(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")
