"""Documents split into packages: importers refuse uploads beyond a size (413 at the proxy)."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from maskmill.pipeline.datasets.package_limits import PackageLimits, numbered
from maskmill.pipeline.datasets.samples import FinishedSample, FinishedSamples
from maskmill.pipeline.pictures.names import frame_of_key


def packaged(
    samples: FinishedSamples,
    stem: str,
    suffix: str,
    limits: PackageLimits,
    bytes_of: Callable[[FinishedSample], int],
) -> Iterator[tuple[str, Iterator[FinishedSample]]]:
    """(file name, its samples) per package, in order: ``stem + suffix`` where one holds all.

    A sample larger than the limit has a package of its own. The samples of a package must be
    taken before the next package is.
    """
    counts = [len(samples)]
    if limits != PackageLimits():
        counts = list(_counts(samples, limits, bytes_of)) or [0]
    rest = iter(samples)
    for number, count in enumerate(counts):
        name = numbered(stem, number, len(counts), suffix) if len(counts) > 1 else stem + suffix
        yield name, islice(rest, count)


def is_one_video(samples: FinishedSamples) -> bool:
    """Whether all are frames of one video: their numbers are then those that CVAT gives them."""
    found = (frame_of_key(sample.key) for sample in samples)
    videos = {None if frame is None else frame[0] for frame in found}
    return len(videos) == 1 and None not in videos


def with_numbers(
    samples: Iterable[FinishedSample], keeps_frames: bool
) -> Iterator[tuple[int, FinishedSample]]:
    """Each sample with its place among them, or with the number its video has for it."""
    for position, sample in enumerate(samples):
        frame = frame_of_key(sample.key) if keeps_frames else None
        yield position if frame is None else frame[1], sample


def _counts(
    samples: FinishedSamples,
    limits: PackageLimits,
    bytes_of: Callable[[FinishedSample], int],
) -> Iterator[int]:
    """How many samples go into each package."""
    images, filled = 0, 0
    for sample in samples:
        size = bytes_of(sample)
        is_full = limits.images is not None and images == limits.images
        is_full |= limits.bytes is not None and filled + size > limits.bytes
        if images and is_full:
            yield images
            images, filled = 0, 0
        images, filled = images + 1, filled + size
    if images:
        yield images
