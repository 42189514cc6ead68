"""Fixtures shared by every test."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("suite", deadline=None)  # a busy machine is no failure
settings.load_profile("suite")

LEFT_OUT: list[pytest.Item] = []
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pictures, masks and goldens beside the checkout; skips where absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the folder 'shared' with real data beside the checkout")
    return SHARED


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Called with what -m and -k leave out."""
    LEFT_OUT.extend(item for item in items if item.get_closest_marker("slow"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not run: a short suite is not to look like the whole one."""
    if LEFT_OUT:
        terminalreporter.write_line(f"{len(LEFT_OUT)} slow tests left out; make test-all runs them")
