"""Layouts of the frameworks that most checkpoints come from.

Read in: torchvision 0.29 (references/segmentation), segmentation-models-pytorch 0.6 (and, for
DeepLabV3, its older Sequential decoder), VainF's DeepLabV3Plus-Pytorch at 4e1087d, mmsegmentation
0.x and 1.x (ASPPHead, DepthwiseSeparableASPPHead on ResNet v1, v1b, v1c and MobileNetV2),
detectron2 at 02b5c4e (projects/DeepLab).
"""

from dataclasses import replace
from typing import Final

from maskmill.pipeline.models.weights.layout_rules import (
    AS_IS,
    FIXED_RATES,
    RESNETS,
    SHORTEST_520,
    SQUARE_512,
    ForeignLayout,
    Rules,
    aspp_rules,
    conv_module,
    pair_rules,
)
from maskmill.pipeline.views.preprocessing import Preprocessing

_VAINF_BACKBONE: Rules = (
    ("backbone.low_level_features.", "mobilenet."),
    ("backbone.high_level_features.", "mobilenet."),
    ("backbone.", "encoder."),
)
_VAINF_ENCODERS: Final = (
    "resnet50", "resnet101", "mobilenetv2", "xception_original", "hrnetv2_32", "hrnetv2_48",
)  # fmt: skip
_VAINF_OPTIONS: Final = (
    ("mobilenetv2", (("early_padding", True),)),
    ("hrnetv2_32", (("aspp_rates", FIXED_RATES),)),
    ("hrnetv2_48", (("aspp_rates", FIXED_RATES),)),
)
_SMP_ENCODER: Rules = (
    ("encoder.features.", "mobilenet."),
    ("encoder.model.", "encoder."),
    ("encoder.", "encoder."),
)
_SMP_HEAD: Rules = (("segmentation_head.0.", "classifier."),)
_SMP_ENCODERS: Final = (
    *RESNETS, "resnext50_32x4d", "resnext101_32x8d", "seresnet50", "seresnet101",
    "mobilenetv2_headed", "efficientnet_b0", "efficientnet_b1", "efficientnet_b2",
    "efficientnet_b3", "efficientnet_b4", "mobilenetv2", "mobilenetv3_large", "xception65",
    "xception71",
)  # fmt: skip
_MMSEG_BACKBONE: Rules = (
    ("backbone.stem.7.", "encoder.bn1."),
    ("backbone.stem.", "encoder.conv1."),
    ("backbone.", "encoder."),
)
_MMSEG_ENCODERS: Final = (
    "resnet18_once_dilated", "resnet34_once_dilated", "resnet50", "resnet101", "resnet152",
    "resnet18_deep_stem", "resnet50_deep_stem", "resnet101_deep_stem", "mobilenetv2_first_dilated",
)  # fmt: skip
_MMSEG_ASPP: Rules = (
    *conv_module("decode_head.image_pool.1", "aspp.pool.project"),
    *(
        rule
        for i in range(4)
        for rule in conv_module(f"decode_head.aspp_modules.{i}", f"aspp.branches.{i}")
    ),
    *conv_module("decode_head.bottleneck", "aspp.project"),
    ("decode_head.conv_seg.", "classifier."),
)


def _detectron_conv(there: str, here: str) -> Rules:
    """detectron2's Conv2d with its norm inside, or its DepthwiseSeparableConv2d."""
    return (
        (f"{there}.depthwise.norm.", f"{here}.depthwise_norm."),
        (f"{there}.depthwise.", f"{here}.depthwise."),
        (f"{there}.pointwise.norm.", f"{here}.norm."),
        (f"{there}.pointwise.", f"{here}.conv."),
        (f"{there}.norm.", f"{here}.norm."),
        (f"{there}.", f"{here}.conv."),
    )


def _detectron_aspp(there: str) -> Rules:
    return (
        *(
            rule
            for i in range(4)
            for rule in _detectron_conv(f"{there}.convs.{i}", f"aspp.branches.{i}")
        ),
        (f"{there}.convs.4.1.", "aspp.pool.project.conv."),
        *_detectron_conv(f"{there}.project", "aspp.project"),
    )


_DETECTRON: Final = ForeignLayout(
    project="detectron2",
    title="detectron2 DeepLab, DeepLabv3",
    signature=("sem_seg_head.aspp.convs.",),
    rules=(
        *_detectron_aspp("sem_seg_head.aspp"),
        ("sem_seg_head.predictor.", "classifier."),
        ("backbone.", "encoder."),
    ),
    dropped=("pixel_mean", "pixel_std"),
    alignment="half_pixel",
    output_stride=16,
    preprocessing=Preprocessing(resize="shortest_side", size=1024, limit=2048),
    encoders=(
        *(f"resnet{depth}_wide_stem" for depth in (50, 101, 152)),
        *(f"resnet{depth}" for depth in (50, 101, 152)),
    ),
    options=(("eager_rates", True), ("last_rates", (2, 4, 8))),
)
_DECODER: Final = "sem_seg_head.decoder"


def _smp_v3(title: str, aspp: str, conv: str, norm: str) -> ForeignLayout:
    """DeepLabV3 of segmentation-models-pytorch, by what its decoder calls its parts."""
    return ForeignLayout(
        project="segmentation-models-pytorch",
        title=title,
        signature=(f"{aspp}.convs.",),
        rules=(
            *aspp_rules(aspp),
            (f"{conv}.", "refine.conv."),
            (f"{norm}.", "refine.norm."),
            *_SMP_HEAD,
            *_SMP_ENCODER,
        ),
        dropped=("classification_head.",),
        alignment="align_corners",
        output_stride=8,
        preprocessing=SQUARE_512,
        encoders=_SMP_ENCODERS,
        options=(("aspp_rates", FIXED_RATES),),
    )


FRAMEWORK_LAYOUTS: Final[dict[str, ForeignLayout]] = {
    "torchvision": ForeignLayout(
        project="torchvision",
        preprocessing=SHORTEST_520,
        encoders=(),
        title="torchvision DeepLabV3",
        signature=("classifier.0.convs.",),
        rules=(("backbone.", "backbone."), ("classifier.", "classifier.")),
        dropped=("aux_classifier.",),
        alignment="half_pixel",
        output_stride=8,
    ),
    "vainf_v3plus": ForeignLayout(
        project="VainF's DeepLabV3Plus-Pytorch",
        preprocessing=AS_IS,
        encoders=_VAINF_ENCODERS,
        encoder_options=_VAINF_OPTIONS,
        title="VainF DeepLabV3Plus-Pytorch, DeepLabv3+",
        signature=("classifier.aspp.convs.",),
        rules=(
            *aspp_rules("classifier.aspp"),
            *pair_rules("classifier.project", "decoder.low_level"),
            *pair_rules("classifier.classifier", "decoder.refine.0"),
            ("classifier.classifier.3.", "classifier."),
            *_VAINF_BACKBONE,
        ),
        alignment="half_pixel",
        output_stride=16,
        edges_first=True,
        options=(("align_corners", False),),
    ),
    "vainf_v3": ForeignLayout(
        project="VainF's DeepLabV3Plus-Pytorch",
        preprocessing=AS_IS,
        encoders=_VAINF_ENCODERS,
        encoder_options=_VAINF_OPTIONS,
        title="VainF DeepLabV3Plus-Pytorch, DeepLabv3",
        signature=("classifier.classifier.0.convs.",),
        rules=(
            *aspp_rules("classifier.classifier.0"),
            ("classifier.classifier.1.", "refine.conv."),
            ("classifier.classifier.2.", "refine.norm."),
            ("classifier.classifier.4.", "classifier."),
            *_VAINF_BACKBONE,
        ),
        alignment="half_pixel",
        output_stride=16,
    ),
    "smp_v3plus": ForeignLayout(
        project="segmentation-models-pytorch",
        preprocessing=SQUARE_512,
        encoders=_SMP_ENCODERS,
        title="segmentation-models-pytorch DeepLabV3Plus",
        signature=("decoder.aspp.0.convs.",),
        rules=(
            *aspp_rules("decoder.aspp.0"),
            ("decoder.aspp.1.0.", "aspp_conv.depthwise."),
            ("decoder.aspp.1.1.", "aspp_conv.conv."),
            ("decoder.aspp.2.", "aspp_conv.norm."),
            *pair_rules("decoder.block1", "decoder.low_level"),
            *pair_rules("decoder.block2", "decoder.refine.0"),
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
        project="mmsegmentation",
        preprocessing=AS_IS,
        encoders=_MMSEG_ENCODERS,
        title="mmsegmentation DeepLabv3+ (DepthwiseSeparableASPPHead)",
        signature=("decode_head.sep_bottleneck.",),
        rules=(
            *_MMSEG_ASPP,
            *conv_module("decode_head.c1_bottleneck", "decoder.low_level"),
            *conv_module("decode_head.sep_bottleneck.0", "decoder.refine.0"),
            *conv_module("decode_head.sep_bottleneck.1", "decoder.refine.1"),
            *_MMSEG_BACKBONE,
        ),
        dropped=("auxiliary_head.",),
        alignment="half_pixel",
        output_stride=8,
        pool_first=True,
        options=(("align_corners", False),),
    ),
    "mmseg_v3": ForeignLayout(
        project="mmsegmentation",
        preprocessing=AS_IS,
        encoders=_MMSEG_ENCODERS,
        title="mmsegmentation DeepLabv3 (ASPPHead)",
        signature=("decode_head.aspp_modules.",),  # v3+ has it too, and is looked for before
        rules=(*_MMSEG_ASPP, *_MMSEG_BACKBONE),
        dropped=("auxiliary_head.",),
        alignment="half_pixel",
        output_stride=8,
        pool_first=True,
    ),
    "detectron2_v3plus": replace(
        _DETECTRON,
        title="detectron2 DeepLab, DeepLabv3+",
        signature=(f"{_DECODER}.res5.project_conv.convs.",),
        rules=(
            *_detectron_aspp(f"{_DECODER}.res5.project_conv"),
            *_detectron_conv(f"{_DECODER}.res2.project_conv", "decoder.low_level"),
            *_detectron_conv(f"{_DECODER}.res2.fuse_conv.0", "decoder.refine.0"),
            *_detectron_conv(f"{_DECODER}.res2.fuse_conv.1", "decoder.refine.1"),
            *_detectron_conv(f"{_DECODER}.res2.fuse_conv", "decoder.refine.0"),
            ("sem_seg_head.predictor.", "classifier."),
            ("backbone.", "encoder."),
        ),
        edges_first=True,
        options=(*_DETECTRON.options, ("align_corners", False)),
    ),
    "detectron2_v3": _DETECTRON,
}
