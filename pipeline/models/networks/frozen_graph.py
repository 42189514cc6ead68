"""FrozenGraph: the convolutions of a TFLite or TFJS file, in an order where sources come first."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Activation = Literal["none", "relu", "relu6"]


@dataclass(frozen=True, slots=True)
class Rounding:
    """The grid a quantised file keeps a tensor on: real = step * (int8 value - zero)."""

    step: float
    zero: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FrozenConvolution:
    """A convolution with its batch norm folded in.

    ``weight`` is (out, in / groups, kernel, kernel) float32, ``bias`` (out,) float32. ``source`` is
    the position in the list of the convolution that feeds this one (-1: the picture); where several
    do, by addition or concatenation, the last of them. ``pooled``: a global average stands between.
    ``rounding`` is the grid of its output in a quantised file.
    """

    name: str
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    groups: int
    stride: int
    dilation: int
    activation: Activation
    source: int
    pooled: bool
    rounding: Rounding | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FrozenGraph:
    """All convolutions, the rule of the graph's bilinear resizes (``align_corners``, …), and what
    its input is: (pixel - mean) / std on values 0..255.
    """

    convolutions: tuple[FrozenConvolution, ...]
    alignment: str
    mean: float = 127.5
    std: float = 127.5


@dataclass(frozen=True, slots=True)
class Flow:
    """Where a tensor comes from: the last convolution before it, and what happened since.

    ``pooled``: a global average; ``dilation``: the block size of a SpaceToBatchND still open.
    """

    source: int = -1
    pooled: bool = False
    dilation: int = 1


def join_flows(flows: list[Flow]) -> Flow:
    """The flow of a sum or a concatenation: that of the latest convolution."""
    return max(flows, key=lambda flow: flow.source, default=Flow())


def alignment_name(*, align_corners: bool, half_pixel: bool) -> str:
    """TensorFlow's two resize flags as one of views.geometry's alignment names."""
    if align_corners:
        return "align_corners"
    return "half_pixel" if half_pixel else "legacy"
