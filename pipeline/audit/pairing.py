"""Which prediction belongs to which truth: by written rules, one to one, nothing left out."""

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from maskmill.pipeline.datasets.mask_names import Affix, pair_names
from maskmill.pipeline.pictures.names import IMAGE_EXTENSIONS, stem_of
from maskmill.schemas.errors import ErrorCode, SettingsError

SUFFIXES: Final = (
    "_gtFine_labelTrainIds", "_gtFine_labelIds", "_gtCoarse_labelTrainIds", "_gtCoarse_labelIds",
    "_labelTrainIds", "_labelIds", "_leftImg8bit", "_segmentation", "_prediction", "_groundtruth",
    "_labels", "_label", "_preds", "_pred", "_masks", "_mask", "_target", "_seg", "_gt", "_L",
)  # fmt: skip
"""Endings of a stem that name the file's role, not its picture. The longest that fits goes."""

OTHER_VARIANTS: Final = ("_instanceIds", "_instanceTrainIds", "_color", "_polygons")
"""Endings of files that lie beside Cityscapes label masks and are none."""

FEWEST: Final = 2
"""Pairs that a rule found from the names themselves must make: one is chance."""

SHARED_ENDING: Final = "same file name without an ending that all files of a side share"

KeyOf = Callable[[str], str | None]
"""A file's key -> what it must share with its partner; None where the rule does not apply."""

_EXTENSIONS = (*IMAGE_EXTENSIONS, ".npz", ".npy", ".json")
_ENDING = re.compile(r"[_.-](?=.*[A-Za-z]).*")
_CITYSCAPES = re.compile(r"[a-z][a-z-]*_\d{6}_\d{6}")


@dataclass(frozen=True, slots=True)
class MaskFile:
    """One mask on one side: its key (posix path relative to the side's root) and where it is.

    ``item`` is what a dataset's reader needs to find the mask, None where it is a file of its own.
    """

    key: str
    uri: str
    item: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A row of the audit. ``problem`` says why it cannot be compared, None where it can."""

    key: str
    prediction: MaskFile | None
    truth: MaskFile | None
    problem: ErrorCode | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Pairing:
    """All pairs in key order; how many each rule found; files that are no label masks, by kind."""

    pairs: tuple[Pair, ...]
    rules: Mapping[str, int]
    not_considered: Mapping[str, int]


def pair_masks(
    predictions: Iterable[MaskFile], truths: Iterable[MaskFile], *, train_ids: bool = False
) -> Pairing:
    """Match both sides. Every file ends in exactly one pair, or is counted as not considered.

    The rules, tried in this order on what the rules before have left: the same path without its
    extension; the same path without a role's ending (``SUFFIXES``); the same file name without a
    role's ending, in whatever folder; the same Cityscapes frame ``city_000000_000000``; the same
    file name without the ending that all files left on a side share (``_official``); the same file
    name without what most of a side have before or behind it (mask_names.py). A rule pairs files
    only where it finds one on each side; two or more on a side are ``ambiguous_pair``.

    Args:
        predictions: files of the predictions; keys are unique.
        truths: files of the truth; keys are unique.
        train_ids: of Cityscapes' two label masks per picture, take labelTrainIds.
    """
    skipped: Counter[str] = Counter()
    left = _label_masks(predictions, train_ids, skipped)
    right = _label_masks(truths, train_ids, skipped)
    pairs: list[Pair] = []
    rules: Counter[str] = Counter()
    for name, key_of in RULES.items():
        found, left, right = _match(left, right, (key_of, key_of))
        rules[name] = sum(pair.problem is None for pair in found)
        pairs += found
    found, left, right = _match(left, right, (_without_shared(left), _without_shared(right)))
    rules[SHARED_ENDING] = sum(pair.problem is None for pair in found)
    pairs += found
    rule, keys = _by_affix(left, right)
    found, left, right = _match(left, right, keys)
    rules[rule] = sum(pair.problem is None for pair in found)
    pairs += found
    pairs += [_lonely(file, is_truth=False) for file in left]
    pairs += [_lonely(file, is_truth=True) for file in right]
    ordered = tuple(sorted(pairs, key=lambda pair: (pair.key, pair.problem is not None)))
    return Pairing(ordered, {name: count for name, count in rules.items() if count}, dict(skipped))


def index_by_picture(files: Iterable[MaskFile]) -> dict[str, MaskFile | None]:
    """Pictures by every name a pair may ask for; None where a name fits more than one."""
    index: dict[str, MaskFile | None] = {}
    for file in files:
        for key_of in RULES.values():
            name = key_of(file.key)
            if name is not None and index.setdefault(name, file) != file:
                index[name] = None
    return index


def find_picture(key: str, index: Mapping[str, MaskFile | None]) -> MaskFile | None:
    """The picture of a pair's key, by the same rules; None where there is none or no single one."""
    for key_of in RULES.values():
        name = key_of(key)
        if name is not None and index.get(name) is not None:
            return index[name]
    return None


def stem_path(key: str) -> str:
    """The key without a picture's extension: ``a.b.png`` gives ``a.b``, and ``a.b`` stays."""
    return stem_of(key, _EXTENSIONS)


def without_role(key: str) -> str:
    """The key without its extension and without an ending that names its role."""
    path = stem_path(key)
    fitting = [suffix for suffix in SUFFIXES if path.endswith(suffix)]
    name = PurePosixPath(path).name
    longest = max(fitting, key=len, default="")
    return path.removesuffix(longest) if len(longest) < len(name) else path


def _name_without_role(key: str) -> str:
    return PurePosixPath(without_role(key)).name


def _cityscapes_frame(key: str) -> str | None:
    match = _CITYSCAPES.match(PurePosixPath(key).name)
    return match.group() if match else None


RULES: Final[dict[str, KeyOf]] = {
    "same path": stem_path,
    "same path without a role's ending": without_role,
    "same file name without a role's ending": _name_without_role,
    "same Cityscapes frame": _cityscapes_frame,
}
"""Rule -> what two keys must share."""


def _label_masks(
    files: Iterable[MaskFile], train_ids: bool, skipped: Counter[str]
) -> list[MaskFile]:
    """Leave out Cityscapes' other files where the picture has a label mask among them."""
    files = list(files)
    stems = {stem_path(file.key) for file in files}
    kept = []
    for file in files:
        variant = _unwanted_variant(stem_path(file.key), stems, train_ids)
        if variant:
            skipped[variant] += 1
        else:
            kept.append(file)
    return kept


def _unwanted_variant(stem: str, stems: set[str], train_ids: bool) -> str | None:
    wanted, other = ("_labelTrainIds", "_labelIds")[:: 1 if train_ids else -1]
    for variant in OTHER_VARIANTS:
        if stem.endswith(variant):
            bare = stem.removesuffix(variant)
            return variant if {bare + wanted, bare + other} & stems else None
    if stem.endswith(other) and stem.removesuffix(other) + wanted in stems:
        return other
    return None


def _match(
    left: Sequence[MaskFile], right: Sequence[MaskFile], keys: tuple[KeyOf, KeyOf]
) -> tuple[list[Pair], list[MaskFile], list[MaskFile]]:
    sides = _grouped(left, keys[0]), _grouped(right, keys[1])
    pairs: list[Pair] = []
    used: set[str] = set()
    for name in sides[0].keys() & sides[1].keys():
        predictions, truths = sides[0][name], sides[1][name]
        used.add(name)
        if len(predictions) == len(truths) == 1:
            pairs.append(Pair(stem_path(truths[0].key), predictions[0], truths[0]))
        else:
            pairs += _ambiguous(name, predictions, truths)
    rest = [
        [file for file in side if key_of(file.key) not in used]
        for side, key_of in zip((left, right), keys, strict=True)
    ]
    return pairs, rest[0], rest[1]


def _without_shared(files: Sequence[MaskFile]) -> KeyOf:
    """File name without the ending all ``files`` share, from a separator on; it holds a letter."""
    names = [PurePosixPath(stem_path(file.key)).name for file in files]
    shared = posixpath.commonprefix([name[::-1] for name in names])[::-1]
    found = _ENDING.search(shared)
    ending = found.group() if found and len(files) > 1 else ""
    return lambda key: PurePosixPath(stem_path(key)).name.removesuffix(ending)


def _by_affix(
    left: Sequence[MaskFile], right: Sequence[MaskFile]
) -> tuple[str, tuple[KeyOf, KeyOf]]:
    """The affixes of predictions and truths that pair the most; none where they say nothing."""
    nothing = "", (_nothing, _nothing)
    try:
        found = pair_names(_keys(right), _keys(left), one_tree=False)
    except SettingsError:  # two kinds of masks fit alike: neither is guessed
        return nothing
    theirs, ours = found.mask_affix, found.picture_affix
    is_clear = Affix() in (theirs, ours) or (theirs.names_a_role and ours.names_a_role)
    if len(found.pictures) < FEWEST or theirs == ours or not is_clear:
        return nothing
    return f"{ours} with {theirs}", (
        lambda key: ours.bare(PurePosixPath(stem_path(key)).name),
        lambda key: theirs.bare(PurePosixPath(stem_path(key)).name),
    )


def _nothing(_: str) -> None:
    return None


def _keys(files: Iterable[MaskFile]) -> list[str]:
    return [file.key for file in files]


def _grouped(files: Iterable[MaskFile], key_of: KeyOf) -> dict[str, list[MaskFile]]:
    groups: dict[str, list[MaskFile]] = defaultdict(list)
    for file in files:
        name = key_of(file.key)
        if name is not None:
            groups[name].append(file)
    return groups


def _ambiguous(
    name: str, predictions: Sequence[MaskFile], truths: Sequence[MaskFile]
) -> list[Pair]:
    message = (
        f"{name}: {len(predictions)} predictions ({_names(predictions)}) and {len(truths)} truths "
        f"({_names(truths)}) share this name; keep one of each"
    )
    code = ErrorCode.AMBIGUOUS_PAIR
    return [Pair(stem_path(file.key), file, None, code, message) for file in predictions] + [
        Pair(stem_path(file.key), None, file, code, message) for file in truths
    ]


def _names(files: Sequence[MaskFile]) -> str:
    shown = ", ".join(sorted(file.key for file in files)[:3])
    return shown if len(files) <= 3 else f"{shown}, …"


def _lonely(file: MaskFile, *, is_truth: bool) -> Pair:
    key = stem_path(file.key)
    if is_truth:
        message = f"{file.key}: no prediction of this name; predict it, or take it out of the truth"
        return Pair(key, None, file, ErrorCode.MISSING_PREDICTION, message)
    message = f"{file.key}: no truth of this name; label it, or take it out of the predictions"
    return Pair(key, file, None, ErrorCode.MISSING_TRUTH, message)
