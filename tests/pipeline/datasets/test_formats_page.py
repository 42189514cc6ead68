"""docs/formats.md and docs/inspect.md name everything there is, and nothing else."""

import re
from pathlib import Path

from maskmill.pipeline.datasets.registry import DATASET_FORMATS

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_the_table_of_formats_is_the_registry() -> None:
    row = r"^\| `(\w+)` \| .* \| (yes|–) \| (yes|–) \| (kept|lost, counted) \| ([\d,]+) \|$"
    rows = re.findall(row, (DOCS / "formats.md").read_text(encoding="utf-8"), re.M)
    told = {
        name: (read == "yes", write == "yes", ignore == "kept", int(most.replace(",", "")))
        for name, read, write, ignore, most in rows
    }
    assert told == {
        name: (entry.can_read, entry.can_write, entry.holds_ignore, entry.max_classes)
        for name, entry in DATASET_FORMATS.items()
    }


def test_every_kind_of_finding_is_explained() -> None:
    sources = Path(__file__).resolve().parents[3] / "pipeline/inspect"
    text = (sources / "sickness.py").read_text() + (sources / "doctor.py").read_text()
    kinds = set(re.findall(r'Finding\(\s*"(\w+)"', text))
    page = (DOCS / "inspect.md").read_text(encoding="utf-8")
    assert len(kinds) >= 14
    assert [kind for kind in sorted(kinds) if f"`{kind}`" not in page] == []
