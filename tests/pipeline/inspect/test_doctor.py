"""The mask doctor names the convention of known sets and finds every planted sickness."""

import io
import json
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from maskmill.pipeline.inspect.census import census_of, count_islands
from maskmill.pipeline.inspect.doctor import Inspection, census_in, inspect_masks
from maskmill.schemas.errors import SettingsError
from maskmill.schemas.labels import LabelMap, builtin, voc_color
from tests.jobs.convert_in_process import convert_in_process

VOC_PALETTE = [channel for index in range(256) for channel in voc_color(index)]


def blocks(seed: int, classes: Sequence[int], side: int = 48, block: int = 8) -> np.ndarray:
    """A mask of blocks of the given classes, without one-pixel islands."""
    generator = np.random.default_rng(seed)
    coarse = generator.choice(list(classes), (side // block, side // block))
    return coarse.repeat(block, 0).repeat(block, 1).astype(np.uint8)


def save(path: Path, image: Image.Image, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def palette_image(mask: np.ndarray, palette: Sequence[int] = VOC_PALETTE) -> Image.Image:
    image = Image.fromarray(mask, "P")
    image.putpalette(list(palette))
    return image


def inspect(folder: Path, **options: object) -> Inspection:
    def censuses(names: Sequence[str]) -> list:
        return list(map(partial(census_in, str(folder)), names))

    return inspect_masks(str(folder), censuses, **options)


def kinds(found: Inspection) -> set[str]:
    return set(found.kinds())


def write_voc(folder: Path) -> None:
    for number in range(4):
        mask = blocks(number, [0, 0, number + 1, 20])
        mask[:2] = 255
        save(folder / f"SegmentationClass/2007_00000{number}.png", palette_image(mask))


def write_grey(folder: Path, classes: Sequence[int], name: str = "{}.png") -> None:
    for number in range(4):
        image = Image.fromarray(blocks(number, classes, side=80))
        save(folder / name.format(number), image)


def write_camvid(folder: Path) -> None:
    table = builtin("camvid").color_table()
    for number in range(4):
        save(
            folder / f"0001TP_00669{number}_L.png",
            Image.fromarray(table[blocks(number, range(1, 20))]),
        )


def write_binary(folder: Path) -> None:
    for number in range(4):
        save(folder / f"{number}.png", Image.fromarray(blocks(number, [0, 255])))


def write_panoptic(folder: Path) -> None:
    generator = np.random.default_rng(3)
    for number in range(4):
        colors = generator.integers(0, 256, (256, 3)).astype(np.uint8)
        save(folder / f"{number}.png", Image.fromarray(colors[blocks(number, range(30))]))


LABEL_IDS = [1, 3, 4, 7, 8, 11, 17, 21, 23, 24, 26, 33]
TRAIN_IDS = [*range(19), 255]
ADE20K = [0, 1, 3, 4, 6, 13, 21, 77, 103, 150]
CASES: list[tuple[str, Callable[[Path], None], str]] = [
    ("voc", write_voc, "voc"),
    (
        "cityscapes labelIds",
        partial(write_grey, classes=LABEL_IDS, name="aachen_00000{}_000019_gtFine_labelIds.png"),
        "cityscapes_labelids",
    ),
    (
        "cityscapes trainIds",
        partial(write_grey, classes=TRAIN_IDS, name="ulm_00000{}_000019_gtFine_labelTrainIds.png"),
        "cityscapes",
    ),
    ("ade20k", partial(write_grey, classes=ADE20K, name="ADE_val_0000000{}.png"), "ade20k"),
    ("camvid", write_camvid, "camvid"),
    ("binary 0/255", write_binary, ""),
    ("panoptic", write_panoptic, ""),
]


@pytest.mark.parametrize(("name", "write", "labels"), CASES, ids=[case[0] for case in CASES])
def test_conventions(tmp_path: Path, name: str, write: Callable[[Path], None], labels: str) -> None:
    write(tmp_path)
    found = inspect(tmp_path)
    assert found.convention.name == name, found.convention
    assert found.convention.labels == labels
    assert not found.is_sick, found.findings
    assert found.convention.format == name or labels or name == "binary 0/255"
    if not labels:  # neither names the classes: there is no command that would be right
        assert found.next == ""
    else:
        run_next_step(found, tmp_path / "out")


@pytest.mark.parametrize("classes", [LABEL_IDS, TRAIN_IDS, ADE20K, [0, 1, 2, 20]])
def test_values_alone_name_no_set(tmp_path: Path, classes: list[int]) -> None:
    write_grey(tmp_path, classes)
    found = inspect(tmp_path)
    assert (found.convention.name, found.convention.labels, found.labels) == ("indices", "", None)


@pytest.mark.parametrize("table", ["voc", "camvid", "cityscapes"])
def test_colours_alone_name_no_set(tmp_path: Path, table: str) -> None:
    colors = builtin(table).color_table()
    for number in range(3):
        mask = blocks(number, range(len(colors)))
        save(tmp_path / f"{number}.png", Image.fromarray(colors[mask]))
    found = inspect(tmp_path)
    assert (found.convention.name, found.convention.labels, found.labels) == ("colours", "", None)


REAL = [
    ("voc_masks_500", "voc"),
    ("voc", "voc"),
    ("ade20k/sampleData/annotations", "ade20k"),
    ("ade20k", "ade20k"),
    ("coco_panoptic/sample_data/panoptic_examples", "panoptic"),
    ("coco_panoptic/sample_data", "panoptic"),
    ("coco_panoptic/sample_data/panoptic_examples_2ch_format", "panoptic in two channels"),
    ("finetune_land", "palette"),
]


@pytest.mark.parametrize(("folder", "name"), REAL)
def test_conventions_of_real_masks(shared: Path, folder: str, name: str) -> None:
    found = inspect(shared / "data" / folder)
    assert found.convention.name == name
    assert not found.is_sick


LARGE = ("voc_masks_500", "finetune_land")
RUNNABLE = [folder for folder, name in REAL if "channels" not in name and folder not in LARGE]


@pytest.mark.parametrize("folder", RUNNABLE)
def test_the_next_step_works_as_it_stands(shared: Path, tmp_path: Path, folder: str) -> None:
    run_next_step(inspect(shared / "data" / folder), tmp_path / "out")


@pytest.mark.thorough
def test_the_next_step_of_real_masks_keeps_the_names_of_their_list(
    shared: Path, tmp_path: Path
) -> None:
    found = inspect(shared / "data/finetune_land")
    assert found.naming.origin == "labelmap.txt"
    run_next_step(found, tmp_path)
    (path,) = (tmp_path / "dataset").rglob("*.json")
    document = json.loads(path.read_text())
    assert [one["name"] for one in document["categories"]] == ["building", "sky", "tree", "way"]
    assert len(document["images"]) == 120


def run_next_step(found: Inspection, out: Path) -> None:
    words = shlex.split(found.next)
    words[words.index("OUT")] = str(out)
    assert words[:2] == ["maskmill", "convert"]
    done = convert_in_process(*words[2:])
    assert done.exit_code == 0, done.output


def test_what_is_sick_in_a_real_folder_does_not_hide_what_the_rest_is(shared: Path) -> None:
    """VOC in colours and in indices, photographs, and two masks whose borders are blends."""
    found = inspect(shared / "data/vainf_voc")
    assert found.convention.name == "colours and indices"
    assert found.is_unnamed
    blended = {one.file for one in found.findings if one.kind == "blended"}
    assert blended == {"samples/city_1_target.png", "samples/city_6_target.png"}
    assert {one.file for one in found.findings if one.severity == "sick"} == blended
    (one,) = (one for one in found.findings if one.kind == "photographs")
    assert "left out (3)" in one.sentence
    assert "folder of their own" in one.sentence


def test_a_photograph_on_a_plain_ground_is_no_mask(tmp_path: Path) -> None:
    write_voc(tmp_path)
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[:40, :60] = np.random.default_rng(0).integers(0, 256, (40, 60, 3))
    save(tmp_path / "photo.png", Image.fromarray(picture))
    assert kinds(inspect(tmp_path)) == {"photographs"}


def test_palette_masks_saved_as_grey_are_known_by_their_luminance(tmp_path: Path) -> None:
    for number in range(3):
        image = palette_image(blocks(number, [0, 2, 8, 15])).convert("L")
        save(tmp_path / f"{number}.png", image)
    found = inspect(tmp_path)
    assert found.convention.name == "voc as luminance"
    assert "luminance" in kinds(found)
    assert found.is_sick


def plant_truncated(folder: Path) -> None:
    data = (folder / "SegmentationClass/2007_000000.png").read_bytes()
    (folder / "SegmentationClass/x.png").write_bytes(data[:60])


def plant_jpeg(folder: Path) -> None:
    table = np.array(VOC_PALETTE, np.uint8).reshape(-1, 3)
    image = Image.fromarray(table[blocks(9, [0, 5, 7])])
    save(folder / "SegmentationClass/x.jpg", image, quality=80)


def plant_resized(folder: Path) -> None:
    image = Image.fromarray(blocks(9, [0, 5, 7, 20]) * 1)
    save(folder / "SegmentationClass/x.png", image.resize((100, 100), Image.Resampling.BICUBIC))


def plant_colors(folder: Path) -> None:
    table = np.array(VOC_PALETTE, np.uint8).reshape(-1, 3).copy()
    table[5] = (130, 3, 128)
    save(folder / "SegmentationClass/x.png", Image.fromarray(table[blocks(9, [0, 5, 7])]))


def plant_value(folder: Path) -> None:
    save(folder / "SegmentationClass/x.png", palette_image(blocks(9, [0, 5, 99])))


def plant_binary(folder: Path) -> None:
    save(folder / "SegmentationClass/x.png", Image.fromarray(blocks(9, [0, 255])))


def plant_empty(folder: Path) -> None:
    save(folder / "SegmentationClass/x.png", palette_image(np.zeros((48, 48), np.uint8)))


def plant_duplicate(folder: Path) -> None:
    data = (folder / "SegmentationClass/2007_000000.png").read_bytes()
    (folder / "SegmentationClass/x.png").write_bytes(data)


def plant_islands(folder: Path) -> None:
    mask = blocks(9, [0, 5])
    mask[::3, ::3] = 7
    save(folder / "SegmentationClass/x.png", palette_image(mask))


def plant_exif(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(folder / "SegmentationClass/x.png", palette_image(blocks(9, [0, 5])), exif=exif)


SICK = {
    "unreadable": plant_truncated, "lossy": plant_jpeg, "blended": plant_resized,
    "unknown_color": plant_colors, "unknown_value": plant_value, "binary_255": plant_binary,
    "duplicate": plant_duplicate, "islands": plant_islands, "exif_orientation": plant_exif,
}  # fmt: skip


@pytest.mark.parametrize(("kind", "plant"), SICK.items())
def test_planted_sickness_is_found_in_its_file_and_nowhere_else(
    tmp_path: Path, kind: str, plant: Callable[[Path], None]
) -> None:
    write_voc(tmp_path)
    assert not inspect(tmp_path, labels=builtin("voc")).findings
    plant(tmp_path)
    found = inspect(tmp_path, labels=builtin("voc"))
    mine = [one for one in found.findings if one.kind == kind]
    assert [Path(one.file).stem for one in mine] == ["x"], found.findings
    assert mine[0].severity == "sick"
    assert found.is_sick
    assert {one.file for one in found.findings if one.severity == "sick"} == {mine[0].file}


def test_empty_masks_are_odd_but_no_reason_to_fail(tmp_path: Path) -> None:
    write_voc(tmp_path)
    plant_empty(tmp_path)
    found = inspect(tmp_path)
    assert [one.file for one in found.findings if one.kind == "empty"] == [
        "SegmentationClass/x.png"
    ]
    assert not found.is_sick


def test_an_unknown_colour_comes_with_its_share_and_nearest_class(tmp_path: Path) -> None:
    write_voc(tmp_path)
    plant_colors(tmp_path)
    found = inspect(tmp_path, labels=builtin("voc"))
    (one,) = (one for one in found.findings if one.kind == "unknown_color")
    assert "(130, 3, 128)" in one.sentence
    assert "nearest bottle (128, 0, 128) at distance 4" in one.sentence


def test_off_by_one_against_the_label_map(tmp_path: Path) -> None:
    labels = LabelMap.from_names("four", ["a", "b", "c", "d"], background=None)
    write_grey(tmp_path, [1, 2, 3, 4])
    found = inspect(tmp_path, labels=labels)
    assert "off_by_one" in kinds(found)
    write_grey(tmp_path, [0, 1, 2, 3])
    assert "off_by_one" not in kinds(inspect(tmp_path, labels=labels))


def test_sizes_and_orientation_against_the_pictures(tmp_path: Path) -> None:
    masks, photos = tmp_path / "masks", tmp_path / "photos"
    shape = {"good": (30, 20), "small": (15, 10), "turned": (20, 30)}
    for number, (name, size) in enumerate(shape.items()):
        mask = np.zeros((size[1], size[0]), np.uint8)
        mask[2:8, 2 : 5 + number] = 1
        save(masks / f"{name}.png", palette_image(mask))
        save(photos / f"{name}.jpg", Image.new("RGB", (30, 20)))
    mask = np.full((9, 9), 2, np.uint8)
    mask[:3] = 0
    save(masks / "alone.png", palette_image(mask))
    found = inspect(masks, images=str(photos))
    told = {one.file: one.kind for one in found.findings if one.severity == "sick"}
    assert told == {
        "small.png": "size_mismatch", "turned.png": "orientation_mismatch",
        "alone.png": "missing_image",
    }  # fmt: skip


def test_a_picture_that_is_shown_turned_fits_a_mask_in_that_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "photos/a.jpg", Image.new("RGB", (30, 20)), exif=exif)
    save(tmp_path / "masks/a.png", palette_image(blocks(1, [0, 1])[:30, :20]))
    found = inspect(tmp_path / "masks", images=str(tmp_path / "photos"))
    assert not found.is_sick, found.findings


def test_mixed_modes_are_said(tmp_path: Path) -> None:
    write_voc(tmp_path)
    table = np.array(VOC_PALETTE, np.uint8).reshape(-1, 3)
    save(tmp_path / "SegmentationClass/x.png", Image.fromarray(table[blocks(9, [0, 5, 7])]))
    found = inspect(tmp_path, labels=builtin("voc"))
    assert kinds(found) == {"mixed_modes"}


def test_shadows_of_macos_are_no_sick_masks(tmp_path: Path) -> None:
    Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "._a.png").write_bytes(b"\0\5\x16\7" + bytes(80))
    found = inspect(tmp_path)
    assert [file.name for file in found.files] == ["a.png"]
    (hidden,) = [one for one in found.findings if one.kind == "hidden"]
    assert hidden.severity == "odd" and "1 hidden files are left out, ._a.png" in hidden.sentence


def test_photographs_beside_the_masks_are_left_out(tmp_path: Path) -> None:
    write_voc(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8)
    save(tmp_path / "photo.png", Image.fromarray(noise))
    found = inspect(tmp_path)
    assert len(found.files) == 4
    assert kinds(found) == {"photographs"}


@pytest.mark.parametrize("seed", range(20))
def test_islands_are_what_scipy_finds(seed: int) -> None:
    """A one-pixel island is an 8-connected component of one pixel of its value."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 3, tuple(generator.integers(2, 12, 2)))
    wanted = 0
    for value in range(3):
        labelled, _ = ndimage.label(pixels == value, np.ones((3, 3)))
        wanted += int((np.bincount(labelled.ravel())[1:] == 1).sum())
    assert count_islands(pixels) == wanted


def test_counts_of_values_are_numpys(tmp_path: Path) -> None:
    mask = blocks(1, range(9))
    stream = io.BytesIO()
    palette_image(mask).save(stream, "PNG")
    census = census_of(stream.getvalue(), "m.png")
    values, counts = np.unique(mask, return_counts=True)
    assert dict(census.values) == dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert census.palette == "voc"
    assert census.size_hw == mask.shape


def test_the_document_is_plain_json(tmp_path: Path) -> None:
    write_voc(tmp_path)
    document = json.loads(json.dumps(inspect(tmp_path).to_dict()))
    assert document["files"] == 4
    assert document["convention"]["name"] == "voc"
    assert sum(row["share"] for row in document["values"]) == pytest.approx(1)


def test_indices_that_nothing_names_get_no_names(tmp_path: Path) -> None:
    write_grey(tmp_path, classes=[0, 1, 2, 5])
    found = inspect(tmp_path)
    assert (found.convention.name, found.convention.labels) == ("indices", "")
    assert found.is_unnamed and found.next == ""


def test_a_dataset_without_masks_is_told_what_it_is(tmp_path: Path) -> None:
    document = {"version": "5.0.1", "shapes": [], "imagePath": "a.jpg"}
    (tmp_path / "a.json").write_text(json.dumps(document))
    found = inspect(tmp_path)
    assert found.convention.reason == "a.json is a labelme document"
    assert "--from labelme" in found.next and not found.files


@pytest.mark.parametrize(
    "shapes, is_boxes",
    [(["rectangle", "point"], True), (["rectangle", "polygon"], False), ([], False)],
)
def test_documents_of_boxes_have_no_next_step(
    tmp_path: Path, shapes: list[str], is_boxes: bool
) -> None:
    """`convert` refuses them; pictures without any shape may be pictures of background."""
    points = {"rectangle": [[1, 1], [4, 4]], "point": [[2, 2]], "polygon": [[1, 1], [5, 1], [5, 5]]}
    drawn = [{"label": "cat", "shape_type": kind, "points": points[kind]} for kind in shapes]
    document = {
        "version": "5.0.1", "imagePath": "a.jpg", "imageHeight": 8, "imageWidth": 9,
        "shapes": drawn,
    }  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(document))
    found = inspect(tmp_path)
    assert (found.next == "") == is_boxes
    assert [one.kind for one in found.findings] == (["boxes"] if is_boxes else [])
    assert not is_boxes or "have 1 boxes, 1 key points and no mask" in found.findings[0].sentence


def test_nothing_to_inspect(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(SettingsError, match="no mask"):
        inspect(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8)
    save(tmp_path / "a.png", Image.fromarray(noise))
    with pytest.raises(SettingsError, match=r"only photographs: a\.png"):
        inspect(tmp_path)
