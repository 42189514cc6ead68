"""Other people's state dicts in this house's names and order, without a look at the network."""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from maskmill.pipeline.models.weights import huggingface
from maskmill.pipeline.models.weights.foreign_layouts import LAYOUTS
from maskmill.pipeline.models.weights.foreign_names import encoder_names
from maskmill.pipeline.models.weights.foreign_shapes import some_of
from maskmill.pipeline.models.weights.layout_rules import ForeignLayout
from maskmill.pipeline.models.weights.state import left_out
from maskmill.schemas.errors import ModelError

_RGB: Final = 3
_NORM_EPSILON: Final = 1e-5


def foreign_layout(state: Mapping[str, Tensor]) -> str | None:
    """Name in LAYOUTS of the project whose keys these are; None where it is none of them."""
    for name, layout in LAYOUTS.items():
        if all(any(key.startswith(one) for key in state) for one in layout.signature):
            return name
    return None


def renamed_state(
    name: str,
    state: Mapping[str, Tensor],
    where: str = "weights",
    *,
    sees_bgr: bool = False,
    weight_std: bool = False,
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of a checkpoint as the network here names and orders them, and what was left out.

    Norms' biases of convolutions, other orders of colours (``sees_bgr``) and of concatenations,
    and the standardisation of weights (``weight_std``) are worked into the weights; that is exact.

    Raises:
        ModelError: tensors that have no place, or pictures of other than three channels.
    """
    layout = LAYOUTS[name]
    if name == "huggingface":
        return huggingface.renamed(state, where), ()
    renamed, notes = _rename(layout, state, where)
    if name == "torchvision":
        return renamed, tuple(notes)
    try:
        renamed = _without_biases(encoder_names(renamed))
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from error
    _check_channels(layout, renamed, where)
    _check_parts(layout, renamed, where)
    renamed = _reorder(layout, renamed, sees_bgr)
    if weight_std:
        renamed = _standardised(renamed)
    return (
        renamed if "decoder.low_level.conv.weight" in renamed else _into_context(renamed)
    ), tuple(notes)


def _rename(
    layout: ForeignLayout, state: Mapping[str, Tensor], where: str
) -> tuple[dict[str, Tensor], list[str]]:
    renamed: dict[str, Tensor] = {}
    unmapped, dropped = [], set()
    for key, value in state.items():
        rule = next((rule for rule in layout.rules if key.startswith(rule[0])), None)
        if key.startswith(layout.dropped) and layout.dropped:
            dropped.add(next(head for head in layout.dropped if key.startswith(head)))
        elif rule is not None:
            renamed[rule[1] + key.removeprefix(rule[0])] = value
        else:
            unmapped.append(key)
    if unmapped:
        raise ModelError(
            f"{where} looks like {layout.title}, but {len(unmapped)} of its tensors have no place "
            f"in that network: {some_of(unmapped)}"
        )
    return renamed, [
        left_out(head.rstrip("."))
        for head in sorted(dropped)
        if not head.startswith(("backbone.", "pixel_"))
    ]


def _without_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A convolution's bias before a norm moves into the norm's mean, which is exact.

    Where there is no norm, one takes the bias and changes nothing else.
    """
    state = dict(state)
    _refuse_lost(state)
    for key in [key for key in state if key.endswith(".conv.bias")]:
        norm, bias = f"{key.removesuffix('conv.bias')}norm", state.pop(key)
        if f"{norm}.running_mean" in state:
            state[f"{norm}.running_mean"] = state[f"{norm}.running_mean"] - bias
        else:
            state |= {
                f"{norm}.weight": torch.ones_like(bias), f"{norm}.bias": bias,
                f"{norm}.running_mean": torch.zeros_like(bias),
                f"{norm}.running_var": torch.full_like(bias, 1 - _NORM_EPSILON),
            }  # fmt: skip
    return state


def _refuse_lost(state: Mapping[str, Tensor]) -> None:
    """A bias or a mean that is missing would go unnoticed, as if it were 0.

    Raises:
        ModelError: a norm without its mean behind a bias; a bias that others of the head have.
    """
    convs = [key.removesuffix("conv.weight") for key in state if key.endswith(".conv.weight")]
    normed = [one for one in convs if f"{one}norm.weight" in state]
    biased = [one for one in normed if f"{one}conv.bias" in state]
    lost = [f"{one}norm.running_mean" for one in biased]
    if biased:
        lost += [f"{one}conv.bias" for one in normed if not one.startswith("encoder.")]
    missing = [key for key in lost if key not in state]
    if missing:
        raise ModelError(f"{len(missing)} of its tensors are missing: {some_of(missing)}")


def _stem_of(state: Mapping[str, Tensor]) -> str | None:
    """The name of the convolution that sees the picture."""
    stems = (
        "encoder.conv1.weight", "encoder.conv1.0.weight", "encoder.layer0.conv1.weight",
        "encoder.layer0.0.weight", "encoder.conv_stem.weight", "encoder.body.conv_stem.weight",
        "encoder.stem.0.weight", "encoder.stem.0.conv.weight", "encoder.stem_0.conv.weight",
    )  # fmt: skip
    return next((name for name in stems if name in state and state[name].ndim == 4), None)


def _check_channels(layout: ForeignLayout, state: Mapping[str, Tensor], where: str) -> None:
    stem = _stem_of(state)
    if stem is not None and state[stem].shape[1] != _RGB:
        raise ModelError(
            f"{where} is {layout.title} for pictures of {state[stem].shape[1]} channels, and "
            "pictures here have three (RGB): a network of other channels cannot be fed"
        )


def _check_parts(layout: ForeignLayout, state: Mapping[str, Tensor], where: str) -> None:
    parts = ("aspp.branches.0.conv.weight", "aspp.project.conv.weight", "classifier.weight")
    decoder = ("decoder.low_level.conv.weight", "decoder.refine.0.conv.weight")
    has_decoder = any(key.startswith("decoder.") for key in state)
    for key in (*parts, *(decoder if has_decoder else ())):
        if key not in state:
            raise ModelError(f"{where} looks like {layout.title}, but its {key} is missing")
    grouped = "aspp.branches.0.norm.running_mean" not in state
    if grouped and not layout.group_norm:
        raise ModelError(
            f"{where} is {layout.title} without batch norm (its norms keep no running mean, as "
            "group norm): that network is not known here"
        )


def _reorder(layout: ForeignLayout, state: dict[str, Tensor], sees_bgr: bool) -> dict[str, Tensor]:
    """Input channels of convolutions in the order used here: concatenations, and colours."""
    state = dict(state)
    if layout.pool_first:
        _roll_inputs(state, "aspp.project", state["aspp.branches.0.conv.weight"].shape[0])
    if layout.edges_first:
        _roll_inputs(state, "decoder.refine.0", state["decoder.low_level.conv.weight"].shape[0])
    stem = _stem_of(state)
    if sees_bgr and stem is not None:
        state[stem] = state[stem].flip(1)
    return state


def _standardised(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every convolution but the classifier with mean 0 and deviation 1 per output channel.

    Qiao et al. 2019, "Weight Standardization"; the deviation is that of a sample, plus 1e-5.
    """

    def scaled(weight: Tensor) -> Tensor:
        exact = weight.double()
        centred = exact - exact.mean((1, 2, 3), keepdim=True)
        spread = centred.flatten(1).std(1).add(1e-5).view(-1, 1, 1, 1)
        return (centred / spread).to(weight.dtype)

    return {
        key: scaled(value) if value.ndim == 4 and key != "classifier.weight" else value
        for key, value in state.items()
    }


def _roll_inputs(state: dict[str, Tensor], layer: str, first: int) -> None:
    """Move the ``first`` leading input channels of a layer behind the others, in place."""
    for key in [key for key in state if key.startswith(f"{layer}.depthwise") and state[key].ndim]:
        state[key] = state[key].roll(-first, 0)
    state[f"{layer}.conv.weight"] = state[f"{layer}.conv.weight"].roll(-first, 1)


_PLACES: Final = {"aspp": "context.0", "refine": "context.1"}


def _into_context(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    def renamed(key: str) -> str:
        part, rest = key.split(".", 1)
        return f"{_PLACES.get(part, part)}.{rest}"

    return {renamed(key): value for key, value in state.items()}


def out_of_context(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`_into_context`."""
    back = {f"{place}.": f"{part}." for part, place in _PLACES.items()}

    def renamed(key: str) -> str:
        place = next((place for place in back if key.startswith(place)), None)
        return key if place is None else back[place] + key.removeprefix(place)

    return {renamed(key): value for key, value in state.items()}
