"""What an address asks for: filters, an order, a box of a picture."""

from collections.abc import Mapping

from maskmill.pipeline.review.query import Query, Span
from maskmill.pipeline.review.renditions import MAX_SIDE, Crop
from maskmill.schemas.errors import SettingsError


def query_of(asked: Mapping[str, str]) -> Query:
    """Filters and order of an address.

    Raises:
        SettingsError: a value that cannot be.
    """
    chosen = asked.get("class", "")
    order = asked.get("order", "")
    return Query(
        class_index=whole_number(asked, "class", 0, 0, 1 << 16) if chosen else None,
        share=_span(asked, "share"),
        confidence=_span(asked, "confidence"),
        entropy=_span(asked, "entropy"),
        miou=_span(asked, "miou"),
        status=asked.get("status", ""),
        error=asked.get("error", ""),
        decision=asked.get("decision", ""),
        noted=asked.get("noted") == "1",
        text=asked.get("text", ""),
        folder=asked.get("folder", ""),
        sort=asked.get("sort", "") or "review",
        descending=None if not order else order == "desc",
    )


def crop_of(asked: Mapping[str, str]) -> Crop:
    """?side= &box=x,y,width,height of an address.

    Raises:
        SettingsError: a value that cannot be.
    """
    side = whole_number(asked, "side", 1600, 16, MAX_SIDE)
    if not asked.get("box"):
        return Crop(side)
    try:
        x, y, width, height = (int(part) for part in asked["box"].split(","))
    except ValueError as error:
        raise SettingsError(f"box {asked['box']!r} is not x,y,width,height") from error
    return Crop(side, (x, y, max(1, width), max(1, height)))


def whole_number(asked: Mapping[str, str], name: str, usual: int, least: int, most: int) -> int:
    """A number of an address, inside its bounds.

    Raises:
        SettingsError: no number.
    """
    try:
        return min(most, max(least, int(asked.get(name, usual))))
    except ValueError as error:
        raise SettingsError(f"{name} {asked[name]!r} is no whole number") from error


def _span(asked: Mapping[str, str], name: str) -> Span:
    """``0.2..0.5``, ``0.2..`` or ``..0.5``."""
    text = asked.get(name, "")
    if not text:
        return None, None
    low, mark, high = text.partition("..")
    try:
        if not mark:
            raise ValueError(text)
        return (float(low) if low else None), (float(high) if high else None)
    except ValueError as error:
        raise SettingsError(f"{name} {text!r} is not LOW..HIGH, as 0.2..0.5") from error
