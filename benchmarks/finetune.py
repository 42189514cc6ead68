"""What fine-tuning gains, in how many seconds: the default model on two sets, three seeds each.

Learnt from the train parts alone; the test parts are labelled and audited once, afterwards. Prints
a JSON line per seed with the test scores. Needs ../shared/data.

python benchmarks/finetune.py [land|people …]
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from maskmill.schemas.labels import LabelMap

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SEEDS = (0, 1, 2)
PEOPLE = LabelMap.from_names("people", ("background", "person"))


def maskmill(*arguments: object) -> dict[str, Any]:
    """What a command says with --json."""
    command = [sys.executable, "-m", "maskmill", *map(str, arguments), "--json"]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    document: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return document


def measure(name: str, folder: Path, labels: Path, options: list[str], work: Path) -> None:
    """One line per seed."""
    for seed in SEEDS:
        started = time.perf_counter()
        out = work / f"{name}-{seed}"
        data = ["--from", "masks", "--labels", labels, *options]
        tuned = maskmill("finetune", folder / "train", out, *data, "--seed", seed)
        seconds = time.perf_counter() - started
        masks = work / f"{name}-{seed}-masks"
        maskmill("prelabel", folder / "test" / "images", masks, "--model", out / "model")
        truth = ["--labels", labels, "--out", work / f"{name}-{seed}-audit"]
        maskmill("audit", masks, folder / "test" / "masks", *truth)
        document = json.loads((work / f"{name}-{seed}-audit" / "audit.json").read_text())
        figure = {
            "benchmark": f"finetune_{name}",
            "seed": seed,
            "seconds": round(seconds, 1),
            "steps": tuned["training"]["steps"],
            "validation_miou": tuned["scores"]["miou"]["value"],
            "test_miou": document["metrics"]["miou"]["value"],
            "test_iou": {one["name"]: one["iou"]["value"] for one in document["classes"]},
        }
        print(json.dumps(figure), flush=True)


def main() -> None:
    """The sets that are named, or both."""
    if not DATA.is_dir():
        sys.exit(f"needs {DATA}")
    wanted = sys.argv[1:] or ["land", "people"]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        people = work / "people.json"
        people.write_text(json.dumps(PEOPLE.to_dict()))
        if "land" in wanted:
            land = DATA / "finetune_land"
            measure("land", land, land / "labelmap.txt", [], work)
        if "people" in wanted:
            options = ["--resize", "nearest", "--learning-rate", "1e-4", "--unknown", "nearest"]
            measure("people", DATA / "finetune", people, options, work)


if __name__ == "__main__":
    main()
