"""Fixtures shared by every test."""

import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from maskmill.pipeline.metrics.compiled import arrays_only, native

settings.register_profile("suite", deadline=None)  # a busy machine is no failure
settings.load_profile("suite")

for _number in (signal.SIGHUP, signal.SIGINT):
    # Begun by nohup or in the background the suite ignores these, and so would every process it
    # starts to see them end by a signal; a handler of Python's is not inherited.
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler)

LEFT_OUT: list[str] = []
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pictures, masks and goldens beside the checkout; skips where absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the folder 'shared' with real data beside the checkout")
    return SHARED


@pytest.fixture(scope="module", params=["compiled", "arrays"])
def loops(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything twice: by the compiled loops, and by what does their work where there are none."""
    if request.param == "arrays":
        with arrays_only():
            yield
    elif native() is None:
        pytest.skip("the package was installed without a compiler")
    else:
        yield


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def playwright() -> Iterator[Any]:
    """Playwright, started once: a process may have one of it; skips where it or Chromium is not."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian package 'chromium')")
    api = pytest.importorskip("playwright.sync_api", reason="needs the package 'playwright'")
    with api.sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def browser(playwright: Any) -> Iterator[Any]:
    """A Chromium for every test of a page."""
    chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    yield chromium
    chromium.close()


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The rules of axe-core, fetched by npm; skips where there is none."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm, for axe-core")
    folder = tmp_path_factory.mktemp("axe")
    done = subprocess.run(
        ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "axe-core@4"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if done.returncode or not script.is_file():
        pytest.skip(f"axe-core cannot be fetched: {done.stderr[-200:]}")
    return script.read_text(encoding="utf-8")


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Called with what -m and -k leave out."""
    LEFT_OUT.extend(
        item.nodeid
        for item in items
        if item.get_closest_marker("slow") or item.get_closest_marker("thorough")
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where the tests are spread over processes (-n), these tell the first one."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = LEFT_OUT


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A process of -n has ended; each of them has collected every test."""
    LEFT_OUT[:] = getattr(node, "workeroutput", {}).get("left_out", LEFT_OUT)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not run: a short suite is not to look like the whole one."""
    if LEFT_OUT:
        terminalreporter.write_line(
            f"{len(LEFT_OUT)} slow or thorough tests left out; make test-all runs them"
        )
