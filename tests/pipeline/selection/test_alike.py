"""Which images are alike, held against a plain search over all pairs."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.selection.alike import MAX_THRESHOLD, Looks, find_copies
from maskmill.pipeline.selection.hamming import KeptHashes, distances


def looks(hashes, **changes) -> Looks:
    count = len(hashes)
    values = {
        "sha256": [b"file" + place.to_bytes(4, "big") for place in range(count)],
        "pixels_sha256": [b"pixels" + place.to_bytes(4, "big") for place in range(count)],
        "hashes": np.array(hashes, np.uint64),
        "hashed": np.ones(count, bool),
        "tones": np.zeros((count, 48), np.uint8),
        "proportions": np.zeros(count, np.float32),
    }
    return Looks(**{**values, **changes})


def clustered(count: int, seed: int) -> list[int]:
    """Hashes in families: members differ from their middle in up to 12 bits."""
    rng = np.random.default_rng(seed)
    middles = [int(value) for value in rng.integers(0, 2**64, max(1, count // 8), np.uint64)]
    return [
        middles[rng.integers(len(middles))]
        ^ sum(1 << int(bit) for bit in rng.choice(64, rng.integers(0, 13), replace=False))
        for _ in range(count)
    ]


def by_hand(hashes: list[int], threshold: int) -> dict[int, tuple[int, int]]:
    """Each against those kept before it: the nearest of them, the earlier where two are."""
    kept: list[int] = []
    found = {}
    for place, value in enumerate(hashes):
        near = [((value ^ hashes[other]).bit_count(), other) for other in kept]
        bits, of = min(near, default=(65, -1))
        if bits <= threshold:
            found[place] = (of, bits)
        else:
            kept.append(place)
    return found


@settings(max_examples=30)
@given(st.integers(0, 120), st.integers(0, MAX_THRESHOLD), st.integers(0, 999))
def test_near_copies_are_those_of_a_search_over_all_pairs(count, threshold, seed):
    hashes = clustered(count, seed)
    copies = find_copies(looks(hashes), threshold=threshold)
    assert {one.place: (one.of, one.distance) for one in copies} == by_hand(hashes, threshold)


@pytest.mark.parametrize("threshold", [0, 3, 8, 10, 12])
def test_the_index_finds_every_pair_that_comparing_all_finds(threshold):
    """Enough hashes that the index is used: more than are compared with all."""
    hashes = np.array(clustered(9000, threshold), np.uint64)
    kept = KeptHashes(threshold)
    for place, value in enumerate(hashes[:8000].tolist()):
        kept.add(place, np.uint64(value))
    kept.settle()
    rows, places, bits = kept.near(hashes[8000:])
    found = set(zip(rows.tolist(), places.tolist(), bits.tolist(), strict=True))
    every = distances(hashes[8000:, None], hashes[None, :8000])
    there = np.nonzero(every <= threshold)
    expected = set(zip(*(axis.tolist() for axis in there), every[there].tolist(), strict=True))
    assert len(expected) > 5 and found == expected


def test_the_same_file_and_the_same_pixels_come_before_near():
    many = looks([7, 7, 7, 7], sha256=[b"a", b"a", b"b", b"c"], pixels_sha256=[b"p"] * 3 + [b"q"])
    kinds = [(one.place, one.of, one.kind) for one in find_copies(many)]
    assert kinds == [(1, 0, "exact"), (2, 0, "pixels"), (3, 0, "near")]


def test_files_that_could_not_be_read_and_pictures_of_one_tone_are_alike_to_nothing():
    unknown = looks([0, 0, 0], sha256=[b""] * 3, pixels_sha256=[b""] * 3, hashed=np.zeros(3, bool))
    assert find_copies(unknown) == []
    flat = looks([0, 0], pixels_sha256=[b"p", b"p"], hashed=np.zeros(2, bool))
    assert [(one.kind, one.distance) for one in find_copies(flat)] == [("pixels", None)]


@pytest.mark.parametrize(
    "changes",
    [
        {"tones": np.array([[90] * 48, [90] * 47 + [110]], np.uint8)},
        {"proportions": np.array([0.0, 0.3], np.float32)},
        {"features": np.array([[1, 0], [0.6, 0.8]], np.float16)},
    ],
    ids=["colours", "proportions", "features"],
)
def test_near_hashes_alone_do_not_make_two_pictures_alike(changes):
    assert len(find_copies(looks([5, 5]))) == 1
    assert find_copies(looks([5, 5], **changes)) == []


def test_a_feature_that_is_not_known_is_no_objection():
    features = np.array([[1, 0], [0, 0]], np.float16)
    assert len(find_copies(looks([5, 5], features=features))) == 1


def test_what_must_stay_is_kept_and_others_are_held_against_it():
    copies = find_copies(looks([5, 5, 5]), always_kept=2)
    assert [(one.place, one.of) for one in copies] == [(2, 0)]


def test_copies_of_a_near_copy_are_told_with_the_image_that_is_kept():
    many = looks([0, 0b11, 0b11], sha256=[b"a", b"b", b"b"])
    told = [(one.place, one.of, one.kind, one.distance) for one in find_copies(many)]
    assert told == [(1, 0, "near", 2), (2, 0, "near", 2)]


HUNDRED_THOUSAND = """
import time
from pathlib import Path
import numpy as np
from maskmill.pipeline.selection.alike import find_copies
from tests.pipeline.selection.test_alike import looks
rng = np.random.default_rng(0)
hashes = rng.integers(0, 2**64, 100_000, np.uint64)
hashes[1::2] = hashes[::2] ^ np.uint64(1 << 40)
files, pixels = ([b"%c%d" % (kind, n) for n in range(100_000)] for kind in b"fp")
many = looks(hashes, sha256=files, pixels_sha256=pixels)
start = time.process_time()
found = len(find_copies(many))
seconds = time.process_time() - start
status = Path("/proc/self/status").read_text()  # ru_maxrss would start with the parent's
peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
print(found, seconds, int(peak) / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak of one process")
def test_a_hundred_thousand_hashes_take_seconds_and_little_memory():
    """In a process of its own: its CPU seconds and its peak, for the default threshold."""
    ended = subprocess.run(
        [sys.executable, "-c", HUNDRED_THOUSAND], capture_output=True, text=True, check=True
    )
    found, seconds, gigabytes = map(float, ended.stdout.split())
    assert found >= 50_000 and gigabytes < 1
    assert seconds < 30  # about 5 on a quiet core
