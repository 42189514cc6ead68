"""What a weights file is: its network, as far as keys, shapes and plain values tell, in words."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from maskmill.pipeline.models.loading import build_network
from maskmill.pipeline.models.network_options import NetworkOptions
from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.spec import ModelSpec, labels_of
from maskmill.pipeline.models.weights.beside import Told, told_beside
from maskmill.pipeline.models.weights.foreign import adapt_checkpoint
from maskmill.pipeline.models.weights.foreign_layouts import LAYOUTS
from maskmill.pipeline.models.weights.foreign_shapes import PLUS_BUILDER, shapes_of, some_of
from maskmill.pipeline.models.weights.foreign_state import foreign_layout
from maskmill.pipeline.models.weights.state import (
    classes_in_state,
    classifier_name,
    load_document,
    load_state,
)
from maskmill.pipeline.models.weights.told_pictures import buffered_pictures
from maskmill.schemas.errors import ModelError, SettingsError
from maskmill.schemas.labels import LabelMap
from maskmill.schemas.text import count_of

_BACKGROUNDS: Final = ("background", "bg", "_background_")
_CHANGES: Final = (
    ("_deep_stem", " (v1c)"), ("_wide_stem", " (v1s)"), ("_strides_first", " (strides first)"),
    ("_three_convolutions", " (three convolutions in the stem)"), ("_headed", " (1280 channels)"),
    ("_staged", ""), ("_once_dilated", ""), ("_first_dilated", ""), ("_original", ""),
    ("_aligned", " (aligned)"), ("_tapped", " (aligned)"),
    ("_32x4d", "-50 32x4d"), ("_32x8d", "-101 32x8d"),
)  # fmt: skip
_SPELT: Final = {
    "seresnet": "SE-ResNet-", "resnext": "ResNeXt-", "resnet": "ResNet-",
    "efficientnet_": "EfficientNet-", "tf_mobilenetv3_large": "MobileNetV3-Large (TensorFlow's)",
    "mobilenetv3_large": "MobileNetV3-Large", "mobilenetv2": "MobileNetV2",
    "xception": "Xception", "drn_d_": "DRN-D-", "hrnetv2_": "HRNetV2-W",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """A weights file, recognised.

    ``spec`` is what would run: builder, options, stride, preprocessing. ``project`` says who saves
    files so. ``models`` are the names of MODELS that it may go by. ``labels`` are the class names
    that stand in the file, None where there are none. ``notes`` are sentences for the user: what
    was left out, what was assumed, and how to say otherwise.
    """

    spec: ModelSpec
    family: str
    encoder: str
    project: str
    num_classes: int
    models: tuple[str, ...]
    labels: LabelMap | None
    notes: tuple[str, ...]

    def describe(self) -> str:
        """One line for people."""
        classes = count_of(self.num_classes, "class", "classes")
        return (
            f"{self.family} with {self.encoder}, output stride {self.spec.output_stride}, "
            f"{classes}, as {self.project} saves it"
        )


def recognise(
    path: Path, *, output_stride: int | None = None, options: NetworkOptions | None = None
) -> Recognition:
    """What the file is. Only names, shapes and plain values are read; nothing of it is run.

    Args:
        path: a file of torch.save or safetensors.
        output_stride: 8 or 16 where the user says it; the file or the project's default decides
            otherwise.
        options: what else the user says of the network.

    Raises:
        WeightsRefused: a file that would run code.
        ModelError: a file that is none of the known networks; the message says what it has.
    """
    if path.suffix in (".tflite", ".json"):
        raise ModelError(
            f"{path}: name the model that it belongs to with --model, or keep it as a model of its "
            f"own: `maskmill models import {path.name} --name N --labels L`"
        )
    document = load_document(path, outline=True)
    told = told_beside(document.beside, path)
    if told.pictures is None and "pixel_mean" in document.state:
        told = replace(told, pictures=buffered_pictures(load_state(path)))
    if foreign_layout(document.state) is not None:
        found = _foreign(document.state, told, output_stride, options, str(path))
    else:
        found = _own(document.state, str(path))
    return replace(found, notes=(*document.notes, *found.notes))


def _foreign(
    state: Mapping[str, Tensor], told: Told, output_stride: int | None,
    options: NetworkOptions | None, where: str,
) -> Recognition:  # fmt: skip
    adapted = adapt_checkpoint(
        state, output_stride=output_stride, told=told, wanted=options, where=where
    )
    layout = LAYOUTS[adapted.layout]
    plus = adapted.builder == PLUS_BUILDER
    encoder = encoder_title(adapted.encoder)
    family = "DeepLabv3+" if plus else "DeepLabv3"
    slug = adapted.layout.partition("_")[0]
    rule = told.pictures.rule(layout.preprocessing) if told.pictures else layout.preprocessing
    base = ModelSpec(
        name=f"{slug}_deeplabv3{'plus' if plus else ''}_{adapted.encoder}",
        architecture="", builder="", preprocessing=rule, labels="",
        output_stride=8, grid_stride=8, alignment="half_pixel", description="recognised in a file",
    )  # fmt: skip
    spec = replace(adapted.spec(base), architecture=f"{family} with {encoder} ({layout.project})")
    whose = (
        f"as {told.source or 'the file'} tells"
        if told.pictures
        else f"as {layout.project} does by default"
    )
    notes = (
        *adapted.notes,
        f"pictures are prepared {whose}: {rule.describe()}, mean {rule.mean}, deviation "
        f"{rule.std}{', as BGR' if adapted.sees_bgr else ''}; --image-size N for another size",
        *([told.pictures.remark] if told.pictures and told.pictures.remark else ()),
    )
    return Recognition(
        spec=spec, family=family, encoder=encoder, project=layout.project,
        num_classes=adapted.num_classes, labels=_told_labels(told, adapted.num_classes),
        models=_models_of(family, adapted.encoder, adapted.layout), notes=notes,
    )  # fmt: skip


def encoder_title(name: str) -> str:
    """An encoder's name in the field's spelling: ``resnet50_deep_stem`` is ResNet-50 (v1c)."""
    ending = ""
    for mark, said in _CHANGES:
        if name.endswith(mark):
            name, ending = name.removesuffix(mark), said
    if ending.startswith("-"):  # the depth of a ResNeXt stands before its groups
        name, ending = name.rstrip("0123456789"), ending
    start = next((one for one in _SPELT if name.startswith(one)), None)
    spelt = name if start is None else _SPELT[start] + name.removeprefix(start)
    return f"{spelt.rstrip('-')}{ending}"


def _models_of(family: str, encoder: str, layout: str) -> tuple[str, ...]:
    """The models of ours that such a file may be called by."""
    if layout == "torchvision":
        names = {"mobilenetv3_large": "mobilenet_v3_large"}
        return (f"deeplabv3_{names.get(encoder, encoder)}",)
    plain = next(
        (encoder.removesuffix(mark) for mark, _ in _CHANGES if encoder.endswith(mark)), encoder
    )
    if family == "DeepLabv3+":
        return tuple(name for name in (f"deeplabv3plus_{plain}",) if name in MODELS)
    return tuple(name for name in (f"deeplabv3_{plain}_parallel",) if name in MODELS)


def _own(state: Mapping[str, Tensor], where: str) -> Recognition:
    """A file of this tool's own networks."""
    for spec in _candidates(state):
        with torch.device("meta"):
            outline = build_network(spec, len(labels_of(spec).classes))
        num_classes = classes_in_state(state, classifier_name(outline))
        if num_classes is None:
            continue
        with torch.device("meta"):
            outline = build_network(spec, num_classes)
        if shapes_of(outline.state_dict()) == shapes_of(state):
            return _own_recognition(spec, num_classes)
    known = ", ".join(dict.fromkeys(layout.project for layout in LAYOUTS.values()))
    raise ModelError(
        f"{where} is no DeepLab that is known here: not one of maskmill's own networks, nor as "
        f"any of these saves it: {known}. Its keys begin with {some_of(list(state))}"
    )


def _candidates(state: Mapping[str, Tensor]) -> list[ModelSpec]:
    """Models whose first parts are named as the file's; building each would take seconds."""
    marks = {
        "tf_mobilenetv2": "backbone.blocks.0.depthwise.weight",
        "deeplabv3plus": "decoder.low_level.conv.weight",
        "cascaded": "context.0.",
    }
    return [
        spec
        for spec in MODELS.values()
        for module, mark in marks.items()
        if spec.builder.partition(":")[0].endswith(module)
        and any(key.startswith(mark) for key in state)
    ]


def _own_recognition(spec: ModelSpec, num_classes: int) -> Recognition:
    family, _, encoder = spec.architecture.partition(", ")
    published = len(labels_of(spec).classes)
    note = (
        f"weights do not tell their output stride: {spec.output_stride} is assumed, that of "
        f"{spec.name}; --output-stride if it was trained at another"
    )
    return Recognition(
        spec=spec, family=family, encoder=encoder, project="maskmill", num_classes=num_classes,
        models=(spec.name,), labels=labels_of(spec) if spec.trained and published == num_classes
        else None, notes=(note,),
    )  # fmt: skip


def _told_labels(told: Told, num_classes: int) -> LabelMap | None:
    names: tuple[str, ...] = told.class_names
    if len(names) != num_classes:
        return None
    first = names[0].lower() in _BACKGROUNDS
    try:
        return LabelMap.from_names(
            f"of {told.source or 'the file'}", names, colors=told.palette or None,
            background=0 if first else None,
        )  # fmt: skip
    except SettingsError:
        return None


def unnamed_labels(num_classes: int) -> LabelMap:
    """Numbers for names: what is said of classes that nobody named.

    One channel is a sigmoid: background and foreground, by what it computes.
    """
    if num_classes == 1:
        return LabelMap.from_names("unnamed", ("background", "foreground"))
    return LabelMap.from_names("unnamed", [str(n) for n in range(num_classes)], background=None)


def facts_of(found: Recognition) -> dict[str, Any]:
    """Name -> value, plain JSON values: what `models recognise --json` prints."""
    return {
        "description": found.describe(),
        "family": found.family,
        "encoder": found.encoder,
        "output_stride": found.spec.output_stride,
        "classes": found.num_classes,
        "class_names": list(found.labels.names) if found.labels else None,
        "project": found.project,
        "input": found.spec.preprocessing.describe(),
        "options": {key: _listed(value) for key, value in found.spec.options},
        "models": list(found.models),
        "notes": list(found.notes),
    }


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
