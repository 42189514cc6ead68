"""Masks and pictures that are there twice, among more rows than are held at once."""

from collections import defaultdict

import numpy as np

from maskmill.pipeline.audit.repeats import Repeat, Repeats

TWO_CLASSES = [{"predicted_pixels": 3, "truth_pixels": 3}] * 2
ONE_CLASS = TWO_CLASSES[:1]


def digest(number):
    return f"{number:064x}"[::-1]


def rows(count, seed=0):
    """Some predictions, truths and pictures are those of other rows; some masks have one class."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(1, count + 1):
        prediction, truth, picture = (
            digest(offset + (int(rng.integers(1, number + 1)) if rng.random() < 0.02 else number))
            for offset in (0, count, 2 * count)
        )
        made.append(
            {
                "pair_id": number,
                "key": f"k{number}",
                "prediction_sha256": prediction,
                "truth_sha256": truth if rng.random() < 0.9 else None,
                "image_sha256": picture,
                "classes": ONE_CLASS if rng.random() < 0.1 else TWO_CLASSES,
            }
        )
    return made


def added(made):
    repeats = Repeats()
    for row in made:
        repeats.add(row)
    return repeats


def held_repeats(made):
    """The same over a dictionary for each side."""
    groups = {side: defaultdict(list) for side in ("both", "prediction", "truth")}
    for row in made:
        if row["classes"] is TWO_CLASSES:
            prints = {side: row[f"{side}_sha256"] for side in ("prediction", "truth")}
            prints["both"] = all(prints.values()) and tuple(prints.values())
            for side, one in prints.items():
                if one:
                    groups[side][one].append(row["pair_id"])
    both = [ids for ids in groups["both"].values() if len(ids) > 1]
    found = [("both", ids) for ids in both]
    for side in ("prediction", "truth"):
        alike = (ids for ids in groups[side].values() if len(ids) > 1 and ids not in both)
        found += [(side, ids) for ids in alike]
    found.sort(key=lambda one: one[1])
    return [Repeat(side, tuple(f"k{number}" for number in ids)) for side, ids in found]


def test_repeats_are_those_of_dictionaries():
    made = rows(9000)
    twin = dict(made[4]) | {"pair_id": 9001, "key": "k9001", "classes": TWO_CLASSES}
    made[4] = made[4] | {"classes": TWO_CLASSES, "truth_sha256": digest(5)}
    made.append(twin | {"truth_sha256": digest(5)})
    expected = held_repeats(made)
    assert {repeat.side for repeat in expected} == {"both", "prediction", "truth"}
    assert added(made).found() == expected


def test_contradictions_are_told_from_the_first_on():
    made = rows(9000)
    first, count, told = {}, 0, None
    for row in made:
        if row["truth_sha256"]:
            key, truth = first.setdefault(row["image_sha256"], (row["key"], row["truth_sha256"]))
            if truth != row["truth_sha256"]:
                count, told = count + 1, told or (key, row["key"])
    assert count > 20 and added(made).contradictions() == (count, told)
    assert Repeats().contradictions() == (0, None) and Repeats().found() == []
