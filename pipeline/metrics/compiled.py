"""The loops over runs and bits in C (folder ``c``), where they were built with the package.

Without a compiler the package is installed all the same, and arrays give the same integers, at a
third of the pace. So every function that has a loop asks here first.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

import numpy as np
import numpy.typing as npt

INTERFACE = 1  # of native.h: what was built for another one is left alone

_switched_off = False


def built() -> ModuleType | None:
    """What was built with the package, if it is of this ``INTERFACE``."""
    try:
        found = import_module("maskmill.pipeline.metrics._native")
    except ImportError:
        return None
    return found if getattr(found, "INTERFACE", None) == INTERFACE else None


_NATIVE = built()


def native(*masks: npt.NDArray[np.generic]) -> ModuleType | None:
    """The compiled loops; None where there are none, or none for masks of such values."""
    for mask in masks:
        if mask.itemsize > 1:
            return None
    return None if _switched_off else _NATIVE


@contextmanager
def arrays_only() -> Iterator[None]:
    """Do without the compiled loops, in the whole process: to compare both."""
    global _switched_off
    before, _switched_off = _switched_off, True
    try:
        yield
    finally:
        _switched_off = before
