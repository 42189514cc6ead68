"""Where a frame of a video is, as a URI.

    video:///data/clip.mp4!/INDEX/PTS/FIRST/NUMERATOR/DENOMINATOR[/counted]

INDEX counts the frames in the order they are shown, from 0; PTS and FIRST are the presentation
times of the frame and of the first one, in units of NUMERATOR / DENOMINATOR seconds. ``counted``:
the file gives its frames no times, and this one is found by counting.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from maskmill.pipeline.storage.filesystems import is_uri
from maskmill.pipeline.storage.members import member_uri, split_member_uri

SCHEME: Final = "video"
_COUNTED = "counted"


@dataclass(frozen=True, slots=True)
class FramePlace:
    """One frame of a video: what its URI says."""

    video: str
    index: int
    pts: int
    first: int
    time_base: Fraction
    counted: bool = False

    @property
    def seconds(self) -> float:
        """When it is shown, counted from the first frame."""
        return float((self.pts - self.first) * self.time_base)

    @property
    def uri(self) -> str:
        """What :func:`place_of_frame` reads."""
        base = self.time_base
        numbers = (self.index, self.pts, self.first, base.numerator, base.denominator)
        inner = "/".join(map(str, numbers)) + (f"/{_COUNTED}" if self.counted else "")
        return member_uri(SCHEME, self.video, inner)

    def __str__(self) -> str:
        return f"{self.video} frame {self.index} ({self.seconds:.3f} s)"


def whole_video_uri(video: str) -> str:
    """The URI of a video of which no frame is known: reading it says why."""
    return member_uri(SCHEME, video, "")


def place_of_frame(uri: str) -> FramePlace | None:
    """The frame that a URI names; None for the URI of anything else."""
    if not is_uri(uri) or not uri.startswith(f"{SCHEME}://"):
        return None
    video, inner = split_member_uri(uri)
    parts = inner.split("/")
    if len(parts) < 5:
        return None
    index, pts, first, numerator, denominator = map(int, parts[:5])
    base = Fraction(numerator, denominator)
    return FramePlace(video, index, pts, first, base, parts[5:] == [_COUNTED])
