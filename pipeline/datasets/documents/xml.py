"""XML documents of any size: where each element lies, and fragments parsed without trust."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from xml.etree.ElementTree import Element

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from maskmill.schemas.errors import DocumentFailure, ErrorCode

CHUNK: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class XmlElement:
    """An element met in a pass: tag, tag of the one around it, attributes, text, its bytes."""

    tag: str
    parent: str
    attributes: dict[str, str]
    text: str
    start: int
    length: int


class _Scanner:
    """Parser target that keeps the elements of the wanted tags, not the tree."""

    def __init__(self, wanted: frozenset[str]) -> None:
        self.found: list[XmlElement] = []
        self.byte_index: Callable[[], int] = lambda: 0
        self._wanted = wanted
        self._open: list[tuple[str, dict[str, str], int, list[str]]] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._open.append((tag, dict(attributes), self.byte_index(), []))

    def data(self, text: str) -> None:
        if self._open:
            self._open[-1][3].append(text)

    def end(self, tag: str) -> None:
        _, attributes, start, texts = self._open.pop()
        if tag in self._wanted:
            closing = self.byte_index()
            length = 0 if closing == start else closing + len(f"</{tag}>".encode()) - start
            parent = self._open[-1][0] if self._open else ""
            text = "".join(texts).strip()
            self.found.append(XmlElement(tag, parent, attributes, text, start, length))

    def close(self) -> None:
        """Nothing to give back: the elements were taken as they came."""


def xml_elements(
    read_range: Callable[[int, int], bytes], name: str, *wanted: str
) -> Iterator[XmlElement]:
    """The elements of the wanted tags in the order they end; memory: one chunk of the file.

    ``length`` is 0 for an element without content.

    Raises:
        DocumentFailure: UNSAFE_XML for a DTD, entities or external references, MALFORMED else.
    """
    scanner = _Scanner(frozenset(wanted))
    parser = ElementTree.DefusedXMLParser(target=scanner, forbid_dtd=True)
    scanner.byte_index = lambda: int(parser.parser.CurrentByteIndex)
    offset = 0
    while chunk := read_range(offset, CHUNK):
        _guarded(lambda data=chunk: parser.feed(data), name)  # type: ignore[misc]
        yield from scanner.found
        scanner.found.clear()
        offset += len(chunk)
    _guarded(parser.close, name)
    yield from scanner.found


def parse_xml(data: bytes, name: str) -> Element:
    """The root of a small document or fragment.

    Raises:
        DocumentFailure: as :func:`xml_elements`.
    """
    root: Element = _guarded(lambda: ElementTree.fromstring(data, forbid_dtd=True), name)
    return root


def _guarded(work: Callable[[], Any], name: str) -> Any:
    try:
        return work()
    except DefusedXmlException as error:
        raise DocumentFailure(
            ErrorCode.UNSAFE_XML,
            f"{name} declares a DTD or entities; it is refused as unsafe ({error})",
        ) from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name} is not valid XML: {error}") from error
