"""A user's own TFLite or TFJS DeepLab, converted once and kept beside the fetched models."""

import json
import re
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from maskmill.pipeline.models.spec import ModelSpec, WeightsOrigin
from maskmill.pipeline.models.weights.cache import cache_dir, weights_sha256
from maskmill.pipeline.views.preprocessing import Preprocessing
from maskmill.schemas.errors import ModelError, SettingsError
from maskmill.schemas.labels import LabelMap

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WEIGHTS, _CARD = "weights.safetensors", "model.json"
_DEFAULT_SIZE = 513


def import_model(
    file: Path,
    *,
    name: str,
    labels: LabelMap,
    image_size: int = _DEFAULT_SIZE,
    licence: str = "not stated",
    taken: tuple[str, ...] = (),
    cache: Path | None = None,
) -> ModelSpec:
    """Convert a .tflite or TFJS model.json of the MobileNetV2 DeepLab family and keep it by name.

    ``taken`` are names that may not be used again; an earlier import of the same name is replaced.

    Raises:
        SettingsError: a name that is taken or not a plain word, or labels of another class count.
        ModelError: a file that is not such a network.
    """
    from safetensors.torch import save_file

    from maskmill.pipeline.models.weights.state import read_graph
    from maskmill.pipeline.models.weights.tf_import import graph_to_network

    _check_name(name, taken)
    graph = read_graph(file)
    network = graph_to_network(graph)
    layout = asdict(network.layout)
    _check_labels(file, layout.pop("num_classes"), labels)
    folder = _folder(cache) / name
    folder.mkdir(parents=True, exist_ok=True)
    card = {
        "layout": layout,
        "mean": graph.mean,
        "std": graph.std,
        "image_size": image_size,
        "labels": labels.to_dict(),
        "licence": licence,
        "file": file.name,
        "sha256": weights_sha256(file),
    }
    with tempfile.TemporaryDirectory(dir=folder, prefix=".import-") as temporary:
        weights, written = Path(temporary) / _WEIGHTS, Path(temporary) / _CARD
        save_file({key: value.contiguous() for key, value in network.state_dict().items()}, weights)
        written.write_text(json.dumps(card, indent=1), encoding="utf-8")
        weights.replace(folder / _WEIGHTS)
        written.replace(folder / _CARD)  # last: a model is listed once it has a card
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
        return _card_to_spec(folder, card)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder / _CARD} is broken ({error!r}); delete {folder} and import the model again"
        ) from error


def _card_to_spec(folder: Path, card: dict[str, Any]) -> ModelSpec:
    layout = {**card["layout"], "widths": tuple(card["layout"]["widths"])}
    stride = int(layout["output_stride"])
    plus = "+" if layout["decoder"] else ""
    return ModelSpec(
        name=folder.name,
        architecture=f"DeepLabv3{plus}, MobileNetV2 (TensorFlow, imported)",
        builder="maskmill.pipeline.models.networks.tf_mobilenetv2:build_layout",
        options=tuple(layout.items()),
        preprocessing=Preprocessing(
            resize="longest_side",
            size=int(card["image_size"]),
            pad=True,
            mean=(float(card["mean"]),) * 3,
            std=(float(card["std"]),) * 3,
        ),
        labels="",
        own_labels=LabelMap.from_dict(card["labels"]),
        output_stride=stride,
        grid_stride=4 if layout["decoder"] else stride,
        alignment=layout["alignment"],
        description=f"imported from {card['file']}",
        precisions=("fp32",) if layout["rounded"] else ("fp32", "bf16", "fp16"),
        weights=WeightsOrigin(
            kind="imported",
            licence=card["licence"],
            members=(str(folder / _WEIGHTS),),
            member_sha256=((card["file"], card["sha256"]),),
        ),
    )


def _check_name(name: str, taken: tuple[str, ...]) -> None:
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{name!r} cannot name a model: use letters, digits, '.', '_' and '-'")
    if name in taken:
        raise SettingsError(f"{name!r} is a model of maskmill itself; choose another name")


def _check_labels(file: Path, num_classes: int, labels: LabelMap) -> None:
    if num_classes != len(labels.classes):
        raise SettingsError(
            f"{file} tells {num_classes} classes apart, label map {labels.name!r} has "
            f"{len(labels.classes)}: give a label file with {num_classes} entries"
        )
