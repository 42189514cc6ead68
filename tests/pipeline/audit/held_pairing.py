"""Pairing over dictionaries that hold every name: what is found on disk must equal it."""

import posixpath
import re
from collections import defaultdict
from pathlib import PurePosixPath

from maskmill.pipeline.audit.pair_rules import RULES, stem_path
from maskmill.pipeline.datasets.mask_names import pair_names
from maskmill.pipeline.datasets.name_affixes import Affix
from maskmill.schemas.errors import SettingsError

VARIANTS = ("_instanceIds", "_instanceTrainIds", "_color", "_polygons")


def held_pairs(predictions, truths, *, train_ids=False):
    """[(key, prediction's key, truth's key, code)] in order; what is not considered, by kind."""
    skipped = []
    left, right = (label_masks(keys, train_ids, skipped) for keys in (predictions, truths))
    found = []
    for rule in (*RULES.values(), shared_endings, affixes):
        keys = (rule, rule) if rule in RULES.values() else rule(left, right)
        groups = [defaultdict(list), defaultdict(list)]
        for side, names in enumerate((left, right)):
            for name in names:
                groups[side][keys[side](name)].append(name)
        for shared in groups[0].keys() & groups[1].keys() - {None}:
            ours, theirs = groups[0][shared], groups[1][shared]
            if len(ours) == len(theirs) == 1:
                found.append((stem_path(theirs[0]), ours[0], theirs[0], None))
            else:
                found += [(stem_path(one), one, None, "ambiguous_pair") for one in ours]
                found += [(stem_path(one), None, one, "ambiguous_pair") for one in theirs]
        taken = [{row[side] for row in found} for side in (1, 2)]
        left = [name for name in left if name not in taken[0]]
        right = [name for name in right if name not in taken[1]]
    found += [(stem_path(one), one, None, "missing_truth") for one in left]
    found += [(stem_path(one), None, one, "missing_prediction") for one in right]
    return sorted(found, key=lambda row: (row[0], row[3] is not None)), skipped


def label_masks(keys, train_ids, skipped):
    """The keys without those of Cityscapes' other files of a picture that has a label mask."""
    wanted, other = ("_labelTrainIds", "_labelIds")[:: 1 if train_ids else -1]
    stems = set(map(stem_path, keys))
    kept = []
    for key in keys:
        stem = stem_path(key)
        beside = dict.fromkeys(VARIANTS, (wanted, other)) | {other: (wanted,)}
        kinds = [
            variant
            for variant, masks in beside.items()
            if stem.endswith(variant)
            and any(stem.removesuffix(variant) + mask in stems for mask in masks)
        ]
        skipped += kinds
        kept += [] if kinds else [key]
    return kept


def shared_endings(*sides):
    """File names without the ending, from a separator on, that all of a side share."""
    return [without_ending(names) for names in sides]


def without_ending(keys):
    names = [PurePosixPath(stem_path(key)).name for key in keys]
    shared = posixpath.commonprefix([name[::-1] for name in names])[::-1]
    found = re.search(r"[_.-](?=.*[A-Za-z]).*", shared)
    ending = found.group() if found and len(keys) > 1 else ""
    return lambda key: PurePosixPath(stem_path(key)).name.removesuffix(ending)


def affixes(left, right):
    """File names without what most of a side have before or behind them."""
    try:
        found = pair_names(right, left, one_tree=False)
    except SettingsError:
        return [lambda _: None] * 2
    theirs, ours = found.mask_affix, found.picture_affix
    is_clear = Affix() in (theirs, ours) or (theirs.names_a_role and ours.names_a_role)
    if len(found.pictures) < 2 or theirs == ours or not is_clear:
        return [lambda _: None] * 2
    return [
        lambda key, affix=affix: affix.bare(PurePosixPath(stem_path(key)).name)
        for affix in (ours, theirs)
    ]
