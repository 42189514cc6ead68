"""The work list of an audit: blocks, what is pending, and what makes a run the same run."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from maskmill.pipeline.audit.manifest import (
    audit_identity,
    audit_layout,
    pair_manifest,
    refuse_changed_masks,
)
from maskmill.pipeline.audit.operator import AuditSettings
from maskmill.pipeline.runs.manifest import (
    delete_manifest,
    manifest_block,
    manifest_blocks,
    num_inputs,
    put_manifest,
)
from maskmill.schemas.errors import RunRefused
from maskmill.schemas.labels import LabelMap
from maskmill.schemas.tables.audit import AUDIT, PAIR_MANIFEST, PAIRS
from maskmill.schemas.tables.blocks import TALLY
from tests.pipeline.audit.audited import (
    audit_rows,
    manifest_of,
    operator,
    pending_of,
    with_manifest,
)

LABELS = LabelMap.from_names("three", ["ground", "cat", "dog"])
SETTINGS = AuditSettings(labels=LABELS)


@pytest.fixture
def masks(tmp_path):
    """Seven pairs: the prediction of 3 is no picture, 6 has none."""
    rows = []
    for number in range(1, 8):
        mask = np.random.default_rng(number).integers(0, 3, (20, 30)).astype(np.uint8)
        row = dict.fromkeys(PAIRS.names) | {"pair_id": number, "key": f"{number}"}
        for side in ("prediction", "truth"):
            path = tmp_path / side / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(mask).save(path)
            row[f"{side}_uri"] = str(path)
        rows.append(row)
    (tmp_path / "prediction/3.png").write_bytes(b"no picture")
    rows[5] |= {
        "prediction_uri": None, "error_code": "missing_prediction", "error_message": "no prediction"
    }  # fmt: skip
    return rows


def ids_of(pending):
    return {row["block"]: row["ids"] or row["items"] for row in pending.to_pylist()}


def pending(layout, manifest, **options):
    return ids_of(pending_of(layout, manifest, **options))


def test_blocks_hold_consecutive_pairs(masks):
    manifest = manifest_of(masks)
    rows = pa.concat_tables(manifest.tables())
    assert rows.schema == PAIR_MANIFEST and rows["block"].to_pylist() == [0, 0, 0, 1, 1, 1, 2]
    assert manifest.sizes == [3, 3, 1] and manifest_of([]).sizes == []
    halves = [rows.select(PAIRS.names).slice(*part) for part in ((0, 2), (2, 0), (2, 5))]
    assert pa.concat_tables(pair_manifest(halves, 3).tables()).equals(rows)


def test_a_committed_block_is_done_and_nothing_else(masks, tmp_path):
    layout = audit_layout(str(tmp_path / "out"))
    manifest = with_manifest(layout, masks)
    tally = operator(layout, SETTINGS)(pending_of(layout, manifest).slice(1, 1))
    assert tally.schema == TALLY
    assert tally["error_code"].to_pylist() == [None, None, "missing_prediction"]
    assert pending(layout, manifest) == {0: 3, 2: 1}
    (rows,) = layout.committed_rows()
    assert rows.schema.equals(AUDIT) and rows["attempts"].to_pylist() == [1, 1, 1]


def test_the_same_rows_however_often_it_was_stopped(masks, tmp_path):
    whole, parts = (audit_layout(str(tmp_path / name)) for name in ("whole", "parts"))
    audit_rows(whole, masks, SETTINGS)
    manifest = with_manifest(parts, masks)
    while (work := pending_of(parts, manifest)).num_rows:
        operator(parts, SETTINGS)(work.slice(0, 1))
    steady = [name for name in AUDIT.names if name not in ("read_ms", "measure_ms", "worker")]
    for one, other in zip(whole.committed_rows(steady), parts.committed_rows(steady), strict=True):
        assert one.equals(other)


def test_failed_pairs_are_done_again_when_asked(masks, tmp_path):
    layout = audit_layout(str(tmp_path / "out"))
    audit_rows(layout, masks, SETTINGS)
    manifest = manifest_of(masks)
    assert pending(layout, manifest) == {}
    assert pending(layout, manifest, retry_failed=True) == {0: [3], 1: [6]}
    (tmp_path / "prediction/3.png").write_bytes((tmp_path / "truth/3.png").read_bytes())
    operator(layout, SETTINGS, "two")(pending_of(layout, manifest, retry_failed=True))
    rows = [row for table in layout.committed_rows() for row in table.to_pylist()]
    assert [row["pair_id"] for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert [row["pair_id"] for row in rows if row["status"] == "failed"] == [6]


def test_the_identity_is_of_names_and_settings(masks):
    def identity(rows=masks, **settings):
        return audit_identity(AuditSettings(labels=LABELS, **settings), manifest_of(rows), 3)

    assert identity() == identity(list(masks))
    assert identity(ignore=(2,)) != identity() and identity(resize=True) != identity()
    assert identity(masks[:-1]) != identity()


def test_masks_made_anew_are_refused_unless_they_had_failed(masks, tmp_path):
    layout = audit_layout(str(tmp_path / "out"))
    audit_rows(layout, masks, SETTINGS)
    (tmp_path / "prediction/3.png").write_bytes((tmp_path / "truth/3.png").read_bytes())
    mended = manifest_of(masks)
    refuse_changed_masks(layout, mended, retry_failed=True)
    with pytest.raises(RunRefused, match="1 pair has changed since, first 3"):
        refuse_changed_masks(layout, mended, retry_failed=False)
    status = (tmp_path / "truth/5.png").stat()
    os.utime(tmp_path / "truth/5.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(RunRefused, match="first 5"):
        refuse_changed_masks(layout, manifest_of(masks), retry_failed=True)


def stamp_of(uri, **options):
    row = dict.fromkeys(PAIRS.names) | {"pair_id": 1, "key": "1", "truth_uri": str(uri)}
    (table,) = manifest_of([row], **options).tables(["stamp"])
    return table["stamp"][0].as_py()


def test_a_stamp_looks_into_datasets_and_at_containers(tmp_path):
    (tmp_path / "set/a").mkdir(parents=True)
    (tmp_path / "set/a/x.png").write_bytes(b"1")
    (tmp_path / "set.zip").write_bytes(b"zip")
    member = f"zip://{tmp_path}/set.zip!/a/x.png"
    before = stamp_of(tmp_path / "set"), stamp_of(member)
    assert before == (stamp_of(tmp_path / "set"), stamp_of(member))
    (tmp_path / "set/a/x.png").write_bytes(b"22")
    (tmp_path / "set.zip").write_bytes(b"another")
    assert stamp_of(tmp_path / "set") != before[0] and stamp_of(member) != before[1]
    assert "gone" in stamp_of(tmp_path / "gone") and stamp_of("s3://bucket/far.png") == "; ; "


def test_what_an_audit_writes_into_a_dataset_does_not_change_it(tmp_path):
    (tmp_path / "x.png").write_bytes(b"1")
    before, out = stamp_of(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "run.json").write_text("{}")
    assert stamp_of(tmp_path) != before
    assert stamp_of(tmp_path, out=str(out)) == before


def test_the_manifest_of_an_earlier_version_is_gone_on_with(masks, tmp_path):
    """One file of all blocks, however many; now it is in parts, which hold the same rows."""
    layout = audit_layout(str(tmp_path / "out"))
    rows = [masks[0] | {"pair_id": number, "key": f"{number:05}"} for number in range(1, 1101)]
    manifest = manifest_of(rows, 1)
    everything = pa.concat_tables(manifest.tables())
    put_manifest(layout, everything)
    assert num_inputs(layout) == 1100
    refuse_changed_masks(layout, manifest, retry_failed=False)
    manifest.put(layout)
    assert len(list((tmp_path / "out/manifest").iterdir())) == 2
    assert pa.concat_tables(manifest_blocks(layout)).equals(everything)
    assert [manifest_block(layout, block)[0]["pair_id"] for block in (0, 1050, 1099)] == [
        1, 1051, 1100,
    ]  # fmt: skip
    delete_manifest(layout)
    assert list((tmp_path / "out/manifest").iterdir()) == []


BUDGET = """
import sys
from pathlib import Path
import pyarrow as pa
from maskmill.pipeline.audit.companions import Companions
from maskmill.pipeline.audit.mask_files import MaskFile, MaskFiles
from maskmill.pipeline.audit.pairing import pair_masks

form, count = sys.argv[1], int(sys.argv[2])
root = "s3://bucket/" + "a-long-way-down/" * 6

def files(form):
    names = (form.format(number) for number in range(count))
    return MaskFiles.of(MaskFile(name, root + name) for name in names)

pairs = pair_masks(files("photo_{:010}.png"), files(form)).pairs
uris = Companions(files("x/photo_{:010}.jpg")).uris(pairs)
for table in pairs.tables():
    found = uris(table.num_rows).null_count
    assert found == 0 and table["error_code"].null_count == table.num_rows
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("form", ["photo_{:010}.png", "truth of photo_{:010}.png"])
def test_memory_does_not_grow_with_the_pairs(form):
    """120,000 pairs more, with a picture each: 200 MB if they were held."""
    peaks = []
    for count in (120_000, 240_000):
        command = [sys.executable, "-c", BUDGET, form, str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] - peaks[0] < 50, peaks
