"""Export of networks to what people deploy: ONNX, and torch.export programs.

Both map normalised images (N, 3, H, W) to logits on the network's own grid, with any batch and
any size; how pixels are normalised and how the grid lies under the image goes along as metadata.
"""

import importlib.util
import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

import torch
from torch import nn

from maskmill.pipeline.models.adaptation import check_class_count
from maskmill.pipeline.models.choice import ModelChoice
from maskmill.pipeline.models.loading import load_model, num_classes_of
from maskmill.pipeline.models.spec import ModelSpec, labels_of
from maskmill.schemas.errors import ModelError, SettingsError

ExportKind = Literal["onnx", "torch"]
INPUT: Final = "images"
OUTPUT: Final = "logits"
_KINDS: Final[dict[str, ExportKind]] = {".onnx": "onnx", ".pt2": "torch"}
_ONNX_NEEDS: Final = ("onnx", "onnxscript")
_METADATA_FILE: Final = "maskmill.json"


def export_model(
    network: nn.Module,
    path: Path,
    kind: str,
    example_hw: tuple[int, int],
    *,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write ``network`` to ``path``, whole or not at all.

    Args:
        network: maps (N, 3, H, W) float32 to (N, classes, h, w); left in the mode it is in.
        path: the file to write; an existing one is replaced.
        kind: ``onnx`` (input ``images``, output ``logits``) or ``torch`` (torch.export, .pt2).
        example_hw: size of the picture the network is traced with; any other works later.
        metadata: JSON values that travel inside the file: ONNX ``metadata_props`` (values as
            JSON text), or the extra file ``maskmill.json`` of a torch.export program.

    Raises:
        SettingsError: an unknown kind.
        ModelError: packages for ONNX are missing, or the network cannot be traced.
    """
    if kind not in get_args(ExportKind):
        raise SettingsError(
            f"cannot export to {kind!r}; there are: {', '.join(get_args(ExportKind))}"
        )
    if kind == "onnx":
        _check_packages()
    write = _write_onnx if kind == "onnx" else _write_program
    program = _trace(network, example_hw)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        written = Path(folder) / path.with_suffix(".onnx" if kind == "onnx" else ".pt2").name
        write(program, written, dict(metadata or {}))
        written.replace(path)


def export_choice(
    choice: ModelChoice, path: Path, *, image_size: int | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Write a chosen model, its weights loaded, to ``path``; what the file says, and notes.

    Args:
        choice: what :func:`choose_model` answered.
        path: ends in .onnx or .pt2, which decides the kind.
        image_size: longest side that the file tells its users of; None: the model's own.

    Raises:
        SettingsError: another ending, or a label map that does not fit the network.
        ModelError: weights that do not fit, or as :func:`export_model`.
    """
    kind = kind_of(path)
    loaded = load_model(
        choice.spec, choice.weights_path, untrained=choice.weights_kind == "untrained"
    )
    check_class_count(num_classes_of(loaded.network), choice.labels)
    rule = loaded.spec.preprocessing.sized(image_size)
    spec = replace(loaded.spec, name=choice.title, own_labels=choice.labels, preprocessing=rule)
    facts = export_metadata(spec)
    export_model(loaded.network, path, kind, (rule.size, rule.size), metadata=facts)
    return facts, (*choice.notes, *loaded.notes)


def kind_of(path: Path) -> ExportKind:
    """What a file of that name is to be.

    Raises:
        SettingsError: a name that says nothing.
    """
    if path.suffix.lower() not in _KINDS:
        raise SettingsError(f"{path}: name it .onnx for ONNX, or .pt2 for a torch.export program")
    return _KINDS[path.suffix.lower()]


def export_metadata(spec: ModelSpec) -> dict[str, Any]:
    """What a program that feeds the network must know: input rule, grid, class names."""
    rule = spec.preprocessing
    return {
        "model": spec.name,
        "architecture": spec.architecture,
        "mean": list(rule.mean),
        "std": list(rule.std),
        "input": f"RGB, 0 to 255, (value - mean) / std; {rule.describe()}",
        "output_stride": spec.output_stride,
        "grid_stride": spec.grid_stride,
        "grid_alignment": spec.alignment,
        "classes": list(labels_of(spec).names),
    }


def _check_packages() -> None:
    missing = [name for name in _ONNX_NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"export to ONNX needs {' and '.join(missing)}: pip install {' '.join(missing)}"
        )


def _trace(network: nn.Module, example_hw: tuple[int, int]) -> torch.export.ExportedProgram:
    device = next(network.parameters()).device
    dynamic = torch.export.Dim.DYNAMIC
    training = network.training
    try:
        # Two images: a batch of one would be taken for a constant.
        example = torch.zeros(2, 3, *example_hw, device=device)
        with torch.no_grad():
            return torch.export.export(
                network.eval(), (example,), dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},)
            )
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise ModelError(f"{type(network).__name__} cannot be exported: {reason}") from error
    finally:
        network.train(training)


def _write_program(
    program: torch.export.ExportedProgram, path: Path, metadata: dict[str, Any]
) -> None:
    torch.export.save(program, path, extra_files={_METADATA_FILE: json.dumps(metadata)})


def _write_onnx(
    program: torch.export.ExportedProgram, path: Path, metadata: dict[str, Any]
) -> None:
    exported = torch.onnx.export(
        program, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], verbose=False
    )
    assert exported is not None  # it is None for the TorchScript exporter only
    for key, value in metadata.items():
        exported.model.metadata_props[key] = value if isinstance(value, str) else json.dumps(value)
    exported.save(str(path), external_data=False)
