"""Work lists: text, COCO, VOC, one file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskmill.pipeline.sources.registry import list_source
from maskmill.pipeline.sources.text_list import read_lines
from maskmill.pipeline.storage import filesystems
from maskmill.pipeline.storage.filesystems import read_bytes
from maskmill.schemas.errors import ErrorCode, ImageFailure, SettingsError


def write_list(path: Path, *lines: str, encoding: str = "utf-8") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("\n".join(lines).encode(encoding))
    return str(path)


def keys_of(source, **options) -> list[str]:
    return [entry.key for entry in list_source(str(source), **options).entries]


# --- one file -----------------------------------------------------------------------------------


def test_one_file(photos: Path, jpeg: bytes):
    listing = list_source(str(photos / "sub" / "c.png"))
    (entry,) = listing.entries
    assert (listing.kind, listing.root, entry.key) == ("file", str(photos / "sub"), "c.png")
    assert (entry.size, read_bytes(entry.uri)) == (len(jpeg), jpeg)


def test_one_file_of_any_extension_when_told(photos: Path):
    assert keys_of(photos / "README", kind="file") == ["README"]


# --- text ---------------------------------------------------------------------------------------


def test_a_list_relative_to_its_folder(photos: Path, jpeg: bytes):
    source = write_list(photos / "all.txt", "# first", "", "sub/c.png", "  a.jpg  ", "README")
    listing = list_source(source)
    assert listing.kind == "list"
    assert [entry.key for entry in listing.entries] == ["README", "a.jpg", "sub/c.png"]
    assert listing.root == str(photos)
    assert {read_bytes(entry.uri) for entry in listing.entries} == {jpeg}


def test_the_root_is_the_common_parent(photos: Path):
    source = write_list(photos / "x.lst", "sub/c.png", "sub/deep/d.jpeg", f"{photos}/sub/c.png")
    listing = list_source(source)
    assert listing.root == str(photos / "sub")
    assert [entry.key for entry in listing.entries] == ["c.png", "deep/d.jpeg"]
    assert "1 file again" in listing.notes[0]


def test_absolute_paths_elsewhere(photos: Path, tmp_path: Path):
    source = write_list(tmp_path / "lists" / "x.txt", f"{photos}/a.jpg", f"{photos}/sub/../B.JPG")
    listing = list_source(source)
    assert listing.root == str(photos)
    assert [entry.key for entry in listing.entries] == ["B.JPG", "a.jpg"]


def test_names_above_the_list(photos: Path):
    source = write_list(photos / "sub" / "x.txt", "../a.jpg", "c.png")
    assert keys_of(source) == ["a.jpg", "sub/c.png"]


def test_uris_and_paths_that_look_like_uris(photos: Path):
    source = write_list(photos / "x.txt", (photos / "100% #1?.jpg").as_uri(), "a%20b.jpg")
    assert keys_of(source) == ["100% #1?.jpg", "a%20b.jpg"]


def test_a_list_from_windows(photos: Path):
    source = write_list(photos / "x.txt", "a.jpg\r", "sub/c.png\r", encoding="utf-8-sig")
    assert keys_of(source) == ["a.jpg", "sub/c.png"]


def test_missing_files_stay_in_the_list(photos: Path):
    listing = list_source(write_list(photos / "x.txt", "a.jpg", "gone.jpg"))
    gone = next(entry for entry in listing.entries if entry.key == "gone.jpg")
    assert gone.size is None
    with pytest.raises(ImageFailure) as caught:
        read_bytes(gone.uri)
    assert caught.value.code is ErrorCode.VANISHED


def test_paths_that_start_at_the_working_folder_are_explained(photos: Path, tmp_path, monkeypatch):
    source = write_list(tmp_path / "lists" / "x.txt", "a.jpg", "sub/c.png")
    monkeypatch.chdir(photos)
    with pytest.raises(SettingsError, match=r"none of the 2 relative paths.*absolute paths"):
        list_source(source)
    assert keys_of(source, root=str(photos)) == ["a.jpg", "sub/c.png"]


def test_a_name_outside_the_given_root(photos: Path):
    source = write_list(photos / "x.txt", "../../a.jpg")
    with pytest.raises(SettingsError, match="outside the root"):
        list_source(source, root=str(photos / "sub"))


def test_lists_that_are_none(photos: Path):
    with pytest.raises(SettingsError, match="names no file"):
        list_source(write_list(photos / "x.txt", "", "# only words"))
    (photos / "y.txt").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(SettingsError, match="UTF-8"):
        list_source(str(photos / "y.txt"))


@given(text=st.text(st.sampled_from("aé😀# \n\r\x85\u2028"), max_size=30), chunk=st.integers(1, 7))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lines_do_not_depend_on_how_the_file_is_read(tmp_path, monkeypatch, text: str, chunk: int):
    path = tmp_path / "x.txt"
    path.write_bytes(text.encode("utf-8-sig"))
    monkeypatch.setattr(filesystems, "CHUNK", chunk)
    lines = [line.strip() for line in text.splitlines()]
    wanted = [line for line in lines if line and not line.startswith("#")]
    try:
        assert list(read_lines(str(path))) == wanted
    except SettingsError as refusal:
        assert "names no file" in str(refusal) and not wanted


def test_what_is_no_text_is_told_by_its_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(filesystems, "CHUNK", 4)
    (tmp_path / "x.txt").write_bytes("a.jpg\né".encode() + b"\xff.jpg\n")
    with pytest.raises(SettingsError, match=r"UTF-8 \(byte 8\)"):
        list_source(str(tmp_path / "x.txt"))


def test_of_names_that_repeat_the_first_of_the_list_is_told(photos: Path):
    lines = ["sub/c.png", "a.jpg", "B.JPG", "./B.JPG", "sub/c.png", "B.JPG"]
    (note,) = list_source(write_list(photos / "x.txt", *lines)).notes
    assert "names 3 files again" in note and f"example {photos}/sub/c.png:" in note


def test_a_name_that_no_table_can_hold_is_refused(photos: Path):
    source = write_list(photos / "x.txt", "a.jpg", "file:///data/%ff.jpg")
    with pytest.raises(SettingsError, match=r"not UTF-8.*rename the file"):
        list_source(source)


def test_two_filesystems_in_one_list(photos: Path):
    source = write_list(photos / "x.txt", "a.jpg", "s3://bucket/b.jpg")
    with pytest.raises(SettingsError, match="different filesystems"):
        list_source(source)


def test_addresses_of_the_web_are_refused_with_the_reason(photos: Path):
    lines = [str(photos / "a.jpg"), "https://host/b.jpg?size=1", "HTTP://host/c.jpg"]
    (photos / "work.txt").write_text("\n".join(lines))
    with pytest.raises(SettingsError, match="2 of 3 pictures by addresses of the web") as caught:
        list_source(str(photos / "work.txt"))
    assert "https://host/b.jpg?size=1" in str(caught.value)
    assert "must find the same bytes" in str(caught.value) and "wget" in str(caught.value)


def test_a_list_of_remote_files_needs_no_connection(photos: Path):
    source = write_list(
        photos / "x.txt", "s3://bucket/p/a b.jpg?region=eu", "s3://bucket/p/q/c.jpg"
    )
    listing = list_source(source)
    assert listing.root == "s3://bucket/p"
    assert [entry.key for entry in listing.entries] == ["a b.jpg", "q/c.jpg"]
    assert next(listing.entries).uri == "s3://bucket/p/a%20b.jpg?region=eu"


# --- COCO ---------------------------------------------------------------------------------------


def write_coco(path: Path, *names: str) -> str:
    images = [{"id": number + 1, "file_name": name} for number, name in enumerate(names)]
    return write_list(path, json.dumps({"images": images, "annotations": []}))


@pytest.mark.parametrize(
    ("document", "folder"),
    [
        ("coco.json", ""),
        ("coco.json", "images"),
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/instances_val2017.json", "images/val2017"),
        ("annotations/all.json", "images"),
    ],
)
def test_coco_finds_its_pictures(tmp_path: Path, jpeg: bytes, document: str, folder: str):
    for name in ("a.jpg", "sub/b.jpg", "not_listed.jpg"):
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg)
    listing = list_source(write_coco(tmp_path / document, "sub/b.jpg", "a.jpg", "gone.jpg"))
    assert (listing.kind, listing.root) == ("coco", str(tmp_path / folder).rstrip("/"))
    assert [entry.key for entry in listing.entries] == ["a.jpg", "gone.jpg", "sub/b.jpg"]
    assert [entry.size for entry in listing.entries] == [len(jpeg), None, len(jpeg)]


def test_coco_with_a_root(photos: Path, tmp_path: Path):
    source = write_coco(tmp_path / "x.json", "a.jpg")
    with pytest.raises(SettingsError, match="put the json beside"):
        list_source(source)
    assert keys_of(source, root=str(photos)) == ["a.jpg"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "s3://b/x.jpg", "..", ""])
def test_coco_names_that_leave_the_folder(tmp_path: Path, name: str):
    with pytest.raises(SettingsError, match="not a path below"):
        list_source(write_coco(tmp_path / "x.json", name))


def test_coco_entries_that_cannot_be_cost_themselves(photos: Path) -> None:
    names = ["a.jpg", "https://host/b.jpg", "/etc/passwd", "../x.jpg", "a\0.jpg"]
    images = [*({"file_name": name} for name in names), {"id": 7}, "text", {"file_name": 3}]
    source = write_list(photos / "x.json", json.dumps({"images": images}))
    listing = list_source(source)
    assert [entry.key for entry in listing.entries] == ["a.jpg"]
    (note,) = listing.notes
    assert "7 of its images are left out" in note and "https://host/b.jpg" in note


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"images": 3}', '{"images": [{"id": 1}]}', "[" * 9000]
)
def test_json_that_is_no_coco(tmp_path: Path, text: str):
    with pytest.raises(SettingsError):
        list_source(write_list(tmp_path / "x.json", text))


def test_coco_without_images(tmp_path: Path):
    with pytest.raises(SettingsError, match="lists no image"):
        list_source(write_coco(tmp_path / "x.json"))


def test_coco_as_python_writes_it(photos: Path):
    """NaN is no JSON, and has always been read; so is the mark of UTF-8."""
    document = {"images": [{"file_name": "a.jpg", "score": float("nan")}]}
    assert keys_of(write_list(photos / "x.json", json.dumps(document))) == ["a.jpg"]
    document = {"info": {"images": ["no"]}, "images": [{"file_name": "sub/c.png"}]}
    source = write_list(photos / "y.json", json.dumps(document), encoding="utf-8-sig")
    assert keys_of(source) == ["sub/c.png"]


def test_coco_looks_for_names_from_everywhere_in_the_document(tmp_path: Path, jpeg: bytes):
    """Of many pictures that are not there the folder with the last ones is found all the same."""
    names = [f"{number:04}.jpg" for number in range(5000)]
    (tmp_path / "images").mkdir()
    for name in names[4800:]:
        (tmp_path / "images" / name).write_bytes(jpeg)
    listing = list_source(write_coco(tmp_path / "x.json", *names))
    assert (listing.root, len(listing)) == (str(tmp_path / "images"), 5000)


def test_coco_names_twice(photos: Path):
    listing = list_source(write_coco(photos / "x.json", "a.jpg", "./a.jpg", "B.JPG"))
    assert len(listing) == 2
    assert "1 file again" in listing.notes[0]


# --- VOC ----------------------------------------------------------------------------------------


@pytest.fixture
def devkit(tmp_path: Path, jpeg: bytes) -> Path:
    folder = tmp_path / "VOC2012"
    (folder / "JPEGImages").mkdir(parents=True)
    for name in ("2007_000001", "2007_000002", "2007_000003"):
        (folder / "JPEGImages" / f"{name}.jpg").write_bytes(jpeg)
    return folder


def test_voc_image_set(devkit: Path, jpeg: bytes):
    source = write_list(
        devkit / "ImageSets" / "Segmentation" / "val.txt", "2007_000003", "2007_000001", "2007_9"
    )
    listing = list_source(source)
    assert (listing.kind, listing.root) == ("voc", str(devkit / "JPEGImages"))
    assert [(entry.key, entry.size) for entry in listing.entries] == [
        ("2007_000001.jpg", len(jpeg)),
        ("2007_000003.jpg", len(jpeg)),
        ("2007_9.jpg", None),
    ]


def test_voc_class_set(devkit: Path):
    source = write_list(
        devkit / "ImageSets" / "Main" / "cat_train.txt",
        "2007_000001  1",
        "2007_000002 -1",
        "2007_000003  0",
    )
    listing = list_source(source)
    assert [entry.key for entry in listing.entries] == ["2007_000001.jpg", "2007_000003.jpg"]
    assert listing.not_considered == {"marked -1": 1}


@pytest.mark.parametrize("line", ["a b c", "2007_000001 2", "../../x", "/etc/passwd"])
def test_voc_lines_that_are_none(devkit: Path, line: str):
    with pytest.raises(SettingsError):
        list_source(write_list(devkit / "ImageSets" / "Segmentation" / "val.txt", line))


def test_a_list_elsewhere_is_not_voc(devkit: Path):
    source = write_list(devkit / "mine.txt", "JPEGImages/2007_000001.jpg")
    assert list_source(source).kind == "list"


# --- many ---------------------------------------------------------------------------------------

BUDGET = """
import json, sys
from pathlib import Path
from maskmill.pipeline.sources.registry import list_source

kind, count, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
(folder / "JPEGImages").mkdir()
names = (f"a-long-way-down/{'and-on/' * 12}Frame_{number:010}.jpg" for number in range(count))
path = folder / {"list": "x.txt", "coco": "x.json", "voc": "a/b/x.txt"}[kind]
path.parent.mkdir(parents=True, exist_ok=True)
with path.open("w") as stream:
    if kind == "coco":
        stream.write('{"images": [')
        for number, name in enumerate(names):
            stream.write(", " * bool(number) + json.dumps({"id": number, "file_name": name}))
        stream.write("]}")
    else:
        stream.writelines(f"{name}\\n" for name in names)
assert len(list_source(str(path), kind=kind, root=str(folder / "JPEGImages"))) == count
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("kind", ["list", "coco", "voc"])
def test_memory_does_not_grow_with_the_names(tmp_path, kind):
    """250,000 names more, 110 bytes each: 50 MB (VOC) to 500 MB (text) if they were held."""
    peaks = []
    for count in (150_000, 400_000):
        (tmp_path / str(count)).mkdir()
        command = [sys.executable, "-c", BUDGET, kind, str(count), str(tmp_path / str(count))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] - peaks[0] < 30, peaks
