"""Which network, filled with which weights, saying which labels: what the user chose, resolved."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maskmill.pipeline.models.registry import find_model
from maskmill.pipeline.models.spec import ModelSpec, labels_of
from maskmill.pipeline.models.weights.cache import weights_sha256
from maskmill.pipeline.models.weights.origins import cached_path, resolve_weights
from maskmill.schemas.errors import ModelError, SettingsError
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


def choose_model(
    name: str, weights: str | None, labels: str | None, *, untrained: bool = False
) -> ModelChoice:
    """Resolve names to files, fetching weights into the user's cache where needed.

    Args:
        name: a name of MODELS.
        weights: a file of the user's own, or None for the model's.
        labels: a label file or built-in name, or None for the model's.
        untrained: take random weights.

    Raises:
        SettingsError: no such model or label map, or random weights and a file both.
        ModelError: weights that are missing or cannot be fetched.
    """
    spec = find_model(name)
    label_map = load_label_map(labels) if labels else labels_of(spec)
    if untrained:
        return _untrained(spec, label_map, weights)
    path = Path(weights).absolute() if weights else resolve_weights(spec)
    if not path.is_file():
        raise ModelError(f"weights {path}: no such file")
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
    if path == cached_path(spec):
        return "published", ()
    for published, start in origin.member_sha256:
        if digest.startswith(start):
            return "published", (f"{path} is the published {Path(published).name}, by its sha256",)
    return "own", (f"{path} is no published file of {spec.name} (by its sha256): taken as yours",)
