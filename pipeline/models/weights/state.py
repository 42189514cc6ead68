"""Weights files: safetensors, PyTorch (without running any code in them), TFLite, TFJS."""

from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from maskmill.pipeline.models.networks.frozen_graph import FrozenGraph
from maskmill.pipeline.models.weights.file_kinds import file_kind
from maskmill.pipeline.models.weights.tf_import import graph_to_network
from maskmill.pipeline.models.weights.torch_file import read_torch
from maskmill.pipeline.models.weights.unwrapping import (
    WeightsDocument,
    check_finite,
    unwrap_document,
)
from maskmill.schemas.errors import ModelError

_SHOWN = 4
_DTYPES: Final = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_CUT_SHORT: Final = ("not fully covered", "invalid header length")
_READERS: Final = "maskmill.pipeline.models.weights"
_GRAPHS: MappingProxyType[str, str] = MappingProxyType(  # tflite is needed only by such a file
    {".tflite": f"{_READERS}.tflite_file:read_tflite", ".json": f"{_READERS}.tfjs_file:read_tfjs"}
)


def read_graph(path: Path) -> FrozenGraph:
    """The frozen graph of a .tflite file or a TFJS model.json.

    Raises:
        ModelError: a missing or broken file, or one of another kind.
    """
    if path.suffix not in _GRAPHS:
        raise ModelError(f"{path} is neither a .tflite file nor a TensorFlow.js model.json")
    if not path.is_file():
        raise ModelError(f"no model file {path}")
    graph: FrozenGraph = resolve_name(_GRAPHS[path.suffix])(path)
    return graph


def load_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name, wrappers and prefixes taken off; see :func:`load_document`."""
    return load_document(path).state


def load_document(path: Path, *, outline: bool = False) -> WeightsDocument:
    """The weights of a file, and the plain values that stand beside them in it.

    What a file is shows in its first bytes: safetensors or PyTorch's, whatever its name; .tflite
    and TFJS model.json go by their names. Nothing of a file is ever run.

    Args:
        path: the file.
        outline: tensors on the meta device, their values unread: shapes and types only.

    Raises:
        WeightsRefused: a pickle that asks for what only code would need, or a whole network.
        ModelError: no such file, a broken one, one of another kind, one without tensors, or with
            NaN or infinite weights.
    """
    kind = file_kind(path)
    if kind == "graph":
        return WeightsDocument(graph_to_network(read_graph(path)).state_dict())
    if kind == "safetensors":
        content = _read_safetensors(path, outline)
    else:
        read = read_torch(path, outline=outline)
        content = read.content
    document = unwrap_document(content, str(path))
    if not outline:
        check_finite(document.state, str(path))
    return document


def _read_safetensors(path: Path, outline: bool) -> dict[str, Tensor]:
    try:
        if not outline:
            return load_file(path)
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            slices = {name: file.get_slice(name) for name in names}
            return {
                name: torch.empty(
                    found.get_shape(), dtype=_DTYPES[found.get_dtype()], device="meta"
                )
                for name, found in slices.items()
            }
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        if any(said in str(error) for said in _CUT_SHORT):
            raise ModelError(
                f"{path} is not a readable weights file: it is cut short, its end is missing; "
                "fetch or copy it again"
            ) from error
        raise ModelError(f"{path} is not a readable weights file: {_first_line(error)}") from error


def classes_in_state(state: Mapping[str, Tensor], classifier: str) -> int | None:
    """How many classes the layer ``classifier`` (its module name) has; None if it is not there."""
    weight = state.get(f"{classifier}.weight")
    return None if weight is None else int(weight.shape[0])


def classifier_name(network: nn.Module) -> str:
    """Module name of the last convolution: the layer whose output channels are the classes."""
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    return str(names[-1])


def fill_network(
    network: nn.Module, state: Mapping[str, Tensor], where: str = "weights"
) -> tuple[str, ...]:
    """Copy a state dict into a network; auxiliary heads the network lacks are left out.

    Every value of the network is written, so it may have been empty before; batch counters that
    old files lack are 0.

    Returns:
        A sentence for each head that was left out.

    Raises:
        ModelError: parameters missing, left over or of another shape; the message names some.
    """
    wanted = network.state_dict()
    given = {name: value for name, value in state.items() if name in wanted or not _auxiliary(name)}
    counters = (name for name in wanted if name.endswith("num_batches_tracked"))
    given = {**{name: torch.tensor(0) for name in counters}, **given}
    problems = _misfit(wanted, given)
    if problems:
        raise ModelError(f"{where} does not fit the network: " + "; ".join(problems))
    network.load_state_dict(given, strict=True)
    heads = sorted({name.partition(".")[0] for name in state.keys() - given.keys()})
    return tuple(left_out(head) for head in heads)


def left_out(head: str) -> str:
    """What the user is told of a head that no network here has."""
    return f"left out {head}: it serves training only"


def _auxiliary(name: str) -> bool:
    return name.startswith(("aux_classifier.", "auxiliary_head.", "aux_head.", "aux."))


def _misfit(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    problems = []
    missing = [name for name in wanted if name not in given]
    unexpected = [name for name in given if name not in wanted]
    shapes = [
        f"{name} is {tuple(given[name].shape)}, expected {tuple(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    for what, names in (("missing", missing), ("unexpected", unexpected), ("other shape", shapes)):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            problems.append(f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{more}")
    return problems


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:160]
