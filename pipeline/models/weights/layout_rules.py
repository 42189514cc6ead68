"""How another project's DeepLab is described: ForeignLayout, and rules that several share."""

from dataclasses import dataclass
from typing import Any, Final

from maskmill.pipeline.models.spec import Alignment
from maskmill.pipeline.views.preprocessing import Preprocessing

Rules = tuple[tuple[str, str], ...]
"""(prefix there, prefix here); the first that matches is taken."""

FIXED_RATES: Final = (12, 24, 36)
FIXED_STRIDES: Final = {"drn_d_54": 8, "hrnetv2_32": 4, "hrnetv2_48": 4}
"""Output strides of encoders that have no other."""

RESNETS: Final = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
AS_IS: Final = Preprocessing(resize="none", size=513)
SHORTEST_513: Final = Preprocessing(resize="shortest_side", size=513)
SQUARE_512: Final = Preprocessing(resize="longest_side", size=512, pad=True)
SHORTEST_520: Final = Preprocessing(resize="shortest_side", size=520)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignLayout:
    """How one project names and joins the parts of a DeepLab.

    ``project`` is what people call it, ``title`` says which of its networks. ``signature``: key
    prefixes that all must be there. ``dropped``: heads for training only. ``pool_first``: image
    pooling comes first in ASPP's concatenation (here: last). ``edges_first``: low-level features
    come first in the decoder's (here: last). ``options``: what its arithmetic has and its shapes
    do not show; ``encoder_options`` the same for single encoders, by name. ``encoders``: which of
    ours and FOREIGN_ENCODERS it may have. ``output_stride`` is the project's default; a state dict
    does not tell. ``preprocessing`` is what the project itself does to a picture it predicts.
    ``swap_colors``: it feeds pictures as BGR. ``remark``: what else is to be known,
    ``encoder_remarks`` of single encoders. ``group_norm``: its norms may be of groups.
    """

    project: str
    title: str
    signature: tuple[str, ...]
    rules: Rules
    alignment: Alignment
    output_stride: int
    preprocessing: Preprocessing
    encoders: tuple[str, ...]
    dropped: tuple[str, ...] = ()
    pool_first: bool = False
    edges_first: bool = False
    swap_colors: bool = False
    options: tuple[tuple[str, Any], ...] = ()
    encoder_options: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = ()
    remark: str = ""
    encoder_remarks: tuple[tuple[str, str], ...] = ()
    group_norm: bool = False


def pair_rules(there: str, here: str) -> Rules:
    """Convolution and norm as children 0 and 1 of a Sequential; a separable one is nested."""
    return (
        (f"{there}.0.body.0.", f"{here}.depthwise."),
        (f"{there}.0.body.1.", f"{here}.conv."),
        (f"{there}.0.0.", f"{here}.depthwise."),
        (f"{there}.0.1.", f"{here}.conv."),
        (f"{there}.0.", f"{here}.conv."),
        (f"{there}.1.", f"{here}.norm."),
    )


def aspp_rules(there: str) -> Rules:
    """ASPP as torchvision lays it out, which the others took over."""
    branches = tuple(
        rule for i in range(4) for rule in pair_rules(f"{there}.convs.{i}", f"aspp.branches.{i}")
    )
    pool = (
        (f"{there}.convs.4.1.", "aspp.pool.project.conv."),
        (f"{there}.convs.4.2.", "aspp.pool.project.norm."),
    )
    return (*branches, *pool, *pair_rules(f"{there}.project", "aspp.project"))


def conv_module(there: str, here: str) -> Rules:
    """mmcv's ConvModule, or its DepthwiseSeparableConvModule."""
    return (
        (f"{there}.depthwise_conv.conv.", f"{here}.depthwise."),
        (f"{there}.depthwise_conv.bn.", f"{here}.depthwise_norm."),
        (f"{there}.pointwise_conv.conv.", f"{here}.conv."),
        (f"{there}.pointwise_conv.bn.", f"{here}.norm."),
        (f"{there}.conv.", f"{here}.conv."),
        (f"{there}.bn.", f"{here}.norm."),
    )
