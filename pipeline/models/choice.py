"""Which network, filled with which weights, saying which labels: what the user chose, resolved."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maskmill.pipeline.models.model_folder import check_weights
from maskmill.pipeline.models.network_options import (
    NetworkOptions,
    parse_network_options,
    with_network_options,
)
from maskmill.pipeline.models.registry import DEFAULT_MODEL, MODELS, find_model
from maskmill.pipeline.models.spec import ModelSpec, labels_of
from maskmill.pipeline.models.weights.cache import weights_sha256
from maskmill.pipeline.models.weights.file_kinds import file_kind
from maskmill.pipeline.models.weights.origins import cached_path, resolve_weights
from maskmill.schemas.errors import ModelError, SettingsError, WeightsRefused
from maskmill.schemas.label_files import load_label_map
from maskmill.schemas.labels import LabelMap

WeightsKind = Literal["published", "own", "untrained"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """A model ready to be loaded: ``weights_path`` is a local file, hashed.

    ``weights_kind`` says what the file is: the model's ``published`` weights, the user's ``own``,
    or, where there is none, that the network is ``untrained``. ``notes`` are sentences for the
    user about it.
    """

    spec: ModelSpec
    weights_path: Path | None  # None: random, for trying things out
    weights_sha256: str
    labels: LabelMap
    weights_kind: WeightsKind = "published"
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The model's name as results carry it: nobody shall take random ones for labels."""
        name = self.spec.name
        return f"{name} (untrained)" if self.weights_kind == "untrained" else name


def model_version(title: str, sha256: str | None) -> str:
    """One text that tells a model with its weights from others, as annotators' tools keep it."""
    return f"{title}@sha256:{sha256[:12]}" if sha256 else title  # random ones, or people, have none


def choose_model(
    name: str | None = None,
    weights: str | None = None,
    labels: str | None = None,
    *,
    untrained: bool = False,
    output_stride: int | None = None,
    network_options: Sequence[str] = (),
) -> ModelChoice:
    """Resolve names to files, fetching weights into the user's cache where needed.

    Args:
        name: a name of MODELS or of an imported model, or the folder of a fine-tuned one; None for
            what the weights are, and for the default model where there are none.
        weights: a file of the user's own, or None for the model's.
        labels: a label file or built-in name, or None for the model's.
        untrained: take random weights.
        output_stride: 8 or 16 where the user says it; it decides what a file is recognised as.
        network_options: ``NAME=VALUE`` texts, see network_options.

    Raises:
        SettingsError: no such model or label map, random weights and a file both, weights of
            another network than the one that is named, or an option that it does not have.
        ModelError: weights that are missing, cannot be fetched or are not recognised.
    """
    wanted = parse_network_options(network_options)
    if weights and not untrained:
        path = Path(weights).absolute()
        if name is None or (_may_be_foreign(path) and name in MODELS):
            found = _from_file(name, path, labels, output_stride, wanted)
            if found is not None:
                return found
    spec = with_network_options(find_model(name or DEFAULT_MODEL), wanted)
    label_map = load_label_map(labels) if labels else labels_of(spec)
    if untrained:
        return _untrained(spec, label_map, weights)
    path = Path(weights).absolute() if weights else resolve_weights(spec)
    _check_file(path)
    digest = weights_sha256(path)
    kind, notes = _recognised(spec, path, digest)
    return ModelChoice(
        spec=spec,
        weights_path=path,
        weights_sha256=digest,
        labels=label_map,
        weights_kind=kind,
        notes=notes if weights else (),
    )


def _may_be_foreign(path: Path) -> bool:
    """Whether a file could be of another project; graphs go by the model that is named."""
    return path.is_file() and path.suffix not in (".tflite", ".json")


def _from_file(
    name: str | None, path: Path, labels: str | None, output_stride: int | None,
    wanted: NetworkOptions,
) -> ModelChoice | None:  # fmt: skip
    """The choice that a file makes; None where it fills the named model as it is.

    Raises:
        SettingsError: the file is another network than the one that is named.
    """
    published = _published(path, name)
    if published is not None:
        return None if name == published.name else choose_model(published.name, str(path), labels)
    from maskmill.pipeline.models.recognition import recognise, unnamed_labels

    try:
        found = recognise(path, output_stride=output_stride, options=wanted)
    except WeightsRefused:
        raise
    except ModelError:
        if name is None:
            raise
        return None  # loading says in the named model's own words what does not fit
    if name is not None and name not in found.models:
        right = f", or give --model {found.models[0]}" if found.models else ""
        raise SettingsError(
            f"{path} is {found.describe()}, which --model {name} is not: leave --model out{right}"
        )
    if name is not None and found.spec.name == name:
        return None
    naming: tuple[str, ...] = ()
    if labels:
        label_map = load_label_map(labels)
    elif found.labels is not None:
        label_map, naming = found.labels, (f"class names are those {found.labels.name}",)
    else:
        label_map, naming = unnamed_labels(found.num_classes), _unnamed(found.num_classes)
    return ModelChoice(
        spec=found.spec,
        weights_path=path,
        weights_sha256=weights_sha256(path),
        labels=label_map,
        weights_kind="own",
        notes=(f"{path} is {found.describe()}", *found.notes, *naming),
    )


def _unnamed(num_classes: int) -> tuple[str, ...]:
    """What is said of classes without names; which built-in maps have as many."""
    if num_classes == 1:
        return ("one class: the network answers foreground or background; --labels to name them",)
    return (
        f"the {num_classes} classes are unnamed: numbers stand for them; give --labels to name "
        "them",
    )


def _published(path: Path, name: str | None) -> ModelSpec | None:
    """The model whose published weights a file is, by its sha256; the named one first."""
    _check_file(path)
    size = path.stat().st_size
    digest = ""
    for spec in sorted(MODELS.values(), key=lambda spec: spec.name != name):
        for _, start in spec.weights.member_sha256 if spec.weights else ():
            if spec.weights and (spec.weights.bytes == size or path.suffix == ".tflite"):
                digest = digest or weights_sha256(path)
                if digest.startswith(start):
                    return spec
    return None


def _check_file(path: Path) -> None:
    """Refuse what is not there, and folders by their kind.

    Raises:
        ModelError: see above.
    """
    if path.is_dir():
        file_kind(path)
    if not path.is_file():
        raise ModelError(f"weights {path}: no such file")


def _untrained(spec: ModelSpec, labels: LabelMap, weights: str | None) -> ModelChoice:
    if weights:
        raise SettingsError(
            f"--untrained takes random weights, and --weights names {weights}: leave one out"
        )
    return ModelChoice(
        spec=spec,
        weights_path=None,
        weights_sha256="",
        labels=labels,
        weights_kind="untrained",
        notes=(f"{spec.name} is untrained: its weights are random, and its labels mean nothing",),
    )


def _recognised(spec: ModelSpec, path: Path, digest: str) -> tuple[WeightsKind, tuple[str, ...]]:
    """Whether a file is what the model's weights are published as, and what to say of that."""
    origin = spec.weights
    if origin is None or origin.kind == "imported":
        return "own", ()
    if origin.kind == "folder" and path == cached_path(spec):
        check_weights(path, digest, origin.digest)
        return "own", ()
    if path == cached_path(spec):
        return "published", ()
    for published, start in origin.member_sha256:
        if digest.startswith(start):
            return "published", (f"{path} is the published {Path(published).name}, by its sha256",)
    return "own", (f"{path} is no published file of {spec.name} (by its sha256): taken as yours",)
