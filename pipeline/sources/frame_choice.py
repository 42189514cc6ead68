"""Which frames of a video are taken: every so many, so many a second, from here to there."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from maskmill.schemas.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameChoice:
    """Which frames of each video are taken: all, unless said otherwise.

    ``every``: those whose number it divides. ``rate``: the first of each 1 / rate seconds.
    ``start`` and ``end`` are seconds from the first frame, the end not taken.
    """

    every: int = 1
    rate: Fraction | None = None
    start: Fraction | None = None
    end: Fraction | None = None

    def taken(self, seconds: Sequence[Fraction]) -> list[int]:
        """Numbers of the frames that are taken, ascending; ``seconds`` says when each is shown."""
        frames, last_cell = [], None
        for index, shown in enumerate(seconds):
            cell = index if self.rate is None else shown * self.rate // 1
            is_first, last_cell = cell != last_cell, cell
            inside = (self.start or 0) <= shown and (self.end is None or shown < self.end)
            if inside and is_first and index % self.every == 0:
                frames.append(index)
        return frames


def frame_choice(
    every: int | None, fps: str | None, start: str | None, end: str | None
) -> FrameChoice:
    """The choice that four options ask for, each as it was typed.

    Raises:
        SettingsError: a number or time that cannot be read, both ways to thin out, or an empty
            stretch of time.
    """
    if every is not None and fps is not None:
        raise SettingsError("--every counts frames and --fps seconds: give one of them")
    choice = FrameChoice(
        every=1 if every is None else every,
        rate=None if fps is None else text_to_rate(fps),
        start=None if start is None else text_to_seconds(start),
        end=None if end is None else text_to_seconds(end),
    )
    if choice.end is not None and choice.end <= (choice.start or 0):
        raise SettingsError(f"--to {end} is not after --from {start or 0}: no frame lies between")
    return choice


def text_to_rate(text: str) -> Fraction:
    """Frames a second, as ``2``, ``0.5`` or ``30000/1001``.

    Raises:
        SettingsError: not such a number, or not above 0.
    """
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise SettingsError(f"{text!r} is no frame rate; write 2, 0.5 or 30000/1001") from error
    if rate <= 0:
        raise SettingsError(f"a frame rate of {text} takes no frame; give one above 0")
    return rate


def text_to_seconds(text: str) -> Fraction:
    """Seconds, as ``90``, ``90.5``, ``1:30`` or ``0:01:30.5``.

    Raises:
        SettingsError: not such a time, or below 0.
    """
    seconds = Fraction(0)
    try:
        parts = [Fraction(part) for part in text.split(":")]
    except (ValueError, ZeroDivisionError) as error:
        raise SettingsError(f"{text!r} is no time; write 90, 90.5, 1:30 or 0:01:30.5") from error
    if len(parts) > 3 or min(parts) < 0 or any(part >= 60 for part in parts[1:]):
        raise SettingsError(f"{text!r} is no time; write 90, 90.5, 1:30 or 0:01:30.5")
    for part in parts:
        seconds = seconds * 60 + part
    return seconds
