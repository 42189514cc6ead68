"""LAYOUTS: the state dicts that other DeepLab projects write, and the names their parts have here.

A layout is told by one key prefix that only it has. Renaming is by prefix; what no rule names is
refused by weights.foreign. Read in: torchvision 0.29 (references/segmentation),
segmentation-models-pytorch 0.6 (and, for DeepLabV3, its older Sequential decoder), VainF's
DeepLabV3Plus-Pytorch at 48f990b, mmsegmentation 0.x and 1.x (ASPPHead, DepthwiseSeparableASPPHead
on ResNet v1b and v1c).
"""

from dataclasses import dataclass
from typing import Any, Final

from maskmill.pipeline.models.spec import Alignment

Rules = tuple[tuple[str, str], ...]
"""(prefix there, prefix here); the first that matches is taken."""

FIXED_RATES: Final = (12, 24, 36)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignLayout:
    """How one project names and joins the parts of a DeepLab.

    ``dropped``: heads for training only. ``pool_first``: image pooling comes first in ASPP's
    concatenation (here: last). ``edges_first``: low-level features come first in the decoder's
    (here: last). ``options``: what its arithmetic has and its shapes do not show.
    ``output_stride`` is the project's default; a state dict does not tell.
    """

    title: str
    signature: str
    rules: Rules
    alignment: Alignment
    output_stride: int
    dropped: tuple[str, ...] = ()
    pool_first: bool = False
    edges_first: bool = False
    options: tuple[tuple[str, Any], ...] = ()


def _pair(there: str, here: str) -> Rules:
    """Convolution and norm as children 0 and 1 of a Sequential; a separable one is nested."""
    return (
        (f"{there}.0.body.0.", f"{here}.depthwise."),
        (f"{there}.0.body.1.", f"{here}.conv."),
        (f"{there}.0.0.", f"{here}.depthwise."),
        (f"{there}.0.1.", f"{here}.conv."),
        (f"{there}.0.", f"{here}.conv."),
        (f"{there}.1.", f"{here}.norm."),
    )


def _aspp(there: str) -> Rules:
    """ASPP as torchvision lays it out, which the others took over."""
    branches = tuple(
        rule for i in range(4) for rule in _pair(f"{there}.convs.{i}", f"aspp.branches.{i}")
    )
    pool = (
        (f"{there}.convs.4.1.", "aspp.pool.project.conv."),
        (f"{there}.convs.4.2.", "aspp.pool.project.norm."),
    )
    return (*branches, *pool, *_pair(f"{there}.project", "aspp.project"))


def _module(there: str, here: str) -> Rules:
    """mmcv's ConvModule, or its DepthwiseSeparableConvModule."""
    return (
        (f"{there}.depthwise_conv.conv.", f"{here}.depthwise."),
        (f"{there}.depthwise_conv.bn.", f"{here}.depthwise_norm."),
        (f"{there}.pointwise_conv.conv.", f"{here}.conv."),
        (f"{there}.pointwise_conv.bn.", f"{here}.norm."),
        (f"{there}.conv.", f"{here}.conv."),
        (f"{there}.bn.", f"{here}.norm."),
    )


_VAINF_BACKBONE: Rules = (
    ("backbone.low_level_features.", "mobilenet."),
    ("backbone.high_level_features.", "mobilenet."),
    ("backbone.", "encoder."),
)
_SMP_ENCODER: Rules = (("encoder.model.", "encoder."), ("encoder.", "encoder."))
_SMP_HEAD: Rules = (("segmentation_head.0.", "classifier."),)
_MMSEG_BACKBONE: Rules = (
    ("backbone.stem.7.", "encoder.bn1."),
    ("backbone.stem.", "encoder.conv1."),
    ("backbone.", "encoder."),
)
_MMSEG_ASPP: Rules = (
    *_module("decode_head.image_pool.1", "aspp.pool.project"),
    *(
        rule
        for i in range(4)
        for rule in _module(f"decode_head.aspp_modules.{i}", f"aspp.branches.{i}")
    ),
    *_module("decode_head.bottleneck", "aspp.project"),
    ("decode_head.conv_seg.", "classifier."),
)


def _smp_v3(title: str, aspp: str, conv: str, norm: str) -> ForeignLayout:
    """DeepLabV3 of segmentation-models-pytorch, by what its decoder calls its parts."""
    return ForeignLayout(
        title=title,
        signature=f"{aspp}.convs.",
        rules=(
            *_aspp(aspp),
            (f"{conv}.", "refine.conv."),
            (f"{norm}.", "refine.norm."),
            *_SMP_HEAD,
            *_SMP_ENCODER,
        ),
        dropped=("classification_head.",),
        alignment="align_corners",
        output_stride=8,
        options=(("aspp_rates", FIXED_RATES),),
    )


LAYOUTS: Final[dict[str, ForeignLayout]] = {
    "torchvision": ForeignLayout(
        title="torchvision DeepLabV3",
        signature="classifier.0.convs.",
        rules=(("backbone.", "backbone."), ("classifier.", "classifier.")),
        dropped=("aux_classifier.",),
        alignment="half_pixel",
        output_stride=8,
    ),
    "vainf_v3plus": ForeignLayout(
        title="VainF DeepLabV3Plus-Pytorch, DeepLabv3+",
        signature="classifier.aspp.convs.",
        rules=(
            *_aspp("classifier.aspp"),
            *_pair("classifier.project", "decoder.low_level"),
            *_pair("classifier.classifier", "decoder.refine.0"),
            ("classifier.classifier.3.", "classifier."),
            *_VAINF_BACKBONE,
        ),
        alignment="half_pixel",
        output_stride=16,
        edges_first=True,
        options=(("align_corners", False),),
    ),
    "vainf_v3": ForeignLayout(
        title="VainF DeepLabV3Plus-Pytorch, DeepLabv3",
        signature="classifier.classifier.0.convs.",
        rules=(
            *_aspp("classifier.classifier.0"),
            ("classifier.classifier.1.", "refine.conv."),
            ("classifier.classifier.2.", "refine.norm."),
            ("classifier.classifier.4.", "classifier."),
            *_VAINF_BACKBONE,
        ),
        alignment="half_pixel",
        output_stride=16,
    ),
    "smp_v3plus": ForeignLayout(
        title="segmentation-models-pytorch DeepLabV3Plus",
        signature="decoder.aspp.0.convs.",
        rules=(
            *_aspp("decoder.aspp.0"),
            ("decoder.aspp.1.0.", "aspp_conv.depthwise."),
            ("decoder.aspp.1.1.", "aspp_conv.conv."),
            ("decoder.aspp.2.", "aspp_conv.norm."),
            *_pair("decoder.block1", "decoder.low_level"),
            *_pair("decoder.block2", "decoder.refine.0"),
            *_SMP_HEAD,
            *_SMP_ENCODER,
        ),
        dropped=("classification_head.",),
        alignment="align_corners",
        output_stride=16,
        options=(("aspp_rates", FIXED_RATES), ("align_corners", True)),
    ),
    "smp_v3": _smp_v3(
        "segmentation-models-pytorch DeepLabV3", "decoder.aspp", "decoder.conv", "decoder.bn"
    ),
    "smp_v3_sequential": _smp_v3(
        "segmentation-models-pytorch DeepLabV3, before 0.4", "decoder.0", "decoder.1", "decoder.2"
    ),
    "mmseg_v3plus": ForeignLayout(
        title="mmsegmentation DeepLabv3+ (DepthwiseSeparableASPPHead)",
        signature="decode_head.sep_bottleneck.",
        rules=(
            *_MMSEG_ASPP,
            *_module("decode_head.c1_bottleneck", "decoder.low_level"),
            *_module("decode_head.sep_bottleneck.0", "decoder.refine.0"),
            *_module("decode_head.sep_bottleneck.1", "decoder.refine.1"),
            *_MMSEG_BACKBONE,
        ),
        dropped=("auxiliary_head.",),
        alignment="half_pixel",
        output_stride=8,
        pool_first=True,
        options=(("align_corners", False),),
    ),
    "mmseg_v3": ForeignLayout(
        title="mmsegmentation DeepLabv3 (ASPPHead)",
        signature="decode_head.aspp_modules.",  # v3+ has it too, and is looked for before
        rules=(*_MMSEG_ASPP, *_MMSEG_BACKBONE),
        dropped=("auxiliary_head.",),
        alignment="half_pixel",
        output_stride=8,
        pool_first=True,
    ),
}
