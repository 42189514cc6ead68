"""TensorFlow DeepLab's variable scopes: which convolution each is, and its values folded."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.models.networks.same_convolution import SameConv2d
from maskmill.schemas.errors import ModelError

KINDS = frozenset(
    {"weights", "depthwise_weights", "biases", "beta", "gamma", "moving_mean", "moving_variance"}
)
HEAD_EPSILON = 1e-5
_ENCODER_EPSILON = {"mobilenet_v2": 1e-3, "xception": 1e-3, "resnet": 1e-5}
_SCOPE_NAMES = {"mobilenet_v2": "MobilenetV2"}


@dataclass(frozen=True, slots=True, eq=False)
class Variables:
    """The trained values of a file, by their names in TensorFlow; ``read`` gives those of one."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], npt.NDArray[Any]]


def encoder_scope(encoder: str) -> str:
    """The outermost scope of an encoder's variables."""
    return _SCOPE_NAMES.get(encoder, encoder.removesuffix("_beta"))


def encoder_epsilon(encoder: str) -> float:
    """What the encoder's batch norm adds to a variance."""
    return next(value for start, value in _ENCODER_EPSILON.items() if encoder.startswith(start))


def scope_of(module: str, encoder: str) -> str:
    """The scope of one of TfDeepLab's convolutions, by its module name.

    Raises:
        KeyError: no convolution of that name has one.
    """
    for pattern, written in _rules(encoder):
        match = pattern.fullmatch(module)
        if match is not None:
            return written(match)
    raise KeyError(module)


_Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]


def _rules(encoder: str) -> list[_Rule]:
    head = {
        r"classifier": lambda m: "logits/semantic",
        r"aspp\.pooling": lambda m: "image_pooling",
        r"aspp\.branch": lambda m: "aspp0",
        r"aspp\.projection": lambda m: "concat_projection",
        r"aspp\.atrous\.(\d+)": lambda m: f"aspp{int(m[1]) + 1}",
        r"aspp\.atrous\.(\d+)\.(\w+)": lambda m: f"aspp{int(m[1]) + 1}_{m[2]}",
        r"decoder\.low_level": lambda m: "decoder/feature_projection0",
        r"decoder\.refine\.(\d+)": lambda m: f"decoder/decoder_conv0/decoder_conv0_{int(m[1]) + 1}",
        r"decoder\.refine\.(\d+)\.(\w+)": lambda m: f"decoder/decoder_conv{m[1]}_{m[2]}",
    }
    known: dict[str, Callable[[re.Match[str]], str]] = {**head, **_encoder_rules(encoder)}
    return [(re.compile(pattern), written) for pattern, written in known.items()]


def _encoder_rules(encoder: str) -> dict[str, Callable[[re.Match[str]], str]]:
    scope = encoder_scope(encoder)
    if encoder == "mobilenet_v2":
        return {
            r"backbone\.stem": lambda m: f"{scope}/Conv",
            r"backbone\.blocks\.0\.(\w+)": lambda m: f"{scope}/expanded_conv/{m[1]}",
            r"backbone\.blocks\.(\d+)\.(\w+)": lambda m: f"{scope}/expanded_conv_{m[1]}/{m[2]}",
        }
    if encoder.startswith("xception"):
        unit = r"backbone\.units\.(\d+)\."
        return {
            r"backbone\.stem\.(\d)": lambda m: f"{scope}/entry_flow/conv1_{int(m[1]) + 1}",
            unit + r"shortcut": lambda m: f"{_unit_scope(encoder, int(m[1]))}/shortcut",
            unit + r"convolutions\.(\d)\.(\w+)": lambda m: (
                f"{_unit_scope(encoder, int(m[1]))}/separable_conv{int(m[2]) + 1}_{m[3]}"
            ),
        }
    root = "conv1_{}" if encoder.endswith("_beta") else "conv1"
    return {
        r"backbone\.stem\.(\d)": lambda m: f"{scope}/{root.format(int(m[1]) + 1)}",
        r"backbone\.blocks\.(\d)\.(\d+)\.(\w+)": lambda m: (
            f"{scope}/block{int(m[1]) + 1}/unit_{int(m[2]) + 1}/bottleneck_v1/{m[3]}"
        ),
    }


def _unit_scope(encoder: str, position: int) -> str:
    """The scope of the n-th module of an Xception."""
    entry = 5 if encoder == "xception_71" else 3
    middle = 8 if encoder == "xception_41" else 16
    if position < entry:
        place = f"entry_flow/block{position + 1}/unit_1"
    elif position < entry + middle:
        place = f"middle_flow/block1/unit_{position - entry + 1}"
    else:
        place = f"exit_flow/block{position - entry - middle + 1}/unit_1"
    return f"{encoder}/{place}/xception_module"


def folded(
    variables: Variables, scope: str, module: SameConv2d, epsilon: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Weight (out, in / groups, k, k) and bias (out,) of one convolution, batch norm folded in.

    Raises:
        ModelError: a variable that is missing, of another shape, not float32 or not finite.
    """
    depthwise = module.groups > 1
    name = f"{scope}/{'depthwise_weights' if depthwise else 'weights'}"
    stored = _checked(variables, name).astype(np.float64)
    if stored.ndim != 4:
        raise ModelError(f"{variables.path}: {name} has shape {stored.shape}, not four sizes")
    weight = stored.transpose(2, 3, 0, 1) if depthwise else stored.transpose(3, 2, 0, 1)
    if weight.shape != tuple(module.weight.shape):
        raise ModelError(
            f"{variables.path}: {name} has shape {stored.shape} (height, width, in, out), where "
            f"DeepLab has {_stored_shape(module)}; networks changed in that way cannot be imported"
        )
    bias = np.zeros(len(weight))
    if f"{scope}/biases" in variables.shapes:
        bias += _checked(variables, f"{scope}/biases")
    if f"{scope}/BatchNorm/moving_variance" in variables.shapes:
        scale = 1 / np.sqrt(_checked(variables, f"{scope}/BatchNorm/moving_variance") + epsilon)
        if f"{scope}/BatchNorm/gamma" in variables.shapes:
            scale = scale * _checked(variables, f"{scope}/BatchNorm/gamma")
        mean = _checked(variables, f"{scope}/BatchNorm/moving_mean")
        weight = weight * scale.reshape(-1, 1, 1, 1)
        bias = (bias - mean) * scale + _checked(variables, f"{scope}/BatchNorm/beta")
    elif f"{scope}/biases" not in variables.shapes:
        raise ModelError(
            f"{variables.path}: {scope} has neither batch norm nor biases; another program has "
            "changed the graph: import the file as DeepLab's export_model.py writes it"
        )
    return np.ascontiguousarray(weight, np.float32), bias.astype(np.float32)


def _stored_shape(module: SameConv2d) -> tuple[int, ...]:
    out, inner, height, width = module.weight.shape
    return (height, width, out, inner) if module.groups > 1 else (height, width, inner, out)


def _checked(variables: Variables, name: str) -> npt.NDArray[Any]:
    if name not in variables.shapes:
        raise ModelError(f"{variables.path} has no variable {name}, which this DeepLab needs")
    values = variables.read(name)
    if values.dtype != np.float32:
        raise ModelError(
            f"{variables.path}: {name} is {values.dtype}, not float32: give the file from before "
            "it was made smaller"
        )
    if not np.isfinite(values).all():
        raise ModelError(f"{variables.path}: {name} holds NaN or infinity; its training failed")
    return values.astype(np.float64)
