"""FrozenGraph -> layout and state dict of TfMobileNetV2DeepLab, by the structure of the graph.

Names differ between exporters; activations and sources do not: the backbone ends every expansion
and filter in ReLU6 and its projections in nothing, the head ends everything but the logits in ReLU.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from maskmill.pipeline.models.networks.frozen_graph import FrozenConvolution, FrozenGraph
from maskmill.pipeline.models.networks.same_convolution import SameConv2d
from maskmill.pipeline.models.networks.tf_mobilenetv2 import (
    REPEATS,
    MobileNetV2Layout,
    TfMobileNetV2DeepLab,
    expanded,
)
from maskmill.schemas.errors import ModelError

_TAIL = ("aspp.projection", "classifier")
_DECODER_TAIL = (
    "aspp.projection",
    "decoder.refine.0.depthwise",
    "decoder.refine.0.pointwise",
    "decoder.refine.1.depthwise",
    "decoder.refine.1.pointwise",
    "classifier",
)


def graph_to_network(graph: FrozenGraph) -> TfMobileNetV2DeepLab:
    """The network of the file, weights loaded, in eval mode.

    Raises:
        ModelError: the graph is not a MobileNetV2 DeepLab with image pooling and one 1x1 branch.
    """
    named = dict(_named(graph))
    network = TfMobileNetV2DeepLab(_layout(graph, named))
    _check_fit(network, named)
    network.load_state_dict(convolutions_to_state(named), strict=True)
    return network.eval()


def convolutions_to_state(named: dict[str, FrozenConvolution]) -> dict[str, Tensor]:
    """Module name -> convolution, as a state dict."""
    state = {}
    for name, convolution in named.items():
        state[f"{name}.weight"] = torch.from_numpy(convolution.weight)
        state[f"{name}.bias"] = torch.from_numpy(convolution.bias)
        if convolution.rounding is not None:
            state[f"{name}.step"] = torch.tensor(convolution.rounding.step)
            state[f"{name}.zero"] = torch.tensor(convolution.rounding.zero, dtype=torch.int32)
    return state


def _named(graph: FrozenGraph) -> Iterator[tuple[str, FrozenConvolution]]:
    convolutions = graph.convolutions
    backbone = [entry for entry in convolutions if _in_backbone(entry, convolutions)]
    head = [entry for entry in convolutions if not _in_backbone(entry, convolutions)]
    yield from _named_backbone(backbone)
    yield from _named_head(head, convolutions)


def _in_backbone(entry: FrozenConvolution, convolutions: tuple[FrozenConvolution, ...]) -> bool:
    return entry.activation == "relu6" or (
        entry.activation == "none" and _follows_filter(entry, convolutions)
    )


def _follows_filter(entry: FrozenConvolution, convolutions: tuple[FrozenConvolution, ...]) -> bool:
    """Fed by a depthwise convolution of the backbone."""
    if entry.source < 0:
        return False
    source = convolutions[entry.source]
    return source.groups > 1 and source.activation == "relu6"


def _named_backbone(backbone: list[FrozenConvolution]) -> Iterator[tuple[str, FrozenConvolution]]:
    expected = 1 + 3 * sum(REPEATS) - 1  # the first block does not expand
    if len(backbone) != expected:
        raise ModelError(
            f"not a MobileNetV2 backbone: {len(backbone)} convolutions with ReLU6 or before a "
            f"residual sum, {expected} expected"
        )
    names = ["stem", "blocks.0.depthwise", "blocks.0.project"]
    for position in range(1, sum(REPEATS)):
        names += [f"blocks.{position}.{part}" for part in ("expand", "depthwise", "project")]
    for name, entry in zip(names, backbone, strict=True):
        yield f"backbone.{name}", entry


def _named_head(
    head: list[FrozenConvolution], convolutions: tuple[FrozenConvolution, ...]
) -> Iterator[tuple[str, FrozenConvolution]]:
    rest: list[FrozenConvolution] = []
    pooled: list[FrozenConvolution] = []
    low_level: list[FrozenConvolution] = []
    for entry in head:
        kind = (
            pooled if entry.pooled else low_level if _follows_filter(entry, convolutions) else rest
        )
        kind.append(entry)
    tail = _DECODER_TAIL if low_level else _TAIL
    if len(pooled) != 1 or len(low_level) > 1 or len(rest) != 1 + len(tail):
        raise ModelError(
            f"not a head of image pooling and one 1x1 branch: {len(pooled)} pooled, "
            f"{len(low_level)} low-level and {len(rest)} other convolutions"
        )
    yield "aspp.pooling", pooled[0]
    yield from (("decoder.low_level", entry) for entry in low_level)
    yield from zip(("aspp.branch", *tail), rest, strict=True)


def _layout(graph: FrozenGraph, named: dict[str, FrozenConvolution]) -> MobileNetV2Layout:
    firsts = [sum(REPEATS[:group]) for group in range(len(REPEATS))]
    widths = [_channels(named, "backbone.stem")]
    widths += [_channels(named, f"backbone.blocks.{first}.project") for first in firsts]
    hidden = tuple(
        _channels(named, f"backbone.blocks.{block}.depthwise") for block in range(sum(REPEATS))
    )
    stride = 1
    for name, entry in named.items():
        stride *= entry.stride if name.startswith("backbone") else 1
    decoder = "decoder.low_level" in named
    return MobileNetV2Layout(
        widths=tuple(widths),
        hidden=() if hidden == expanded(tuple(widths)) else hidden,
        output_stride=stride,
        num_classes=_channels(named, "classifier"),
        decoder=decoder,
        aspp_channels=_channels(named, "aspp.branch"),
        low_level_channels=_channels(named, "decoder.low_level") if decoder else 48,
        alignment=graph.alignment,
        rounded=all(entry.rounding is not None for entry in named.values()),
    )


def _channels(named: dict[str, FrozenConvolution], name: str) -> int:
    return int(named[name].weight.shape[0])


def _check_fit(network: TfMobileNetV2DeepLab, named: dict[str, FrozenConvolution]) -> None:
    for name, module in network.named_modules():
        if not isinstance(module, SameConv2d):
            continue
        entry = named[name]
        found = (entry.weight.shape, entry.stride, entry.dilation, entry.groups)
        wanted = (module.weight.shape, module.stride[0], module.dilation[0], module.groups)
        if tuple(map(str, found)) != tuple(map(str, (tuple(wanted[0]), *wanted[1:]))):
            raise ModelError(
                f"{entry.name} is not the {name} of a MobileNetV2 DeepLab: (shape, stride, "
                f"dilation, groups) is {found}, expected {wanted}"
            )
