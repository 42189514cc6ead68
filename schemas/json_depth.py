"""How deeply a JSON document is nested, told before a parser pays for it.

ijson keeps the whole path of every open level: a hundred thousand brackets cost it gigabytes.
"""

import re
from typing import Final

import numpy as np

from maskmill.schemas.errors import DocumentFailure, ErrorCode

DEEPEST: Final = 1000
"""Levels that a document may have; those of annotation tools have ten."""

_NOISE: Final = bytes(sorted(set(range(256)) - set(b'[]{}"')))
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BODY: Final = re.compile(rb'(?:[^"\\]|\\.)*', re.DOTALL)


class DepthGauge:
    """Counts open levels over the chunks of one document; brackets in strings do not count."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._depth = 0
        self._in_string = False
        self._escape = b""

    def feed(self, chunk: bytes) -> None:
        """The next bytes.

        Raises:
            DocumentFailure: more than DEEPEST levels are open somewhere in them.
        """
        levels = np.frombuffer(self._outside_strings(self._escape + chunk), np.uint8)
        opened = (levels == ord("[")) | (levels == ord("{"))
        closed = (levels == ord("]")) | (levels == ord("}"))
        depths = self._depth + np.cumsum(opened.astype(np.int32) - closed)
        if depths.size and int(depths.max()) > DEEPEST:
            raise DocumentFailure(
                ErrorCode.MALFORMED,
                f"{self._name} is not valid JSON: nested too deeply, more than {DEEPEST} levels",
            )
        self._depth = int(depths[-1]) if depths.size else self._depth

    def _outside_strings(self, text: bytes) -> bytes:
        """What stands outside strings; an open one is remembered."""
        self._escape = b""
        if b"\\" not in text:  # nothing escapes a quote: the rest need not be looked at
            text = text.translate(None, _NOISE)
        if self._in_string:
            end = self._string_end(text)
            if end is None:
                return b""
            text = text[end:]
        plain = _STRING.sub(b"", text)
        start = plain.find(b'"')
        if start < 0:
            return plain
        self._in_string = True
        self._string_end(plain[start + 1 :])
        return plain[:start]

    def _string_end(self, text: bytes) -> int | None:
        """Behind the quote that ends the open string; None where it goes on."""
        match = _BODY.match(text)
        end = match.end() if match else 0
        self._in_string = text[end : end + 1] != b'"'
        self._escape = text[end:] if self._in_string else b""  # a lone backslash at most
        return None if self._in_string else end + 1
