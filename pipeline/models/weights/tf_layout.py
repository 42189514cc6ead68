"""Names and shapes of variables -> which DeepLab they are, as far as they tell."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from maskmill.pipeline.models.networks import tf_resnet, tf_xception
from maskmill.pipeline.models.networks.tf_deeplab import MOBILENET, TfDeepLabLayout
from maskmill.pipeline.models.networks.tf_mobilenetv2 import REPEATS, expanded
from maskmill.pipeline.models.weights.tf_graph_facts import ConvolutionFacts, GraphFacts
from maskmill.pipeline.models.weights.tf_scopes import Variables, encoder_scope, scope_of
from maskmill.pipeline.models.weights.training_facts import Training
from maskmill.schemas.errors import ModelError, SettingsError

LOGITS = "logits/semantic/weights"
DEFAULT_STRIDE = 16
_BASE_RATES = (6, 12, 18)
_OTHER_ENCODERS = (
    "MobilenetV3", "MobilenetEdgeTPU", "MobilenetV1", "resnet_v1_18", "pnasnet", "hnasnet",
    "resnet_v2_50", "resnet_v2_101", "InceptionV3", "vgg_16",
)  # fmt: skip
_WIDTH_X10 = 320


def name_prefix(path: Path, names: Mapping[str, object]) -> str:
    """What stands before every name: nothing, or ``import/`` where a graph was embedded.

    Raises:
        ModelError: no logits of a DeepLab among the names.
    """
    for name in names:
        if name.endswith(LOGITS) and name.removesuffix(LOGITS)[-1:] in ("", "/"):
            return name.removesuffix(LOGITS)
    known = [encoder for encoder in _encoders() if _holds(names, encoder_scope(encoder) + "/")]
    if known:
        raise ModelError(
            f"{path} holds the encoder {encoder_scope(known[0])} and no {LOGITS}: it was trained "
            "for something else than segmentation"
        )
    raise ModelError(
        f"{path} is not of TensorFlow DeepLab: it has no {LOGITS}; only what its train.py and "
        "export_model.py write can be imported"
    )


def trained_layout(variables: Variables) -> TfDeepLabLayout:
    """Everything that names and shapes tell; strides and rates are left at their defaults.

    Raises:
        ModelError: an encoder or a head that is not read here.
    """
    shapes = variables.shapes
    if "logits/semantic_1/weights" in shapes:
        raise ModelError(
            f"{variables.path} sums logits of several rates, as DeepLabv2 does "
            "(aspp_with_batch_norm=false): that head is not read here"
        )
    encoder = _encoder(variables)
    layout = TfDeepLabLayout(
        encoder=encoder,
        output_stride=DEFAULT_STRIDE,
        num_classes=shapes[LOGITS][-1],
        aspp_channels=_last(shapes, "aspp0/weights"),
        pooling="image_pooling/weights" in shapes,
        separable_aspp="aspp1/weights" not in shapes,
        atrous_rates=(1,) * _atrous_branches(shapes),
        low_level_channels=_last(shapes, "decoder/feature_projection0/weights") or 48,
        decoder_channels=_decoder_channels(shapes),
        separable_decoder="decoder/decoder_conv0_pointwise/weights" in shapes,
    )
    return _with_widths(layout, shapes) if encoder == MOBILENET else layout


def stated_layout(layout: TfDeepLabLayout, facts: GraphFacts) -> TfDeepLabLayout:
    """The layout with what the graph says: stride, rates, multi-grid, pooling window."""
    found = facts.convolutions
    stride = 1
    for scope, fact in found.items():
        stride *= fact.stride if _on_main_path(scope, layout.encoder) else 1
    if layout.encoder in tf_resnet.VARIANTS:
        stride *= 2  # the pooling of the root
    rates = tuple(
        found[_atrous_scope(layout, branch)].dilation
        for branch in range(len(layout.atrous_rates))
        if _atrous_scope(layout, branch) in found
    )
    return replace(
        layout,
        output_stride=stride,
        atrous_rates=rates or layout.atrous_rates,
        multi_grid=_multi_grid(layout.encoder, stride, found),
        pooling_window=_window(facts, stride) if layout.pooling else None,
        pooling_step=facts.step if layout.pooling else (1, 1),
    )


def assumed_layout(
    path: Path, layout: TfDeepLabLayout, asked: Training
) -> tuple[TfDeepLabLayout, tuple[str, ...]]:
    """The layout with what the user said or else TensorFlow DeepLab's defaults, and those named.

    Raises:
        SettingsError: rates that must be given, or do not fit the number of branches.
    """
    notes, branches = [], len(layout.atrous_rates)
    stride = asked.output_stride or DEFAULT_STRIDE
    if asked.output_stride is None:
        notes.append(f"output stride {stride} (--output-stride)")
    rates = asked.atrous_rates or ()
    if asked.atrous_rates is None and branches == len(_BASE_RATES):
        rates = tuple(rate * 16 // stride for rate in _BASE_RATES)
        notes.append(f"atrous rates {','.join(map(str, rates))} (--atrous-rates)")
    if len(rates) != branches:
        raise SettingsError(
            f"{path} has {branches} atrous branches in its ASPP: give --atrous-rates with "
            f"{branches} numbers, those it was trained with"
            if branches
            else f"{path} has no atrous branches: leave --atrous-rates out"
        )
    grid = asked.multi_grid or (1, 1, 1)
    if len(grid) != len(_BASE_RATES) or (asked.multi_grid and layout.encoder == MOBILENET):
        raise SettingsError(
            f"--multi-grid has three numbers, one for each unit of the last block of a ResNet or "
            f"Xception; {path} is {title(layout)}"
        )
    if asked.multi_grid is None and layout.encoder != MOBILENET:
        notes.append("no multi-grid (--multi-grid)")
    layout = replace(layout, output_stride=stride, atrous_rates=rates, multi_grid=grid)
    if not notes:
        return layout, ()
    return layout, (
        "a checkpoint does not tell how it was trained; assumed, as TensorFlow DeepLab's own "
        f"commands do: {'; '.join(notes)}",
    )


def title(layout: TfDeepLabLayout) -> str:
    """What people call such a network: ``DeepLabv3+, Xception-65``."""
    kind = "DeepLabv3+" if layout.decoder_channels else "DeepLabv3"
    if not layout.aspp_channels:
        kind += " without ASPP"
    if layout.encoder == MOBILENET:
        width = round(layout.widths[-1] / _WIDTH_X10, 2)
        return f"{kind}, MobileNetV2" + ("" if width == 1 else f" x{width:g}")
    family, _, rest = layout.encoder.partition("_")
    if family == "xception":
        return f"{kind}, Xception-{rest}"
    return f"{kind}, ResNet-{rest.replace('_', '-')}"


def _encoders() -> tuple[str, ...]:
    return (MOBILENET, *tf_xception.VARIANTS, *tf_resnet.VARIANTS)


def _holds(names: Mapping[str, object], start: str) -> bool:
    return any(name.startswith(start) for name in names)


def _encoder(variables: Variables) -> str:
    shapes = variables.shapes
    for encoder in _encoders():
        scope = encoder_scope(encoder)
        if encoder in tf_resnet.VARIANTS:
            root = f"{scope}/{'conv1_1' if encoder.endswith('_beta') else 'conv1'}/weights"
            if root in shapes:
                return encoder
        elif _holds(shapes, f"{scope}/"):
            return encoder
    other = next((name for name in _OTHER_ENCODERS if _holds(shapes, f"{name}/")), None)
    what = f"has the encoder {other}" if other else "has an encoder of its own"
    raise ModelError(
        f"{variables.path} {what}: read here are MobileNetV2, Xception-41, -65, -71 and "
        "ResNet-v1-50, -101 with and without beta"
    )


def _last(shapes: Mapping[str, tuple[int, ...]], name: str) -> int:
    return shapes[name][-1] if name in shapes else 0


def _atrous_branches(shapes: Mapping[str, tuple[int, ...]]) -> int:
    branch = 0
    while f"aspp{branch + 1}_pointwise/weights" in shapes or f"aspp{branch + 1}/weights" in shapes:
        branch += 1
    return branch


def _atrous_scope(layout: TfDeepLabLayout, branch: int) -> str:
    part = ".depthwise" if layout.separable_aspp else ""
    return scope_of(f"aspp.atrous.{branch}{part}", layout.encoder)


def _decoder_channels(shapes: Mapping[str, tuple[int, ...]]) -> int:
    if "decoder/feature_projection0/weights" not in shapes:
        return 0
    separable = _last(shapes, "decoder/decoder_conv0_pointwise/weights")
    return separable or _last(shapes, "decoder/decoder_conv0/decoder_conv0_1/weights")


def _with_widths(layout: TfDeepLabLayout, shapes: Mapping[str, tuple[int, ...]]) -> TfDeepLabLayout:
    """MobileNetV2's channels, group by group and within each block."""

    def channels(module: str, kind: str = "weights", at: int = -1) -> int:
        name = f"{scope_of(module, MOBILENET)}/{kind}"
        return shapes[name][at] if name in shapes and len(shapes[name]) == 4 else 0

    firsts = [sum(REPEATS[:group]) for group in range(len(REPEATS))]
    widths = [channels("backbone.stem")]
    widths += [channels(f"backbone.blocks.{first}.project") for first in firsts]
    hidden = tuple(
        channels(f"backbone.blocks.{block}.depthwise", "depthwise_weights", 2)
        for block in range(sum(REPEATS))
    )
    if 0 in (*widths, *hidden):
        raise ModelError("the MobileNetV2 of this file lacks blocks that DeepLab's has")
    kept = () if hidden == expanded(tuple(widths)) else hidden
    return replace(layout, widths=tuple(widths), hidden=kept)


def _on_main_path(scope: str, encoder: str) -> bool:
    """Whether what a convolution strides over counts towards the output stride."""
    outer, _, rest = scope.partition("/")
    if outer != encoder_scope(encoder):
        return False
    last = rest.rpartition("/")[2]
    if encoder == MOBILENET:
        return last in ("Conv", "depthwise")
    if encoder in tf_xception.VARIANTS:
        return last in ("conv1_1", "separable_conv3_depthwise")
    return last in ("conv1", "conv1_1", "conv2") and not (last == "conv1" and "/" in rest)


def _multi_grid(
    encoder: str, stride: int, found: Mapping[str, ConvolutionFacts]
) -> tuple[int, ...]:
    if encoder == MOBILENET:
        return (1, 1, 1)
    base = max(1, 32 // stride)
    scope = encoder_scope(encoder)
    names = [f"{scope}/block4/unit_{unit}/bottleneck_v1/conv2" for unit in (1, 2, 3)]
    if encoder in tf_xception.VARIANTS:
        unit = f"{scope}/exit_flow/block2/unit_1/xception_module"
        names = [f"{unit}/separable_conv{position}_depthwise" for position in (1, 2, 3)]
    return tuple(found[name].dilation // base if name in found else 1 for name in names)


def _window(facts: GraphFacts, stride: int) -> tuple[int, int] | None:
    """The window of image pooling; None where it is the whole map."""
    if facts.window is None or facts.crop_hw is None:
        return None
    whole = tuple((size - 1) // stride + 1 for size in facts.crop_hw)
    covers = facts.window[0] >= whole[0] and facts.window[1] >= whole[1]
    return None if covers else facts.window
