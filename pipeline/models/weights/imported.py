"""A user's own DeepLab of TensorFlow's, converted once and kept beside the fetched models."""

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maskmill.pipeline.models.spec import BOUNDED, ModelSpec, WeightsOrigin
from maskmill.pipeline.models.weights.cache import cache_dir, weights_sha256
from maskmill.pipeline.models.weights.training_facts import Training
from maskmill.pipeline.views.preprocessing import Preprocessing
from maskmill.schemas.errors import ModelError, SettingsError
from maskmill.schemas.labels import LabelMap

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WEIGHTS, _CARD = "weights.safetensors", "model.json"
_BUILDERS = {
    "mobilenetv2": "maskmill.pipeline.models.networks.tf_mobilenetv2:build_layout",
    "deeplab": "maskmill.pipeline.models.networks.tf_deeplab:build_layout",
}
_TRAINED_ON = {19: "cityscapes", 21: "voc", 32: "ade20k32", 151: "ade20k"}


def import_model(
    file: Path,
    *,
    name: str,
    labels: LabelMap | None,
    image_size: int | None = None,
    licence: str = "not stated",
    taken: tuple[str, ...] = (),
    cache: Path | None = None,
    training: Training | None = None,
    say: Callable[[str], None] | None = None,
) -> ModelSpec:
    """Convert a DeepLab of TensorFlow's and keep it by name.

    Args:
        file: a frozen graph of TensorFlow DeepLab (.pb), its training checkpoint (the .index
            file, a data file or their common prefix), or a .tflite or TFJS model.json of the
            MobileNetV2 family.
        name: what it is to be called; an earlier import of the same name is replaced.
        labels: one class per output; None is refused, with what the class count suggests.
        image_size: longest side of the input; None: what the file says, else 513.
        licence: of the weights.
        taken: names that may not be used.
        cache: where to keep it; None: the user's.
        training: what a checkpoint does not tell.
        say: called with each sentence about what was assumed or left out.

    Raises:
        SettingsError: a name that is taken or not a plain word, no labels or of another class
            count, or ``training`` for a file that tells it itself.
        ModelError: a file that is not such a network.
    """
    from safetensors.torch import save_file

    from maskmill.pipeline.models.weights.importable import read_importable

    _check_name(name, taken)
    found = read_importable(file, training or Training())
    checked = _checked_labels(file, found.num_classes, labels)
    folder = _folder(cache) / name
    folder.mkdir(parents=True, exist_ok=True)
    card = {
        **found.card,
        "image_size": image_size or found.image_size,
        "labels": checked.to_dict(),
        "licence": licence,
        "file": found.path.name,
        "sha256": weights_sha256(found.path),
    }
    with tempfile.TemporaryDirectory(dir=folder, prefix=".import-") as temporary:
        weights, written = Path(temporary) / _WEIGHTS, Path(temporary) / _CARD
        save_file({key: value.contiguous() for key, value in found.state.items()}, weights)
        written.write_text(json.dumps(card, indent=1), encoding="utf-8")
        weights.replace(folder / _WEIGHTS)
        written.replace(folder / _CARD)  # last: a model is listed once it has a card
    for note in found.notes if image_size is None else found.notes_but_size:
        if say is not None:
            say(note)
    return _read_card(folder)


def imported_models(cache: Path | None = None) -> dict[str, ModelSpec]:
    """Name -> spec of every imported model, sorted by name.

    Raises:
        ModelError: a card that is not ours to read.
    """
    folder = _folder(cache)
    if not folder.is_dir():
        return {}
    return {
        entry.name: _read_card(entry)
        for entry in sorted(folder.iterdir())
        if (entry / _CARD).is_file()
    }


def _folder(cache: Path | None) -> Path:
    return (cache or cache_dir()) / "models" / "imported"


def _read_card(folder: Path) -> ModelSpec:
    try:
        card = json.loads((folder / _CARD).read_text(encoding="utf-8"))
        return _card_to_spec(folder, _current(card))
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{folder / _CARD} is broken ({error!r}); delete {folder} and import the model again"
        ) from error


def _card_to_spec(folder: Path, card: dict[str, Any]) -> ModelSpec:
    options = {key: _hashable(value) for key, value in card["options"].items()}
    return ModelSpec(
        name=folder.name,
        architecture=f"{card['architecture']} (TensorFlow, imported)",
        builder=_BUILDERS[card["builder"]],
        options=tuple(options.items()),
        preprocessing=Preprocessing(
            resize="longest_side",
            size=int(card["image_size"]),
            pad=bool(card["square"]),
            mean=_three(card["mean"]),
            std=_three(card["std"]),
        ),
        labels="",
        own_labels=LabelMap.from_dict(card["labels"]),
        output_stride=int(card["output_stride"]),
        grid_stride=int(card["grid_stride"]),
        alignment=card["alignment"],
        description=f"imported from {card['file']}",
        precisions=_precisions(card["builder"], is_rounded=bool(options.get("rounded"))),
        weights=WeightsOrigin(
            kind="imported",
            licence=card["licence"],
            members=(str(folder / _WEIGHTS),),
            member_sha256=((card["file"], card["sha256"]),),
        ),
    )


def _precisions(builder: str, *, is_rounded: bool) -> tuple[str, ...]:
    if is_rounded:
        return ("fp32",)
    return BOUNDED if builder == "mobilenetv2" else ("fp32", "bf16", "fp16")


def _current(card: dict[str, Any]) -> dict[str, Any]:
    """A card as it is written today; the first ones knew the MobileNetV2 family only."""
    if "layout" not in card:
        return card
    layout = card["layout"]
    stride, plus = layout["output_stride"], "+" if layout["decoder"] else ""
    return {
        **card,
        "builder": "mobilenetv2",
        "options": layout,
        "architecture": f"DeepLabv3{plus}, MobileNetV2",
        "square": True,
        "output_stride": stride,
        "grid_stride": 4 if layout["decoder"] else stride,
        "alignment": layout["alignment"],
    }


def _hashable(value: Any) -> Any:
    return tuple(_hashable(part) for part in value) if isinstance(value, list) else value


def _three(values: float | list[float]) -> tuple[float, float, float]:
    red, green, blue = values if isinstance(values, list) else [values] * 3
    return float(red), float(green), float(blue)


def _check_name(name: str, taken: tuple[str, ...]) -> None:
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{name!r} cannot name a model: use letters, digits, '.', '_' and '-'")
    if name in taken:
        raise SettingsError(f"{name!r} is a model of maskmill itself; choose another name")


def _checked_labels(file: Path, num_classes: int, labels: LabelMap | None) -> LabelMap:
    if labels is None:
        raise SettingsError(
            f"{file} tells {num_classes} classes apart and does not name them: give --labels"
            f"{_proposal(num_classes)}"
        )
    if num_classes != len(labels.classes):
        raise SettingsError(
            f"{file} tells {num_classes} classes apart, label map {labels.name!r} has "
            f"{len(labels.classes)}: give a label file with {num_classes} entries"
        )
    return labels


def _proposal(num_classes: int) -> str:
    """The built-in label map of a data set TensorFlow DeepLab is trained on, by its size."""
    name = _TRAINED_ON.get(num_classes)
    if name is None:
        return f" with a file of {num_classes} entries"
    return f" {name}, if it was trained on that ({name} has {num_classes}), or a file of yours"
