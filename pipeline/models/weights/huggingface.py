"""Hugging Face's MobileNetV2ForSemanticSegmentation as TensorFlow's network, which it is.

Its batch norms are folded into the convolutions, with the epsilons that it has by default: 0.001
in the encoder and 0.00001 in the head (transformers 5.23, modeling_mobilenet_v2.py).
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from maskmill.pipeline.models.weights.foreign_shapes import some_of
from maskmill.schemas.errors import ModelError

BUILDER: Final = "maskmill.pipeline.models.networks.tf_mobilenetv2:build_layout"
_ENCODER_EPSILON: Final = 1e-3
_HEAD_EPSILON: Final = 1e-5
_GROUP_ENDS: Final = (0, 2, 5, 9, 12, 15, 16)  # last block of each group of equal widths
_UNITS: Final = {"expand_1x1": "expand", "conv_3x3": "depthwise", "reduce_1x1": "project"}
_HEAD: Final = {
    "conv_pool": "aspp.pooling", "conv_aspp": "aspp.branch", "conv_projection": "aspp.projection",
    "classifier": "classifier",
}  # fmt: skip
_NORM: Final = ("weight", "bias", "running_mean", "running_var")
_SEGMENTATION: Final = "segmentation_head."
LAST_CHANNELS: Final = 1280
_DROPPED: Final = "mobilenet_v2.conv_1x1."  # the classification network's, read by nobody


def renamed(state: Mapping[str, Tensor], where: str = "weights") -> dict[str, Tensor]:
    """The tensors of the TensorFlow network.

    Raises:
        ModelError: tensors without a place, or a norm's that are missing.
    """
    folded: dict[str, Tensor] = {}
    layers = {key.rpartition(".convolution.")[0] for key in state if ".convolution." in key}
    used = {key for key in state if key.startswith(_DROPPED) or key.endswith("num_batches_tracked")}
    for layer in layers:
        if f"{layer}.".startswith(_DROPPED):
            continue
        place = _place(layer)
        if place is not None:
            folded |= _folded(state, layer, place, where)
            used |= {key for key in state if key.startswith(f"{layer}.")}
    lost = sorted(state.keys() - used)
    if lost:
        raise ModelError(
            f"{where} looks like MobileNetV2ForSemanticSegmentation, but {len(lost)} of its "
            f"tensors have no place in that network: {some_of(lost)}"
        )
    return folded


def written(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The other way round: tensors of TensorFlow's network under Hugging Face's names.

    Norms are there and do nothing but add the bias: :func:`renamed` gives back the same tensors.
    The classification network's last layer, which it expects and nobody reads, is zeros.
    """
    found: dict[str, Tensor] = {}
    for name, values in state.items():
        place, _, part = name.rpartition(".")
        layer = _layer(place)
        if layer == f"{_SEGMENTATION}classifier":
            found[f"{layer}.convolution.{part}"] = values.clone()
        elif part == "weight":
            found[f"{layer}.convolution.weight"] = values.clone()
        else:
            found |= _idle_norm(layer, values)
    last = state["backbone.blocks.16.project.weight"].shape[0]
    found[f"{_DROPPED}convolution.weight"] = torch.zeros(LAST_CHANNELS, last, 1, 1)
    return found | _idle_norm(_DROPPED[:-1], torch.zeros(LAST_CHANNELS))


def _layer(place: str) -> str:
    """Their name of one of our layers; the inverse of :func:`_place`."""
    heads = {ours: theirs for theirs, ours in _HEAD.items()}
    if place in heads:
        return f"{_SEGMENTATION}{heads[place]}"
    if place == "backbone.stem":
        return "mobilenet_v2.conv_stem.first_conv"
    units = {ours: theirs for theirs, ours in _UNITS.items()}
    block, _, unit = place.removeprefix("backbone.blocks.").partition(".")
    where = "conv_stem" if block == "0" else f"layer.{int(block) - 1}"
    return f"mobilenet_v2.{where}.{units[unit]}"


def _idle_norm(layer: str, bias: Tensor) -> dict[str, Tensor]:
    epsilon = _ENCODER_EPSILON if layer.startswith("mobilenet_v2.") else _HEAD_EPSILON
    ones = torch.ones_like(bias)
    return {
        f"{layer}.normalization.weight": (ones + epsilon).sqrt(),
        f"{layer}.normalization.bias": bias.clone(),
        f"{layer}.normalization.running_mean": torch.zeros_like(bias),
        f"{layer}.normalization.running_var": ones,
        f"{layer}.normalization.num_batches_tracked": torch.tensor(0),
    }


def options(state: Mapping[str, Tensor], output_stride: int) -> tuple[tuple[str, Any], ...]:
    """The fields of its MobileNetV2Layout."""
    widths = [state["backbone.stem.weight"].shape[0]]
    widths += [state[f"backbone.blocks.{block}.project.weight"].shape[0] for block in _GROUP_ENDS]
    return (
        ("aspp_channels", int(state["aspp.branch.weight"].shape[0])),
        ("output_stride", output_stride),
        ("widths", tuple(int(width) for width in widths)),
    )


def num_classes(state: Mapping[str, Tensor]) -> int:
    """Channels of the last layer."""
    return int(state["classifier.weight"].shape[0])


def _place(layer: str) -> str | None:
    if layer.startswith(_SEGMENTATION):
        return _HEAD.get(layer.removeprefix(_SEGMENTATION))
    if layer == "mobilenet_v2.conv_stem.first_conv":
        return "backbone.stem"
    found = re.fullmatch(r"mobilenet_v2\.(conv_stem|layer\.(\d+))\.(\w+)", layer)
    if found is None or found[3] not in _UNITS:
        return None
    block = 0 if found[2] is None else int(found[2]) + 1
    return f"backbone.blocks.{block}.{_UNITS[found[3]]}"


def _folded(state: Mapping[str, Tensor], layer: str, place: str, where: str) -> dict[str, Tensor]:
    """Convolution and batch norm as one convolution with a bias."""
    weight, bias = state[f"{layer}.convolution.weight"], state.get(f"{layer}.convolution.bias")
    if bias is not None:
        return {f"{place}.weight": weight, f"{place}.bias": bias}
    norm = {one: state.get(f"{layer}.normalization.{one}") for one in _NORM}
    missing = [one for one, value in norm.items() if value is None]
    if missing:
        raise ModelError(f"{where}: {layer}.normalization lacks {', '.join(missing)}")
    gain, shift, mean, variance = (value for value in norm.values() if value is not None)
    epsilon = _ENCODER_EPSILON if layer.startswith("mobilenet_v2.") else _HEAD_EPSILON
    scale = gain / (variance + epsilon).sqrt()
    return {
        f"{place}.weight": weight * scale.view(-1, 1, 1, 1),
        f"{place}.bias": shift - mean * scale,
    }
