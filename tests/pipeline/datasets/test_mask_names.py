"""Masks and pictures find each other by what their names have and lack, or say why not."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maskmill.pipeline.datasets.mask_names import pair_names
from maskmill.schemas.errors import SettingsError
from tests.jobs.convert_in_process import convert_in_process as convert

NUMBERS = [f"{number:03d}" for number in range(30)]

LAYOUTS = {  # masks and pictures, as data sets come
    "NAME_mask.png with NAME.jpg": ("masks/{}_mask.png", "images/{}.jpg"),
    "NAME_mask.gif with NAME.jpg": ("train_masks/f0{}_01_mask.gif", "train/f0{}_01.jpg"),  # Carvana
    "NAME_L.png with NAME.png": ("LabeledApproved/0001TP_{}_L.png", "raw/0001TP_{}.png"),  # CamVid
    "NAME-seg.png with NAME.png": ("{}-seg.png", "{}.png"),
    "NAME_segmentation.png with NAME.jpg": ("gt/ISIC_{}_segmentation.png", "img/ISIC_{}.jpg"),
    "NAME_mask.png with NAME_sat.jpg": ("{}_mask.png", "{}_sat.jpg"),  # DeepGlobe
    "mask_NAME.png with image_NAME.jpg": ("y/mask_{}.png", "x/image_{}.jpg"),
    "mask_NAME.png with NAME.jpg": ("y/mask_{}.png", "x/{}.jpg"),
    "NAME_gtFine_labelIds.png with NAME_leftImg8bit.png": (
        "gtFine/val/ulm/ulm_{}_gtFine_labelIds.png", "leftImg8bit/val/ulm/ulm_{}_leftImg8bit.png",
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", LAYOUTS)
def test_the_layouts_of_known_sets(rule: str) -> None:
    masks, pictures = ([form.format(number) for number in NUMBERS] for form in LAYOUTS[rule])
    everything = sorted({*masks, *pictures})
    exact = [name for name in everything if not name.endswith(".jpg")]  # what a folder is read as
    found = pair_names(exact, everything)
    assert dict(found.pictures) == dict(zip(masks, pictures, strict=True))
    assert sorted(found.masks) == masks
    assert found.note() == f"pairs {rule}: 30 of 30"


def test_what_has_no_partner_is_named() -> None:
    masks = [f"{number}_mask.png" for number in NUMBERS]
    pictures = [f"{number}.jpg" for number in NUMBERS[2:]] + ["more.jpg"]
    assert pair_names(masks, pictures).note() == (
        "pairs NAME_mask.png with NAME.jpg: 28 of 30; 2 masks without picture: 000_mask.png, "
        "001_mask.png; 1 picture without mask"
    )


def test_masks_of_two_kinds_are_asked_for() -> None:
    kinds = ("_color", "_instanceIds", "_labelIds")
    masks = [f"gt/{number}{kind}.png" for number in NUMBERS for kind in kinds]
    pictures = [f"img/{number}.png" for number in NUMBERS]
    with pytest.raises(SettingsError, match="NAME_color and NAME_instanceIds and NAME_labelIds"):
        pair_names(masks, pictures)
    found = pair_names(masks, pictures, "_labelIds.png")
    assert found.pictures == {
        f"gt/{number}_labelIds.png": f"img/{number}.png" for number in NUMBERS
    }
    assert len(found.masks) == 30 and "60 files called otherwise" in str(found.note())
    with pytest.raises(SettingsError, match="no mask is called so"):
        pair_names(masks, pictures, "_gt")


def test_masks_alone_are_never_taken_for_pictures() -> None:
    """Two groups of masks in one folder look like pairs; nothing says that one is photographs."""
    names = [f"{group}_{number}.png" for number in NUMBERS for group in ("left", "right")]
    found = pair_names(names, names)
    assert found.masks == names and not found.pictures
    assert found.note() is None


def test_names_that_several_share_stay_alone() -> None:
    masks = ["a/1_mask.png", "b/1_mask.png", "a/2_mask.png", "a/3_mask.png"]
    found = pair_names(masks, ["x/1.jpg", "x/2.jpg", "x/3.jpg"])
    assert set(found.pictures) == {"a/2_mask.png", "a/3_mask.png"}
    splits = [f"{split}/{kind}" for split in ("train", "val") for kind in ("m/1_mask", "m/2_mask")]
    found = pair_names([f"{one}.png" for one in splits],
                       [f"{one.replace('m/', 'p/')[:-5]}.jpg" for one in splits])  # fmt: skip
    assert found.pictures["val/m/1_mask.png"] == "val/p/1.jpg"
    assert len(found.pictures) == 4


@given(
    st.sets(st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True), min_size=3, max_size=40),
    st.sampled_from(["_mask", "-seg", "_gt", ".label", " mask"]),
    st.randoms(),
)
def test_any_names_pair_with_their_own(stems: set[str], suffix: str, random: object) -> None:
    """One to one, with the right partner, whatever the order."""
    masks = [f"m/{stem}{suffix}.png" for stem in sorted(stems)]
    pictures = [f"p/{stem}.jpg" for stem in sorted(stems)]
    random.shuffle(pictures)
    found = pair_names(masks, pictures)
    assert dict(found.pictures) == {f"m/{one}{suffix}.png": f"p/{one}.jpg" for one in stems}


def write(path: Path, value: int, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (6, 4), value if mode == "L" else (value, 0, 7)).save(path)


def test_the_command_pairs_says_so_and_copies(tmp_path: Path) -> None:
    """Photographs and masks are PNGs alike, in one tree; one mask has no photograph."""
    for number in NUMBERS[:6]:
        write(tmp_path / f"in/gt/{number}_mask.png", 1)
        write(tmp_path / f"in/photos/{number}.png", int(number), "RGB")
    (tmp_path / "in/photos/000.png").unlink()
    (tmp_path / "in/classes.txt").write_text("background\ncat\n")
    done = convert(tmp_path / "in", tmp_path / "out", "--from", "masks", "--to", "voc")
    assert done.exit_code == 0, done.output
    assert "pairs NAME_mask.png with NAME.png: 5 of 6; 1 mask without picture" in done.stderr
    done = convert(tmp_path / "in", tmp_path / "two", "--from", "masks", "--to", "voc",
                   "--with-images")  # fmt: skip
    assert done.exit_code == 3, done.output
    report = json.loads(done.stdout)
    assert (report["pictures"], report["ledger"]["failed"]) == (5, 1)
    copied = np.asarray(Image.open(tmp_path / "two/dataset/JPEGImages/photos/003.png"))
    assert copied[0, 0].tolist() == [3, 0, 7]
    wrong = convert(tmp_path / "in", tmp_path / "no", "--from", "voc", "--to", "coco",
                    "--mask-suffix", "_mask")  # fmt: skip
    assert wrong.exit_code == 2 and "--mask-suffix is for folders of masks" in wrong.stderr


@pytest.mark.parametrize("has_pictures", [True, False])
def test_files_called_otherwise_are_counted(tmp_path: Path, has_pictures: bool) -> None:
    """--mask-suffix: photographs of masks are no loss, a mask of another name is."""
    for number in NUMBERS[:4]:
        write(tmp_path / f"in/gt/{number}_mask.png", 1)
        if has_pictures:
            write(tmp_path / f"in/photos/{number}.png", int(number), "RGB")
    write(tmp_path / "in/gt/other_edge.png", 1)
    (tmp_path / "in/classes.txt").write_text("background\ncat\n")
    told = ("--from", "masks", "--to", "indexed", "--mask-suffix", "_mask", "--strict")
    done = convert(tmp_path / "in", tmp_path / "out", *told)
    assert done.exit_code == 3, done.output
    report = json.loads(done.stdout)
    assert report["left_out"] == [{"kind": "other_names", "what": "", "count": 1}]
    assert report["ledger"]["ok"] == 4
    (tmp_path / "in/gt/other_edge.png").unlink()
    assert convert(tmp_path / "in", tmp_path / "two", *told).exit_code == 0


def test_masks_alone_are_no_pictures_of_each_other():
    """Cityscapes' and CamVid's names: what differs between two masks is no affix of theirs."""
    for names in (
        [f"frankfurt_{number:06}_000019_gtFine_labelIds.png" for number in range(4)],
        [f"0016E5_{number:05}_L.png" for number in range(4)],
    ):
        found = pair_names(names, set(names))
        assert (found.masks, found.pictures, found.note()) == (names, {}, None)
