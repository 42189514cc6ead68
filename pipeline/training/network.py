"""The network to begin with: a model's, its classifier fitted to the classes of the data."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from maskmill.pipeline.models.adaptation import check_class_count
from maskmill.pipeline.models.choice import ModelChoice
from maskmill.pipeline.models.loading import build_network, load_model, num_classes_of
from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.models.weights.state import classifier_name
from maskmill.pipeline.training.batches import seed_of
from maskmill.pipeline.training.initialisation import initialise
from maskmill.schemas.labels import LabelMap

NEW_ROW_DEVIATION = 0.01
"""Standard deviation of the weights of classes where the model has no background to begin from."""


@dataclass(frozen=True, slots=True, eq=False)
class Beginning:
    """A network of one output per class of the data, and the spec it will be saved with.

    ``kept`` are the classes that the model knew by the same name.
    """

    spec: ModelSpec
    network: nn.Module
    kept: tuple[str, ...]
    notes: tuple[str, ...]


def beginning(
    choice: ModelChoice, weights: Path | None, spec: ModelSpec, labels: LabelMap, seed: int
) -> Beginning:
    """Load the model and give its classifier the classes of ``labels``.

    Rows of classes of the same name are kept, and of the background, whatever it is called. What a
    model has no name for it took for background: new classes begin as its copies, and share its
    probability evenly with it, so that nothing else the model says changes (Cermelli et al. 2020,
    "Modeling the Background for Incremental Learning in Semantic Segmentation", 3.3). Without a
    background, new rows are drawn from a normal distribution. Without trained weights the whole
    network is drawn. A sigmoid head becomes two rows,
    (0, w), which says the same.

    Args:
        choice: the model to begin with, with its own labels.
        weights: its file on this machine.
        spec: what the result will be, see :func:`trained_spec`.
        labels: of the data.
        seed: of the new rows.

    Raises:
        ModelError: weights that do not fit.
        SettingsError: labels that do not fit the model.
    """
    untrained = choice.weights_kind == "untrained"
    loaded = load_model(choice.spec, weights, untrained=untrained)
    check_class_count(num_classes_of(loaded.network), choice.labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "network"))
        network = build_network(spec, len(labels.classes))
        if untrained:
            initialise(network)
            return Beginning(spec, network, (), loaded.notes)
        classifier = classifier_name(network)
        state = loaded.network.state_dict()
        wanted = network.state_dict()
        rows, kept = _rows(state, classifier, choice.labels, labels, wanted)
        body = {name: value for name, value in state.items() if name in wanted}
        network.load_state_dict({**body, **rows}, strict=True)
    return Beginning(spec, network, kept, loaded.notes)


def trained_spec(spec: ModelSpec, labels: LabelMap, image_size: int | None) -> ModelSpec:
    """What the result of a fine-tuning is: the model's network, in our names, of these labels.

    int8 grids are left behind: their rounding has no gradient.
    """
    options = tuple((key, value) for key, value in spec.options if key != "rounded")
    return replace(
        spec,
        name=spec.name if spec.name.endswith("-finetuned") else f"{spec.name}-finetuned",
        description=f"{spec.name} fine-tuned on {len(labels.classes)} classes",
        preprocessing=spec.preprocessing.sized(image_size),
        precisions=("fp32", "bf16", "fp16"),
        options=options,
        labels="",
        own_labels=labels,
        weights=None,
        layout="",
        sees_bgr=False,
        weight_std=False,
    )


def _rows(
    state: Mapping[str, Tensor],
    classifier: str,
    known: LabelMap,
    labels: LabelMap,
    fresh: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Weight and bias of the new classifier, and the names whose rows are the old ones."""
    names = [f"{classifier}.{part}" for part in ("weight", "bias")]
    old = {name: _two_rows(state[name], known) for name in names if name in state}
    weight = torch.randn_like(fresh[names[0]]) * NEW_ROW_DEVIATION
    rows = {name: torch.zeros_like(fresh[name]) for name in old} | {names[0]: weight}
    places = [_old_row(known, entry.name, entry.is_background) for entry in labels.classes]
    background = known.background_index
    for index, place in enumerate(places):
        begin = background if place is None else place
        if begin is not None:
            for name, values in rows.items():
                values[index] = old[name][begin]
    sharing = [index for index, one in enumerate(places) if one in (None, background)]
    if background is not None and names[1] in rows:
        rows[names[1]][sharing] -= math.log(len(sharing) or 1)
    kept = (
        one.name for one, place in zip(labels.classes, places, strict=True) if place is not None
    )
    return rows, tuple(kept)


def _two_rows(values: Tensor, known: LabelMap) -> Tensor:
    """The rows of a classifier, those of a sigmoid head as softmax has them."""
    is_sigmoid = len(values) == 1 and len(known.classes) == 2
    return torch.cat((torch.zeros_like(values), values)) if is_sigmoid else values


def _old_row(known: LabelMap, name: str, is_background: bool) -> int | None:
    if is_background and known.background_index is not None:
        return known.background_index
    return next((one.index for one in known.classes if one.name == name), None)
