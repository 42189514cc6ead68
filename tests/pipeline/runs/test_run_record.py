"""run.json, fingerprints, refusals and the lock."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

from maskmill.pipeline.runs.identity import (
    deciding_settings,
    digest_of,
    refuse_difference,
    setting,
    settings_fingerprint_of,
)
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.runs.ledger import Ledger
from maskmill.pipeline.runs.lock import LEASE_SECONDS, run_lock
from maskmill.pipeline.runs.record import RunRecord, load_own_record, load_record
from maskmill.schemas.errors import RunFailed, RunRefused


def test_record_round_trip(tmp_path) -> None:
    layout = RunLayout(str(tmp_path))
    record = RunRecord(command="prelabel", identity={"model": "m", "größe": 3}, fingerprint="f")
    record.save(layout)
    assert load_record(layout) == record
    assert load_record(RunLayout(str(tmp_path / "elsewhere"))) is None


@pytest.mark.parametrize("text", ["{", '{"other": 1}', "[]"])
def test_a_foreign_run_json_is_not_taken_for_ours(tmp_path, text) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunFailed, match="not a run record"):
        load_record(RunLayout(str(tmp_path)))


def test_fingerprint_does_not_hang_on_order_and_does_on_every_value() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 1.5})
    one, other = {"inputs": "x", "model": "m"}, {"inputs": "y", "model": "m"}
    assert settings_fingerprint_of(one) == settings_fingerprint_of(other)
    assert digest_of(one) != digest_of(other)


def test_refusal_names_each_difference_and_the_remedy(tmp_path) -> None:
    layout = RunLayout(str(tmp_path))
    old = {"model": "a", "min_area": 0, "device": "cpu"}
    refuse_difference(layout, old, {"model": "a", "min_area": 0}, {})  # device not known yet
    with pytest.raises(RunRefused) as refusal:
        refuse_difference(
            layout, old, {"model": "b", "min_area": 9}, {"model": "Take another folder."}
        )
    assert "model: a there, b asked for" in str(refusal.value)
    assert "min_area: 0 there, 9 asked for" in str(refusal.value)
    assert "Take another folder." in str(refusal.value)


def test_what_another_command_made_is_refused_by_name(tmp_path) -> None:
    layout = RunLayout(str(tmp_path))
    RunRecord(command="audit", identity={}).save(layout)
    assert load_own_record(layout, "audit").command == "audit"
    with pytest.raises(RunRefused, match="another kind of run, of `maskmill audit`"):
        load_own_record(layout, "prelabel")


def test_the_identity_takes_what_says_that_it_decides_and_no_more() -> None:
    @dataclass
    class Said:
        scales: tuple[float, ...] = setting((1.0, 2.0), decides=True)
        workers: int = setting(3, decides=False)

    @dataclass
    class Silent(Said):
        forgotten: int = 1

    assert deciding_settings(Said()) == {"scales": [1.0, 2.0]}
    with pytest.raises(TypeError, match=r"Silent\.forgotten does not say"):
        deciding_settings(Silent())


def test_ledger_adds_up() -> None:
    ledger = Ledger(inputs=5)
    ledger.add([None, "truncated", None, "truncated"])
    assert (ledger.ok, ledger.failed, ledger.pending) == (2, 2, 1)
    assert ledger.failures == {"truncated": 2}


def test_a_second_run_is_refused_naming_the_first(tmp_path) -> None:
    layout = RunLayout(str(tmp_path))
    with run_lock(layout), pytest.raises(RunRefused, match="process"), run_lock(layout):
        pass
    with run_lock(layout):
        pass


def test_the_lock_of_a_killed_process_does_not_outlive_it(tmp_path) -> None:
    code = (
        "import sys, time\n"
        "from maskmill.pipeline.runs.layout import RunLayout\n"
        "from maskmill.pipeline.runs.lock import run_lock\n"
        "with run_lock(RunLayout(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with (
        pytest.raises(RunRefused, match=f"process {holder.pid}"),
        run_lock(RunLayout(str(tmp_path))),
    ):
        pass
    holder.kill()
    holder.wait()
    with run_lock(RunLayout(str(tmp_path))):
        pass


def test_a_lease_is_held_renewed_and_dies(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(RunLayout, "is_local", False)
    layout = RunLayout(str(tmp_path))
    monkeypatch.setattr(
        RunLayout,
        "write",
        lambda self, relative, data: (tmp_path / "lease").write_bytes(bytes(data)),
    )
    monkeypatch.setattr(RunLayout, "read", lambda self, relative: (tmp_path / "lease").read_bytes())
    monkeypatch.setattr(RunLayout, "delete", lambda self, relative: (tmp_path / "lease").unlink())
    with run_lock(layout):
        with pytest.raises(RunRefused), run_lock(layout):
            pass
        lease = json.loads((tmp_path / "lease").read_bytes())
    assert not (tmp_path / "lease").exists()
    lease["renewed"] = time.time() - LEASE_SECONDS - 1
    (tmp_path / "lease").write_text(json.dumps(lease))
    with run_lock(layout):
        pass
