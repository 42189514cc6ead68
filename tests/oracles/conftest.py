"""The environment of the independent readers."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".venv-oracles"
PYTHON = ENVIRONMENT / "bin/python"
READERS = Path(__file__).with_name("readers.py")
NEED_TORCH = ("ultralytics", "ultralytics_semantic")


@pytest.fixture(scope="session")
def oracle_python() -> Path:
    """The interpreter with datumaro, labelme and the others; skips where it is not built."""
    if not PYTHON.exists():
        pytest.skip("needs .venv-oracles; tests/oracles/README.md says how to build it")
    return PYTHON


@pytest.fixture
def oracle(
    oracle_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, Path], dict[str, np.ndarray]]:
    """Run one of readers.py's readers over a folder; arrays by the keys it gives."""

    def read(reader: str, folder: Path) -> dict[str, np.ndarray]:
        out = tmp_path_factory.mktemp("oracle")
        packages = next(ENVIRONMENT.glob("lib/python3*/site-packages"))
        python = str(oracle_python)
        if reader in NEED_TORCH:
            if not (packages / "ultralytics").is_dir():
                pytest.skip("needs ultralytics in .venv-oracles; see tests/oracles/README.md")
            python = sys.executable
        command = [python, str(READERS), reader, str(folder), str(out / "found.npz")]
        environment = {
            "HOME": str(out), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "YOLO_OFFLINE": "1",
            "YOLO_CONFIG_DIR": str(out), "ORACLE_PACKAGES": str(packages),
        }  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
        assert done.returncode == 0, done.stderr[-3000:]
        with np.load(out / "found.npz") as stored:
            return {
                str(key): stored[f"m{place}"] for place, key in enumerate(stored["keys"].tolist())
            }

    return read
