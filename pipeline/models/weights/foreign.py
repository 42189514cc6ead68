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
from maskmill.pipeline.models.weights.foreign_notes import assumptions
from maskmill.pipeline.models.weights.foreign_shapes import (
    BATCH_COUNTER,
    PARALLEL_BUILDER,
    PLUS_BUILDER,
    encoder_of,
    has_running_means,
    infer_options,
    shapes_of,
    some_of,
)
from maskmill.pipeline.models.weights.foreign_state import (
    foreign_layout,
    out_of_context,
    renamed_state,
)
from maskmill.pipeline.models.weights.layout_rules import FIXED_STRIDES, ForeignLayout
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
    sees_bgr: bool = False
    weight_std: bool = False

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
            sees_bgr=self.sees_bgr,
            weight_std=self.weight_std,
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
    sees_bgr, weight_std = _sees_bgr(name, told), _weight_std(name, state, told, wanted)
    renamed, notes = renamed_state(name, state, where, sees_bgr=sees_bgr, weight_std=weight_std)
    if name == "torchvision":
        return _adapt_torchvision(renamed, list(notes), output_stride, where)
    if name == "huggingface":
        return _adapt_huggingface(renamed, output_stride, told, where)
    by_timm = name.startswith("smp") and any(key.startswith(_BY_TIMM) for key in state)
    adapted = _adapt_plain(name, renamed, list(notes), output_stride, told, wanted, by_timm, where)
    return replace(adapted, sees_bgr=sees_bgr, weight_std=weight_std)


def _sees_bgr(name: str, told: Told) -> bool:
    of_pictures = told.pictures.bgr if told.pictures else None
    return LAYOUTS[name].swap_colors if of_pictures is None else of_pictures


def _weight_std(
    name: str, state: Mapping[str, Tensor], told: Told, wanted: NetworkOptions
) -> bool:  # fmt: skip
    """Whether convolutions are standardised; where nothing tells, those beside group norm are."""
    said = told.weight_std if wanted.weight_std is None else wanted.weight_std
    if name != _STANDARDISING:
        return False
    return said if said is not None else not has_running_means(state)


def _adapt_plain(
    name: str, renamed: dict[str, Tensor], notes: list[str], output_stride: int | None,
    told: Told, wanted: NetworkOptions, by_timm: bool, where: str,
) -> AdaptedCheckpoint:  # fmt: skip
    layout = LAYOUTS[name]
    if told.strides_first and not layout.encoders[0].endswith("_strides_first"):
        raise ModelError(
            f"{where}: {told.source} says that its bottlenecks have their strides on the first 1x1 "
            f"(style caffe), which is not known here for {layout.project}"
        )
    plain = out_of_context(renamed)
    encoder = encoder_of(plain, layout.encoders, wanted.encoder or told.encoder, where)
    if by_timm and encoder.startswith("efficientnet"):
        raise ModelError(
            f"{where}: its encoder is timm's {encoder} (tu- in {layout.project}), which pads and "
            "normalises as one of two networks with the same tensors do; neither is known here. "
            f"Known is the project's own {encoder.replace('_', '-')}: train with that encoder"
        )
    builder, options = infer_options(plain, encoder, where)
    stride = _stride(layout, encoder, output_stride or told.output_stride, where)
    options |= _own_options(name, encoder, builder, stride, by_timm=by_timm)
    if not has_running_means(plain):
        options["norm_groups"] = wanted.norm_groups or _GROUPS
    alignment = _apply_told(options, told, layout.alignment)
    alignment = wanted.apply(options, alignment)
    remarks = (("", layout.remark), *layout.encoder_remarks)
    notes += [remark for name_of, remark in remarks if remark and name_of in ("", encoder)]
    notes += assumptions(layout, options, encoder, output_stride, told, wanted)
    adapted = AdaptedCheckpoint(
        layout=name, builder=builder, encoder=encoder, options=tuple(sorted(options.items())),
        num_classes=int(renamed["classifier.weight"].shape[0]), output_stride=stride,
        grid_stride=4 if builder == PLUS_BUILDER else stride, alignment=alignment,
        state=renamed, notes=tuple(notes),
    )  # fmt: skip
    return _checked(adapted, where)


def _stride(layout: ForeignLayout, encoder: str, said: int | None, where: str) -> int:
    only = FIXED_STRIDES.get(encoder)
    if only is not None and said not in (None, only):
        raise ModelError(
            f"{where}: {layout.project} with {encoder} is known at output stride {only} only, not "
            f"at {said}: leave --output-stride out, if it was trained so"
        )
    return only or said or layout.output_stride


def _own_options(
    name: str, encoder: str, builder: str, stride: int, *, by_timm: bool
) -> dict[str, Any]:
    """What a project's arithmetic has and its shapes do not show."""
    layout = LAYOUTS[name]
    options = {"output_stride": max(stride, 8), **dict(layout.options)}
    options |= dict(dict(layout.encoder_options).get(encoder, ()))
    if name.startswith("smp") and not by_timm and encoder not in _TIMM_ENCODERS:
        options["eager_rates"] = True  # its own encoders; those of timm follow timm
    if builder == PARALLEL_BUILDER:
        options["multi_grid"] = None
    if name.startswith("detectron2"):
        options["pool_window"] = tuple(side // stride for side in _DETECTRON_CROP)
    return options


_GROUPS: Final = 32  # Wu and He 2018, "Group Normalization"
_DETECTRON_CROP: Final = (512, 1024)  # of its configurations, all for Cityscapes
_STANDARDISING: Final = "chenxi"
_BY_TIMM: Final = "encoder.model."  # how segmentation-models-pytorch names timm's own (tu-)
_TIMM_ENCODERS: Final = (
    "mobilenetv2", "mobilenetv3_large", "tf_mobilenetv3_large", "xception65", "xception71",
)  # fmt: skip


def _apply_told(options: dict[str, Any], told: Told, alignment: Alignment) -> Alignment:
    """Options as the settings beside the weights have them; the alignment that goes with them."""
    if told.rates is not None:
        options["aspp_rates"] = told.rates
    if told.last_rates is not None:
        options["last_rates"] = told.last_rates
    if told.pool_window is not None and "pool_window" in options:
        options["pool_window"] = told.pool_window if any(told.pool_window) else None
    if told.align_corners is None:
        return alignment
    if "align_corners" in options:
        options["align_corners"] = told.align_corners
    return "align_corners" if told.align_corners else "half_pixel"


def _adapt_torchvision(
    state: dict[str, Tensor], notes: list[str], output_stride: int | None, where: str
) -> AdaptedCheckpoint:
    """torchvision's own names stay; only which of its variants it is must be found."""
    if "classifier.4.weight" not in state:
        raise ModelError(
            f"{where} has torchvision's DeepLabv3 names and no classifier.4.weight: its head was "
            "changed, and what it computes cannot be told from the names"
        )
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
