"""What a metric says about itself. Each stands as one such record beside the function it names."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from maskmill.pipeline.metrics.totals import Sums, Totals

Score = Callable[[Totals], Sums]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number of an audit. ``score`` gives (…,), ``per_class`` (…, C) where there is one.

    ``needs`` names the sums it stands on; without them the number is null. ``shown`` says where the
    number of the whole dataset stands: on the console too, in the reports only, or nowhere because
    the number is meant per class (a class always has all of its columns). ``lower_is_better`` turns
    the sense of --fail-under and of compare.
    """

    title: str
    definition: str
    score: Score
    per_class: Score | None = None
    needs: Literal["pixels", "boundaries", "categories", "confidences"] = "pixels"
    shown: Literal["console", "reports", "classes"] = "reports"
    lower_is_better: bool = False
