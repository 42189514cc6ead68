"""The work list of an audit: blocks, what is pending, and what makes a run the same run."""

import os

import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.audit.commit import CommitAudits
from maskmill.pipeline.audit.manifest import (
    audit_identity,
    audit_layout,
    num_pairs,
    pair_manifest,
    pending_pairs,
    refuse_changed_masks,
)
from maskmill.pipeline.audit.operator import AuditPairs, AuditSettings
from maskmill.schemas.errors import RunRefused
from maskmill.schemas.labels import LabelMap
from maskmill.schemas.tables.audit import AUDIT, PAIR_MANIFEST, PAIRS, WORK
from maskmill.schemas.tables.blocks import TALLY

LABELS = LabelMap.from_names("three", ["ground", "cat", "dog"])


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


def work_of(rows, layout, block_pairs=3, **options):
    return pending_pairs(
        layout, pair_manifest(rows, block_pairs), **{"retry_failed": False, **options}
    )


def ids_of(work):
    return {row["block"]: [pair["pair_id"] for pair in row["pairs"]] for row in work.to_pylist()}


def operator(layout, session="one"):
    audit = AuditPairs(AuditSettings(labels=LABELS))
    return CommitAudits(layout=layout, session=session, audit=audit)


def test_blocks_hold_consecutive_pairs(masks, tmp_path):
    manifest = pair_manifest(iter(masks), 3)
    assert manifest.schema == PAIR_MANIFEST and manifest["block"].to_pylist() == [
        0,
        0,
        0,
        1,
        1,
        1,
        2,
    ]
    work = work_of(masks, audit_layout(str(tmp_path / "out")))
    assert work.schema == WORK and num_pairs(work) == 7
    assert ids_of(work) == {0: [1, 2, 3], 1: [4, 5, 6], 2: [7]}
    assert work.to_pylist()[1]["pairs"] == masks[3:6]


def test_no_pairs_are_no_work(tmp_path):
    work = work_of([], audit_layout(str(tmp_path)))
    assert work.schema == WORK and num_pairs(work) == 0


def test_a_committed_block_is_done_and_nothing_else(masks, tmp_path):
    layout = audit_layout(str(tmp_path / "out"))
    tally = operator(layout)(work_of(masks, layout).slice(1, 1))
    assert tally.schema == TALLY
    assert tally["error_code"].to_pylist() == [None, None, "missing_prediction"]
    assert ids_of(work_of(masks, layout)) == {0: [1, 2, 3], 2: [7]}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["pairs", "work"]
    (rows,) = layout.committed_rows()
    assert rows.schema == AUDIT and rows["attempts"].to_pylist() == [1, 1, 1]


def test_the_same_rows_however_often_it_was_stopped(masks, tmp_path):
    whole, parts = (audit_layout(str(tmp_path / name)) for name in ("whole", "parts"))
    operator(whole)(work_of(masks, whole))
    while (work := work_of(masks, parts)).num_rows:
        operator(parts)(work.slice(0, 1))
    steady = [name for name in AUDIT.names if name not in ("read_ms", "measure_ms", "worker")]
    for one, other in zip(whole.committed_rows(steady), parts.committed_rows(steady), strict=True):
        assert one.equals(other)


def test_failed_pairs_are_done_again_when_asked(masks, tmp_path):
    layout = audit_layout(str(tmp_path / "out"))
    operator(layout)(work_of(masks, layout))
    assert ids_of(work_of(masks, layout)) == {}
    retried = work_of(masks, layout, retry_failed=True)
    assert ids_of(retried) == {0: [3]}  # a pair without a partner stays as it is
    (tmp_path / "prediction/3.png").write_bytes((tmp_path / "truth/3.png").read_bytes())
    operator(layout, "two")(retried)
    rows = next(layout.committed_rows())
    assert rows["pair_id"].to_pylist() == [1, 2, 3] and set(rows["status"].to_pylist()) == {"ok"}


class WorkerDied(BaseException):
    pass


def test_a_pair_that_kills_its_worker_is_the_only_one_that_fails(masks, tmp_path, monkeypatch):
    layout = audit_layout(str(tmp_path / "out"))
    work = work_of(masks, layout).slice(1, 1)
    measured = AuditPairs._measured

    def deadly(self, pair, *rest):
        if pair["pair_id"] == 5:
            raise WorkerDied
        return measured(self, pair, *rest)

    monkeypatch.setattr(AuditPairs, "_measured", deadly)
    for _ in range(5):  # three times as a block, twice alone
        with pytest.raises(WorkerDied):
            operator(layout)(work)
        assert layout.committed_blocks() == []
    operator(layout)(work)
    rows = layout.committed_block(1).to_pylist()
    assert [row["error_code"] for row in rows] == [None, "worker_died", "missing_prediction"]
    assert "5: the worker process died" in rows[1]["error_message"]
    assert rows[0]["attempts"] == 6


def test_the_identity_is_of_names_and_settings(masks):
    def identity(rows=masks, **settings):
        return audit_identity(AuditSettings(labels=LABELS, **settings), pair_manifest(rows, 3), 3)

    assert identity() == identity(iter(masks))
    assert identity(ignore=(2,)) != identity() and identity(resize=True) != identity()
    assert identity(masks[:-1]) != identity()


def test_masks_made_anew_are_refused_unless_they_had_failed(masks, tmp_path):
    layout = audit_layout(str(tmp_path / "out"))
    layout.write_table(layout.manifest, pair_manifest(masks, 3))
    operator(layout)(work_of(masks, layout))
    (tmp_path / "prediction/3.png").write_bytes((tmp_path / "truth/3.png").read_bytes())
    mended = pair_manifest(masks, 3)
    refuse_changed_masks(layout, mended, retry_failed=True)
    with pytest.raises(RunRefused, match="1 pairs have changed since, first 3"):
        refuse_changed_masks(layout, mended, retry_failed=False)
    status = (tmp_path / "truth/5.png").stat()
    os.utime(tmp_path / "truth/5.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(RunRefused, match="first 5"):
        refuse_changed_masks(layout, pair_manifest(masks, 3), retry_failed=True)


def stamp_of(uri, **options):
    row = dict.fromkeys(PAIRS.names) | {"pair_id": 1, "key": "1", "truth_uri": str(uri)}
    return pair_manifest([row], 3, **options)["stamp"][0].as_py()


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
