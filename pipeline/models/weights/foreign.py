"""Other people's checkpoints: recognised by their keys, renamed, and checked to the last tensor.

What a network computes is not all in its weights: rates, alignment and the order of
concatenations are the project's, so an adapted checkpoint comes with the builder and options that
reproduce its arithmetic. See weights.foreign_layouts for the projects.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from maskmill.pipeline.models.spec import Alignment, ModelSpec, load_attribute
from maskmill.pipeline.models.weights.foreign_layouts import LAYOUTS, ForeignLayout
from maskmill.pipeline.models.weights.foreign_shapes import (
    BATCH_COUNTER,
    PARALLEL_BUILDER,
    PLUS_BUILDER,
    infer_options,
    mobilenet_to_timm,
    shapes_of,
    some_of,
)
from maskmill.pipeline.models.weights.state import left_out
from maskmill.schemas.errors import ModelError

TORCHVISION_BUILDER: Final = "maskmill.pipeline.models.networks.deeplabv3:build"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptedCheckpoint:
    """A foreign checkpoint in this house's names, with the network that it fits.

    ``notes`` are sentences for the user: what was left out, what had to be assumed.
    """

    layout: str
    builder: str
    options: tuple[tuple[str, Any], ...]
    num_classes: int
    output_stride: int
    grid_stride: int
    alignment: Alignment
    state: dict[str, Tensor]
    notes: tuple[str, ...]

    def spec(self, base: ModelSpec) -> ModelSpec:
        """``base`` with this checkpoint's network; names, labels and preprocessing stay."""
        return replace(
            base,
            architecture=LAYOUTS[self.layout].title,
            builder=self.builder,
            options=self.options,
            output_stride=self.output_stride,
            grid_stride=self.grid_stride,
            alignment=self.alignment,
        )


def foreign_layout(state: Mapping[str, Tensor]) -> str | None:
    """Name in LAYOUTS of the project whose keys these are; None where it is none of them."""
    for name, layout in LAYOUTS.items():
        if any(key.startswith(layout.signature) for key in _unprefixed(state)):
            return name
    return None


def adapt_checkpoint(
    state: Mapping[str, Tensor], *, output_stride: int | None = None, where: str = "weights"
) -> AdaptedCheckpoint:
    """Rename a foreign state dict, and find the builder and options of its network.

    Args:
        state: tensors by name, wrappers such as ``{"state_dict": …}`` already taken off.
        output_stride: 8 or 16; None for the project's default, as weights do not tell.
        where: what to call the checkpoint in messages.

    Raises:
        ModelError: no known layout, an unknown encoder, or tensors that are missing, left over
            or of another shape; the message names them.
    """
    name = foreign_layout(state)
    if name is None:
        raise ModelError(
            f"{where} is none of the known layouts ({', '.join(LAYOUTS)}); "
            f"its keys begin with {some_of(list(state))}"
        )
    layout = LAYOUTS[name]
    state = _unprefixed(state)
    renamed, notes = _rename(layout, state, where)
    if name == "torchvision":
        return _adapt_torchvision(renamed, notes, output_stride, where)
    stride = output_stride or layout.output_stride
    renamed = _reorder(layout, mobilenet_to_timm(renamed))
    builder, options = infer_options(renamed, where)
    options |= {"output_stride": stride, **dict(layout.options)}
    if name.startswith("smp") and not any(key.startswith("encoder.model.") for key in state):
        options["eager_rates"] = True  # its own encoders; those of timm follow timm
    if name.startswith("vainf") and options["encoder"] == "mobilenetv2":
        options["early_padding"] = True
    if builder == PARALLEL_BUILDER:
        options["multi_grid"] = None
        renamed = _into_context(renamed)
    if output_stride is None:
        other = 8 if stride == 16 else 16
        notes.append(
            f"weights do not tell their output stride and rates: {stride} is assumed, as is usual "
            f"for {layout.title}; --output-stride {other} if it was trained at {other}"
        )
    adapted = AdaptedCheckpoint(
        layout=name, builder=builder, options=tuple(sorted(options.items())),
        num_classes=int(renamed["classifier.weight"].shape[0]), output_stride=stride,
        grid_stride=4 if builder == PLUS_BUILDER else stride, alignment=layout.alignment,
        state=renamed, notes=tuple(notes),
    )  # fmt: skip
    return _checked(adapted, where)


def _unprefixed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without a prefix that all keys share, such as Lightning's ``model.``."""
    for prefix in ("module.", "model.", "net.", "network."):
        if all(key.startswith(prefix) for key in state):
            return _unprefixed({key.removeprefix(prefix): value for key, value in state.items()})
    return dict(state)


def _rename(
    layout: ForeignLayout, state: Mapping[str, Tensor], where: str
) -> tuple[dict[str, Tensor], list[str]]:
    renamed: dict[str, Tensor] = {}
    unmapped, dropped = [], set()
    for key, value in state.items():
        rule = next((rule for rule in layout.rules if key.startswith(rule[0])), None)
        if rule is not None:
            renamed[rule[1] + key.removeprefix(rule[0])] = value
        elif key.startswith(layout.dropped) and layout.dropped:
            dropped.add(key.split(".")[0])
        else:
            unmapped.append(key)
    if unmapped:
        raise ModelError(
            f"{where} looks like {layout.title}, but {len(unmapped)} of its tensors have no place "
            f"in that network: {some_of(unmapped)}"
        )
    return renamed, [left_out(head) for head in sorted(dropped)]


def _reorder(layout: ForeignLayout, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Input channels of the convolutions after a concatenation, in the order used here."""
    state = dict(state)
    if layout.pool_first:
        _roll_inputs(state, "aspp.project", state["aspp.branches.0.conv.weight"].shape[0])
    if layout.edges_first:
        _roll_inputs(state, "decoder.refine.0", state["decoder.low_level.conv.weight"].shape[0])
    return state


def _roll_inputs(state: dict[str, Tensor], layer: str, first: int) -> None:
    """Move the ``first`` leading input channels of a layer behind the others, in place."""
    for key in [key for key in state if key.startswith(f"{layer}.depthwise") and state[key].ndim]:
        state[key] = state[key].roll(-first, 0)
    state[f"{layer}.conv.weight"] = state[f"{layer}.conv.weight"].roll(-first, 1)


def _into_context(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    places = {"aspp": "context.0", "refine": "context.1"}

    def renamed(key: str) -> str:
        part, rest = key.split(".", 1)
        return f"{places.get(part, part)}.{rest}"

    return {renamed(key): value for key, value in state.items()}


def _adapt_torchvision(
    state: dict[str, Tensor], notes: list[str], output_stride: int | None, where: str
) -> AdaptedCheckpoint:
    """torchvision's own names stay; only which of its variants it is must be found."""
    mobile = "backbone.16.0.weight" in state
    deep = any(key.startswith("backbone.layer3.22.") for key in state)
    variant = "mobilenet_v3_large" if mobile else "resnet101" if deep else "resnet50"
    stride = 16 if mobile else 8
    if output_stride not in (None, stride):
        raise ModelError(
            f"{where} is torchvision's deeplabv3_{variant}, which has output stride {stride} and "
            "no other: leave --output-stride out"
        )
    adapted = AdaptedCheckpoint(
        layout="torchvision", builder=TORCHVISION_BUILDER,
        options=(("variant", f"deeplabv3_{variant}"),),
        num_classes=int(state["classifier.4.weight"].shape[0]),
        output_stride=stride, grid_stride=stride, alignment="half_pixel",
        state=state, notes=tuple(notes),
    )  # fmt: skip
    return _checked(adapted, where)


def _checked(adapted: AdaptedCheckpoint, where: str) -> AdaptedCheckpoint:
    """With batch counters filled in, after comparing every tensor with the network's.

    Raises:
        ModelError: tensors missing, left over or of another shape.
    """
    with torch.device("meta"):
        network = load_attribute(adapted.builder)(adapted.num_classes, **dict(adapted.options))
    wanted, given = shapes_of(network.state_dict()), shapes_of(adapted.state)
    odd = sorted(key for key in wanted | given if wanted.get(key) != given.get(key))
    if odd:
        raise ModelError(
            f"{where} looks like {LAYOUTS[adapted.layout].title}, but {len(odd)} tensors do not "
            f"fit that network (by their names here): {some_of(odd)}"
        )
    counters = {
        key: adapted.state.get(key, torch.tensor(0))
        for key in network.state_dict()
        if key.endswith(BATCH_COUNTER)
    }
    return replace(adapted, state={**adapted.state, **counters})
