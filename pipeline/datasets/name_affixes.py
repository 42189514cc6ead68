"""What names have before or behind the part that a picture and its mask share."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from maskmill.schemas.errors import SettingsError

SEPARATORS: Final = "_. -"
FEW: Final = 20
"""Of so few names every ending that pairs two files counts; of more it must be frequent."""
SHARE: Final = 0.1
"""The least share of all names that an affix has."""
ROLES: Final = frozenset(
    (
        *("mask", "masks", "matte", "label", "labels", "l", "labelids", "labeltrainids", "target"),
        *("gt", "groundtruth", "truth", "seg", "segm", "segmentation"),
        *("annotation", "annotations", "annot", "ann"),
        *("pred", "preds", "prediction", "predictions"),
    )
)
"""Words that say of a file that it is a mask: needed where a file could be a picture as well."""
_WORD: Final = re.compile(r"[A-Za-z]+")
_SUFFIX: Final = re.compile(rf"[{SEPARATORS}](?=.*[A-Za-z])")
_PREFIX: Final = re.compile(rf"(?<=[{SEPARATORS}])")


class Affix(NamedTuple):
    """What a name has before and behind the part that a picture and its mask share."""

    prefix: str = ""
    suffix: str = ""

    def bare(self, stem: str) -> str | None:
        """The file name ``stem`` without the affix; None where it has another, or nothing else."""
        end = len(stem) - len(self.suffix)
        fits = stem.startswith(self.prefix) and stem.endswith(self.suffix)
        return stem[len(self.prefix) : end] if fits and len(self.prefix) < end else None

    @property
    def names_a_role(self) -> bool:
        """True where one of its words says that the file is a mask."""
        return not ROLES.isdisjoint(_WORD.findall(f"{self.prefix} {self.suffix}".lower()))

    def __str__(self) -> str:
        return f"{self.prefix}NAME{self.suffix}"


class Way(NamedTuple):
    """An affix of masks, one of pictures, and how many pairs they make."""

    mask_affix: Affix
    picture_affix: Affix
    pairs: int

    @property
    def rank(self) -> tuple[int, int]:
        """Lowest is best: most pairs, and of equally many the shorter rule."""
        return -self.pairs, sum(map(len, (*self.mask_affix, *self.picture_affix)))


def best_way(plain: Way, ways: Sequence[Way], bearers: Callable[[Affix], int]) -> Way:
    """The way that pairs the most; ``plain`` where none pairs more, and half of what it is about.

    Args:
        plain: without affixes.
        ways: those that were tried.
        bearers: how many masks have an affix.

    Raises:
        SettingsError: masks of two kinds fit equally well.
    """
    best = min(ways, key=lambda way: way.rank, default=plain)
    if best.pairs <= plain.pairs or best.pairs * 2 < bearers(best.mask_affix):
        return plain
    _refuse_rival(best, ways)
    return best


def is_frequent(count: int, of: int) -> bool:
    """Whether an affix that ``count`` names have says anything of them all."""
    return count >= (1 if of <= FEW else SHARE * of)


def affixes_of(stem: str) -> Iterator[Affix]:
    """What a file name without extension begins or ends with, from a separator on."""
    for match in _SUFFIX.finditer(stem, 1):
        yield Affix(suffix=stem[match.start() :])
    for match in _PREFIX.finditer(stem, 1):
        if any(map(str.isalpha, stem[: match.start()])):
            yield Affix(prefix=stem[: match.start()])


def _refuse_rival(best: Way, found: Sequence[Way]) -> None:
    """Masks of two kinds for the same pictures: which is meant cannot be told from names."""
    rivals = {
        str(one.mask_affix): one.mask_affix
        for one in found
        if one.picture_affix == best.picture_affix and one.pairs * 2 > best.pairs
    }
    if len(rivals) > 1:
        raise SettingsError(
            f"masks are called {' and '.join(sorted(rivals))} beside the same pictures: say which "
            "are meant with --mask-suffix"
        )
