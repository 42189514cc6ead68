"""Weights of classes in the loss, from how many pixels the training masks have of each."""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.errors import FileFailure, SettingsError
from maskmill.schemas.labels import LabelMap

Weights = npt.NDArray[np.float64]
"""(C,), 1.0 on average over the classes that the training masks have."""

RULES: Final = ("none", "inverse", "median")


def class_weights(
    rule: str, pixels: npt.NDArray[np.int64], seen_in: npt.NDArray[np.int64], labels: LabelMap
) -> Weights | None:
    """What each class counts in the loss; None where all count alike.

    ``inverse``: 1 / frequency, the frequency of a class being its share of all pixels.
    ``median``: median frequency balancing, median(f) / f_c with f_c the pixels of class c divided
    by the pixels of the masks that have it (Eigen and Fergus 2015, "Predicting Depth, Surface
    Normals and Semantic Labels with a Common Multi-Scale Convolutional Architecture", 6.3.2).
    Anything else names a JSON file, class name -> weight. The first two are scaled to the mean 1,
    so that the learning rate means the same; a class without any pixel gets 1.

    Args:
        rule: one of RULES, or a file.
        pixels: (C,) pixels of each class in the training masks.
        seen_in: (C,) valid pixels of the masks that have the class.
        labels: names the classes.

    Raises:
        SettingsError: a file that cannot be read, lacks a class, or names one that is not there.
    """
    if rule == "none":
        return None
    if rule not in RULES:
        return np.array(given_weights(rule, labels))
    present = pixels > 0
    share = pixels[present] / (seen_in[present] if rule == "median" else pixels.sum())
    weights = np.ones(len(pixels))
    found = (np.median(share) if rule == "median" else 1.0) / share
    weights[present] = found / found.mean()
    return weights


def given_weights(rule: str, labels: LabelMap) -> list[float] | None:
    """The weights that a file gives, by class index; None where ``rule`` is one of RULES.

    Raises:
        SettingsError: as :func:`class_weights`.
    """
    if rule in RULES:
        return None
    try:
        document: Any = json.loads(read_bytes(rule))
    except (FileFailure, ValueError) as error:
        raise SettingsError(
            f"--class-weights {rule} is none of {', '.join(RULES)} and cannot be read as JSON: "
            f"{error}"
        ) from error
    if not isinstance(document, Mapping) or sorted(document) != sorted(labels.names):
        raise SettingsError(
            f"--class-weights {rule}: give one weight for each of {', '.join(labels.names)}, as in "
            f'{{"{labels.names[0]}": 1.0, …}}'
        )
    values = [document[name] for name in labels.names]
    if any(isinstance(one, bool) or not isinstance(one, int | float) for one in values):
        raise SettingsError(f"--class-weights {rule}: a weight is no number")
    if not all(math.isfinite(one) and one >= 0 for one in values) or not any(values):
        raise SettingsError(f"--class-weights {rule}: weights are 0 or more, and not all of them 0")
    return [float(one) for one in values]
