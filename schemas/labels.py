"""LabelMap: class index <-> name, colour, COCO category id, ignore index."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.schemas.arrays import ignore_index_of, mask_dtype_of
from maskmill.schemas.coco import CocoCategory
from maskmill.schemas.errors import SettingsError

Color = tuple[int, int, int]
LABELSETS = resources.files("maskmill.schemas") / "labelsets"
BACKGROUND_NAMES = frozenset({"background", "_background_", "__background__"})
VOID_COLOR: Color = (224, 224, 192)  # what Pascal VOC paints at index 255


def voc_color(index: int) -> Color:
    """Colour of a class in the Pascal VOC colormap: the bits of the index spread over R, G, B."""
    red = green = blue = 0
    for bit in range(8):
        red |= ((index >> 0) & 1) << (7 - bit)
        green |= ((index >> 1) & 1) << (7 - bit)
        blue |= ((index >> 2) & 1) << (7 - bit)
        index >>= 3
    return red, green, blue


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelClass:
    """One class. ``index`` is the mask value, ``category_id`` the COCO id, from 1."""

    index: int
    name: str
    color: Color
    category_id: int
    is_background: bool = False
    is_thing: bool = False
    supercategory: str = ""


@dataclass(frozen=True, kw_only=True)
class LabelMap:
    """Classes in index order, 0 to C - 1 without gaps; ``ignore_index`` is never a class.

    Raises:
        SettingsError: indices with gaps, repeated names or category ids, or no class at all.
    """

    name: str
    classes: tuple[LabelClass, ...]

    def __post_init__(self) -> None:
        if not self.classes:
            raise SettingsError(f"label map {self.name!r} has no class")
        if [entry.index for entry in self.classes] != list(range(len(self.classes))):
            raise SettingsError(
                f"label map {self.name!r}: class indices must be 0, 1, 2, … in order"
            )
        bad = next((entry.name for entry in self.classes if not _is_name(entry.name)), None)
        if bad is not None:
            raise SettingsError(f"label map {self.name!r}: {bad!r} is no class name")
        _refuse_repeats(self.name, "class name", [entry.name for entry in self.classes])
        ids = [entry.category_id for entry in self.classes if not entry.is_background]
        _refuse_repeats(self.name, "category id", ids)

    @classmethod
    def from_names(
        cls,
        name: str,
        names: Sequence[str],
        *,
        colors: Sequence[Color] | None = None,
        background: int | None = 0,
    ) -> "LabelMap":
        """Classes in the given order; VOC colours unless given; ids by the rule of the house.

        Category ids are the class index where index 0 is background, else index + 1.
        """
        shift = 0 if background == 0 else 1
        return cls(
            name=name,
            classes=tuple(
                LabelClass(
                    index=index,
                    name=label,
                    is_background=index == background,
                    color=tuple(colors[index]) if colors else voc_color(index),  # type: ignore[arg-type]
                    category_id=index + shift,
                )
                for index, label in enumerate(names)
            ),
        )

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> "LabelMap":
        """The inverse of :meth:`to_dict`; missing colours and ids are filled by rule.

        Raises:
            SettingsError: an entry without a name, or with a field of the wrong type.
        """
        try:
            return _from_document(document)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SettingsError(f"not a label map: {error!r}; see docs/labels.md") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; the form that label files are written in."""
        return {"name": self.name, "classes": [asdict(entry) for entry in self.classes]}

    @property
    def names(self) -> tuple[str, ...]:
        """Class names by index."""
        return tuple(entry.name for entry in self.classes)

    @property
    def background_index(self) -> int | None:
        """Index of the background class, None where there is none."""
        return next((entry.index for entry in self.classes if entry.is_background), None)

    @property
    def ignore_index(self) -> int:
        """255, or 65535 beyond 255 classes."""
        return ignore_index_of(len(self.classes))

    @property
    def mask_dtype(self) -> type[np.uint8] | type[np.uint16]:
        """dtype of a LabelMask of this map."""
        return mask_dtype_of(len(self.classes))

    @cached_property
    def palette(self) -> bytes:
        """768 bytes for a palette PNG: class colours, void colour at 255, VOC colours between."""
        colors = [voc_color(index) for index in range(256)]
        colors[255] = VOID_COLOR
        for entry in self.classes[:256]:
            colors[entry.index] = entry.color
        return bytes(channel for color in colors for channel in color)

    def color_table(self) -> npt.NDArray[np.uint8]:
        """(C, 3) uint8: RGB per class index."""
        return np.array([entry.color for entry in self.classes], dtype=np.uint8)

    def index_of(self, name: str) -> int:
        """Class index of a name.

        Raises:
            SettingsError: no such class; the message lists the known names.
        """
        for entry in self.classes:
            if entry.name == name:
                return entry.index
        raise SettingsError(
            f"no class {name!r} in label map {self.name!r}; it has: {', '.join(self.names)}"
        )

    def coco_categories(self) -> list[CocoCategory]:
        """COCO ``categories``: every class but background, in index order."""
        return [
            {
                "id": entry.category_id,
                "name": entry.name,
                "supercategory": entry.supercategory,
                "color": list(entry.color),
                "isthing": int(entry.is_thing),
            }
            for entry in self.classes
            if not entry.is_background
        ]


def builtin_names() -> tuple[str, ...]:
    """Names of the label maps that come with maskmill."""
    return tuple(
        sorted(
            item.name.removesuffix(".json")
            for item in LABELSETS.iterdir()
            if item.name.endswith(".json")
        )
    )


def builtin(name: str) -> LabelMap:
    """A label map that comes with maskmill, for example ``voc``.

    Raises:
        SettingsError: no such label map; the message lists them.
    """
    if name not in builtin_names():
        raise SettingsError(
            f"no built-in label map {name!r}; there are: {', '.join(builtin_names())}"
        )
    text = (LABELSETS / f"{name}.json").read_text(encoding="utf-8")
    return LabelMap.from_dict(json.loads(text))


def _from_document(document: dict[str, Any]) -> LabelMap:
    entries = document["classes"]
    has_background = bool(entries) and bool(entries[0].get("is_background", False))
    return LabelMap(
        name=str(document.get("name", "labels")),
        classes=tuple(
            LabelClass(
                index=int(entry.get("index", position)),
                name=str(entry["name"]),
                color=checked_color(entry.get("color", voc_color(position))),
                category_id=int(entry.get("category_id", position + (0 if has_background else 1))),
                is_background=bool(entry.get("is_background", False)),
                is_thing=bool(entry.get("is_thing", False)),
                supercategory=str(entry.get("supercategory", "")),
            )
            for position, entry in enumerate(entries)
        ),
    )


def is_background_name(name: str) -> bool:
    """True for the names that stand for "no object" in the datasets we know."""
    return name.strip().lower() in BACKGROUND_NAMES


def labels_in_order(
    name: str, names: Sequence[str], colors: Mapping[str, Color] | None = None
) -> LabelMap:
    """Classes whose index is their place in the list, with background only where it is named.

    Raises:
        SettingsError: no name, or one twice.
    """
    at = next((place for place, entry in enumerate(names) if is_background_name(entry)), None)
    palette = [
        (colors or {}).get(entry, voc_color(place % 256)) for place, entry in enumerate(names)
    ]
    return LabelMap.from_names(name, names, colors=palette, background=at)


def labels_with_background(
    name: str,
    names: Sequence[str],
    *,
    colors: Mapping[str, Color] | None = None,
    category_ids: Mapping[str, int] | None = None,
    things: Sequence[str] = (),
    supercategories: Mapping[str, str] | None = None,
) -> LabelMap:
    """Classes in the given order behind a background at index 0, which is added where missing.

    Category ids are kept where all are above 0, else they are the class indices.
    """
    background = next((entry for entry in names if is_background_name(entry)), "background")
    ordered = [background, *(entry for entry in names if entry != background)]
    ids = category_ids or {}
    keep_ids = all(ids.get(entry, 0) > 0 for entry in ordered[1:])
    return LabelMap(
        name=name,
        classes=tuple(
            LabelClass(
                index=index,
                name=entry,
                color=(colors or {}).get(entry, voc_color(index % 256)),
                category_id=0 if index == 0 else ids[entry] if keep_ids else index,
                is_background=index == 0,
                is_thing=entry in things,
                supercategory=(supercategories or {}).get(entry, ""),
            )
            for index, entry in enumerate(ordered)
        ),
    )


def checked_color(value: Iterable[int] | str) -> Color:
    """Three channels, or ``#rrggbb``, as a colour.

    Raises:
        ValueError: neither, or a channel outside 0..255.
    """
    if isinstance(value, str):
        value = bytes.fromhex(value.removeprefix("#"))
    red, green, blue = (int(channel) for channel in value)
    if not all(0 <= channel <= 255 for channel in (red, green, blue)):
        raise ValueError(f"colour {red},{green},{blue} is outside 0..255")
    return red, green, blue


def _is_name(text: str) -> bool:
    """False for what no file or window could show: nothing, or a NUL in it."""
    return bool(text) and "\0" not in text


def _refuse_repeats(name: str, what: str, values: Sequence[object]) -> None:
    repeated = sorted({str(value) for value in values if values.count(value) > 1})
    if repeated:
        raise SettingsError(f"label map {name!r} repeats {what} {', '.join(repeated)}")
