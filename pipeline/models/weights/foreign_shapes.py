"""What names and shapes tell of a DeepLab: encoder, widths, separable convolutions, decoder."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor

from maskmill.pipeline.models.networks.encoders import build_encoder
from maskmill.schemas.errors import ModelError

PLUS_BUILDER: Final = "maskmill.pipeline.models.networks.deeplabv3plus:build"
PARALLEL_BUILDER: Final = "maskmill.pipeline.models.networks.cascaded:build_parallel"
BATCH_COUNTER: Final = "num_batches_tracked"

Shapes = dict[str, torch.Size]

_NAMED: Final = 8
_STATISTICS: Final = (".running_mean", ".running_var")
_TWINS: Final = {"mobilenetv3_large": ("mobilenetv3_large", "tf_mobilenetv3_large")}
_TF_NAMES: Final = ("timm-", "tu-tf_", "tf_")
_NEAR: Final = 20
"""An encoder is called by its name where fewer than one in so many of its tensors differ."""


def some_of(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def infer_options(
    state: Mapping[str, Tensor], encoder: str, where: str
) -> tuple[str, dict[str, Any]]:
    """Builder and options that names and shapes show, of tensors in this house's names.

    Raises:
        ModelError: a part that every DeepLab has is missing, or the encoder is unknown.
    """
    for key in ("aspp.branches.0.conv.weight", "aspp.project.conv.weight", "classifier.weight"):
        if key not in state:
            raise ModelError(f"{where}: the part called {key} here is missing")
    options: dict[str, Any] = {
        "encoder": encoder,
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
        "decoder_project_kernel": _kernel(state, "decoder.low_level"),
        "decoder_convs": len(convs),
        "decoder_kernel": _kernel(state, "decoder.refine.0"),
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


def has_running_means(state: Mapping[str, Tensor]) -> bool:
    """Whether the norms are batch norms; those of groups keep no statistics."""
    return any(key.endswith(".running_mean") for key in state)


def shapes_of(state: Mapping[str, Tensor]) -> Shapes:
    """Shape of every tensor but batch norm's counters, which old files lack."""
    return {key: value.shape for key, value in state.items() if not key.endswith(BATCH_COUNTER)}


def _without(shapes: Shapes, endings: tuple[str, ...]) -> Shapes:
    return {key: shape for key, shape in shapes.items() if not (endings and key.endswith(endings))}


def encoder_of(
    state: Mapping[str, Tensor], candidates: Sequence[str], told: str | None, where: str
) -> str:
    """Name of the encoder among ``candidates`` that has exactly these tensors.

    ``told`` is what the user or the file says; it decides where two have the same tensors.

    Raises:
        ModelError: none has them, or two have and nothing is told.
    """
    own = {
        key[len("encoder.") :]: value for key, value in state.items() if key.startswith("encoder.")
    }
    shapes = shapes_of(own)
    left_out = () if has_running_means(own) else _STATISTICS
    name = next((n for n in candidates if _without(_encoder_shapes(n), left_out) == shapes), None)
    if name is None:
        known = {one: _without(_encoder_shapes(one), left_out) for one in candidates}
        raise ModelError(f"{where}: {_nearest(shapes, known)}")
    return _told_apart(name, told, where) if name in _TWINS else name


def _nearest(shapes: Shapes, known: Mapping[str, Shapes]) -> str:
    """What sets an encoder apart from the one it all but is; else which ones are known."""
    apart = {name: len(shapes.items() ^ wanted.items()) for name, wanted in known.items()}
    name = min(apart, key=apart.__getitem__)
    if apart[name] * _NEAR > len(shapes):
        return (
            f"its encoder is none that is known for this project ({', '.join(known)}); it has "
            f"{len(shapes)} tensors, among them {some_of(list(shapes))}"
        )
    wanted = known[name]
    found = {
        "missing": [key for key in wanted if key not in shapes],
        "unexpected": [key for key in shapes if key not in wanted],
        "of another shape": [key for key in wanted if shapes.get(key, wanted[key]) != wanted[key]],
    }
    told = "; ".join(f"{len(keys)} {how}: {some_of(keys)}" for how, keys in found.items() if keys)
    return (
        f"its encoder is {name} but for some tensors, named as here ({told}): the file is not "
        "whole, or its network was changed"
    )


def _told_apart(name: str, told: str | None, where: str) -> str:
    """Which of two encoders with the same tensors it is."""
    twins = _TWINS[name]
    if told in twins:
        return told
    if told is not None:
        return twins[1] if told.startswith(_TF_NAMES) else twins[0]
    raise ModelError(
        f"{where}: its weights fit {twins[0]} and {twins[1]} alike (they differ in padding and in "
        f"the norms' epsilon): say --network-option encoder={twins[1]} for "
        "segmentation-models-pytorch's timm-mobilenetv3_large_100, "
        f"encoder={twins[0]} for its tu-mobilenetv3_large_100"
    )
