"""Bootstrap over images: how far a number would move if other images had been drawn.

One pass over the images, memory for the resamples only: image i enters each resample as often as a
binomial draw from the places left says, which is the multinomial draw taken one image at a time.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.metrics.totals import Sums

DEFAULT_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % percentile interval; None where too few resamples have the number at all."""

    low: float | None
    high: float | None


class Bootstrap:
    """Seeded resampling of ``num_images`` images, fed in a fixed order, in groups of any size.

    Args:
        num_images: N; exactly so many vectors must be fed.
        size: length D of the vectors.
        resamples: R.
        seed: the same seed, images and order give the same resamples, whatever the grouping.
    """

    def __init__(
        self, num_images: int, size: int, *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0
    ) -> None:
        self._left = num_images
        self._places = np.full(resamples, num_images, dtype=np.int64)
        self._rng = np.random.default_rng(seed)
        self._sums = np.zeros((resamples, size), dtype=np.float64)

    def feed(self, vectors: Sums) -> None:
        """Add (n, D) vectors of the next n images.

        Raises:
            ValueError: more images than announced.
        """
        if len(vectors) > self._left:
            raise ValueError("more images than the bootstrap was made for")
        if len(vectors):
            self._sums += self._draw(len(vectors)) @ vectors

    def sums(self) -> Sums:
        """(R, D) sums of the resamples.

        Raises:
            ValueError: fewer images than announced.
        """
        if self._left:
            raise ValueError(f"{self._left} images are still to be fed")
        return self._sums

    def _draw(self, count: int) -> Sums:
        weights = np.empty((len(self._places), count), dtype=np.float64)
        for column in range(count):
            drawn: npt.NDArray[np.int64] = self._rng.binomial(self._places, 1.0 / self._left)
            self._places -= drawn
            self._left -= 1
            weights[:, column] = drawn
        return weights


def interval_of(scores: Sums) -> Interval:
    """The 2.5 % and 97.5 % quantiles of (R,) scores; NaN scores (class not drawn) are left out."""
    known = scores[np.isfinite(scores)]
    if known.size < 2:
        return Interval(None, None)
    low, high = np.percentile(known, [2.5, 97.5])
    return Interval(float(low), float(high))


def two_sided_p(differences: Sums) -> float | None:
    """Bootstrap p-value of a difference: twice the smaller tail at or beyond 0, at least 1 / R."""
    known = differences[np.isfinite(differences)]
    if known.size < 2:
        return None
    tails = [int(np.count_nonzero(known <= 0)), int(np.count_nonzero(known >= 0))]
    return min(1.0, max(2 * min(tails), 1) / known.size)
