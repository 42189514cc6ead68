"""Which network, filled with which weights, saying which labels: what the user chose, resolved."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.models.cache import weights_sha256
from pipeline.models.origins import resolve_weights
from pipeline.models.registry import find_model
from pipeline.models.spec import ModelSpec, labels_of
from schemas.errors import ModelError
from schemas.label_files import load_label_map
from schemas.labels import LabelMap


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """A model ready to be loaded: ``weights_path`` is a local file, hashed."""

    spec: ModelSpec
    weights_path: Path | None  # None: random, for trying things out
    weights_sha256: str
    labels: LabelMap


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
        SettingsError: no such model or label map.
        ModelError: weights that are missing or cannot be fetched.
    """
    spec = find_model(name)
    label_map = load_label_map(labels) if labels else labels_of(spec)
    if untrained:
        return ModelChoice(spec=spec, weights_path=None, weights_sha256="", labels=label_map)
    path = Path(weights).absolute() if weights else resolve_weights(spec)
    if not path.is_file():
        raise ModelError(f"weights {path}: no such file")
    return ModelChoice(
        spec=spec, weights_path=path, weights_sha256=weights_sha256(path), labels=label_map
    )
