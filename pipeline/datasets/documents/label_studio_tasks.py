"""Label Studio's tasks as it exports them: JSON, and JSON-MIN with its results at the top.

Facts: label_studio_sdk 2.1.2, its converter to JSON_MIN.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from maskmill.pipeline.datasets.documents.label_studio_config import KINDS
from maskmill.pipeline.datasets.left_out import (
    BOXES,
    KEYPOINTS,
    OTHER_RESULTS,
    SHAPES,
    Omission,
)
from maskmill.pipeline.pictures.names import IMAGE_EXTENSIONS, extension_of
from maskmill.schemas.errors import DocumentFailure, ErrorCode

BARE: Final = {
    "rectanglelabels": BOXES,
    "rectangle": BOXES,
    "keypointlabels": KEYPOINTS,
    "keypoint": KEYPOINTS,
}
UPLOADED: Final = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of an uploaded file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelStudioTask:
    """One picture: its path, the regions that can be drawn, and what else there was.

    ``size`` is (height, width) as somebody told it, None where nobody did.
    """

    key: str
    drawn: Sequence[Mapping[str, Any]]
    left_out: Counter[Omission]
    size: tuple[Any, Any]


def parse_task(task: Any, name: str) -> LabelStudioTask:
    """A task of either export.

    Raises:
        DocumentFailure: neither of them, or one that names no picture.
    """
    if not isinstance(task, dict):
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name} is not a list of Label Studio tasks")
    if isinstance(task.get("data"), dict):
        data, (results, others) = task["data"], _results(task)
    else:
        data, results, others = task, list(_flat_results(task)), 0
        if not results and "annotation_id" not in task:
            raise DocumentFailure(
                ErrorCode.MALFORMED, f"{name} is not a list of Label Studio tasks"
            )
    left_out = Counter(_omission(one) for one in results if one.get("type") not in KINDS)
    left_out[Omission(OTHER_RESULTS)] += others
    return LabelStudioTask(
        key=_key(data, name),
        drawn=[one for one in results if one.get("type") in KINDS],
        left_out=+left_out,
        size=_told_size(results, data),
    )


def labels_in(regions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Every class name that regions carry."""
    for region in regions:
        value = region.get("value") or {}
        for kind in KINDS:
            yield from value.get(kind) or []


def picture_names(key: str) -> tuple[str, ...]:
    """What the picture of a task may be called: as told, and as it was before it was uploaded."""
    file_name = key.rpartition("/")[2]
    before = UPLOADED.sub("", file_name, count=1)
    return (key, file_name) if before == file_name else (key, file_name, before)


def _results(task: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """Results of the last annotation not cancelled, else of the first prediction; how many the
    other annotations have."""
    done = [one for one in task.get("annotations") or [] if not one.get("was_cancelled")]
    chosen = done[-1:] or (task.get("predictions") or [])[:1]
    others = sum(len(one.get("result") or []) for one in done[:-1])
    return [region for one in chosen for region in one.get("result") or []], others


def _flat_results(task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The results of JSON-MIN in the form of JSON: lists of values under the name of their tag."""
    for values in task.values():
        if not isinstance(values, list):
            continue
        for value in values:
            if isinstance(value, dict) and {"original_width", "original_height"} <= value.keys():
                kind = next((key for key in value if key.endswith("labels")), "region")
                size = {key: value[key] for key in ("original_width", "original_height")}
                yield {"type": kind, "value": value, **size}


def _omission(result: Mapping[str, Any]) -> Omission:
    kind = str(result.get("type"))
    return Omission(BARE[kind]) if kind in BARE else Omission(SHAPES, kind)


def _key(data: Mapping[str, Any], name: str) -> str:
    """The picture's path: what ``?d=`` names, else the path of the URL."""
    told = [one for one in data.values() if isinstance(one, str)]
    pictures = [one for one in told if extension_of(urlsplit(one).path) in IMAGE_EXTENSIONS]
    url = data.get("image") or next(iter(pictures + told), None)
    if not isinstance(url, str):
        raise DocumentFailure(ErrorCode.MALFORMED, f"{name}: a task names no image")
    parts = urlsplit(url)
    local = parse_qs(parts.query).get("d")
    return local[0] if local else unquote(parts.path).lstrip("/")


def _told_size(results: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> tuple[Any, Any]:
    """(height, width) from the first region that says it, else from the task's own data."""
    for one in results:
        if "original_height" in one:
            return one["original_height"], one.get("original_width")
    return data.get("height"), data.get("width")
