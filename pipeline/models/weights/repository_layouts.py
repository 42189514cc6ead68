"""Layouts of single repositories.

Read in: jfzhang95/pytorch-deeplab-xception at 9135e10, bubbliiiing/deeplabv3-plus-pytorch at
90dee27, YudeWang/deeplabv3plus-pytorch at 64843da, kazuto1011/deeplab-pytorch at 4219467,
chenxi116/DeepLabv3.pytorch at 046818d, hualin95/Deeplab-v3plus at 719bfc9,
Tramac/awesome-semantic-segmentation-pytorch at d37d2a1, transformers 5.23.
"""

from dataclasses import replace
from typing import Final

from maskmill.pipeline.models.weights.layout_rules import (
    AS_IS,
    FIXED_RATES,
    SHORTEST_513,
    ForeignLayout,
    Rules,
    conv_module,
    pair_rules,
)
from maskmill.pipeline.views.preprocessing import Preprocessing

_MULTI_GRID: Final = (("last_rates", (2, 4, 8)),)


_STAGES: Final[Rules] = (
    *(rule for i in range(4) for rule in conv_module(f"aspp.stages.c{i}", f"aspp.branches.{i}")),
    *conv_module("aspp.stages.imagepool.conv", "aspp.pool.project"),
    *conv_module("fc1", "aspp.project"),
)
_STRIDES_FIRST: Final = tuple(f"resnet{depth}_strides_first" for depth in (50, 101, 152))
_CAFFE: Final = Preprocessing(
    resize="none", size=513, mean=(122.675, 116.669, 104.008), std=(1.0, 1.0, 1.0)
)


_THREE_SCALES: Final = (
    "the project's own networks see a picture at scales 0.5, 0.75 and 1 and take the greatest of "
    "each logit; here one scale is seen, and --scales 0.5,0.75,1 averages three"
)


def _branches(there: str) -> Rules:
    """YudeWang's ASPP: convolution and norm as children 0 and 1 of branchN."""
    branches = tuple(
        rule
        for i in range(4)
        for rule in pair_rules(f"{there}.branch{i + 1}", f"aspp.branches.{i}")
    )
    return (
        *branches,
        (f"{there}.branch5_conv.", "aspp.pool.project.conv."),
        (f"{there}.branch5_bn.", "aspp.pool.project.norm."),
        *pair_rules(f"{there}.conv_cat", "aspp.project"),
    )


_BRANCHED: Final = ForeignLayout(
    project="bubbliiiing's deeplabv3-plus-pytorch",
    title="bubbliiiing deeplabv3-plus-pytorch, DeepLabv3+",
    signature=("aspp.branch1.0.", "cat_conv."),
    rules=(
        *_branches("aspp"),
        *pair_rules("shortcut_conv", "decoder.low_level"),
        ("cat_conv.0.", "decoder.refine.0.conv."),
        ("cat_conv.1.", "decoder.refine.0.norm."),
        ("cat_conv.4.", "decoder.refine.1.conv."),
        ("cat_conv.5.", "decoder.refine.1.norm."),
        ("cls_conv.", "classifier."),
        ("backbone.features.", "mobilenet."),
        ("backbone.", "encoder."),
    ),
    alignment="align_corners",
    output_stride=16,
    preprocessing=Preprocessing(
        resize="letterbox", size=512, pad=True, pad_value=128.0, mean=(0.0,) * 3, std=(255.0,) * 3
    ),
    encoders=("mobilenetv2", "xception_tapped"),
    options=(("align_corners", True),),
    encoder_remarks=(
        (
            "xception_tapped",
            "YudeWang's deeplabv3plus-pytorch names its Xception alike, but squeezes pictures to "
            "512x512 without a letterbox",
        ),
    ),
)

REPOSITORY_LAYOUTS: Final[dict[str, ForeignLayout]] = {
    "jfzhang": ForeignLayout(
        project="jfzhang95's pytorch-deeplab-xception",
        title="jfzhang95 pytorch-deeplab-xception, DeepLabv3+",
        signature=("aspp.aspp1.atrous_conv.",),
        rules=(
            *(
                rule
                for i in range(4)
                for rule in (
                    (f"aspp.aspp{i + 1}.atrous_conv.", f"aspp.branches.{i}.conv."),
                    (f"aspp.aspp{i + 1}.bn.", f"aspp.branches.{i}.norm."),
                )
            ),
            ("aspp.global_avg_pool.1.", "aspp.pool.project.conv."),
            ("aspp.global_avg_pool.2.", "aspp.pool.project.norm."),
            ("aspp.conv1.", "aspp.project.conv."),
            ("aspp.bn1.", "aspp.project.norm."),
            ("decoder.conv1.", "decoder.low_level.conv."),
            ("decoder.bn1.", "decoder.low_level.norm."),
            ("decoder.last_conv.0.", "decoder.refine.0.conv."),
            ("decoder.last_conv.1.", "decoder.refine.0.norm."),
            ("decoder.last_conv.4.", "decoder.refine.1.conv."),
            ("decoder.last_conv.5.", "decoder.refine.1.norm."),
            ("decoder.last_conv.8.", "classifier."),
            ("backbone.low_level_features.", "mobilenet."),
            ("backbone.high_level_features.", "mobilenet."),
            ("backbone.", "encoder."),
        ),
        dropped=("backbone.features.",),  # the same tensors once more
        alignment="align_corners",
        output_stride=16,
        preprocessing=SHORTEST_513,
        encoders=("resnet101", "mobilenetv2_staged", "xception_aligned", "drn_d_54"),
        options=(("align_corners", True),),
        encoder_options=(("resnet101", (("eager_rates", True), *_MULTI_GRID)),),
    ),
    "yudewang": replace(
        _BRANCHED,
        project="YudeWang's deeplabv3plus-pytorch",
        title="YudeWang deeplabv3plus-pytorch, DeepLabv3+",
        signature=(*_BRANCHED.signature, "backbone.layer1."),
        preprocessing=Preprocessing(resize="exact", size=512, mean=(0.0,) * 3, std=(255.0,) * 3),
        encoders=("resnet50", "resnet101", "resnet152"),
        encoder_options=(
            ("resnet50", (("eager_rates", True), ("last_rates", (1, 2, 1)))),
            ("resnet101", (("eager_rates", True), ("last_rates", (2, 2, 2)))),
            ("resnet152", (("eager_rates", True), ("last_rates", (1, 2, 1)))),
        ),
    ),
    "branched": _BRANCHED,
    "kazuto_v3plus": ForeignLayout(
        project="kazuto1011's deeplab-pytorch",
        title="kazuto1011 deeplab-pytorch, DeepLabv3+",
        signature=("aspp.stages.c0.", "reduce."),
        rules=(
            *_STAGES,
            *conv_module("reduce", "decoder.low_level"),
            *conv_module("fc2.conv1", "decoder.refine.0"),
            *conv_module("fc2.conv2", "decoder.refine.1"),
            ("fc2.conv3.", "classifier."),
            ("layer", "encoder.layer"),
        ),
        alignment="half_pixel",
        output_stride=16,
        preprocessing=_CAFFE,
        encoders=_STRIDES_FIRST,
        swap_colors=True,
        remark=_THREE_SCALES,
        options=(("align_corners", False), *_MULTI_GRID),
    ),
    "kazuto_v3": ForeignLayout(
        project="kazuto1011's deeplab-pytorch",
        title="kazuto1011 deeplab-pytorch, DeepLabv3",
        signature=("aspp.stages.c0.",),
        rules=(*_STAGES, ("fc2.", "classifier."), ("layer", "encoder.layer")),
        alignment="half_pixel",
        output_stride=16,
        preprocessing=_CAFFE,
        encoders=_STRIDES_FIRST,
        swap_colors=True,
        remark=_THREE_SCALES,
        options=_MULTI_GRID,
    ),
    "chenxi": ForeignLayout(
        project="chenxi116's DeepLabv3.pytorch",
        title="chenxi116 DeepLabv3.pytorch, DeepLabv3",
        signature=("aspp.aspp5_bn.",),
        rules=(
            *(
                rule
                for i in range(4)
                for rule in (
                    (f"aspp.aspp{i + 1}.", f"aspp.branches.{i}.conv."),
                    (f"aspp.aspp{i + 1}_bn.", f"aspp.branches.{i}.norm."),
                )
            ),
            ("aspp.aspp5.", "aspp.pool.project.conv."),
            ("aspp.aspp5_bn.", "aspp.pool.project.norm."),
            ("aspp.conv2.", "aspp.project.conv."),
            ("aspp.bn2.", "aspp.project.norm."),
            ("aspp.conv3.", "classifier."),
            ("", "encoder."),
        ),
        alignment="align_corners",
        group_norm=True,
        output_stride=16,
        preprocessing=AS_IS,
        encoders=(
            "resnet50",
            "resnet101",
            "resnet152",
            "resnet50_three_convolutions",
            "resnet101_three_convolutions",
            "resnet152_three_convolutions",
        ),
    ),
    "hualin": ForeignLayout(
        project="hualin95's Deeplab-v3plus",
        title="hualin95 Deeplab-v3plus, DeepLabv3+",
        signature=("encoder.ASPP._atrous_convolution1.", "Resnet101."),
        rules=(
            *(
                rule
                for i in range(4)
                for rule in pair_rules(
                    f"encoder.ASPP._atrous_convolution{i + 1}", f"aspp.branches.{i}"
                )
            ),
            ("encoder.ASPP._image_pool.1.", "aspp.pool.project.conv."),
            ("encoder.ASPP._image_pool.2.", "aspp.pool.project.norm."),
            ("encoder.conv1.", "aspp.project.conv."),
            ("encoder.bn1.", "aspp.project.norm."),
            ("decoder.conv1.", "decoder.low_level.conv."),
            ("decoder.bn1.", "decoder.low_level.norm."),
            ("decoder.conv2.", "decoder.refine.0.conv."),
            ("decoder.bn2.", "decoder.refine.0.norm."),
            ("decoder.conv3.", "decoder.refine.1.conv."),
            ("decoder.bn3.", "decoder.refine.1.norm."),
            ("decoder.conv4.", "classifier."),
            ("Resnet101.", "encoder."),
        ),
        alignment="align_corners",
        output_stride=16,
        preprocessing=SHORTEST_513,
        encoders=("resnet101",),
        options=(("align_corners", True), ("eager_rates", True)),
    ),
    "tramac": ForeignLayout(
        project="Tramac's awesome-semantic-segmentation-pytorch",
        title="Tramac awesome-semantic-segmentation-pytorch, DeepLabv3",
        signature=("head.aspp.b0.", "pretrained."),
        rules=(
            *pair_rules("head.aspp.b0", "aspp.branches.0"),
            *(
                rule
                for i in (1, 2, 3)
                for rule in pair_rules(f"head.aspp.b{i}.block", f"aspp.branches.{i}")
            ),
            ("head.aspp.b4.gap.1.", "aspp.pool.project.conv."),
            ("head.aspp.b4.gap.2.", "aspp.pool.project.norm."),
            *pair_rules("head.aspp.project", "aspp.project"),
            ("head.block.0.", "refine.conv."),
            ("head.block.1.", "refine.norm."),
            ("head.block.4.", "classifier."),
            ("pretrained.", "encoder."),
        ),
        dropped=("auxlayer.", "pretrained.fc."),
        alignment="align_corners",
        output_stride=8,
        preprocessing=AS_IS,
        encoders=("resnet50_wide_stem", "resnet101_wide_stem", "resnet152_wide_stem"),
        options=(("aspp_rates", FIXED_RATES),),
    ),
    "huggingface": ForeignLayout(
        project="Hugging Face",
        title="Hugging Face MobileNetV2ForSemanticSegmentation",
        signature=("segmentation_head.conv_aspp.", "mobilenet_v2."),
        rules=(),
        alignment="half_pixel",
        output_stride=8,
        preprocessing=Preprocessing(
            resize="longest_side", size=513, pad=True, mean=(127.5,) * 3, std=(127.5,) * 3
        ),
        encoders=(),
    ),
}
