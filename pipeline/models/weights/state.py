"""Weights files: safetensors, PyTorch (without running any code in them), TFLite, TFJS."""

import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from maskmill.pipeline.models.networks.frozen_graph import FrozenGraph
from maskmill.pipeline.models.weights.tf_import import graph_to_network
from maskmill.pipeline.models.weights.tfjs_file import read_tfjs
from maskmill.pipeline.models.weights.tflite_file import read_tflite
from maskmill.schemas.errors import ModelError, WeightsRefused

_WRAPPERS = ("model", "state_dict", "model_state", "model_state_dict", "net", "ema_state_dict")
_PREFIXES = ("module.", "_orig_mod.")
_SHOWN = 4
_GRAPHS: MappingProxyType[str, Callable[[Path], FrozenGraph]] = MappingProxyType(
    {".tflite": read_tflite, ".json": read_tfjs}
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
    return _GRAPHS[path.suffix](path)


def load_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name, wrappers and prefixes taken off.

    By its suffix a file is read as .safetensors, .tflite, TFJS model.json or else as PyTorch's.

    Raises:
        WeightsRefused: a pickle that asks for anything but tensors and plain containers; nothing
            of it has run.
        ModelError: no such file, a broken one, or one without tensors.
    """
    if not path.is_file():
        raise ModelError(f"no weights file {path}")
    return unwrap_state(_read(path), str(path))


def unwrap_state(document: Any, where: str = "weights") -> dict[str, Tensor]:
    """The state dict inside ``{"model": …}``-like wrappers, without ``module.`` prefixes.

    Raises:
        ModelError: no tensors found.
    """
    # Wrappers first: a step count or a best score beside them may be a tensor too.
    while isinstance(document, Mapping) and (inner := _wrapped(document)) is not None:
        document = inner
    if not isinstance(document, Mapping) or not _is_state(document):
        raise ModelError(f"{where} holds no state dict (a mapping from parameter names to tensors)")
    state = {str(name): value for name, value in document.items() if isinstance(value, Tensor)}
    while prefix := next((p for p in _PREFIXES if all(n.startswith(p) for n in state)), ""):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


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


def _wrapped(document: Mapping[Any, Any]) -> Mapping[Any, Any] | None:
    """What is inside the first wrapper that there is."""
    found = (document[key] for key in _WRAPPERS if isinstance(document.get(key), Mapping))
    return next(found, None)


def _is_state(document: Mapping[Any, Any]) -> bool:
    return bool(document) and any(isinstance(value, Tensor) for value in document.values())


def _read(path: Path) -> Any:
    if path.suffix in _GRAPHS:
        return graph_to_network(read_graph(path)).state_dict()
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on pickle protocols it has no use for
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsRefused(
            f"{path} was refused and nothing of it was run: it is not a plain file of tensors"
            f"{_asked_for(error)}. Save model.state_dict() only, best as .safetensors"
        ) from error
    except (SafetensorError, BadZipFile, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ModelError(f"{path} is not a readable weights file: {_first_line(error)}") from error


def _asked_for(error: pickle.UnpicklingError) -> str:
    """What the file would have called, where PyTorch tells; its own advice is to call it."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f", it asks for {found[1]}" if found else ""


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:160]
