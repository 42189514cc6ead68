"""Renaming, merging and dropping classes as one lookup table: total, and never chained."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.storage.filesystems import local_path, read_bytes
from maskmill.schemas.arrays import LabelMask
from maskmill.schemas.errors import ErrorCode, FileFailure, MaskFailure, SettingsError
from maskmill.schemas.labels import LabelClass, LabelMap

BACKGROUND: Final = "@background"
IGNORE: Final = "@ignore"
KEEP: Final = "@keep"
EVERY_OTHER: Final = "*"

Rules = Mapping[str, str]
"""Source class name -> target class name, ``@background``, ``@ignore`` or ``@keep``.

``*`` stands for every class that is not named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMapping:
    """One table from the classes of ``source`` to those of ``target``.

    ``targets[i]`` is the target value of source class i; ignore stays ignore.
    """

    source: LabelMap
    target: LabelMap
    targets: tuple[int, ...]

    @property
    def is_identity(self) -> bool:
        """True where masks pass unchanged."""
        same_ignore = self.source.ignore_index == self.target.ignore_index
        return same_ignore and self.targets == tuple(range(len(self.targets)))


def identity_mapping(labels: LabelMap) -> ClassMapping:
    """The mapping that changes nothing."""
    return ClassMapping(source=labels, target=labels, targets=tuple(range(len(labels.classes))))


def map_mask(mask: LabelMask, labels: LabelMap, mapping: ClassMapping) -> LabelMask:
    """The mask in the target's classes: one look-up per pixel, in the target's dtype.

    Raises:
        ValueError: the mask's ``labels`` are not the mapping's source (mapped twice, say).
        MaskFailure: a value that is neither a class nor ignore.
    """
    if labels != mapping.source:
        raise ValueError(f"a mapping from {mapping.source.name!r} met masks of {labels.name!r}")
    unknown = (mask >= len(mapping.targets)) & (mask != labels.ignore_index)
    if unknown.any():
        raise MaskFailure(
            ErrorCode.UNKNOWN_VALUE,
            f"mask values {np.unique(mask[unknown]).tolist()[:10]} are no class of "
            f"{labels.name!r} (0..{len(labels.classes) - 1}, ignore {labels.ignore_index})",
        )
    mapped: LabelMask = mask if mapping.is_identity else _table(mapping)[mask]
    return mapped


def _table(mapping: ClassMapping) -> npt.NDArray[Any]:
    size = mapping.source.ignore_index + 1
    table = np.full(size, mapping.target.ignore_index, dtype=mapping.target.mask_dtype)
    table[: len(mapping.targets)] = mapping.targets
    return table


def told_rules(path_or_rules: str) -> dict[str, str]:
    """What --map says: a file, or rules as they would stand in one (``* = background; a = b``).

    Raises:
        SettingsError: a file that cannot be read, or no rules.
    """
    local = local_path(path_or_rules)
    is_file = local is None or Path(local).is_file()
    if "=" in path_or_rules and not is_file:
        return read_rules(path_or_rules.replace(";", "\n"), "--map")
    try:
        text = read_bytes(path_or_rules).decode("utf-8")
    except (FileFailure, UnicodeDecodeError) as error:
        raise SettingsError(f"--map {path_or_rules} cannot be read as text: {error}") from error
    return read_rules(text, path_or_rules)


def read_rules(text: str, name: str) -> dict[str, str]:
    """A map file: a JSON object, or lines ``cat = animal`` with ``#`` comments.

    In JSON, null means ``@background``.

    Raises:
        SettingsError: neither of the two, or a name with two rules.
    """
    if text.lstrip().startswith("{"):
        return _rules_from_json(text, name)
    rules: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        source, equals, target = (part.strip() for part in line.rpartition("="))
        if not (source and equals and target) or source in rules:
            raise SettingsError(
                f"{name}, line {number}: {line!r} is not a new rule; write: old name = new name"
            )
        rules[source] = target
    return rules


def _rules_from_json(text: str, name: str) -> dict[str, str]:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise SettingsError(f"{name}: a class has two rules; keep one")
        return dict(pairs)

    try:
        document = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{name} is not JSON: {error}") from error
    wrong = [key for key, value in document.items() if not isinstance(value, str | None)]
    if wrong:
        raise SettingsError(f"{name}: {wrong[0]!r} must map to a class name or null")
    return {key: BACKGROUND if value is None else value for key, value in document.items()}


def build_mapping(source: LabelMap, rules: Rules, target: LabelMap | None = None) -> ClassMapping:
    """The table for ``rules``. Without ``target``, its classes are the names the rules lead to.

    Raises:
        SettingsError: a rule for a class that is not there, a class without a rule, or a target
            class that ``target`` lacks. Every message lists the names.
    """
    leads_to = {entry.name: _destination(entry, rules) for entry in source.classes}
    strangers = sorted(set(rules) - set(source.names) - {EVERY_OTHER})
    if strangers:
        raise SettingsError(
            f"--map names {', '.join(strangers)}, but the source has: {', '.join(source.names)}"
        )
    unmapped = [name for name, to in leads_to.items() if to is None]
    if unmapped:
        raise SettingsError(
            f"--map says nothing about {', '.join(unmapped)}; "
            "name them, or add the rule  * = @keep  (or @background, @ignore)"
        )
    named = {name: to for name, to in leads_to.items() if to is not None}
    chosen = target or _target_of(source, named)
    return ClassMapping(
        source=source,
        target=chosen,
        targets=tuple(_value_of(named[entry.name], chosen) for entry in source.classes),
    )


def mapping_by_name(source: LabelMap, target: LabelMap) -> ClassMapping:
    """Classes keep their names and take the target's indices; background meets background.

    Raises:
        SettingsError: a source class that the target lacks.
    """
    return build_mapping(source, {EVERY_OTHER: KEEP}, target)


def _destination(entry: LabelClass, rules: Rules) -> str | None:
    rule = rules.get(entry.name)
    if rule is None:
        rule = BACKGROUND if entry.is_background else rules.get(EVERY_OTHER)
    if rule == KEEP:  # a background that is kept is the one that others merge into
        return BACKGROUND if entry.is_background else entry.name
    return rule


def _target_of(source: LabelMap, leads_to: Mapping[str, str]) -> LabelMap:
    """Target classes in source order; a name that merges keeps its first class's colour and id."""
    first: dict[str, LabelClass] = {}
    for entry in source.classes:
        to = leads_to[entry.name]
        if to not in (BACKGROUND, IGNORE):
            first.setdefault(to, entry)
    by_name = {entry.name: entry for entry in source.classes}
    entries = [replace(by_name.get(to, entry), name=to) for to, entry in first.items()]
    if BACKGROUND in leads_to.values():
        entries.insert(0, _background_of(source))
    used: set[int] = set()
    classes = []
    for index, entry in enumerate(entries):
        category_id = entry.category_id
        if category_id in used and not entry.is_background:
            category_id = max(used) + 1
        used.add(category_id)
        classes.append(replace(entry, index=index, category_id=category_id))
    return LabelMap(name=f"{source.name} mapped", classes=tuple(classes))


def _background_of(source: LabelMap) -> LabelClass:
    at = source.background_index
    if at is not None:
        return source.classes[at]
    return LabelClass(
        index=0, name="background", color=(0, 0, 0), category_id=0, is_background=True
    )


def _value_of(name: str, target: LabelMap) -> int:
    if name == IGNORE:
        return target.ignore_index
    if name == BACKGROUND:
        at = target.background_index
        return target.ignore_index if at is None else at
    return target.index_of(name)
