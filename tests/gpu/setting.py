"""What the steps of accept.py share: the device, the pictures, the model, and how to skip."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PHOTOGRAPHS = 64
VIEW = "MASKMILL_VIEW"
"""The variable that names the folder of links by which an uninstalled checkout is imported."""


class Skipped(Exception):
    """A step that cannot be done here; the text is the reason."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where the steps run. ``device``: cuda, cpu (a rehearsal) or None, then ``trouble`` says why.

    ``quick``: a few small pictures, to see that everything runs; its figures mean nothing.
    """

    device: str | None
    trouble: str = ""
    quick: bool = False
    weights: Path | None = None
    photographs: Path | None = None
    images: int = 8000

    @property
    def is_gpu(self) -> bool:
        """Whether figures are a GPU's."""
        return self.device == "cuda"

    def needs_device(self) -> str:
        """The device, or the reason why there is none."""
        if self.device is None:
            raise Skipped(f"no GPU that can be used: {self.trouble}")
        return self.device

    def needs_gpu(self, why: str) -> None:
        """For steps that a rehearsal on the CPU cannot do."""
        if self.needs_device() != "cuda":
            raise Skipped(f"needs a GPU: {why}")

    def needs_gpu_elsewhere(self) -> None:
        """For steps that start processes of their own, which must see the GPU as this one does."""
        ask = "import torch; print(torch.cuda.is_available())"
        command = [sys.executable, "-c", ask]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if self.is_gpu and done.stdout.strip() != "True":
            raise Skipped("needs a GPU that other processes see, too: one of this step's sees none")

    @property
    def precisions(self) -> tuple[str, ...]:
        """What the device computes in."""
        return ("fp32", "fp16", "bf16") if self.is_gpu else ("fp32", "bf16")

    def segmenter(
        self,
        precision: str,
        group_size: int,
        device: str | None = None,
        *,
        name: str | None = None,
        graphs: bool = False,
    ) -> Any:
        """The default model, with its weights where they are, else with random ones.

        Another one, by its name, has random weights.
        """
        from maskmill.pipeline.models.registry import DEFAULT_MODEL, MODELS
        from maskmill.pipeline.models.segmenter import Segmenter

        weights = None if name else self.weights_path()
        return Segmenter(
            MODELS[name or DEFAULT_MODEL],
            weights,
            device=device or self.needs_device(),
            precision=precision,
            group_size=group_size,
            untrained=weights is None,
            graphs=graphs,
        )

    def weights_path(self) -> Path | None:
        """Those that were named, else those in the user's cache; nothing is fetched."""
        from maskmill.pipeline.models.registry import DEFAULT_MODEL, MODELS
        from maskmill.pipeline.models.weights.origins import cached_path

        cached = cached_path(MODELS[DEFAULT_MODEL])
        return self.weights or (cached if cached.is_file() else None)

    def made_up_pictures(self, count: int) -> list[Any]:
        """Seeded noise of one size, ready for the network: what is said of it has no meaning."""
        import numpy as np

        from maskmill.pipeline.models.registry import DEFAULT_MODEL, MODELS
        from maskmill.pipeline.views.preparation import prepare

        rng = np.random.default_rng(3)
        rule = MODELS[DEFAULT_MODEL].preprocessing
        size = 65 if self.quick else None
        noise = (rng.integers(0, 256, (375, 500, 3), dtype=np.uint8) for _ in range(count))
        return [prepare(one, rule, image_size=size) for one in noise]

    @contextmanager
    def photograph_folder(self, count: int) -> Iterator[Path]:
        """A folder of at most ``count`` JPEG photographs of 640x480."""
        if self.photographs is not None:
            yield self.photographs
            return
        sys.path.insert(0, str(ROOT / "benchmarks"))
        try:
            from pictures import write_crops
        except ImportError as error:
            raise Skipped(
                f"no photographs: {error.name} is not here; name a folder with --photographs"
            ) from error
        finally:
            sys.path.pop(0)
        with tempfile.TemporaryDirectory() as folder:
            yield write_crops(Path(folder) / "photographs", count)


def hash_of(answers: Sequence[Any]) -> str:
    """One hash over all logits, in order."""
    digest = hashlib.sha256()
    for answer in answers:
        digest.update(answer.logits.tobytes())
    return digest.hexdigest()[:16]


def in_another_process(*arguments: object) -> dict[str, Any]:
    """The last line that this script prints when called with the arguments, as JSON."""
    command = [sys.executable, str(ROOT / "tests/gpu/accept.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=child_paths())
    if done.returncode:
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def child_paths() -> dict[str, str]:
    """The environment in which a child finds what this process finds."""
    view = os.environ.get(VIEW)
    known = [view, os.environ.get("PYTHONPATH")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in known if path)}
