"""What chosen pictures teach beyond random ones, where a class is rare.

Per seed, a first model learns from 20 random pictures and labels a pool; 60 that `select` takes by
``mixed`` and 60 random ones then train the default model alike, and test pictures say which was
better. Prints a JSON line per seed, and one of the means.

python benchmarks/select_gain.py
"""

import json
import random
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from shapes import write_labels, write_shapes

from maskmill.jobs.cli import main as command_line

SEEDS = (0, 1, 2, 3, 4)
POOL, FIRST, CHOSEN, TEST = 400, 20, 60, 100
SIZE_HW = (64, 96)
RECIPE = ("--epochs", 24, "--crop-size", 97, "--validation-share", 0.3)


def maskmill(*arguments: object) -> dict[str, Any]:
    """What a command says with --json, called in this process: imports cost more than the work."""
    result = CliRunner().invoke(command_line, [str(one) for one in (*arguments, "--json")])
    if result.exit_code:
        raise SystemExit(f"{arguments}: {result.output}")
    document: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return document


def part_of(pool: Path, keys: list[str], folder: Path) -> Path:
    """The pictures of the pool with these names, and their masks."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
        for key in keys:
            shutil.copyfile(pool / name / key, folder / name / key)
    write_labels(folder)
    return folder


def learnt(data: Path, out: Path, *options: object) -> Path:
    """The folder of a model that learnt from a data set."""
    maskmill("finetune", data, out, "--from", "masks", *options)
    return out / "model"


def test_miou(model: Path, test: Path, work: Path) -> float:
    """Of a model, on pictures that it never met."""
    maskmill("prelabel", test / "images", work, "--model", model, "--engine", "local")
    labels = ("--labels", test / "labels.json", "--out", f"{work}-audit")
    maskmill("audit", work, test / "masks", *labels)
    document = json.loads(Path(f"{work}-audit", "audit.json").read_text())
    return float(document["metrics"]["miou"]["value"])


def select(work: Path) -> None:
    """A line per seed, and one of the means."""
    pool = write_shapes(work / "pool", POOL, seed=0, size_hw=SIZE_HW)
    test = write_shapes(work / "test", TEST, seed=1, size_hw=SIZE_HW)
    keys = sorted(path.name for path in (pool / "images").iterdir())
    found: dict[str, list[float]] = {"mixed": [], "random": []}
    for seed in SEEDS:
        here, rng = work / f"seed-{seed}", random.Random(seed)
        first = part_of(pool, rng.sample(keys, FIRST), here / "first")
        model = learnt(first, here / "first-out", *RECIPE, "--seed", seed)
        labels, chosen = here / "labels", here / "chosen.txt"
        maskmill("prelabel", pool / "images", labels, "--model", model, "--write", "masks,features")
        maskmill("select", labels, "--count", CHOSEN, "--exclude", first, "--list", chosen)
        lines = chosen.read_text().splitlines()
        mixed = [Path(line).name for line in lines if not line.startswith("#")]
        others = [key for key in keys if not (first / "images" / key).exists()]
        for name, taken in (("mixed", mixed), ("random", rng.sample(others, CHOSEN))):
            data = part_of(pool, taken, here / name)
            tuned = learnt(data, here / f"{name}-out", *RECIPE, "--seed", seed)
            found[name].append(test_miou(tuned, test, here / f"{name}-test"))
        told = {name: values[-1] for name, values in found.items()}
        print(json.dumps({"benchmark": "select_gain", "seed": seed, **told}), flush=True)
    means = {name: statistics.mean(values) for name, values in found.items()}
    print(json.dumps({"benchmark": "select_gain_mean", "seeds": len(SEEDS), **means}), flush=True)


def main() -> None:
    """In a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        select(Path(folder))


if __name__ == "__main__":
    main()
