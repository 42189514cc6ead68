"""Elements of the arrays of a large JSON document, one by one, with their place in the file."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from maskmill.schemas.errors import DocumentFailure, ErrorCode

CHUNK: Final = 8 << 20
LARGEST_ELEMENT: Final = 512 << 20
BLANKS: Final = " \t\n\r"
DELIMITERS: Final = frozenset(",:]}" + BLANKS)
BYTE_ORDER_MARK: Final = "\xef\xbb\xbf"  # UTF-8's mark as Latin-1 sees it

ReadRange = Callable[[int, int], bytes]
"""(start, length) -> bytes; fewer at the end of the file."""


@dataclass(frozen=True, slots=True)
class Element:
    """One value: ``array`` is the top-level key, ``start`` and ``length`` its bytes in the file.

    A top-level value that is no array comes as one element.
    """

    array: str
    start: int
    length: int
    value: Any


class _Window:
    """A piece of the file as Latin-1 text, so that characters are bytes; grows when needed."""

    def __init__(self, read_range: ReadRange, name: str) -> None:
        self.name = name
        self.position = 0
        self._read_range = read_range
        self._text = ""
        self._base = 0
        self._ended = False
        self._decode = json.JSONDecoder().raw_decode

    @property
    def offset(self) -> int:
        return self._base + self.position

    def peek(self) -> str:
        """The next character that is not blank; '' at the end."""
        while True:
            while self.position < len(self._text) and self._text[self.position] in BLANKS:
                self.position += 1
            if self.position < len(self._text) or not self._grow():
                return self._text[self.position : self.position + 1]

    def take(self, expected: str) -> None:
        if self.peek() != expected:
            raise self.malformed(f"{expected!r} expected")
        self.position += 1

    def value(self) -> Any:
        """The next value; the window grows until it holds all of it."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self.position)
                whole = self._text[end : end + 1] in DELIMITERS  # "0" may go on as "0.5"
                if (whole and end < len(self._text)) or not self._grow():
                    start, self.position = self.position, end
                    return self._as_utf8(start, end, value)
            except RecursionError as error:
                raise self.malformed("nested too deeply") from error
            except ValueError as error:
                if not self._grow():
                    raise self.malformed(str(error)) from error

    def _as_utf8(self, start: int, end: int, value: Any) -> Any:
        """The value again from UTF-8 where the text is not plain ASCII."""
        text = self._text[start:end]
        if text.isascii():
            return value
        try:
            return json.loads(text.encode("latin-1").decode("utf-8"))
        except UnicodeDecodeError as error:
            raise self.malformed(f"not UTF-8: {error.reason}") from error

    def _grow(self) -> bool:
        """Drop what is behind, read more; False at the end of the file."""
        if self._ended:
            return False
        kept = self._text[self.position :]
        if len(kept) > LARGEST_ELEMENT:
            raise self.malformed(f"one element is larger than {LARGEST_ELEMENT:,} bytes")
        self._base, self.position = self.offset, 0
        wanted = max(CHUNK, len(kept))
        more = self._read_range(self._base + len(kept), wanted).decode("latin-1")
        self._text = kept + more
        self._ended = len(more) < wanted
        return bool(more)

    def malformed(self, reason: str) -> DocumentFailure:
        return DocumentFailure(
            ErrorCode.MALFORMED,
            f"{self.name}: not valid JSON near byte {self.offset:,}: {reason}",
        )


def json_elements(read_range: ReadRange, name: str) -> Iterator[Element]:
    """Every element of every top-level array of a JSON object, in file order.

    An array at the top counts as the array ''. Memory: one window of 8 MiB, or the largest element.

    Raises:
        DocumentFailure: not a JSON object, cut short, nested too deeply, or an element beyond
            512 MiB.
    """
    window = _Window(read_range, name)
    if window.peek() == BYTE_ORDER_MARK[0]:
        window.position += len(BYTE_ORDER_MARK)
    if window.peek() == "[":
        yield from _array_elements(window, "")
        return
    window.take("{")
    while window.peek() != "}":
        key = str(window.value())
        window.take(":")
        if window.peek() == "[":
            yield from _array_elements(window, key)
        else:
            yield _element(window, key)
        if window.peek() != ",":
            break
        window.take(",")
    window.take("}")


def _array_elements(window: _Window, array: str) -> Iterator[Element]:
    window.take("[")
    while window.peek() != "]":
        yield _element(window, array)
        if window.peek() != ",":
            break
        window.take(",")
    window.take("]")


def _element(window: _Window, array: str) -> Element:
    window.peek()
    start = window.offset
    value = window.value()
    return Element(array, start, window.offset - start, value)
