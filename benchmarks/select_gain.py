"""What chosen pictures teach beyond random ones, where a class is rare.

Shapes on textures, and a class that one picture in eight has. Per seed, a first model learns from
20 random pictures and labels a pool of 400. The default model then learns, by one recipe, from
these and 60 more: those that `select` takes by ``mixed``, or random ones. Test pictures that none
of them met say which was better. Prints a JSON line per seed, and one of the means.

python benchmarks/select_gain.py [--seeds 0,1,2,3,4]
"""

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from shapes import write_labels, write_shapes

from maskmill.jobs.cli import main as command_line

POOL, FIRST, CHOSEN, TEST = 400, 20, 60, 100
SIZE_HW = (96, 96)
RARE = 3
"""The class that one picture in eight has: triangles."""

RECIPE = ("--loss", "dice_ce", "--batch-size", 4, "--threads", 1)
"""By Dice classes count alike, however few pixels they have; small batches make more steps."""

FIRST_RECIPE = (*RECIPE, "--validation-share", 0.3, "--epochs", 30)
SECOND_RECIPE = (*RECIPE, "--validation-share", 0.2, "--epochs", 16)


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


def tested(model: Path, test: Path, work: Path) -> dict[str, Any]:
    """mIoU and the IoU of each class, on pictures that the model never met."""
    maskmill("prelabel", test / "images", work, "--model", model, "--engine", "local")
    labels = ("--labels", test / "labels.json", "--out", f"{work}-audit")
    maskmill("audit", work, test / "masks", *labels)
    document = json.loads(Path(f"{work}-audit", "audit.json").read_text())
    ious = {one["name"]: round(one["iou"]["value"], 4) for one in document["classes"]}
    return {"miou": float(document["metrics"]["miou"]["value"]), "iou": ious}


def chosen_by_select(pool: Path, first: Path, work: Path, *options: object) -> list[str]:
    """Names of the pictures that `select` takes from what a model of ``first`` says of the pool."""
    model = learnt(first, work / "first-out", *FIRST_RECIPE, *options)
    labels, chosen = work / "labels", work / "chosen.txt"
    maskmill("prelabel", pool / "images", labels, "--model", model, "--write", "masks,features")
    maskmill("select", labels, "--count", CHOSEN, "--exclude", first, "--list", chosen)
    lines = chosen.read_text().splitlines()
    return [Path(line).name for line in lines if not line.startswith("#")]


def compare(pool: Path, test: Path, seed: int, work: Path) -> dict[str, dict[str, Any]]:
    """Scores after chosen pictures and after random ones, and how many have a triangle."""
    keys, rng = sorted(path.name for path in (pool / "images").iterdir()), random.Random(seed)
    begun = rng.sample(keys, FIRST)
    others = [key for key in keys if key not in begun]
    first = part_of(pool, begun, work / "first")
    mixed = chosen_by_select(pool, first, work, "--seed", seed)
    found = {}
    for name, taken in (("mixed", mixed), ("random", rng.sample(others, CHOSEN))):
        data = part_of(pool, begun + taken, work / name)
        model = learnt(data, work / f"{name}-out", *SECOND_RECIPE, "--seed", seed)
        found[name] = {
            **tested(model, test, work / f"{name}-test"),
            "with_triangle": with_rare(pool, taken),
        }
    return found


def with_rare(pool: Path, names: Sequence[str]) -> int:
    """How many of the pictures have the rare class."""
    masks = (np.asarray(Image.open(pool / "masks" / name)) for name in names)
    return sum(bool((mask == RARE).any()) for mask in masks)


def main() -> None:
    """In a folder that is gone afterwards: a line per seed, and one of the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    seeds = [int(one) for one in parser.parse_args().seeds.split(",")]
    scores: dict[str, list[float]] = {"mixed": [], "random": []}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        pool = write_shapes(work / "pool", POOL, seed=0, size_hw=SIZE_HW)
        test = write_shapes(work / "test", TEST, seed=1, size_hw=SIZE_HW)
        for seed in seeds:
            found = compare(pool, test, seed, work / f"seed-{seed}")
            print(json.dumps({"benchmark": "select_gain", "seed": seed, **found}), flush=True)
            for name, one in found.items():
                scores[name].append(one["miou"])
    means = {name: statistics.mean(values) for name, values in scores.items()}
    print(json.dumps({"benchmark": "select_gain_mean", "seeds": len(seeds), **means}), flush=True)


if __name__ == "__main__":
    main()
