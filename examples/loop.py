"""`make loop`: from corrections to a better model, once around, with the proof of what it gained.

Pictures are made (shapes on textures, classes that no model knows), and their true masks stand for
the people who correct.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from shapes import write_labels, write_shapes

MODEL = "deeplabv3_mobilenetv2_x05_voc"
PICTURES, CORRECTED = 150, 30


def main(folder: Path) -> None:
    """Everything under ``folder``."""
    everything = write_shapes(folder / "made", PICTURES)
    images, labels = everything / "images", everything / "labels.json"
    maskmill("models", "pull", MODEL)

    say("Pre-label everything; features tell which pictures are unlike each other.")
    maskmill("prelabel", images, folder / "first", "--write", "masks,features")

    say(f"Choose {CORRECTED} pictures that are worth correcting, and correct them.")
    chosen = folder / "chosen.txt"
    maskmill("select", folder / "first", "--count", CORRECTED, "--list", chosen)
    rest = correct(everything, chosen, folder / "corrected", folder / "rest")

    say("Learn from the corrections.")
    tuned = ["--validation-share", 0.2, "--batch-norm", "frozen"]
    maskmill("finetune", folder / "corrected", folder / "better", "--from", "masks", *tuned)
    maskmill("verify", folder / "better")

    say("Pre-label again what was not corrected.")
    again = ["--model", folder / "better" / "model", "--skip", folder / "corrected"]
    maskmill("prelabel", images, folder / "second", *again)

    say(f"What was gained, on the {rest} pictures that nobody corrected?")
    # The first run has the corrected pictures too, whose truth is not given: hence the failures.
    as_before = ["--map", "* = background", "--allow-failures"]
    audit(folder, "first", labels, *as_before)
    audit(folder, "second", labels)
    before, after = (folder / f"audit-{name}" / "audit.json" for name in ("first", "second"))
    maskmill("audit", "compare", before, after, "--out", folder / "gained")
    told = [json.loads(one.read_text())["metrics"]["miou"]["value"] for one in (before, after)]
    print(f"\nmIoU {told[0]:.3f} -> {told[1]:.3f}; open {folder / 'gained' / 'compare.html'}")
    if told[1] <= told[0]:
        sys.exit("the loop gained nothing")


def correct(everything: Path, chosen: Path, corrected: Path, rest: Path) -> int:
    """Give the chosen pictures their true masks, as people would; how many are left to ``rest``."""
    names = {Path(line).name for line in chosen.read_text().splitlines() if line[:1] != "#"}
    left = 0
    for picture in sorted((everything / "images").iterdir()):
        mask = everything / "masks" / picture.name
        if picture.name in names:
            copy(picture, corrected / "images")
            copy(mask, corrected / "masks")
        else:
            copy(mask, rest)
            left += 1
    write_labels(corrected)
    return left


def copy(file: Path, folder: Path) -> None:
    """A file into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, folder / file.name)


def audit(folder: Path, name: str, labels: Path, *options: object) -> None:
    """The masks of one of the two runs against the truth of the pictures that nobody corrected."""
    truth = ["--labels", labels, "--out", folder / f"audit-{name}"]
    maskmill("audit", folder / name, folder / "rest", *truth, *options)


def say(text: str) -> None:
    """A heading."""
    print(f"\n== {text}", flush=True)


def maskmill(*arguments: object) -> None:
    """Run one command as a user would, echoing it."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ maskmill {' '.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "maskmill", *words], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "loop"))
