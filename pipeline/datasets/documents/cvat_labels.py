"""The labels that a CVAT document declares in its ``meta``, gathered in one pass over it.

Facts: CVAT's "CVAT for images 1.1". Projects, tasks and the attributes of labels have ``<name>``
too, and the points of a skeleton are labels with a ``<parent>``: neither is a class.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from maskmill.pipeline.datasets.documents.xml import XmlElement
from maskmill.schemas.errors import DocumentFailure, ErrorCode
from maskmill.schemas.labels import Color, LabelMap, checked_color, labels_with_background

LABEL_TAGS: Final = ("label", "name", "color", "parent")
"""The elements to be given to :meth:`DeclaredLabels.take`, in the order they end."""


@dataclass(slots=True)
class DeclaredLabels:
    """Names in their order, with the colours that are told."""

    colors: dict[str, Color | None] = field(default_factory=dict)
    _told: dict[str, str] = field(default_factory=dict)

    def take(self, element: XmlElement, document: str) -> None:
        """One element of LABEL_TAGS; a label is known once it ends.

        Raises:
            DocumentFailure: a colour that is none.
        """
        if element.parent == "label":
            self._told[element.tag] = element.text
        elif element.tag == "label":
            name, color = self._told.get("name", ""), self._told.get("color", "")
            if name and "parent" not in self._told:
                self.colors[name] = _color(color, document) if color.startswith("#") else None
            self._told.clear()

    def labels(self, used: Collection[str]) -> LabelMap:
        """What is declared, then the other names that shapes use; a shape without name has none."""
        names = [*self.colors, *sorted({*used} - {*self.colors, ""})]
        colors = {name: color for name, color in self.colors.items() if color is not None}
        return labels_with_background("cvat", names, colors=colors)


def _color(text: str, document: str) -> Color:
    try:
        return checked_color(text)
    except ValueError as error:
        raise DocumentFailure(ErrorCode.MALFORMED, f"{document}: {error}") from error
