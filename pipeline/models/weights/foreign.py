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

from maskmill.pipeline.models.network_options import NetworkOptions
from maskmill.pipeline.models.spec import Alignment, ModelSpec, load_attribute
from maskmill.pipeline.models.weights import huggingface
from maskmill.pipeline.models.weights.beside import Told
from maskmill.pipeline.models.weights.foreign_layouts import LAYOUTS
from maskmill.pipeline.models.weights.foreign_shapes import (
    BATCH_COUNTER,
    PARALLEL_BUILDER,
    PLUS_BUILDER,
    encoder_of,
    infer_options,
    shapes_of,
    some_of,
)
from maskmill.pipeline.models.weights.foreign_state import (
    foreign_layout,
    out_of_context,
    renamed_state,
)
from maskmill.pipeline.models.weights.layout_rules import ForeignLayout
from maskmill.schemas.errors import ModelError

TORCHVISION_BUILDER: Final = "maskmill.pipeline.models.networks.deeplabv3:build"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptedCheckpoint:
    """A foreign checkpoint in this house's names, with the network that it fits.

    ``notes`` are sentences for the user: what was left out, what had to be assumed.
    """

    layout: str
    builder: str
    encoder: str
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
            layout=self.layout,
        )


def adapt_checkpoint(
    state: Mapping[str, Tensor],
    *,
    output_stride: int | None = None,
    told: Told | None = None,
    wanted: NetworkOptions | None = None,
    where: str = "weights",
) -> AdaptedCheckpoint:
    """Rename a foreign state dict, and find the builder and options of its network.

    Args:
        state: tensors by name, wrappers such as ``{"state_dict": …}`` already taken off; on the
            meta device too.
        output_stride: 8 or 16; None for what is told, else the project's default.
        told: what stands beside the weights in plain values.
        wanted: what the user says of the network.
        where: what to call the checkpoint in messages.

    Raises:
        ModelError: no known layout, an unknown encoder, or tensors that are missing, left over
            or of another shape; the message names them.
    """
    told, wanted = told or Told(), wanted or NetworkOptions()
    name = foreign_layout(state)
    if name is None:
        raise ModelError(
            f"{where} is none of the known layouts ({', '.join(LAYOUTS)}); "
            f"its keys begin with {some_of(list(state))}"
        )
    renamed, notes = renamed_state(name, state, where)
    if name == "torchvision":
        return _adapt_torchvision(renamed, list(notes), output_stride, where)
    if name == "huggingface":
        return _adapt_huggingface(renamed, output_stride, told, where)
    return _adapt_plain(name, renamed, list(notes), output_stride, told, wanted, where)


def _adapt_plain(
    name: str, renamed: dict[str, Tensor], notes: list[str], output_stride: int | None,
    told: Told, wanted: NetworkOptions, where: str,
) -> AdaptedCheckpoint:  # fmt: skip
    layout = LAYOUTS[name]
    plain = out_of_context(renamed)
    encoder = encoder_of(plain, layout.encoders, wanted.encoder or told.encoder, where)
    builder, options = infer_options(plain, encoder, where)
    stride = output_stride or told.output_stride or layout.output_stride
    only = 8 if encoder == "drn_d_54" else stride
    if (output_stride or told.output_stride or only) != only:
        raise ModelError(
            f"{where}: {layout.project} with {encoder} is known at output stride {only} only, not "
            f"at {stride}: leave --output-stride out, if it was trained so"
        )
    stride = only
    options |= {"output_stride": stride, **dict(layout.options)}
    options |= dict(dict(layout.encoder_options).get(encoder, ()))
    if name.startswith("smp") and encoder not in _TIMM_ENCODERS:
        options["eager_rates"] = True  # its own encoders; those of timm follow timm
    if builder == PARALLEL_BUILDER:
        options["multi_grid"] = None
    alignment = _apply_told(options, told, layout.alignment)
    alignment = wanted.apply(options, alignment)
    notes += [remark for name_of, remark in layout.encoder_remarks if name_of == encoder]
    notes += _assumptions(layout, options, encoder, output_stride, told, wanted)
    adapted = AdaptedCheckpoint(
        layout=name, builder=builder, encoder=encoder, options=tuple(sorted(options.items())),
        num_classes=int(renamed["classifier.weight"].shape[0]), output_stride=stride,
        grid_stride=4 if builder == PLUS_BUILDER else stride, alignment=alignment,
        state=renamed, notes=tuple(notes),
    )  # fmt: skip
    return _checked(adapted, where)


_TIMM_ENCODERS: Final = (
    "mobilenetv2", "mobilenetv3_large", "tf_mobilenetv3_large", "xception65", "xception71",
)  # fmt: skip


def _apply_told(options: dict[str, Any], told: Told, alignment: Alignment) -> Alignment:
    """Options as the settings beside the weights have them; the alignment that goes with them."""
    if told.rates is not None:
        options["aspp_rates"] = told.rates
    if told.last_rates is not None:
        options["last_rates"] = told.last_rates
    if told.align_corners is None:
        return alignment
    if "align_corners" in options:
        options["align_corners"] = told.align_corners
    return "align_corners" if told.align_corners else "half_pixel"


def _assumptions(
    layout: ForeignLayout, options: Mapping[str, Any], encoder: str, output_stride: int | None,
    told: Told, wanted: NetworkOptions,
) -> list[str]:  # fmt: skip
    """What weights do not tell, what was taken, and how to say otherwise."""
    stride = options["output_stride"]
    notes = []
    if output_stride is None and told.output_stride is None and encoder != "drn_d_54":
        other = 8 if stride == 16 else 16
        notes.append(
            f"weights do not tell their output stride and rates: {stride} is assumed, as is usual "
            f"for {layout.title}; --output-stride {other} if it was trained at {other}"
        )
    if told.source and (told.output_stride or told.rates):
        notes.append(f"output stride and rates are those of {told.source} in the file")
    if told.rates is None and wanted.rates is None:
        rates = options.get("aspp_rates") or tuple(rate * 16 // stride for rate in (6, 12, 18))
        said = ",".join(map(str, rates))
        notes.append(
            f"atrous rates {said} are assumed, the project's own at that stride; "
            "--network-option rates=A,B,C if it was trained with others"
        )
    last = options.get("last_rates")
    if last is not None and told.last_rates is None and wanted.last_rates is None:
        said = ",".join(map(str, last))
        notes.append(
            f"the encoder's last stage is taken to have the project's rates {said} (at output "
            "stride 16); --network-option last_rates=A,B,C if not"
        )
    return notes


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
        encoder="mobilenetv3_large" if mobile else variant,
        options=(("variant", f"deeplabv3_{variant}"),),
        num_classes=int(state["classifier.4.weight"].shape[0]),
        output_stride=stride, grid_stride=stride, alignment="half_pixel",
        state=state, notes=tuple(notes),
    )  # fmt: skip
    return _checked(adapted, where)


def _adapt_huggingface(
    state: dict[str, Tensor], output_stride: int | None, told: Told, where: str
) -> AdaptedCheckpoint:
    """MobileNetV2ForSemanticSegmentation: TensorFlow's network under other names."""
    if told.tf_padding is False:
        raise ModelError(
            f"{where}: its config.json says tf_padding false, and only TensorFlow's padding is "
            "known here for this network"
        )
    stride = output_stride or told.output_stride or LAYOUTS["huggingface"].output_stride
    notes: tuple[str, ...] = ()
    if output_stride is None and told.output_stride is None:
        notes = (
            f"no config.json beside the weights: output stride {stride}, TensorFlow's padding and "
            "norm epsilons 0.001 and 0.00001 are assumed, the project's own; --output-stride 16 "
            "if it was trained so",
        )
    adapted = AdaptedCheckpoint(
        layout="huggingface", builder=huggingface.BUILDER, encoder="mobilenetv2",
        options=huggingface.options(state, stride), num_classes=huggingface.num_classes(state),
        output_stride=stride, grid_stride=stride, alignment="half_pixel",
        state=state, notes=notes,
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
