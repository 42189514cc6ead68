"""What of a Label Studio project takes our masks: its control tag, picture field and labels.

Facts: Label Studio's tags documentation; ``predicted_values`` on a Label is how its own examples
say which classes of a model are meant by it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from maskmill.pipeline.datasets.documents.xml import parse_xml
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.labels import LabelMap

TAGS: Final = {"BrushLabels": "brushlabels", "PolygonLabels": "polygonlabels"}
"""Tags that take masks, the exact one first, and the type of their regions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskControl:
    """Where regions go. ``labels`` is the project's word for each class index that has one.

    ``unmatched`` are the names of the other classes, which the project cannot hold.
    """

    kind: str  # brushlabels | polygonlabels
    from_name: str
    to_name: str
    picture_field: str  # of a task's data
    labels: dict[int, str]
    unmatched: tuple[str, ...] = ()


def mask_control(config: str, labels: LabelMap) -> MaskControl:
    """The first control of a labelling config that takes masks of at least one class.

    A class is the project's label of the same name, else the one that names it among its
    ``predicted_values``, else the only one that differs in case alone.

    Raises:
        DocumentFailure: no config of Label Studio, no tag for masks on a picture, or no label that
            is a class.
    """
    root = parse_xml(config.encode(), "the labelling config")
    pictures = {
        str(one.get("name")): str(one.get("value", "")).lstrip("$") for one in root.iter("Image")
    }
    found = [control for control in _controls(root, pictures, labels) if control.labels]
    if found:
        return found[0]
    drawn = [one for tag in TAGS for one in root.iter(tag) if one.get("toName") in pictures]
    if not drawn:
        raise DocumentFailure(
            ErrorCode.MALFORMED,
            "the project's labelling config has no BrushLabels or PolygonLabels for an Image: "
            "masks have no place there; add one (maskmill convert --to label_studio writes one)",
        )
    theirs = ", ".join(value for one in drawn for value in _values(one)) or "none"
    ours = ", ".join(entry.name for entry in labels.classes if not entry.is_background)
    raise DocumentFailure(
        ErrorCode.UNKNOWN_CLASS,
        f"no label of the project is a class of the model. Labels: {theirs}. Classes: {ours}. Give "
        'a Label the name of a class, or predicted_values="class,class"',
    )


def _controls(root: Element, pictures: dict[str, str], labels: LabelMap) -> Iterator[MaskControl]:
    for tag, kind in TAGS.items():
        for one in root.iter(tag):
            if one.get("toName") in pictures:
                matched = _matched(one, labels)
                yield MaskControl(
                    kind=kind,
                    from_name=str(one.get("name")),
                    to_name=str(one.get("toName")),
                    picture_field=pictures[str(one.get("toName"))],
                    labels=matched,
                    unmatched=tuple(
                        entry.name
                        for entry in labels.classes
                        if not entry.is_background and entry.index not in matched
                    ),
                )


def _matched(control: Element, labels: LabelMap) -> dict[int, str]:
    theirs = _values(control)
    predicted = {
        part.strip(): str(one.get("value"))
        for one in control.iter("Label")
        for part in (one.get("predicted_values") or "").split(",")
        if part.strip() and one.get("value")
    }
    found = {}
    for entry in labels.classes:
        same_but_case = [one for one in theirs if one.casefold() == entry.name.casefold()]
        if entry.is_background:
            continue
        if entry.name in theirs:
            found[entry.index] = entry.name
        elif entry.name in predicted:
            found[entry.index] = predicted[entry.name]
        elif len(same_but_case) == 1:
            found[entry.index] = same_but_case[0]
    return found


def _values(control: Element) -> list[str]:
    return [str(one.get("value")) for one in control.iter("Label") if one.get("value")]
