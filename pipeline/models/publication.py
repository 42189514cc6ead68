"""A model laid out for others: files that plain PyTorch, safetensors and transformers load.

Nothing is published that was not loaded again and answered as the model does.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from maskmill.pipeline.models.adaptation import check_class_count
from maskmill.pipeline.models.choice import ModelChoice
from maskmill.pipeline.models.export import export_metadata, export_model
from maskmill.pipeline.models.loading import load_model, num_classes_of
from maskmill.pipeline.models.model_folder import CARD, WEIGHTS, folder_spec, spec_document
from maskmill.pipeline.models.publication_page import page
from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.models.transformers_files import (
    transformers_config,
    transformers_processor,
    transformers_state,
    without_counterpart,
)
from maskmill.pipeline.models.weights.cache import weights_sha256
from maskmill.pipeline.models.weights.huggingface import renamed
from maskmill.schemas.errors import ModelError, SettingsError

PROGRAM: Final = "program.pt2"
LABELS: Final = "labels.json"
PAGE: Final = "README.md"
TRANSFORMERS: Final = ("config.json", "model.safetensors", "preprocessor_config.json")
TOLERANCE: Final = 1e-3
"""Largest difference of a logit: other kernels add in another order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What was laid out: names of the files, and the document of model.json.

    ``left_out`` says why there are no files for transformers; '' where there are.
    """

    files: tuple[str, ...]
    card: Mapping[str, Any]
    left_out: str
    notes: tuple[str, ...]


def publish(choice: ModelChoice, folder: Path) -> Published:
    """Lay the model out in a new folder, whole or not at all.

    Raises:
        SettingsError: random weights, a folder that holds something, or labels that do not fit.
        ModelError: weights that do not fit, or a file that does not give the same logits.
    """
    if choice.weights_kind == "untrained":
        raise SettingsError("random weights are nothing to publish: give --weights FILE")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"{folder} holds something: give a new folder")
    loaded = load_model(choice.spec, choice.weights_path)
    check_class_count(num_classes_of(loaded.network), choice.labels)
    spec = replace(
        loaded.spec, own_labels=choice.labels, layout="", sees_bgr=False, weight_std=False
    )
    left_out = without_counterpart(loaded.network)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".publish-") as temporary:
        inside = Path(temporary) / folder.name
        inside.mkdir()
        card = _write_own(inside, choice, spec, loaded.network)
        export_model(
            loaded.network,
            inside / PROGRAM,
            "torch",
            (spec.preprocessing.size,) * 2,
            metadata=export_metadata(spec),
        )
        if not left_out:
            _write_transformers(inside, spec, loaded.network)
        (inside / PAGE).write_text(page(card, spec, has_transformers=not left_out), "utf-8")
        _check(inside, loaded.network, spec, has_transformers=not left_out)
        if folder.exists():
            folder.rmdir()
        inside.replace(folder)
    files = tuple(sorted(path.name for path in folder.iterdir()))
    return Published(
        files=files, card=card, left_out=left_out, notes=(*choice.notes, *loaded.notes)
    )


def _write_own(
    folder: Path, choice: ModelChoice, spec: ModelSpec, network: nn.Module
) -> dict[str, Any]:
    """The state dict under our names with its spec: what --model takes. The spec's document."""
    save_file(_plain(network.state_dict()), folder / WEIGHTS)
    origin = choice.spec.weights
    card = spec_document(
        spec,
        choice.labels,
        sha256=weights_sha256(folder / WEIGHTS),
        licence=origin.licence if origin and choice.weights_kind == "published" else "not stated",
    )
    card |= _history(choice)
    (folder / CARD).write_text(json.dumps(card, ensure_ascii=False, indent=1), "utf-8")
    labels = json.dumps(choice.labels.to_dict(), ensure_ascii=False, indent=1)
    (folder / LABELS).write_text(labels, "utf-8")
    return card


def _history(choice: ModelChoice) -> dict[str, Any]:
    """What the card of a fine-tuned model says of its training, scores and parent."""
    origin, path = choice.spec.weights, choice.weights_path
    if origin is None or path is None or origin.kind != "folder" or str(path) != origin.members[0]:
        return {}
    theirs = json.loads((path.parent / CARD).read_text("utf-8"))
    return {name: theirs[name] for name in ("parent", "training", "scores", "before")
            if name in theirs}  # fmt: skip


def _write_transformers(folder: Path, spec: ModelSpec, network: nn.Module) -> None:
    config = transformers_config(network, spec)
    documents = zip(TRANSFORMERS[::2], (config, transformers_processor(spec)), strict=True)
    for name, document in documents:
        (folder / name).write_text(json.dumps(document, ensure_ascii=False, indent=1), "utf-8")
    save_file(_plain(transformers_state(network)), folder / TRANSFORMERS[1], {"format": "pt"})


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: values.detach().cpu().contiguous() for name, values in state.items()}


@torch.inference_mode()
def _check(folder: Path, network: nn.Module, spec: ModelSpec, *, has_transformers: bool) -> None:
    """Load every file again and ask it the same.

    Raises:
        ModelError: another answer.
    """
    side = min(spec.preprocessing.size, 129)
    images = torch.randn((2, 3, side, side), generator=torch.Generator().manual_seed(0))
    wanted = network(images)
    program = torch.export.load(folder / PROGRAM).module()
    answers = {WEIGHTS: _own_answer(folder, images), PROGRAM: program(images)}
    if has_transformers:
        state = renamed(load_file(folder / TRANSFORMERS[1]))
        network.load_state_dict(state, strict=True)
        answers[TRANSFORMERS[1]] = network(images)
    for name, found in answers.items():
        difference = float((found - wanted).abs().max())
        if found.shape != wanted.shape or not difference <= TOLERANCE:
            raise ModelError(
                f"{name} answers {difference:g} away from the model, so nothing was published"
            )


def _own_answer(folder: Path, images: Tensor) -> Tensor:
    spec = folder_spec(str(folder))
    if spec is None:
        raise TypeError(f"{folder} is no folder")
    answer: Tensor = load_model(spec, folder / WEIGHTS).network(images)
    return answer
