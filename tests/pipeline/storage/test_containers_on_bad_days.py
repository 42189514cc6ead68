"""Zip files and videos in a bucket, read through every trouble: ridden out, or a sentence.

Small ones come in one request, large ones part by part: both, for a trouble may strike any part.
"""

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from maskmill.jobs.engines.choice import RunOptions
from maskmill.jobs.run import run
from maskmill.pipeline.pictures.names import VIDEO_EXTENSIONS
from maskmill.pipeline.prelabel.job import PrelabelJob
from maskmill.pipeline.prelabel.settings import PrelabelSettings
from maskmill.pipeline.runs.layout import RunLayout
from maskmill.pipeline.sources.frame_choice import FrameChoice
from maskmill.pipeline.sources.registry import Listing, list_source
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.pipeline.storage.retries import DENIALS
from maskmill.schemas.errors import ErrorCode, ImageFailure, SettingsError
from tests.jobs.in_process import SMALL
from tests.s3_servers import FaultProxy, Faults
from tests.sick_images import draw_picture, encode
from tests.thorough import sampled
from tests.video_clips import write_clip

TROUBLES = ("busy", "resets", "lost_answers", "denials", "stalls", "late_bodies", "torn")
EVERY = 7  # of the frames


def write_zip(path: Path, size: tuple[int, int] = (96, 72)) -> Path:
    """Six PNG pictures, stored and deflated by turns."""
    rng = np.random.default_rng(2)
    with zipfile.ZipFile(path, "w") as out:
        for number in range(6):
            data = encode(draw_picture(rng, size), "PNG", compress_level=0)
            kind = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[number % 2]
            out.writestr(f"street/{number}.png", data, kind)
    return path


def write_large(path: Path, pixels: str) -> Path:
    return write_clip(path, codec="rawvideo", pixels=pixels, size=(640, 480))


MADE: dict[str, Callable[[Path], Path]] = {
    "large.zip": lambda path: write_zip(path, (1000, 700)),
    "large.mov": lambda path: write_large(path, "uyvy422"),  # what is where stands at its end
    "large.mkv": lambda path: write_large(path, "yuv420p"),
    "small.mp4": write_clip,
    "small.zip": write_zip,
}
LARGE = ["large.zip", "large.mkv", "large.mov"]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Callable[[str], Path]:
    """A file of MADE, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("containers")

    def file(name: str) -> Path:
        path = folder / name
        return path if path.exists() else MADE[name](path)

    return file


@pytest.fixture
def source(place: str) -> RunLayout:
    """A folder in the bucket, by way of the proxy, that is given up soon."""
    head, _, options = place.partition("?")
    return RunLayout(f"{head} source?{options}")


@pytest.fixture
def put(source, files) -> Callable[[str], str]:
    """Puts a file of MADE into the bucket; its URI."""

    def put(name: str) -> str:
        source.write(name, files(name).read_bytes())
        return source.uri(name)

    return put


def listed(uri: str) -> Listing:
    has_frames = Path(uri.partition("?")[0]).suffix in VIDEO_EXTENSIONS
    return list_source(uri, frames=FrameChoice(every=EVERY) if has_frames else None)


def digests(listing: Listing) -> dict[str, str]:
    """Of what each entry of a listing holds."""
    return {
        entry.key: hashlib.sha256(read_bytes(entry.uri)).hexdigest() for entry in listing.entries
    }


def strike(proxy: FaultProxy, name: str, **troubles: int) -> None:
    proxy.faults = Faults(only=("GET",), targets=(name,), stall_seconds=1.6, **troubles)


@pytest.mark.parametrize("name", sampled(MADE, 3))
def test_they_are_read_through_two_troubles_at_once(put, files, proxy: FaultProxy, name):
    """Of a small zip nothing more is asked for once it is listed."""
    expected, uri = digests(listed(str(files(name)))), put(name)
    often = {"denials": 1, "torn": 1}
    strike(proxy, name, **often)
    listing = listed(uri)
    assert proxy.faults.dealt == {(trouble, name): 1 for trouble in often}
    strike(proxy, name, **often)
    assert digests(listing) == expected
    assert bool(proxy.faults.dealt) == (name != "small.zip")


@pytest.mark.thorough
@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_they_are_read_through_every_trouble(put, files, proxy: FaultProxy, name, trouble):
    expected, uri = digests(listed(str(files(name)))), put(name)
    often = {trouble: 1 if trouble in ("stalls", "late_bodies") else 2}
    strike(proxy, name, **often)
    listing = listed(uri)
    assert proxy.faults.dealt[trouble, name] == often[trouble]
    strike(proxy, name, **often)
    assert digests(listing) == expected


@pytest.mark.parametrize("spared", sampled([0, 2], 2))
@pytest.mark.parametrize("name", sampled(LARGE, 2))
def test_what_stays_denied_is_a_source_that_cannot_be_listed(put, proxy, name, spared):
    """It is not called broken, and asked for no longer than a denial is doubted."""
    uri = put(name)
    strike(proxy, name, denials=1000, spared=spared)
    with pytest.raises(SettingsError, match="access denied"):
        listed(uri)
    assert DENIALS <= proxy.faults.dealt["denials", name] < 2 * DENIALS
    proxy.faults = Faults()
    assert len(listed(uri)) in (5, 6)


@pytest.mark.parametrize("name", sampled(LARGE, 2))
def test_a_read_that_fails_costs_itself(put, files, proxy, name, capfd):
    expected = digests(listed(str(files(name))))
    entries = list(listed(put(name)).entries)
    strike(proxy, name, denials=DENIALS)
    failed, read = [], {}
    for entry in entries:
        try:
            read[entry.key] = hashlib.sha256(read_bytes(entry.uri)).hexdigest()
        except ImageFailure as failure:
            failed.append((entry.key, failure.code))
    assert failed == [(entries[0].key, ErrorCode.PERMISSION_DENIED)]
    assert read == {key: digest for key, digest in expected.items() if key != entries[0].key}
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", sampled(["large.mov", "small.mp4"], 2))
def test_a_video_that_is_denied_is_one_failed_row_beside_others(source, put, proxy, name):
    put(name)
    source.write("a.png", encode(draw_picture(np.random.default_rng(0), (24, 16)), "PNG"))
    strike(proxy, name, denials=1000)
    listing = list_source(source.root, frames=FrameChoice())
    assert [entry.key for entry in listing.entries] == ["a.png", name]
    assert "access denied" in listing.notes[0]
    with pytest.raises(ImageFailure, match="access denied") as caught:
        digests(listing)
    assert caught.value.code is ErrorCode.PERMISSION_DENIED


@pytest.mark.parametrize("name", sampled(["small.mp4", "large.mov"], 2))
def test_a_store_that_is_down_says_nothing_of_a_video(place, files, proxy, name):
    head, _, options = place.partition("?")
    source = RunLayout(f"{head} source?{options}&retry_seconds=0.5")
    source.write(name, files(name).read_bytes())
    strike(proxy, name, busy=1000)
    with pytest.raises(SettingsError, match="gave up after"):
        list_source(source.root, frames=FrameChoice())


def labelled(uri: str, out: Path, retry_failed: bool = False) -> dict[str, bytes]:
    """Of the run, by name: masks and annotations of what was labelled."""
    chosen = {"every": EVERY} if Path(uri.partition("?")[0]).suffix in VIDEO_EXTENSIONS else {}
    settings = PrelabelSettings(source=uri, out=str(out), **{**SMALL, **chosen})
    job = PrelabelJob(settings, "prelabel")
    outcome = run(job, RunOptions(engine="local", workers=1, retry_failed=retry_failed))
    assert outcome.ledger.ok + outcome.ledger.failed == outcome.ledger.inputs
    rows = pa.concat_tables(job.layout.committed_rows(["key", "mask_path"])).to_pylist()
    written = [row for row in rows if row["mask_path"]]
    assert len(written) == outcome.ledger.ok
    return {row["key"]: job.layout.read(row["mask_path"]) for row in written} | {
        "annotations": job.layout.read("annotations.json")
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["large.zip", "large.mov"])
def test_a_run_through_every_trouble_ends_as_a_calm_one(put, proxy, tmp_path, name):
    uri = put(name)
    calm = labelled(uri, tmp_path / "calm")
    for trouble in TROUBLES:
        strike(proxy, name, **{trouble: 1 if trouble in ("stalls", "late_bodies") else 2})
        assert labelled(f"{uri}&connect_timeout={10 + TROUBLES.index(trouble)}",
                        tmp_path / trouble) == calm  # fmt: skip
        assert proxy.faults.dealt[trouble, name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["large.zip", "large.mov"])
def test_what_a_run_is_denied_is_a_failed_row_until_it_is_tried_again(put, proxy, tmp_path, name):
    uri = put(name)
    calm = labelled(uri, tmp_path / "calm")
    uri += "&connect_timeout=11"  # another client, and nothing kept of the first run
    proxy.counts.clear()
    listed(uri)
    uri, spared = uri.replace("=11", "=12"), proxy.counts["GET"] + 3
    strike(proxy, name, denials=DENIALS, spared=spared)
    struck = labelled(uri, tmp_path / "struck")
    assert len(struck) == len(calm) - 1
    assert all(struck[key] == calm[key] for key in struck if key != "annotations")
    proxy.faults = Faults()
    assert labelled(uri, tmp_path / "struck", retry_failed=True) == calm
