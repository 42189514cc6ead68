"""What a `finetune` command will do: data looked through, model chosen, roles given."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from maskmill.pipeline.convert.conversion import (
    ConversionPlan,
    ConversionRequest,
    plan_conversion,
)
from maskmill.pipeline.convert.manifest import BLOCK_SAMPLES, manifest_file
from maskmill.pipeline.datasets.recognition import recognise
from maskmill.pipeline.datasets.trees import open_tree
from maskmill.pipeline.models.choice import ModelChoice, choose_model
from maskmill.pipeline.models.spec import ModelSpec
from maskmill.pipeline.prelabel.plan import network_digest
from maskmill.pipeline.runs.identity import deciding_settings, digest_of, setting
from maskmill.pipeline.runs.plan import Plan
from maskmill.pipeline.runs.record import RunRecord
from maskmill.pipeline.training.class_weights import given_weights
from maskmill.pipeline.training.losses import LOSSES
from maskmill.pipeline.training.network import trained_spec
from maskmill.pipeline.training.recipe import Recipe
from maskmill.pipeline.training.samples import (
    TRAIN,
    UNUSED,
    VALIDATE,
    Roles,
    manifest_splits,
    roles_of,
)
from maskmill.pipeline.training.validation import Monitor
from maskmill.schemas.errors import SettingsError

TRAINING_VERSION: Final = 2
"""Raised whenever the same input and settings would give other weights than before."""

AUTO: Final = "auto"
PLAIN: Final = "masks"
HELD_AS: Final = "indexed"
"""The mask format that training holds masks in: class indices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """What is learnt from and what is measured on, as asked for; see :func:`samples.roles_of`."""

    train_on: tuple[str, ...] = setting((), decides=True)
    validate_on: tuple[str, ...] = setting((), decides=True)
    validation_share: float = setting(0.1, decides=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelWanted:
    """The model to begin with, as asked for."""

    model: str | None = None
    weights: str | None = None
    untrained: bool = False

    def choose(self) -> ModelChoice:
        """It, resolved.

        Raises:
            SettingsError, ModelError: as :func:`choose_model`.
        """
        return choose_model(self.model, self.weights, untrained=self.untrained)


@dataclass(frozen=True, kw_only=True)
class FinetunePlan(Plan):
    """The data looked through and the model chosen; ``began`` is an earlier start's identity."""

    data: ConversionPlan
    choice: ModelChoice
    spec: ModelSpec
    roles: Roles
    began: Mapping[str, Any]


def data_request(request: ConversionRequest) -> tuple[ConversionRequest, tuple[str, ...]]:
    """The request with the format of its source known, and a sentence where it was guessed."""
    request = replace(request, to_format=HELD_AS)
    if request.from_format != AUTO:
        return request, ()
    found = recognise(open_tree(request.source))
    if found is None:
        said = f"{request.source}: taken for a folder of masks; --from says otherwise"
        return replace(request, from_format=PLAIN), (said,)
    said = f"{request.source} is {found.format}: {found.reason}"
    return replace(request, from_format=found.format), (said,)


def plan_finetune(
    wanted: ConversionRequest, model: ModelWanted, recipe: Recipe, split: Split, workers: int,
    record: RunRecord | None,
) -> FinetunePlan:  # fmt: skip
    """Look through the data and choose the model.

    Raises:
        SettingsError: data, model, splits or recipe that cannot be.
        ModelError: weights that are missing.
        FileFailure: the data as a whole does not follow its format.
    """
    request, notes = data_request(wanted)
    choice = model.choose()
    data, items = plan_conversion(request)
    manifest = manifest_file(items, shares=request.shares, seed=request.seed)
    labels = data.mapping.target
    check_recipe(recipe, len(labels.classes), workers)
    Monitor(text=recipe.monitor, labels=labels)
    roles, said = _roles(manifest_splits(manifest.stream), split, request.seed)
    spec = trained_spec(choice.spec, labels, recipe.image_size)
    identity = {
        "inputs": f"{manifest.samples} samples, {manifest.sha256}",
        **_data_identity(data),
        "model": choice.title,
        "weights_sha256": choice.weights_sha256,
        "network": network_digest(spec),
        "workers": workers,
        "weights_of_classes": given_weights(recipe.class_weights, labels),
        "training_version": TRAINING_VERSION,
        **deciding_settings(recipe),
        **deciding_settings(split),
    }
    return FinetunePlan(
        sizes=manifest.sizes,
        identity=identity,
        notes=(*notes, *data.notes, *choice.notes, *said),
        put_manifest=None if record else manifest.put,
        facts={"label_map": labels.to_dict()},
        data=data,
        choice=choice,
        spec=spec,
        roles=roles,
        began=record.identity if record else {},
    )


def _roles(keys: list[tuple[str, str]], split: Split, seed: int) -> tuple[Roles, tuple[str, ...]]:
    """The roles of the (key, split) of all samples, and what is to be said of them."""
    roles = roles_of(
        (one for _, one in keys),
        train=split.train_on,
        validate=split.validate_on,
        share=split.validation_share,
        seed=seed,
    )
    counts = dict.fromkeys((TRAIN, VALIDATE, UNUSED), 0)
    for key, name in keys:
        counts[roles.of(key, name)] += 1
    check_counts(counts, roles)
    return roles, tuple(_role_notes(counts, roles, keys))


def _data_identity(data: ConversionPlan) -> dict[str, Any]:
    """What decides which samples there are, and what their masks mean."""
    request, mapping = data.request, data.mapping
    return {
        "from": request.from_format,
        "source_labels": digest_of(mapping.source.to_dict()),
        "labels": digest_of(mapping.target.to_dict()),
        "mapping": list(mapping.targets),
        "unknown": request.unknown,
        "split_seed": request.seed,
        "block_samples": BLOCK_SAMPLES,
    }


def check_recipe(recipe: Recipe, num_classes: int, workers: int) -> None:
    """Refuse what cannot be trained.

    Raises:
        SettingsError: naming the option and what to do.
    """
    if num_classes < 2:
        raise SettingsError("the data has one class: nothing to tell apart; see --map and --labels")
    if recipe.loss not in LOSSES:
        raise SettingsError(f"no loss {recipe.loss!r}; there are: {', '.join(LOSSES)}")
    if recipe.loss == "dice_bce" and num_classes != 2:
        raise SettingsError(
            f"--loss dice_bce is for background and one class, the data has {num_classes}: use "
            "dice_ce, or merge classes with --map"
        )
    if recipe.batch_size % workers:
        raise SettingsError(
            f"--batch-size {recipe.batch_size} does not divide among {workers} workers: give a "
            "multiple of their number"
        )


def check_counts(counts: Mapping[str, int], roles: Roles, *, failed: str = "") -> None:
    """Refuse data without anything to learn from, or to measure on.

    ``failed`` says how many of the samples cannot be used, where that is known.

    Raises:
        SettingsError: naming the splits and the remedy.
    """
    if not counts[TRAIN]:
        raise SettingsError(f"nothing to learn from{failed}: no good sample is for training")
    if counts[VALIDATE]:
        return
    where = (
        f"split {', '.join(roles.validate)} has no good sample"
        if roles.validate
        else f"a share of {roles.share:g} of {counts[TRAIN]} samples came out empty"
    )
    raise SettingsError(
        f"nothing to measure on{failed}: {where}. Give --validation-share a larger number, or "
        "--validate-on the name of a split; without validation nobody knows which epoch is best"
    )


def _role_notes(counts: Mapping[str, int], roles: Roles, keys: list[tuple[str, str]]) -> list[str]:
    said = []
    if roles.share:
        said.append(
            f"the data has no split to measure on: {counts[VALIDATE]} samples, chosen by their "
            f"keys, are measured on and {counts[TRAIN]} learnt from; --validation-share"
        )
    unused = sorted({split for key, split in keys if roles.of(key, split) == UNUSED})
    if unused:
        said.append(f"{counts[UNUSED]} samples of {', '.join(unused)} are left alone")
    return said
