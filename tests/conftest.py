"""Fixtures shared by every test."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("suite", deadline=None)  # a busy machine is no failure
settings.load_profile("suite")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pictures, masks and goldens beside the checkout; skips where absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the folder 'shared' with real data beside the checkout")
    return SHARED
