"""Freed memory is used again while a network runs, and given back afterwards."""

import ctypes
import subprocess
import sys

import pytest

if not hasattr(ctypes.CDLL(None), "mallopt"):
    pytest.skip("this C library has no mallopt", allow_module_level=True)

FAULTS = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from maskmill.pipeline.models.allocator import give_freed_memory_back, keep_freed_memory

def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):  # 28 MB together, as feature maps of the first layers
        [np.ones(megabytes << 18, np.float32) for megabytes in (12, 12, 4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "keep":
    keep_freed_memory()
with ThreadPoolExecutor(1) as thread:
    thread.submit(faults, 2).result()
    found = thread.submit(faults, 20).result()
resident = lambda: int(open("/proc/self/statm").read().split()[1])
before = resident()
give_freed_memory_back()
given = (before - resident()) * resource.getpagesize()
give_freed_memory_back()  # a second time does nothing
print(found, given)
"""


def measured(how: str) -> tuple[int, int]:
    """Page faults of twenty rounds in a thread, and the bytes that came back afterwards."""
    words = [sys.executable, "-c", FAULTS, how]
    answer = subprocess.run(words, capture_output=True, text=True, check=True)
    faults, given = map(int, answer.stdout.split())
    return faults, given


def test_pages_are_taken_once_and_given_back() -> None:
    kept, given = measured("keep")
    left, _ = measured("leave")
    assert kept < left / 10
    assert given > 20 << 20
