"""Mishaps of files: missing, exchanged, copied, resized, turned, moved, classes swapped in one."""

from collections.abc import Sequence

from maskmill.pipeline.audit.faults import Fault
from maskmill.pipeline.audit.rings import rings
from maskmill.pipeline.audit.shortlists import KEPT_EXAMPLES, KEPT_KEYS, Census
from maskmill.pipeline.audit.tally import AuditTally
from maskmill.schemas.errors import ErrorCode
from maskmill.schemas.text import count_of

COMMON_SHARE = 0.3  # of the pairs tried, for a shift to be the dataset's and not a picture's


def moved_masks(tally: AuditTally) -> list[Fault]:
    """The same shift, give or take a pixel, in many pairs; else single ones that are far off."""
    common = _common_shift(tally)
    return [common] if common else _single_shifts(tally)


def _single_shifts(tally: AuditTally) -> list[Fault]:
    """Pairs whose borders say by themselves that they were moved, whatever the others do."""
    explained = _explained(tally)
    found = [one for one in tally.alignments.certain if one["key"] not in explained]
    count = tally.alignments.num_certain - len(tally.alignments.certain) + len(found)
    if not found:
        return []
    shown = [f"{one['key']} by ({-one['x']}, {-one['y']})" for one in found]
    message = (
        f"{count_of(count, 'pair agrees', 'pairs agree')} better when the prediction is moved "
        f"(right, down): {_listed(shown, count)}; these masks or pictures were cropped, "
        "padded or moved"
    )
    return [Fault("shifted_masks", message, tuple(one["key"] for one in found))]


def _common_shift(tally: AuditTally) -> Fault | None:
    found = tally.alignments
    if not found.shifts:
        return None
    around = {
        centre: sum(count for other, count in found.shifts.items() if _is_near(centre, other))
        for centre in found.shifts
    }
    x, y = max(around, key=lambda shift: (around[shift], found.shifts[shift]))
    if around[x, y] < max(1, COMMON_SHARE * found.tried):
        return None
    message = (
        f"{around[x, y]} of {found.tried} pairs tried agree better when the prediction is moved "
        f"by ({-x}, {-y}) pixels (right, down), for example {found.examples[x, y][0]}: look for "
        "padding, cropping or resizing that is not undone"
    )
    return Fault("shifted_masks", message)


def _is_near(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return abs(one[0] - other[0]) <= 1 and abs(one[1] - other[1]) <= 1


def turned_masks(tally: AuditTally) -> list[Fault]:
    """Pairs that agree once one side is turned or mirrored, whether or not the size shows it."""
    faults = []
    for turn, one in tally.alignments.turns.items():
        keys, count = _unexplained(tally, one)
        if count:
            message = (
                f"{count_of(count, 'pair agrees', 'pairs agree')} once the prediction, {turn} "
                f"against the truth, is turned back ({_listed(keys, count)}): the pictures' EXIF "
                "orientation was not followed on one side"
            )
            faults.append(Fault("turned_masks", message, keys))
    keys, count = _failed(tally, ErrorCode.ORIENTATION_MISMATCH)
    if count:
        message = (
            f"{count_of(count, 'pair has', 'pairs have')} width and height swapped "
            f"({_listed(keys, count)}): the pictures' EXIF orientation was not followed on one "
            "side; turn those masks"
        )
        faults.append(Fault("orientation", message, keys))
    return faults


def resized_masks(tally: AuditTally) -> list[Fault]:
    """Sizes that differ."""
    keys, count = _failed(tally, ErrorCode.SIZE_MISMATCH)
    if not count:
        return []
    rows = [row for row in tally.failed_rows.rows() if row["key"] in keys[:1]]
    example = f"; for example {rows[0]['error_message']}" if rows else ""
    told = count_of(count, "pair differs", "pairs differ")
    message = f"{told} in size ({_listed(keys, count)}){example}"
    return [Fault("resized_masks", message, keys)]


def missing_files(tally: AuditTally) -> list[Fault]:
    """Files without a partner."""
    words = {
        ErrorCode.MISSING_PREDICTION: ("truth mask has", "truth masks have", "no prediction"),
        ErrorCode.MISSING_TRUTH: ("prediction has", "predictions have", "no truth mask"),
        ErrorCode.AMBIGUOUS_PAIR: ("file", "files", "could belong to several partners"),
    }
    faults = []
    for code, (one, many, told) in words.items():
        keys, count = _failed(tally, code)
        if count:
            counted = f"{count_of(count, one, many)} {told}"
            message = f"{counted} ({_listed(keys, count)}); left out of every number"
            faults.append(Fault(code.value, message, keys))
    return faults


def exchanged_files(tally: AuditTally) -> list[Fault]:
    """Files under each other's names."""
    if not tally.exchanged:
        return []
    shown = [f"{one} and {other}" for one, other in tally.exchanged]
    message = (
        f"{count_of(len(shown), 'time')} two files lie under each other's names: each prediction "
        f"fits the other's truth ({_listed(shown, len(shown))}); exchange them back"
    )
    return [Fault("exchanged_files", message, tuple(key for two in tally.exchanged for key in two))]


def repeated_masks(tally: AuditTally) -> list[Fault]:
    """One mask under several names."""
    words = {
        "both": "pairs are the same, truth and prediction: one picture is there twice",
        "prediction": "predictions are the same mask, their truths are not: one is a copy",
        "truth": "truth masks are the same, their predictions are not: one is a copy, or a picture "
        "is there twice",
    }
    faults = []
    for side, told in words.items():
        groups = [one.keys for one in tally.repeated if one.side == side]
        if groups:
            shown = _listed([" and ".join(keys[:KEPT_EXAMPLES]) for keys in groups], len(groups))
            keys = tuple(key for group in groups for key in group)[:KEPT_KEYS]
            count = sum(len(group) for group in groups)
            faults.append(Fault("repeated_masks", f"{count} {told} ({shown})", keys))
    return faults


def swapped_in_images(tally: AuditTally) -> list[Fault]:
    """Classes that stand for each other in single images, where the dataset has them right."""
    everywhere = {frozenset(ring) for ring in rings(tally.matrix[:-1, :-1])}
    explained, names = _explained(tally), tally.labels.names
    faults = []
    for ring, one in tally.swapped.items():
        keys = tuple(key for key in one.keys if key not in explained)
        if keys and frozenset(ring) not in everywhere:
            count = one.files - len(one.keys) + len(keys)
            told = " -> ".join(names[index] for index in (*ring, ring[0]))
            message = (
                f"in {count_of(count, 'image')} classes are predicted as each other, {told} "
                f"({_listed(keys, count)}): swapped in the truth or in the prediction"
            )
            faults.append(Fault("swapped_in_images", message, keys))
    return faults


def _explained(tally: AuditTally) -> set[str]:
    """Keys of pairs that disagree because a file lies under another's name."""
    exchanged = {key for two in tally.exchanged for key in two}
    return exchanged | {key for one in tally.repeated if one.side != "both" for key in one.keys}


def _unexplained(tally: AuditTally, census: Census) -> tuple[tuple[str, ...], int]:
    """The keys that nothing else explains, and how many there are in all."""
    explained = _explained(tally)
    keys = tuple(key for key in census.keys if key not in explained)
    return keys, census.files - len(census.keys) + len(keys)


def _failed(tally: AuditTally, code: ErrorCode) -> tuple[tuple[str, ...], int]:
    return _unexplained(tally, tally.failed_files.get(code.value, Census()))


def _listed(names: Sequence[str], count: int) -> str:
    """The first few of ``count``."""
    shown = ", ".join(names[:KEPT_EXAMPLES])
    return shown if count <= KEPT_EXAMPLES else f"{shown}, …"
