"""Which epoch is the result: the best, or the last that cannot be told from it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from maskmill.pipeline.metrics.intervals import Bootstrap
from maskmill.pipeline.metrics.totals import TotalsLayout
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.training.checkpoint import Progress, validation_rows
from maskmill.pipeline.training.recipe import Keep
from maskmill.pipeline.training.validation import Monitor, Row, vectors_of

RESAMPLES: Final = 200


class Keeper:
    """Decides after every epoch whether its weights would be the result.

    ``best``: those of the highest number. ``level``: the last ones whose number is no further below
    the highest than one standard error of their difference. On few pictures the highest of many
    epochs is the luckiest one; later ones, at a lower rate, are the better network (the rule of one
    standard error: Breiman et al. 1984, "Classification and Regression Trees", 3.4.3, there for
    the size of a tree).
    """

    def __init__(self, monitor: Monitor, rule: Keep, layout: RunLayout) -> None:
        self._monitor, self._rule, self._layout = monitor, rule, layout
        self._best_rows: Sequence[Row] | None = None

    def is_kept(self, entry: Mapping[str, Any], rows: Sequence[Row], progress: Progress) -> bool:
        """Whether ``entry``, with its rows of VALIDATION, is kept; the best one is noted."""
        value, best = entry["monitor"], progress.best
        if value is None:
            return False
        if best is None or value > best["monitor"]:
            progress.best, self._best_rows = dict(entry), rows
            return True
        if self._rule == "best":
            return False
        if self._best_rows is None:  # it stands before the checkpoint that this start began with
            self._best_rows = validation_rows(self._layout, int(best["epoch"])).to_pylist()
        error = standard_error(self._monitor, rows, self._best_rows)
        return bool(value >= best["monitor"] - error)


def standard_error(monitor: Monitor, some: Sequence[Row], others: Sequence[Row]) -> float:
    """Of the difference of the number between two validations of the same pictures.

    By a paired bootstrap over the pictures; 0 where it cannot be had.
    """
    layout = TotalsLayout.of(monitor.labels)
    pairs = np.concatenate([vectors_of(rows, monitor.labels) for rows in (some, others)], axis=1)
    bootstrap = Bootstrap(len(pairs), pairs.shape[1], resamples=RESAMPLES)
    bootstrap.feed(pairs)
    drawn = bootstrap.sums()
    left, right = (monitor.values(layout.split(half)) for half in np.split(drawn, 2, axis=1))
    known = (left - right)[np.isfinite(left - right)]
    return float(known.std(ddof=1)) if known.size > 1 else 0.0
