"""A model as a folder: model.json (all of its ModelSpec) beside weights.safetensors.

What `finetune` writes and every --model reads. Nothing in a folder is run: of builders only those
of this package are taken.
"""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, get_args

from maskmill.pipeline.models.spec import Alignment, ModelSpec, WeightsOrigin
from maskmill.pipeline.views.preprocessing import Preprocessing, ResizeRule
from maskmill.schemas.errors import ModelError, SettingsError, WeightsRefused
from maskmill.schemas.labels import LabelMap

CARD: Final = "model.json"
WEIGHTS: Final = "weights.safetensors"
FORMAT: Final = "maskmill model 1"

_BUILDER: Final = re.compile(r"maskmill\.pipeline\.models\.networks\.\w+:build(_\w+)?")
_FIELDS: Final = (
    "name", "architecture", "builder", "alignment", "description", "output_stride", "grid_stride",
)  # fmt: skip


def spec_document(
    spec: ModelSpec, labels: LabelMap, *, sha256: str, licence: str
) -> dict[str, Any]:
    """The content of model.json: plain JSON values.

    Args:
        spec: the model; its weights' names are those of its own network.
        labels: one class per output.
        sha256: of weights.safetensors.
        licence: of the weights.

    Raises:
        ValueError: a spec whose file has the tensor names of another project.
    """
    if spec.layout:
        raise ValueError(f"{spec.name} still has the names of {spec.layout}")
    return {
        "format": FORMAT,
        **{name: getattr(spec, name) for name in _FIELDS},
        "options": dict(spec.options),
        "preprocessing": asdict(spec.preprocessing),
        "precisions": list(spec.precisions),
        "labels": labels.to_dict(),
        "licence": licence,
        "weights": WEIGHTS,
        "sha256": sha256,
    }


def folder_spec(name: str) -> ModelSpec | None:
    """The spec of a model folder; None where ``name`` is no folder.

    Raises:
        SettingsError: a folder that holds no model.
        ModelError: a model.json that is broken or not ours.
    """
    folder = Path(name)
    if not folder.is_dir():
        return None
    if not (folder / CARD).is_file():
        inner = folder / "model"
        better = f"; give {inner}" if (inner / CARD).is_file() else ""
        raise SettingsError(f"--model {name}: the folder holds no {CARD}{better}")
    return _read(folder)


def check_weights(path: Path, found: str, announced: str) -> None:
    """Refuse weights that are not those that model.json was written for.

    Raises:
        WeightsRefused: naming both hashes.
    """
    if found != announced:
        raise WeightsRefused(
            f"{path} has sha256 {found}, and {CARD} beside it says {announced}: put back the file "
            "that belongs there, or give this one with --weights FILE and its labels with --labels"
        )


def _read(folder: Path) -> ModelSpec:
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        if card["format"] != FORMAT:
            raise ValueError(f"its format is {card['format']!r}, known is {FORMAT!r}")
        return _spec(folder.absolute(), card)
    except (OSError, KeyError, TypeError, ValueError, SettingsError, RecursionError) as error:
        raise ModelError(f"{folder / CARD} is no model of maskmill's: {error!r}") from error


def _spec(folder: Path, card: dict[str, Any]) -> ModelSpec:
    if not _BUILDER.fullmatch(card["builder"]):
        raise ValueError(f"its builder {card['builder']!r} is none of this package's networks")
    rule = {key: _hashable(value) for key, value in card["preprocessing"].items()}
    _known(rule["resize"], ResizeRule)
    return ModelSpec(
        name=str(card["name"]),
        architecture=str(card["architecture"]),
        builder=str(card["builder"]),
        alignment=_known(card["alignment"], Alignment),
        description=str(card["description"]),
        output_stride=int(card["output_stride"]),
        grid_stride=int(card["grid_stride"]),
        options=tuple((key, _hashable(value)) for key, value in card["options"].items()),
        preprocessing=Preprocessing(**rule),
        precisions=tuple(str(one) for one in card["precisions"]),
        labels="",
        own_labels=LabelMap.from_dict(card["labels"]),
        weights=WeightsOrigin(
            kind="folder",
            licence=str(card["licence"]),
            members=(str(folder / WEIGHTS),),
            member_sha256=((WEIGHTS, str(card["sha256"])),),
        ),
    )


def _known(value: Any, choices: Any) -> Any:
    if value not in get_args(choices):
        raise ValueError(f"{value!r} is none of {', '.join(get_args(choices))}")
    return value


def _hashable(value: Any) -> Any:
    return tuple(_hashable(part) for part in value) if isinstance(value, list) else value
