"""What `make test` takes a sample of: many cases alike, each of some seconds."""

from collections.abc import Iterable
from typing import Any

import pytest


def sampled(values: Iterable[Any], step: int) -> list[Any]:
    """Parameters of a test: every ``step``-th is always run, the others by `make test-all`.

    A tuple is the values of several names.
    """
    marks = (), pytest.mark.thorough
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else (value,)), marks=marks[place % step > 0]
        )
        for place, value in enumerate(values)
    ]
