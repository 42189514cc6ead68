"""The colour that stands for ignore in colour masks."""

from maskmill.schemas.labels import VOID_COLOR, Color, LabelMap

_WHITE: Color = (255, 255, 255)


def void_color(labels: LabelMap) -> Color | None:
    """Pascal VOC's 224,224,192; white where a class has that; None where classes have both."""
    taken = {entry.color for entry in labels.classes}
    return next((color for color in (VOID_COLOR, _WHITE) if color not in taken), None)
