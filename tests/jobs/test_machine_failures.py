"""Full disks, wrong rights and lost networks end a run with a sentence, not with a traceback."""

import pickle
from pathlib import Path

import pytest
from pyarrow import fs

from maskmill.jobs.machine_failures import machine_failure
from tests.sick_images import write_small_pictures


def raised_by(action) -> OSError:
    with pytest.raises(OSError) as caught:
        action()
    return caught.value


def test_a_full_disk_is_said_with_its_remedy():
    error = raised_by(lambda: Path("/dev/full").write_bytes(b"x"))
    assert machine_failure(error).startswith("No space left on device; free some space")


def test_the_advice_that_ray_appends_is_left_out():
    error = raised_by(lambda: Path("/dev/full").write_bytes(b"x"))
    error.args = (*error.args, "Failed to apply UDF\nTo change retry attempts, configure …")
    assert "UDF" not in machine_failure(pickle.loads(pickle.dumps(error)))


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "out").write_text("a file")
    error = raised_by(lambda: (tmp_path / "out/work").mkdir())
    assert str(tmp_path / "out/work") in machine_failure(error)


def test_a_remote_that_does_not_answer():
    remote = fs.S3FileSystem(
        access_key="x", secret_key="x", endpoint_override="127.0.0.1:9", connect_timeout=1
    )
    error = raised_by(lambda: remote.get_file_info(fs.FileSelector("bucket")))
    assert "check the address, the credentials and the network" in machine_failure(error)


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "No such file", "x"), ValueError("x"), None]
)
def test_what_may_be_a_bug_stays_loud(error):
    assert machine_failure(error) is None


def test_an_out_that_cannot_be_is_one_sentence(tmp_path, maskmill):
    write_small_pictures(tmp_path / "in", 1, seed=1)
    (tmp_path / "out").write_text("a file")
    result = maskmill("prelabel", tmp_path / "in", tmp_path / "out")
    assert result.returncode == 1
    assert "a file stands where a folder is needed" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_worker_that_cannot_write_is_one_sentence(tmp_path, maskmill):
    write_small_pictures(tmp_path / "in", 1, seed=1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/masks").write_text("a file")
    result = maskmill("prelabel", tmp_path / "in", tmp_path / "out", "--image-size", 65)
    assert result.returncode == 1
    assert "a file stands where a folder is needed" in result.stderr
    assert "Traceback" not in result.stderr
