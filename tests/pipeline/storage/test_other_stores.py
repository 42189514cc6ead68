"""Stores that pyarrow reaches by itself: a whole run on each, through fsspec, and what they do."""

import io
import json

import pytest

from maskmill.jobs.engines.choice import RunOptions
from maskmill.jobs.run import run
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.sources.registry import list_source
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.errors import ErrorCode, ImageFailure
from tests.jobs.fifth_job import LettersJob

fsspec = pytest.importorskip("fsspec")
from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402

HERE = RunOptions(engine="local", workers=1)


class WithoutFolders(MemoryFileSystem):
    """As GCS by pyarrow: a folder is what lies in it, and to remove it then fails as missing."""

    protocol = "without-folders"

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        super().rm(path, recursive=recursive, maxdepth=maxdepth)
        if recursive:
            raise FileNotFoundError(2, "No such file or directory", path)


@pytest.fixture(params=["memory", "without-folders"])
def place(request, tmp_path) -> str:
    fsspec.register_implementation("without-folders", WithoutFolders, clobber=True)
    return f"fsspec+{request.param}://bucket{tmp_path}"


def test_a_run_and_its_source_lie_there(place, tmp_path, capsys):
    for number in range(1, 7):
        (tmp_path / f"{number}.txt").write_text("x" * number)
    job = LettersJob(str(tmp_path), f"{place}/out", block=2)
    outcome = run(job, HERE)
    assert (outcome.ledger.ok, outcome.result) == (6, 21)
    assert "without conditional writes" in capsys.readouterr().err
    assert json.loads(job.layout.read("run.json"))["state"] == "finished"
    assert not job.layout.exists(job.layout.attempts)
    assert not job.layout.exists(job.layout.lock)
    job.layout.delete(job.layout.block_path(1))
    again = run(job, HERE)
    assert (again.done_now, again.ledger.ok, again.result) == (2, 6, 21)


def test_files_there(place):
    pictures = RunLayout(f"{place}/pictures")
    pictures.write("sub/b c.png", b"png")
    pictures.write_stream("a.jpg", io.BytesIO(b"jpg"))
    entries = list(list_source(pictures.root).entries)
    assert [(entry.key, entry.size) for entry in entries] == [("a.jpg", 3), ("sub/b c.png", 3)]
    assert [read_bytes(entry.uri) for entry in entries] == [b"jpg", b"png"]
    with pytest.raises(ImageFailure) as caught:
        read_bytes(f"{pictures.root}/nothing.png")
    assert caught.value.code is ErrorCode.VANISHED
