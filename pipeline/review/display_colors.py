"""Colours in which classes are shown over photographs: none is like skin or like sky.

The VOC colours were made to tell indices apart, not to lie over pictures: its person is the colour
of a face. Files keep the label map's colours; this is about the screen.
"""

import colorsys
from dataclasses import replace
from typing import Final

from maskmill.schemas.labels import Color, LabelMap

_HUES: Final = ((58.0, 178.0), (262.0, 352.0))
"""Degrees: yellow to green, and violet to crimson. Skin, wood and earth lie at 5 to 50, sky
and water at 185 to 240."""

_TIERS: Final = ((0.95, 1.0), (0.9, 0.72), (0.55, 1.0))
"""(saturation, value), taken in turn: neighbours in the list differ in more than their hue."""

_GOLDEN: Final = 0.6180339887498949  # steps of this share of a circle spread any number evenly


def display_color(place: int) -> Color:
    """The colour of the class that is the ``place``-th to have one, from 0."""
    total = sum(high - low for low, high in _HUES)
    along = (0.08 + place * _GOLDEN) % 1.0 * total
    for low, high in _HUES:
        if along < high - low:
            break
        along -= high - low
    saturation, value = _TIERS[place % len(_TIERS)]
    red, green, blue = colorsys.hsv_to_rgb((low + along) / 360, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def displayed(labels: LabelMap) -> LabelMap:
    """The same classes in the colours they are shown in; the background stays as it is."""
    places = iter(range(len(labels.classes)))
    classes = tuple(
        entry if entry.is_background else replace(entry, color=display_color(next(places)))
        for entry in labels.classes
    )
    return replace(labels, classes=classes)
