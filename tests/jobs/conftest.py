"""Running the command as people do: a process of its own, its outputs, its exit code."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Maskmill = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[2]


def command_line(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "maskmill", *(str(argument) for argument in arguments)]


@pytest.fixture(scope="session")
def default_weights() -> Path:
    """The default model's weights, fetched once into the user's cache; skips where unreachable."""
    from maskmill.pipeline.models.registry import DEFAULT_MODEL, find_model
    from maskmill.pipeline.models.weights.origins import resolve_weights
    from maskmill.schemas.errors import ModelError

    try:
        return resolve_weights(find_model(DEFAULT_MODEL))
    except ModelError as error:
        pytest.skip(f"the default model cannot be fetched: {error}")


def run_to_the_end(
    *arguments: object, environment: dict[str, str] | None = None, timeout: float = 280
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command_line(*arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(environment or {})},
        check=False,
    )


@pytest.fixture(scope="module")
def run_module_maskmill(default_weights: Path) -> Maskmill:
    """`maskmill …` run to its end, for fixtures that outlive a test."""
    return run_to_the_end


@pytest.fixture
def maskmill(default_weights: Path) -> Maskmill:
    """`maskmill …` run to its end."""
    return run_to_the_end
