"""Documents of training loops: where in them the weights are, and what else they tell.

Loops save a dict: weights under one of some dozen names, often a second (averaged) copy, and
optimizer, epoch and settings beside them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from maskmill.pipeline.models.weights.inert_pickle import Inert, plain
from maskmill.schemas.errors import ModelError, WeightsRefused

WRAPPERS: Final = (
    "model", "state_dict", "model_state", "model_state_dict", "net", "network", "params",
    "weights", "student", "generator", "module", "ema_state_dict", "state_dict_ema", "ema",
    "model_ema", "ema_model", "module_ema", "params_ema", "teacher",
)  # fmt: skip
"""Names under which weights are kept; trained weights before averaged copies of them."""

AVERAGED: Final = frozenset(name for name in WRAPPERS if "ema" in name) | {"teacher"}
_PREFIXES: Final = ("module.", "_orig_mod.", "model.", "net.", "network.", "ema_model.", "base.")
_BESIDE: Final = (
    "args", "hyper_parameters", "hparams", "meta", "config", "cfg", "opt", "message_hub",
)  # fmt: skip
_SHOWN: Final = 12
_HALVES: Final = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True)
class WeightsDocument:
    """Weights, and what stood beside them.

    ``state`` are tensors by name, wrappers and shared prefixes taken off. ``beside`` are plain
    values (see inert_pickle.plain). ``notes`` are sentences for the user.
    """

    state: dict[str, Tensor]
    beside: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def unwrap_document(document: Any, where: str = "weights") -> WeightsDocument:
    """The weights inside ``{"model": …}``-like wrappers, without shared prefixes.

    Raises:
        WeightsRefused: a whole network in place of its weights.
        ModelError: no tensors found; the message lists what is there.
    """
    beside: dict[str, Any] = {}
    notes: list[str] = []
    top = document
    # Wrappers first: a step count or a best score beside them may be a tensor too.
    while isinstance(document, Mapping):
        beside |= {key: plain(document[key]) for key in _BESIDE if key in document}
        found = [key for key in WRAPPERS if _holds_tensors(document.get(key))]
        if not found:
            break
        if len(found) > 1:
            notes.append(f"{where} holds weights under {', '.join(found)}: {found[0]} are used")
        elif found[0] in AVERAGED:
            notes.append(f"the averaged weights under {found[0]} are used")
        document = document[found[0]]
    _refuse_module(document, where)
    state = _tensors(document)
    if not state:
        raise ModelError(_nothing(top, where))
    return WeightsDocument(without_prefix(state), beside, tuple(notes))


def without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without prefixes that name a wrapper; what stood outside the network is left out.

    Lightning keeps ``model.`` for the network, and losses and normalisation beside it.
    """
    state = dict(state)
    while (prefix := _shared_prefix(state)) is not None:
        state = {
            key.removeprefix(prefix): value
            for key, value in state.items()
            if key.startswith(prefix)
        }
    return state


def _shared_prefix(state: Mapping[str, Tensor]) -> str | None:
    """A wrapper's prefix, where the keys without it are no part of a network of their own."""
    for prefix in _PREFIXES:
        inside = [key for key in state if key.startswith(prefix)]
        outside = [key for key in state if not key.startswith(prefix)]
        if inside and not any(_is_layer(key, state[key]) for key in outside):
            return prefix
    return None


def _is_layer(key: str, value: Tensor) -> bool:
    """Whether a tensor is of a convolution or a norm; losses and statistics are neither."""
    if key.partition(".")[0] in ("loss", "loss_fn", "criterion", "metrics", "normalize", "ema"):
        return False
    return (value.ndim == 4 and value.numel() > 4) or key.endswith(("running_var", ".bias"))


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, Inert):
        return value.is_module
    if not isinstance(value, Mapping) or not value:
        return False
    return any(isinstance(one, Tensor) for one in value.values()) or any(
        _holds_tensors(value.get(key)) for key in WRAPPERS
    )


def _tensors(document: Any) -> dict[str, Tensor]:
    if not isinstance(document, Mapping):
        return {}
    found = {str(name): value for name, value in document.items() if isinstance(value, Tensor)}
    # What is worked into weights later must not be rounded to their half of the digits again.
    return {name: one.float() if one.dtype in _HALVES else one for name, one in found.items()}


def _refuse_module(document: Any, where: str) -> None:
    if isinstance(document, Inert) and document.is_module:
        raise WeightsRefused(
            f"{where} was refused and nothing of it was run: it is a whole network, not its "
            f"weights, and asks for {document.name}. Save model.state_dict() only, best as "
            ".safetensors"
        )


def _nothing(document: Any, where: str) -> str:
    """What is said of a file without weights."""
    said = f"{where} holds no state dict (a mapping from parameter names to tensors)"
    if isinstance(document, Mapping):
        own = [str(key) for key, value in document.items() if _holds_tensors(value)]
        if own and own[0] not in _BESIDE and "optim" not in own[0]:
            return (
                f"{where} holds tensors under {', '.join(own[:_SHOWN])}, names that are not known "
                "for weights: save the state dict of the network alone"
            )
        keys = ", ".join(str(key) for key in list(document)[:_SHOWN])
        more = f" and {len(document) - _SHOWN} more" if len(document) > _SHOWN else ""
        return f"{said}; its keys are {keys or 'none'}{more}"
    return f"{said}; it holds {_kind(document)}: save model.state_dict()"


def _kind(document: Any) -> str:
    """What a file holds in place of a mapping, in words."""
    if isinstance(document, Inert):
        return document.name
    if isinstance(document, Tensor):
        return f"a single tensor of shape {tuple(document.shape)}"
    if isinstance(document, list | tuple):
        tensors = sum(isinstance(one, Tensor) for one in document)
        return f"a list of {len(document)} entries, {tensors} of them tensors without a name"
    return f"a value of type {type(document).__name__}"


def check_finite(state: Mapping[str, Tensor], where: str) -> None:
    """Refuse weights that a network cannot compute with.

    Raises:
        ModelError: NaN or infinity; the message names the first tensors.
    """
    sick = [
        name
        for name, value in state.items()
        if value.is_floating_point() and not value.is_meta and not _finite(value)
    ]
    if sick:
        more = f" and {len(sick) - 3} more" if len(sick) > 3 else ""
        raise ModelError(
            f"{where} holds NaN or infinite weights in {len(sick)} tensors ({', '.join(sick[:3])}"
            f"{more}): the training that wrote it broke down; take an earlier checkpoint"
        )


def _finite(value: Tensor) -> bool:
    # The sum is finite unless a value is not, or they overflow: only then look at each.
    total = value.sum() if value.dtype == torch.float32 else value.float().sum()
    return bool(total.isfinite()) or bool(value.isfinite().all())
