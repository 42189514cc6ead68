"""`make demo`: pull the default model, label the packaged photographs, lay out a contact sheet."""

import subprocess
import sys
from pathlib import Path

from photographs import write_photographs

import maskmill as package
from maskmill.pipeline.prelabel.writers.overlay import contact_sheet, overlay_preview
from maskmill.schemas.arrays import RgbImage

TILE = 320  # pixels of the longer side of a picture on the sheet


def main(folder: Path) -> None:
    """Everything under ``folder``: photographs/, labels/, contact_sheet.jpg."""
    photographs, labels = folder / "photographs", folder / "labels"
    print(f"{write_photographs(photographs)} photographs from installed packages in {photographs}/")
    maskmill("models", "pull", "deeplabv3_mobilenetv2_x05_voc")
    maskmill("prelabel", photographs, labels, "--write", "masks,overlays")
    maskmill("verify", labels)
    maskmill("rank", labels, "--top", 3)
    sheet = folder / "contact_sheet.jpg"
    sheet.write_bytes(contact_sheet(previews(labels), tile=TILE))
    print(f"\nOpen {sheet} to see the labels; masks, rows and annotations.json are in {labels}/")


def previews(labels: Path) -> list[tuple[str, RgbImage]]:
    """Name and overlay of every labelled picture, drawn at the size it has on the sheet."""
    run = package.open_run(labels)
    keys = [row["key"] for row in run.read_rows(["key", "status"]).to_pylist()
            if row["status"] == "ok"]  # fmt: skip
    return [
        (Path(key).stem, overlay_preview(run.image(key), run.mask(key), run.labels, TILE))
        for key in keys
    ]


def maskmill(*arguments: object) -> None:
    """Run one command as a user would, echoing it."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ maskmill {' '.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "maskmill", *words], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
