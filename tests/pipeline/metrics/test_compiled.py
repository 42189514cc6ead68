"""The compiled loops are there where they can be, and refuse what does not fit together."""

import shutil
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from maskmill.pipeline.metrics import compiled
from maskmill.pipeline.metrics.compiled import native

BYTES, SHORTS, NUMBERS = (np.zeros(4, kind) for kind in (np.uint8, np.uint16, np.int64))
LONGS, TABLE, NINE = np.zeros(4, np.uint32), np.zeros(256, np.uint16), np.zeros(9, np.int64)
RUNS = NUMBERS, NUMBERS, BYTES, BYTES
PAIR, FLOATS = np.zeros(2, np.int64), np.zeros(4, np.float32)
SQUARE = np.zeros((4, 5), np.uint8)


def words(count: int) -> np.ndarray:
    return np.zeros(count, np.uint64)


NO_SENSE = {
    "scan": [
        (BYTES, BYTES, words(4), words(4), 2, 3, 1, 2, 5),  # 2 x 3 pixels are not 4
        (BYTES, BYTES, words(4), words(4), 2, 2, 1, 1, 5),  # 1 + 2 words are not 4
        (BYTES, BYTES, words(4), words(4), 2, 2, 1, 2, 256),  # no value of a byte
        (BYTES, BYTES, words(4), words(4), 2, 2, 0, 4, 5),  # rows without words
        (BYTES, BYTES, words(4), words(4), -2, -2, 1, 2, 5),
    ],
    "of_classes": [(*RUNS, NUMBERS, NUMBERS, BYTES, BYTES[:3], 5), (*RUNS, *RUNS, -1)],
    "add_counts": [
        (BYTES, BYTES, NUMBERS, TABLE + 3, TABLE, NINE, 3),  # classes are 0 to 2
        (BYTES, BYTES, NUMBERS, TABLE[:255], TABLE, NINE, 3),
        (BYTES, BYTES, NUMBERS, TABLE, TABLE, NINE[:8], 3),
    ],
    "add_pixels": [
        (SQUARE, SQUARE[:, :3], TABLE, TABLE, NINE, 3),  # masks of two sizes
        (SQUARE, SQUARE.T, TABLE, TABLE, NINE, 3),  # pixels of a row that lie apart
        (SQUARE, BYTES, TABLE, TABLE, NINE, 3),
        (SQUARE, SQUARE, TABLE, TABLE + 3, NINE, 3),
        (SQUARE, np.zeros((4, 5), np.uint16), TABLE, TABLE, NINE, 3),
    ],
    "costs": [
        (FLOATS, NUMBERS, NUMBERS[:2] - 1, np.zeros(2), PAIR, 100),
        (FLOATS, NUMBERS, NUMBERS[:2] + 4, np.zeros(2), PAIR, 100),
        (FLOATS, NUMBERS, NUMBERS[:2], np.zeros(1), PAIR, 100),
    ],
    "one_side": [
        (NUMBERS, NUMBERS, SHORTS, LONGS[:3], SHORTS, 64, 9),
        (NUMBERS, NUMBERS, SHORTS, LONGS, SHORTS, 0, 9),
    ],
    "paint": [
        (NUMBERS, NUMBERS + 65, words(1)),
        (NUMBERS - 1, NUMBERS + 5, words(1)),
        (NUMBERS + 5, NUMBERS + 5, words(1)),
    ],
    "widen": [(words(4), 0, 5, 1), (words(4), 1, 5, 0)],
    "around": [
        (words(9), words(6), 3, 3, 1),  # begins before the first word
        (words(9), words(7), 1, 3, 1),  # ends after the last
    ],
    "near": [
        (words(9), words(9), np.array([2, 1]), words(4), words(20), 1, 4, 1),  # descending
        (words(9), words(9), np.array([1, 2]), words(4), words(19), 1, 4, 1),
        (words(9), words(9), np.array([1, 5]), words(4), words(20), 1, 4, 1),
    ],
    "count_near": [
        (words(1), NUMBERS + 60, NUMBERS + 5, BYTES, BYTES, NUMBERS, PAIR, 1, 1, 0),
        (words(1), NUMBERS, NUMBERS + 5, BYTES + 4, BYTES, NUMBERS, PAIR, 1, 1, 0),
        (words(1), NUMBERS, NUMBERS + 5, BYTES, BYTES, NUMBERS + 2, PAIR, 1, 1, 0),
        (words(1), NUMBERS, NUMBERS + 5, BYTES, BYTES, NUMBERS, PAIR, 1, 1, 1),
    ],
    "cores": [  # runs of 5 pixels in boxes of 4, and of fewer than none
        (NUMBERS, NUMBERS + 5, NUMBERS, PAIR[:1], np.array([[0, 0, 4, 1]]), PAIR[:1], 64, 3),
        (NUMBERS, NUMBERS + 5, NUMBERS, PAIR[:1], np.array([[0, 0, -4, 1]]), PAIR[:1], 64, 3),
    ],
    "components": [(NUMBERS, NUMBERS, NUMBERS, NUMBERS, np.zeros((3, 6), np.int64), 64)],
}


@pytest.mark.parametrize("name", sorted(NO_SENSE))
def test_what_does_not_fit_together_is_refused(name):
    """Nothing is read or written beyond a buffer."""
    if (loops := native()) is None:
        pytest.skip("the package was installed without a compiler")
    for arguments in NO_SENSE[name]:
        with pytest.raises(ValueError, match="do not fit together"):
            getattr(loops, name)(*arguments)
    with pytest.raises(TypeError, match="0 arguments for"):
        getattr(loops, name)()


def test_every_function_is_tried():
    if (loops := native()) is None:
        pytest.skip("the package was installed without a compiler")
    assert {name for name in dir(loops) if name.islower() and name[0] != "_"} == set(NO_SENSE)


def test_the_loops_are_built_where_a_compiler_is():
    """Or everybody would wait three times as long and not know why."""
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if shutil.which("cc") is None or not header.is_file():
        pytest.skip("no C compiler here")
    assert native() is not None


def test_loops_of_another_interface_are_left_alone(monkeypatch):
    """A checkout that is newer than what was built in it."""
    if native() is None:
        pytest.skip("the package was installed without a compiler")
    monkeypatch.setattr(compiled, "INTERFACE", -1)
    assert compiled.built() is None
    monkeypatch.undo()
    assert compiled.built() is native()


def test_masks_of_two_bytes_are_for_arrays():
    assert native(SHORTS) is None
    assert native(BYTES, SHORTS) is None
