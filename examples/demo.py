"""`make demo`: pull the default model, label the packaged photographs, lay out a contact sheet."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from photographs import write_photographs
from PIL import Image

from maskmill.pipeline.prelabel.writers.overlay import contact_sheet


def main(folder: Path) -> None:
    """Everything under ``folder``: photographs/, labels/, contact_sheet.jpg."""
    photographs, labels = folder / "photographs", folder / "labels"
    print(f"{write_photographs(photographs)} photographs from installed packages in {photographs}/")
    maskmill("models", "pull", "deeplabv3_mobilenetv2_x05_voc")
    maskmill("prelabel", photographs, labels, "--write", "masks,overlays")
    maskmill("verify", labels)
    maskmill("rank", labels, "--top", 3)
    sheet = folder / "contact_sheet.jpg"
    overlays = sorted((labels / "overlays").rglob("*.jpg"))
    sheet.write_bytes(
        contact_sheet([(path.stem, np.asarray(Image.open(path))) for path in overlays])
    )
    print(f"\nOpen {sheet} to see the labels; masks, rows and annotations.json are in {labels}/")


def maskmill(*arguments: object) -> None:
    """Run one command as a user would, echoing it."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ maskmill {' '.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "maskmill", *words], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
