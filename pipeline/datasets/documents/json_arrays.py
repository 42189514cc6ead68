"""Elements of an array in a JSON document of any size, one by one, with their place in the file.

ijson parses; what it does not tell is where an element lies. So it is fed piece by piece, and a
piece ends with a closing brace: an element that comes out of a piece ends where the piece does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, NamedTuple

import ijson  # type: ignore[import-untyped]

from maskmill.pipeline.datasets.trees import FileTree
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.json_depth import DepthGauge
from maskmill.schemas.json_text import parse_json

CHUNK: Final = 1 << 20
BETWEEN: Final = b", \t\n\r"
"""What may stand between two elements of an array."""
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class Element(NamedTuple):
    """One entry of an array; of an object ``start`` and ``length`` are its bytes, and those before
    it that are of no object. Other entries have no bytes.
    """

    start: int
    length: int
    value: Any


def placed_elements(tree: FileTree, name: str, array: str) -> Iterator[Element]:
    """Every object of the array at the path ``array`` ('' = the document itself), in file order.

    The document is parsed to its end. Memory: one chunk of 1 MiB and one element.

    Raises:
        DocumentFailure: not JSON, nested too deeply, or cut short.
        FileFailure: it cannot be read.
    """
    before = _array_start(tree, name, array)
    events: Any = ijson.sendable_list()
    prefix = f"{array}.item" if array else "item"
    with tree.open(name) as stream, json_failures(name):
        parser = ijson.items_coro(events, prefix, use_float=True)
        end = _skip_mark(stream)
        for piece in _pieces(stream, b"}", name):
            parser.send(piece)
            end += len(piece)
            for value in events:  # one object at most, the last: it ends where the piece does
                is_object = isinstance(value, dict)
                yield Element(before, end - before if is_object else 0, value)
                before = end if is_object else before
            events.clear()
        parser.close()


def object_at(tree: FileTree, name: str, start: int, length: int) -> Any:
    """The object whose :class:`Element` that was.

    Raises:
        DocumentFailure: not JSON any more.
        FileFailure: it cannot be read.
    """
    text = tree.read_range(name, start, length).strip(BETWEEN)
    return parse_json(b"[" + text + b"]", name)[-1]


def elements_outside(
    tree: FileTree, name: str, path: str, hole: tuple[int, int] = (0, 0)
) -> Iterator[Any]:
    """The values at an ijson ``path``, without the bytes of ``hole`` (start, end), in file order.

    A hole is the inside of an array that is known already.

    Raises:
        DocumentFailure: not JSON, nested too deeply, or cut short.
        FileFailure: it cannot be read.
    """
    events: Any = ijson.sendable_list()
    with tree.open(name) as stream, json_failures(name):
        parser = ijson.items_coro(events, path, use_float=True)
        position = _skip_mark(stream)
        gauge = DepthGauge(name)
        while True:
            if hole[0] <= position < hole[1]:
                position = stream.seek(hole[1])
            limit = hole[0] - position if position < hole[0] else CHUNK
            chunk = stream.read(min(CHUNK, limit))
            if not chunk:
                break
            position += len(chunk)
            gauge.feed(chunk)
            parser.send(chunk)
            yield from events
            events.clear()
        parser.close()


@contextmanager
def json_failures(name: str) -> Iterator[None]:
    """What ijson says against a document, as one sentence."""
    try:
        yield
    except RecursionError as error:
        raise DocumentFailure(
            ErrorCode.MALFORMED, f"{name} is not valid JSON: nested too deeply"
        ) from error
    except (ijson.JSONError, ValueError) as error:
        told = error.args[0] if error.args else "it is cut short"
        text = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
        reason = next(iter(text.splitlines()), "")[:200]
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name} is not valid JSON: {reason}") from error


def _array_start(tree: FileTree, name: str, array: str) -> int:
    """Where the first element may begin: behind the bracket that opens the array; else 0."""
    events: Any = ijson.sendable_list()
    with tree.open(name) as stream, json_failures(name):
        parser = ijson.parse_coro(events)
        end = _skip_mark(stream)
        for piece in _pieces(stream, b"[", name):
            parser.send(piece)
            end += len(piece)
            if any(event == "start_array" and path == array for path, event, _ in events):
                return end
            events.clear()
    return 0


def _pieces(stream: BinaryIO, closing: bytes, name: str) -> Iterator[bytes]:
    """The rest of a stream, cut behind every ``closing`` byte."""
    gauge = DepthGauge(name)
    while chunk := stream.read(CHUNK):
        gauge.feed(chunk)
        *whole, rest = chunk.split(closing)
        for piece in whole:
            yield piece + closing
        if rest:
            yield rest


def _skip_mark(stream: BinaryIO) -> int:
    """Past UTF-8's byte order mark, if there is one; the position then."""
    if stream.read(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK:
        return len(BYTE_ORDER_MARK)
    return stream.seek(0)
