"""What fine-tuning gains, in how many seconds: the default model on two sets, three seeds each.

A third set is made here, shapes on textures, and learnt by an untrained network.

Learnt from the train parts alone; the test parts are labelled and audited once, afterwards. Prints
a JSON line per seed: test scores, seconds, and CPU seconds of the training, which do not depend on
what else the machine does. The first two need ../shared/data.

python benchmarks/finetune.py [land|people|made …] [--seeds 0,1,2] [--threads N]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from made_shapes import write_colored_shapes

from maskmill.schemas.labels import LabelMap

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SETS = {"land": "finetune_land", "people": "finetune"}
OPTIONS = {
    "land": "",
    "people": "--resize nearest --unknown nearest --scales 0.75,1.5 --epochs 3",
    "made": "--untrained",
}
PEOPLE = LabelMap.from_names("people", ("background", "person"))


def maskmill(*arguments: object) -> dict[str, Any]:
    """What a command says with --json."""
    command = [sys.executable, "-m", "maskmill", *map(str, arguments), "--json"]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    document: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return document


def cpu_seconds() -> float:
    """Of the commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def audited(masks: Path, truth: Path, labels: Path, *options: object) -> dict[str, Any]:
    """Scores of masks; those of another size are brought to the truth's."""
    out = masks.with_name(f"{masks.name}-audit")
    maskmill(
        "audit", masks, truth, "--labels", labels, "--resize", "nearest", "--out", out, *options
    )
    document: dict[str, Any] = json.loads((out / "audit.json").read_text())
    ious = {one["name"]: one["iou"]["value"] for one in document["classes"]}
    return {"miou": document["metrics"]["miou"]["value"], "iou": ious}


def tested(name: str, folder: Path, labels: Path, work: Path) -> dict[str, Any]:
    """Scores on the test part: of the model, and before it where the default model can say."""
    truth, pictures = work / "truth", folder / "test" / "images"
    given = ["--from", "masks", "--to", "indexed", "--labels", labels, "--unknown", "nearest"]
    maskmill("convert", folder / "test", truth, *given)
    maskmill("prelabel", pictures, work / "after", "--model", work / "tuned" / "model")
    found = {"test": audited(work / "after", truth / "dataset", labels)}
    if name == "people":
        maskmill("prelabel", pictures, work / "before")
        to_people = ["--map", "* = background"]
        found["before"] = audited(work / "before", truth / "dataset", labels, *to_people)
    return found


def measure(
    name: str, folder: Path, labels: Path, options: list[str], seed: int, work: Path
) -> None:
    """One line."""
    started, used = time.perf_counter(), cpu_seconds()
    data = ["--from", "masks", "--labels", labels, *options]
    tuned = maskmill("finetune", folder / "train", work / "tuned", *data, "--seed", seed)
    seconds, cpu = time.perf_counter() - started, cpu_seconds() - used
    figure = {
        "benchmark": f"finetune_{name}",
        "seed": seed,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "steps": tuned["training"]["steps"],
        "epoch": tuned["training"]["kept_epoch"],
        "validation_miou": tuned["scores"]["miou"]["value"],
        **tested(name, folder, labels, work),
    }
    print(json.dumps(figure), flush=True)


def data_of(name: str, work: Path) -> tuple[Path, Path]:
    """The folder of a set, with its train and test parts, and the file of its classes."""
    if name == "made":
        folder = work / "made"
        write_colored_shapes(folder / "train", 160, 0, (128, 128))
        write_colored_shapes(folder / "test", 40, 1, (128, 128))
        return folder, folder / "train" / "labels.json"
    people = work / "people.json"
    people.write_text(json.dumps(PEOPLE.to_dict()))
    folder = DATA / SETS[name]
    return folder, folder / "labelmap.txt" if name == "land" else people


def main() -> None:
    """The sets that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", metavar="SET")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--threads", default=None)
    asked = parser.parse_args()
    threads = ["--threads", asked.threads] if asked.threads else []
    for name in asked.sets or OPTIONS:
        if name in SETS and not DATA.is_dir():
            sys.exit(f"{name} needs {DATA}")
        for seed in asked.seeds.split(","):
            with tempfile.TemporaryDirectory() as folder:
                work = Path(folder)
                data, labels = data_of(name, work)
                measure(name, data, labels, [*OPTIONS[name].split(), *threads], int(seed), work)


if __name__ == "__main__":
    main()
