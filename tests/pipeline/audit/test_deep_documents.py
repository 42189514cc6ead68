"""A document of ours that is nested a hundred thousand deep is one sentence, never a traceback."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from maskmill.jobs.cli import main
from maskmill.pipeline.audit.proof import verify_audit
from maskmill.pipeline.audit.sides import list_side
from maskmill.schemas.errors import RunFailed, SettingsError

DEEP = "[" * 100_000


def test_a_deep_run_record(tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    (tmp_path / "run.json").write_text(DEEP)
    with pytest.raises(RunFailed, match="is not a run record of maskmill"):
        list_side(str(tmp_path), format="prelabel")


def test_a_deep_audit(tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text(DEEP)
    with pytest.raises(SettingsError, match="no finished audit"):
        list(verify_audit(str(tmp_path)))
    done = CliRunner().invoke(main, ["audit", "compare", str(tmp_path), str(tmp_path)])
    assert done.exit_code == 2, done.output
    assert "holds no finished audit" in done.stderr
