"""What names and shapes tell of a DeepLab: encoder, widths, separable convolutions, decoder."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor

from maskmill.pipeline.models.networks.encoders import ENCODERS, build_encoder
from maskmill.schemas.errors import ModelError

PLUS_BUILDER: Final = "maskmill.pipeline.models.networks.deeplabv3plus:build"
PARALLEL_BUILDER: Final = "maskmill.pipeline.models.networks.cascaded:build_parallel"
BATCH_COUNTER: Final = "num_batches_tracked"

Shapes = dict[str, torch.Size]

_NAMED: Final = 8
_BLOCKS: Final = tuple(  # (stage, unit) of MobileNetV2's blocks in order; Sandler et al. 2018
    (stage, unit) for stage, units in enumerate((1, 2, 3, 4, 3, 3, 1)) for unit in range(units)
)
_STEM: Final = {"0": "conv_stem", "1": "bn1"}
_FIRST: Final = {"conv.0.0": "conv_dw", "conv.0.1": "bn1", "conv.1": "conv_pw", "conv.2": "bn2"}
_LATER: Final = {
    "conv.0.0": "conv_pw", "conv.0.1": "bn1", "conv.1.0": "conv_dw", "conv.1.1": "bn2",
    "conv.2": "conv_pwl", "conv.3": "bn3",
}  # fmt: skip


def some_of(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def mobilenet_to_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``mobilenet.N.…`` (torchvision's flat list of MobileNetV2 blocks) as timm's stages."""
    return {_timm_name(key): value for key, value in state.items()}


def _timm_name(key: str) -> str:
    found = re.fullmatch(r"mobilenet\.(\d+)\.(.+)\.(\w+)", key)
    if found is None or int(found[1]) > len(_BLOCKS):
        return key
    index, layer, value = int(found[1]), found[2], found[3]
    if index == 0:
        return f"encoder.{_STEM.get(layer, layer)}.{value}"
    stage, unit = _BLOCKS[index - 1]
    child = (_FIRST if index == 1 else _LATER).get(layer, layer)
    return f"encoder.blocks.{stage}.{unit}.{child}.{value}"


def infer_options(state: Mapping[str, Tensor], where: str) -> tuple[str, dict[str, Any]]:
    """Builder and options that names and shapes show, of tensors in this house's names.

    Raises:
        ModelError: a part that every DeepLab has is missing, or the encoder is unknown.
    """
    for key in ("aspp.branches.0.conv.weight", "aspp.project.conv.weight", "classifier.weight"):
        if key not in state:
            raise ModelError(f"{where}: the part called {key} here is missing")
    options: dict[str, Any] = {
        "encoder": _encoder_of(state, where),
        "aspp_channels": int(state["aspp.branches.0.conv.weight"].shape[0]),
        "aspp_separable": _separable(state, "aspp.branches.1"),
        "aspp_project_kernel": _kernel(state, "aspp.project"),
    }
    if "decoder.low_level.conv.weight" not in state:
        options["refine"] = "refine.conv.weight" in state
        return PARALLEL_BUILDER, options
    convs = {key.split(".")[2] for key in state if key.startswith("decoder.refine.")}
    options |= {
        "aspp_project_separable": _separable(state, "aspp.project"),
        "aspp_conv": _separable(state, "aspp_conv") if "aspp_conv.conv.weight" in state else None,
        "decoder_channels": int(state["classifier.weight"].shape[1]),
        "decoder_project_channels": int(state["decoder.low_level.conv.weight"].shape[0]),
        "decoder_convs": len(convs),
        "decoder_separable": _separable(state, "decoder.refine.0"),
    }
    return PLUS_BUILDER, options


def _separable(state: Mapping[str, Tensor], layer: str) -> str:
    if f"{layer}.depthwise.weight" not in state:
        return "none"
    return "normalized" if f"{layer}.depthwise_norm.weight" in state else "plain"


def _kernel(state: Mapping[str, Tensor], layer: str) -> int:
    spatial = state.get(f"{layer}.depthwise.weight", state[f"{layer}.conv.weight"])
    return int(spatial.shape[-1])


@cache
def _encoder_shapes(name: str) -> Shapes:
    with torch.device("meta"):
        return shapes_of(build_encoder(name).state_dict())


def shapes_of(state: Mapping[str, Tensor]) -> Shapes:
    """Shape of every tensor but batch norm's counters, which old files lack."""
    return {key: value.shape for key, value in state.items() if not key.endswith(BATCH_COUNTER)}


def _encoder_of(state: Mapping[str, Tensor], where: str) -> str:
    """Name in ENCODERS of the encoder with exactly these tensors."""
    own = {
        key[len("encoder.") :]: value for key, value in state.items() if key.startswith("encoder.")
    }
    shapes = shapes_of(own)
    for name in ENCODERS:
        if _encoder_shapes(name) == shapes:
            return name
    nearest = min(ENCODERS, key=lambda name: len(_encoder_shapes(name).keys() ^ shapes.keys()))
    odd = sorted(
        key
        for key in _encoder_shapes(nearest).keys() | shapes.keys()
        if _encoder_shapes(nearest).get(key) != shapes.get(key)
    )
    raise ModelError(
        f"{where}: its encoder is none of {', '.join(ENCODERS)}; nearest is {nearest}, "
        f"which differs in {len(odd)} tensors: {some_of(odd)}"
    )
