"""What a guess is made from, and what a guess is."""

from collections.abc import Iterator
from dataclasses import dataclass

from maskmill.pipeline.datasets.recognition import Recognition
from maskmill.pipeline.inspect.census import FileCensus
from maskmill.schemas.labels import Color, LabelMap


@dataclass(frozen=True, slots=True)
class Convention:
    """A guess. ``format`` is the ``--from`` to use, '' where nothing reads it.

    ``labels`` is the built-in label map of the set, '' where the masks are not known to follow
    one; ``unknown`` the ``--unknown`` that the set needs, '' for the usual one.
    """

    name: str
    format: str
    labels: str
    reason: str
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class SetCensus:
    """A set of mask files as one: all values and colours, and the folders that give it away.

    ``root`` is the path that was inspected: its last folders belong to the layout. ``listed`` are
    the classes of a list beside the masks; ``is_told`` where the user names the classes.
    """

    files: tuple[FileCensus, ...]
    layouts: tuple[Recognition, ...] = ()  # what the tree around the masks is known as
    root: str = ""
    listed: LabelMap | None = None
    is_told: bool = False

    def lies_in(self, *formats: str) -> bool:
        """True where the tree is a dataset of one of these formats."""
        return any(layout.format in formats for layout in self.layouts)

    @property
    def paths(self) -> Iterator[str]:
        """The masks with the folders they lie in, those above the root too."""
        above = self.root.rstrip("/")
        return (f"{above}/{file.name}" for file in self.files)

    @property
    def values(self) -> frozenset[int]:
        """Every stored value."""
        return frozenset(value for file in self.files for value in file.values)

    @property
    def colors(self) -> frozenset[Color]:
        """Every colour of the RGB files."""
        return frozenset(color for file in self.files for color in file.colors)

    @property
    def modes(self) -> dict[str, int]:
        """Files by mode."""
        found: dict[str, int] = {}
        for file in self.files:
            found[file.mode] = found.get(file.mode, 0) + 1
        return found

    @property
    def palettes(self) -> frozenset[str]:
        """Kinds of palettes, '' for files without one."""
        return frozenset(file.palette for file in self.files)
