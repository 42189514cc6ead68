"""One pass over a COCO document of any size: pictures, categories, and where annotations lie."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.datasets.json_elements import Element, json_elements
from pipeline.datasets.trees import FileTree
from schemas.errors import DocumentFailure, ErrorCode

Place = list[int]
"""[start, length] of one or more neighbouring annotations in the file."""


@dataclass(slots=True)
class CocoOutline:
    """What one pass over a document keeps: pictures, categories, and where annotations lie."""

    images: dict[int, dict[str, Any]] = field(default_factory=dict)
    categories: list[dict[str, Any]] = field(default_factory=list)
    places: dict[int, list[Place]] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)


def outline(tree: FileTree, name: str) -> CocoOutline:
    """Pictures, categories and annotation places of one document.

    Raises:
        DocumentFailure: malformed JSON, or entries without their ids.
    """
    result = CocoOutline()
    last = (-1, -1)
    for element in json_elements(lambda start, length: tree.read_range(name, start, length), name):
        try:
            last = _take(result, element, last)
        except (KeyError, TypeError, ValueError) as error:
            raise DocumentFailure(
                ErrorCode.MALFORMED,
                f"{name}: bad entry in {element.array!r} at byte {element.start:,}: {error!r}",
            ) from error
    return result


def _take(result: CocoOutline, element: Element, last: tuple[int, int]) -> tuple[int, int]:
    """Keep what matters of one element; returns (image id, end byte) of an annotation."""
    value = element.value
    if element.array == "images":
        result.images[int(value["id"])] = {
            "file_name": str(value["file_name"]).replace("\\", "/"),
            "size": [value["height"], value["width"]],
        }
    elif element.array == "categories":
        result.categories.append(value)
    elif element.array == "info" and isinstance(value, dict):
        result.info = value
    elif element.array == "annotations":
        image_id = int(value["image_id"])
        places = result.places.setdefault(image_id, [])
        end = element.start + element.length
        if places and last[0] == image_id:
            places[-1][1] = end - places[-1][0]
        else:
            places.append([element.start, element.length])
        return image_id, end
    return last


def annotations_at(tree: FileTree, payload: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The annotations of one picture, read from their places in the document."""
    for start, length in payload["places"]:
        text = tree.read_range(payload["document"], start, length)
        yield from json.loads(b"[" + text + b"]")
