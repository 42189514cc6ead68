"""Which mask belongs to which picture, by what their names have and lack: found, or as told.

Masks are called as their pictures with something before or behind (``x_mask.png`` of ``x.jpg``),
in folders of other names. One such affix is chosen for all masks: the one that pairs the most.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NamedTuple

from maskmill.pipeline.datasets.name_affixes import (
    SEPARATORS,
    Affix,
    Way,
    affixes_of,
    best_way,
    is_frequent,
)
from maskmill.pipeline.pictures.names import MASK_EXTENSIONS, extension_of, stem_of
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.text import count_of

SAMPLE: Final = 500
TRIED: Final = 8
EXAMPLES: Final = 3


@dataclass(frozen=True, slots=True)
class NamePairs:
    """Masks and pictures that belong together, by what rule.

    ``pictures`` has the picture of each mask that has one; ``masks`` are all files that are masks;
    ``unmasked`` is how many pictures have none, ``others`` how many files are neither called as
    masks are told to be nor the picture of one.
    """

    mask_affix: Affix
    picture_affix: Affix
    masks: Sequence[str]
    pictures: Mapping[str, str]
    unmasked: int = 0
    others: int = 0

    @property
    def way(self) -> Way:
        """The rule, and how many pairs it makes."""
        return Way(self.mask_affix, self.picture_affix, len(self.pictures))

    def note(self) -> str | None:
        """The rule and its exceptions; None where it is plain and has none."""
        lonely = [name for name in self.masks if name not in self.pictures]
        is_plain = self.mask_affix == self.picture_affix == Affix()
        if not self.pictures or (is_plain and not lonely):
            return None
        mask, picture = next(iter(self.pictures.items()))
        told = (
            f"pairs {self.mask_affix}{extension_of(mask)} with "
            f"{self.picture_affix}{extension_of(picture)}: "
            f"{len(self.pictures):,} of {len(self.masks):,}"
        )
        if lonely:
            shown = ", ".join(lonely[:EXAMPLES]) + (", …" if len(lonely) > EXAMPLES else "")
            told += f"; {count_of(len(lonely), 'mask')} without picture: {shown}"
        if self.unmasked:
            told += f"; {count_of(self.unmasked, 'picture')} without mask"
        others = f"; {count_of(self.others, 'file')} called otherwise not taken"
        return told + (others if self.others else "")


def pair_names(
    masks: Sequence[str],
    pictures: Collection[str],
    told: str | None = None,
    *,
    one_tree: bool = True,
) -> NamePairs:
    """Pair the files ``masks`` with the files ``pictures``.

    Where a file is among both (of ``one_tree``), it is a mask if it has the affix, else a picture.
    A pair is one to one; names that several files share stay without a partner. ``told`` is the
    affix the user gave: files without it are no masks.

    Raises:
        SettingsError: no mask has the affix that was told, or two affixes pair equally well.
    """
    both = frozenset(masks).intersection(pictures) if one_tree else frozenset()
    sides = _Sides(_files(masks), _files(pictures), both)
    if told is not None:
        return _as_told(sides, told)
    plain = _paired(sides, Affix(), Affix())
    if len(plain.pictures) * 2 > len(masks):
        return plain
    endings = [one for one in _affixes(sides.masks) if one.names_a_role or not both]
    found = {one.way: one for one in (plain, *_all_ways(sides, endings))}
    return found[best_way(plain.way, [*found][1:], partial(_bearers, sides.masks))]


def _bearers(files: Sequence["_File"], affix: Affix) -> int:
    return sum(affix.bare(file.stem) is not None for file in files)


class _File(NamedTuple):
    name: str
    folder: str
    stem: str


class _Sides(NamedTuple):
    masks: Sequence[_File]
    pictures: Sequence[_File]
    both: frozenset[str]


def _files(names: Collection[str]) -> list[_File]:
    parts = ((name, *name.rpartition("/")[::2]) for name in names)
    return [_File(name, folder, stem_of(file)) for name, folder, file in parts]


def _all_ways(sides: _Sides, endings: Sequence[Affix]) -> list[NamePairs]:
    """The affixes that pair best by a sample of the masks, tried on all of them."""
    sample = sides.masks[:: max(1, len(sides.masks) // SAMPLE)]
    hits: Counter[tuple[Affix, Affix]] = Counter()
    for other in _affixes(sides.pictures) if endings else []:
        if other.names_a_role and sides.both:
            continue  # called as a mask, it is no picture
        shown = {bare for file in sides.pictures if (bare := other.bare(file.stem)) is not None}
        for one in endings:
            if one != other:
                hits[one, other] = sum(one.bare(file.stem) in shown for file in sample)
    return [_paired(sides, one, other) for (one, other), count in hits.most_common(TRIED) if count]


def _as_told(sides: _Sides, told: str) -> NamePairs:
    affix = _told_affix(told)
    masks = [file for file in sides.masks if affix.bare(file.stem) is not None]
    if not masks:
        first = next((f"; the first is {file.name}" for file in sides.masks), "")
        raise SettingsError(f"--mask-suffix {told!r}: no mask is called so{first}")
    found = _all_ways(sides._replace(masks=masks), [affix])
    best = min(found, key=lambda one: one.way.rank, default=NamePairs(affix, Affix(), [], {}))
    is_alone = frozenset(file.name for file in masks)
    kept = [name for name in best.masks if name in is_alone] or [file.name for file in masks]
    taken = {*kept, *best.pictures.values()}
    return replace(best, masks=kept, others=sum(file.name not in taken for file in sides.masks))


def _told_affix(told: str) -> Affix:
    """``_mask``, ``_mask.png`` or ``mask_`` as an affix."""
    text = stem_of(told, MASK_EXTENSIONS)
    is_prefix = text[-1:] in SEPARATORS and text[:1] not in SEPARATORS
    return Affix(prefix=text) if is_prefix else Affix(suffix=text)


def _affixes(files: Sequence[_File]) -> list[Affix]:
    """Endings and beginnings that enough of the names have, from a separator on, and none."""
    counts: Counter[Affix] = Counter()
    stems = {file.stem for file in files}
    for stem in stems:
        counts.update(affixes_of(stem))
    return [Affix(), *(one for one, count in counts.items() if is_frequent(count, len(stems)))]


def _paired(sides: _Sides, mask_affix: Affix, picture_affix: Affix) -> NamePairs:
    left = _by_shared_name(sides.masks, mask_affix)
    bearers = {file.name for file, _ in left}
    kept = [one.name for one in sides.masks if one.name in bearers or one.name not in sides.both]
    shown = [one for one in sides.pictures if one.name not in sides.both or one.name not in bearers]
    right = _by_shared_name(shown, picture_affix)
    # A stray picture among the masks makes a folder of theirs a shared one, and nothing pairs.
    found = _one_to_one(left, right) or _one_to_one(*_meeting(left, right))
    unmasked = len(shown) - len(found)
    return NamePairs(mask_affix, picture_affix, kept, dict(sorted(found.items())), unmasked)


Shared = Sequence[tuple[_File, str]]
"""Files, and the part of each name that both sides share."""


def _one_to_one(left: Shared, right: Shared) -> dict[str, str]:
    """Those that alone have a name in the folders that both sides have."""
    folders = _shared_folders(left, right)
    ours, theirs = _alone(left, folders), _alone(right, folders)
    return {ours[name]: theirs[name] for name in ours.keys() & theirs.keys()}


def _by_shared_name(files: Sequence[_File], affix: Affix) -> Shared:
    found = ((file, affix.bare(file.stem)) for file in files)
    return [(file, bare) for file, bare in found if bare is not None]


def _shared_folders(left: Shared, right: Shared) -> frozenset[str]:
    """Names of folders on both sides: ``train`` of ``masks/train`` and ``images/train``."""
    ours, theirs = ({file.folder for file, _ in side} for side in (left, right))
    return frozenset(_parts(ours) & _parts(theirs))


def _meeting(left: Shared, right: Shared) -> tuple[Shared, Shared]:
    """Those whose names are on both sides, whatever their folders."""
    both = {bare for _, bare in left} & {bare for _, bare in right}
    ours, theirs = ([one for one in side if one[1] in both] for side in (left, right))
    return ours, theirs


def _parts(folders: Collection[str]) -> set[str]:
    return {part for folder in folders for part in folder.split("/")}


def _alone(side: Shared, folders: frozenset[str]) -> dict[tuple[str, ...], str]:
    """Files by shared folders and name, those that are alone under theirs."""
    counts: Counter[tuple[str, ...]] = Counter()
    found: dict[tuple[str, ...], str] = {}
    for file, bare in side:
        key = (*(part for part in file.folder.split("/") if part in folders), bare)
        counts[key] += 1
        found[key] = file.name
    return {key: name for key, name in found.items() if counts[key] == 1}
