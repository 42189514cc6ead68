"""Small folders laid out as the programs and data sets themselves lay them out.

Names, modes, palettes, values and list files are those of the sets' own pages and of the programs'
export code; the pixels are blocks. Each writer makes one data set in an empty folder.
"""

import base64
import io
import json
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from maskmill.schemas.labels import builtin, voc_color

VOC_PALETTE = [channel for index in range(256) for channel in voc_color(index)]
FRAMES = ("0001TP_006690", "0006R0_f00930", "0016E5_00390", "Seq05VD_f00000")
STREET = [0, 1, 2, 5, 8, 10, 11, 13, 255]
STREET_IDS = [0, 1, 3, 4, 7, 8, 11, 17, 21, 23, 26, 33]


def blocks(seed: int, classes: Sequence[int], side: int = 48) -> np.ndarray:
    """(side, side) uint8 in blocks of 8, every class at least once."""
    generator = np.random.default_rng(seed)
    count = (side // 8) ** 2
    order = generator.permutation(np.resize(np.array(classes), count))
    coarse = order.reshape(side // 8, side // 8)
    return coarse.repeat(8, 0).repeat(8, 1).astype(np.uint8)


def save(path: Path, image: Image.Image, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def document(path: Path, content: object) -> None:
    text(path, json.dumps(content))


def photo(path: Path, side: int = 48, seed: int = 0) -> None:
    """A picture no census takes for a mask."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)
    save(path, Image.fromarray(pixels))


def palette(mask: np.ndarray, colors: Sequence[int] = VOC_PALETTE) -> Image.Image:
    image = Image.fromarray(mask, "P")
    image.putpalette(list(colors))
    return image


def grey(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(mask)


def wide(values: np.ndarray) -> Image.Image:
    """16-bit grey."""
    return Image.fromarray(values.astype(np.uint16))


def painted(name: str, mask: np.ndarray) -> Image.Image:
    """In the colours of a built-in label map."""
    return Image.fromarray(builtin(name).color_table()[mask])


# ---- famous sets -------------------------------------------------------------------------------


def voc2012(root: Path) -> None:
    ids = ["2007_000032", "2007_000039", "2011_003271"]
    for number, name in enumerate(ids):
        mask = blocks(number, [0, 0, 1 + number, 15, 255])
        save(root / f"SegmentationClass/{name}.png", palette(mask))
        objects = np.where(mask == 255, 255, (mask > 0).astype(np.uint8))
        save(root / f"SegmentationObject/{name}.png", palette(objects.astype(np.uint8)))
        photo(root / f"JPEGImages/{name}.jpg", seed=number)
        text(
            root / f"Annotations/{name}.xml",
            f"<annotation><filename>{name}.jpg</filename><object><name>person</name><bndbox>"
            "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
            "</annotation>",
        )
    text(root / "ImageSets/Segmentation/trainval.txt", "".join(f"{one}\n" for one in ids))


def pascal_context(root: Path) -> None:
    """The 59 classes as mmsegmentation prepares them."""
    for number, name in enumerate(["2008_000002", "2008_000003"]):
        mask = blocks(number, [0, 3, 17, 31, 59])
        save(root / f"SegmentationClassContext/{name}.png", grey(mask))
        photo(root / f"JPEGImages/{name}.jpg", seed=number)


def camvid(root: Path) -> None:
    """Cambridge's own: colours, and the list that lies beside the archives."""
    table = builtin("camvid")
    for number, frame in enumerate(FRAMES):
        mask = blocks(number, [0, 4, 5, 17, 21, 26, 30])
        save(root / f"LabeledApproved_full/{frame}_L.png", painted("camvid", mask))
    lines = [f"{r} {g} {b}\t{entry.name}" for entry in table.classes for r, g, b in [entry.color]]
    text(root / "label_colors.txt", "\n".join(lines) + "\n")


def camvid_without_list(root: Path) -> None:
    camvid(root)
    (root / "label_colors.txt").unlink()


def camvid_of_segnet(root: Path) -> None:
    for number, frame in enumerate(FRAMES):
        mask = blocks(number, range(12))
        save(root / f"trainannot/{frame}.png", grey(mask))
        photo(root / f"train/{frame}.png", seed=number)
    pairs = [
        f"/SegNet/CamVid/train/{one}.png /SegNet/CamVid/trainannot/{one}.png" for one in FRAMES
    ]
    text(root / "train.txt", "\n".join(pairs) + "\n")


def cityscapes(
    root: Path, kinds: Sequence[str] = ("labelIds", "labelTrainIds", "instanceIds", "color")
) -> None:
    to_train = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11,
                25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}  # fmt: skip
    for number in range(3):
        ids = blocks(number, STREET_IDS)
        stem = f"gtFine/train/aachen/aachen_00000{number}_000019_gtFine"
        if "labelIds" in kinds:
            save(root / f"{stem}_labelIds.png", grey(ids))
        if "labelTrainIds" in kinds:
            train = np.vectorize(lambda one: to_train.get(one, 255))(ids).astype(np.uint8)
            save(root / f"{stem}_labelTrainIds.png", grey(train))
        if "instanceIds" in kinds:
            values = np.where(ids >= 24, ids.astype(np.int32) * 1000 + 1, ids)
            save(root / f"{stem}_instanceIds.png", wide(values))
        if "color" in kinds:
            colors = painted("cityscapes_labelids", ids).convert("RGBA")
            save(root / f"{stem}_color.png", colors)
        document(root / f"{stem}_polygons.json", {"imgHeight": 48, "imgWidth": 48, "objects": []})
        photo(root / f"leftImg8bit/train/aachen/aachen_00000{number}_000019_leftImg8bit.png",
              seed=number)  # fmt: skip


def kitti(root: Path) -> None:
    """The semantic/instance benchmark: data_semantics/training."""
    for number in range(3):
        ids = blocks(number, STREET_IDS)
        name = f"00000{number}_10.png"
        save(root / f"training/semantic/{name}", grey(ids))
        save(root / f"training/instance/{name}", wide(ids.astype(np.int32) * 256 + (ids > 23)))
        save(root / f"training/semantic_rgb/{name}", painted("cityscapes_labelids", ids))
        photo(root / f"training/image_2/{name}", seed=number)


def kitti_instances(root: Path) -> None:
    for number in range(3):
        ids = blocks(number, STREET_IDS).astype(np.int32)
        save(root / f"training/instance/00000{number}_10.png", wide(ids * 256 + 1))


VISTAS = {
    "v1.2": ["animal--bird", "construction--barrier--curb", "construction--flat--road",
             "human--person", "nature--sky", "void--unlabeled"],
    "v2.0": ["animal--bird", "animal--ground-animal", "construction--barrier--ambiguous",
             "construction--flat--road", "human--person", "nature--sky", "void--unlabeled"],
}  # fmt: skip


def vistas(root: Path, versions: Sequence[str] = ("v1.2",)) -> None:
    keys = ["__CRyFzoDOXn6unQ6a3DnQ", "_0VyYBjQbeyAMlNQP4fkwA"]
    for version in versions:
        names = VISTAS[version]
        labels = [
            {"name": name, "readable": name.split("--")[-1].title(), "evaluate": True,
             "instances": place == 0, "color": [17 * place + 3, 40 * place, 250 - 20 * place]}
            for place, name in enumerate(names)
        ]  # fmt: skip
        told = {"version": version[1:], "mapping": "public", "labels": labels}
        document(root / f"config_{version}.json", told)
        colors = [channel for entry in labels for channel in entry["color"]]
        for number, key in enumerate(keys):
            mask = blocks(number, range(len(names)))
            save(root / f"training/{version}/labels/{key}.png", palette(mask, colors))
            save(
                root / f"training/{version}/instances/{key}.png", wide(mask.astype(np.int32) * 256)
            )
            save(root / f"training/{version}/panoptic/{key}.png", Image.fromarray(rgb_ids(mask)))
        document(root / f"training/{version}/panoptic/panoptic_2020.json", {"images": []})
    for number, key in enumerate(keys):
        photo(root / f"training/images/{key}.jpg", seed=number)
        photo(root / f"testing/images/{key[::-1]}.jpg", seed=9 + number)
    text(root / "README", "Mapillary Vistas\n")


def rgb_ids(mask: np.ndarray) -> np.ndarray:
    """Segment ids as COCO's panoptic PNGs hold them: R + 256 G + 65536 B."""
    ids = (mask.astype(np.int32) + 1) * 300
    return np.stack([ids % 256, ids // 256, 0 * ids], axis=-1).astype(np.uint8)


def ade20k(root: Path) -> None:
    for number in range(3):
        mask = blocks(number, [0, 1, 3, 4, 21, 77, 150])
        save(root / f"annotations/validation/ADE_val_0000000{number + 1}.png", grey(mask))
        photo(root / f"images/validation/ADE_val_0000000{number + 1}.jpg", seed=number)
    text(root / "sceneCategories.txt", "ADE_val_00000001 bathroom\n")


def ade20k_full(root: Path) -> None:
    """2016: class R // 10 * 256 + G, instances in B, names in _atr.txt."""
    for number in range(2):
        stem = root / f"images/training/a/abbey/ADE_train_0000000{number + 1}"
        pixels = np.zeros((48, 48, 3), np.uint8)
        pixels[: 20 + number] = (110, 64, 60)  # 11 * 256 + 64
        pixels[20 + number :] = (10, 165, 120)  # 1 * 256 + 165
        save(stem.with_name(f"{stem.name}_seg.png"), Image.fromarray(pixels))
        save(stem.with_name(f"{stem.name}_parts_1.png"), Image.fromarray(pixels * 0))
        photo(stem.with_suffix(".jpg"), seed=number)
        text(
            stem.with_name(f"{stem.name}_atr.txt"),
            '001 # 0 # 0 # sky # sky # ""\n002 # 0 # 0 # building, edifice # building # ""\n',
        )


def loveda(root: Path) -> None:
    for number, scene in enumerate(["Rural", "Urban"]):
        mask = blocks(number, range(8))
        save(root / f"Train/{scene}/masks_png/{number}.png", grey(mask))
        photo(root / f"Train/{scene}/images_png/{number}.png", seed=number)


def bdd100k(root: Path) -> None:
    for number in range(3):
        mask = blocks(number, STREET)
        name = f"0000f77c-6257be5{number}.png"
        save(root / f"labels/sem_seg/masks/train/{name}", grey(mask))
        table = np.zeros((256, 3), np.uint8)
        table[:19] = builtin("cityscapes").color_table()
        save(root / f"labels/sem_seg/colormaps/train/{name}", Image.fromarray(table[mask]))
        photo(root / f"images/10k/train/{Path(name).stem}.jpg", seed=number)


def bdd100k_colors(root: Path) -> None:
    """The first release: color_labels in RGBA."""
    for number in range(3):
        mask = blocks(number, STREET)
        table = np.zeros((256, 3), np.uint8)
        table[:19] = builtin("cityscapes").color_table()
        image = Image.fromarray(table[mask]).convert("RGBA")
        save(root / f"seg/color_labels/train/0000f77c-6257be5{number}_train_color.png", image)


def bdd100k_bitmasks(root: Path) -> None:
    for number in range(3):
        mask = blocks(number, range(1, 9))
        pixels = np.stack(
            [mask, mask * 0, mask * 0, np.arange(48 * 48).reshape(48, 48) % 7 + 1], -1
        )
        path = root / f"labels/ins_seg/bitmasks/train/0000f77c-6257be5{number}.png"
        save(path, Image.fromarray(pixels.astype(np.uint8), "RGBA"))


def open_images(root: Path) -> None:
    rows = ["MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks"]
    for number, label in enumerate(["m01g317", "m0k4j"]):
        name = f"0a1b2c3d4e5f678{number}_{label}_1f2e3d4c.png"
        mask = blocks(number, [0, 1]).astype(bool)
        save(root / f"train-masks-0/{name}", Image.fromarray(mask))
        rows.append(f"{name},0a1b2c3d4e5f678{number},/m/{label[1:]},1f2e3d4c,0,1,0,1,0.9,")
    text(root / "train-annotations-object-segmentation.csv", "\n".join(rows) + "\n")
    text(root / "class-descriptions-boxable.csv", "/m/01g317,Person\n/m/0k4j,Car\n")


def carvana(root: Path) -> None:
    for number in range(3):
        mask = blocks(number, [0, 0, 1])
        image = palette(mask, [0, 0, 0, 255, 255, 255] + [0] * 762)
        save(root / f"train_masks/0cdf5b5d0ce1_0{number + 1}_mask.gif", image)
        photo(root / f"train/0cdf5b5d0ce1_0{number + 1}.jpg", seed=number)
    text(root / "train_masks.csv", "img,rle_mask\n0cdf5b5d0ce1_01.jpg,1 2\n")


def davis(root: Path) -> None:
    for video, objects in (("bear", [0, 1]), ("bike-packing", [0, 1, 2])):
        for number in range(2):
            mask = blocks(number, objects)
            save(root / f"Annotations/480p/{video}/{number:05d}.png", palette(mask))
            photo(root / f"JPEGImages/480p/{video}/{number:05d}.jpg", seed=number)
    text(root / "ImageSets/2017/train.txt", "bear\nbike-packing\n")


def coco_stuff_things(root: Path) -> None:
    for number in range(2):
        mask = blocks(number, [0, 17, 91, 156, 181, 255])
        save(root / f"stuffthingmaps/val2017/00000000013{number}.png", grey(mask))
        photo(root / f"val2017/00000000013{number}.jpg", seed=number)


# ---- exports of programs -----------------------------------------------------------------------


def cvat_masks(root: Path) -> None:
    """'Segmentation mask 1.1': RGB in the labels' colours."""
    colors = np.array([[0, 0, 0], [250, 50, 83], [51, 221, 255]], np.uint8)
    for number in range(3):
        mask = blocks(number, [0, 0, 1, 2])
        save(root / f"SegmentationClass/img_{number}.png", Image.fromarray(colors[mask]))
        objects = np.array(VOC_PALETTE, np.uint8).reshape(-1, 3)[(mask > 0).astype(int)]
        save(root / f"SegmentationObject/img_{number}.png", Image.fromarray(objects))
    text(
        root / "labelmap.txt",
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\npallet:250,50,83::\n"
        "forklift:51,221,255::\n",
    )
    text(root / "ImageSets/Segmentation/default.txt", "img_0\nimg_1\nimg_2\n")


def labelme2voc(root: Path, folder: str = "SegmentationClassPNG") -> None:
    """labelme's examples keep VOC's own file names; the classes are three."""
    ids = ["2011_000003", "2011_000006", "2011_000025"]
    for number, name in enumerate(ids):
        mask = blocks(number, [0, 0, 1, 2, 255])
        save(root / f"{folder}/{name}.png", palette(mask))
        shown = Image.fromarray(np.array(VOC_PALETTE, np.uint8).reshape(-1, 3)[mask])
        save(root / f"SegmentationClassVisualization/{name}.jpg", shown)
        photo(root / f"JPEGImages/{name}.jpg", seed=number)
        if folder == "SegmentationClassPNG":
            (root / "SegmentationClass").mkdir(exist_ok=True)
            np.save(root / f"SegmentationClass/{name}.npy", mask.astype(np.int32))
    text(root / "class_names.txt", "_background_\nsofa\ncat\n")


def roboflow(root: Path) -> None:
    table = "Pixel Value, Class\n0, background\n1, crack\n2, rust\n"
    for split, numbers in (("train", (0, 1)), ("valid", (2, 3))):
        for number in numbers:
            stem = f"IMG_{number}_jpg.rf.0f3c1d2e4b5a69788796a5b4c3d2e1f{number}"
            save(root / f"{split}/{stem}_mask.png", grey(blocks(number, [0, 0, 1, 2])))
            photo(root / f"{split}/{stem}.jpg", seed=number)
        text(root / f"{split}/_classes.csv", table)
    text(root / "README.dataset.txt", "# cracks > raw\n")


def supervisely(root: Path) -> None:
    stream = io.BytesIO()
    bitmap = Image.fromarray(np.ones((8, 8), np.uint8), "P")
    bitmap.putpalette([0, 0, 0, 255, 255, 255])
    bitmap.save(stream, "PNG", transparency=0)
    data = base64.b64encode(zlib.compress(stream.getvalue())).decode()
    photo(root / "ds0/img/a.jpg")
    lemon = {"title": "lemon", "shape": "bitmap", "color": "#51C6AA", "id": 1}
    document(root / "meta.json", {"classes": [lemon], "tags": []})
    figure = {
        "classTitle": "lemon", "description": "", "tags": [], "geometryType": "bitmap",
        "shape": "bitmap", "bitmap": {"origin": [4, 4], "data": data},
    }  # fmt: skip
    size = {"height": 48, "width": 48}
    document(
        root / "ds0/ann/a.jpg.json",
        {"description": "", "tags": [], "size": size, "objects": [figure]},
    )


def label_studio_pngs(root: Path) -> None:
    for task in (1, 2):
        for label in ("person", "sky"):
            mask = blocks(task + 10 * len(label), [0, 255])
            save(root / f"task-{task}-annotation-{task}-by-1-tag-{label}-0.png", grey(mask))


def label_studio_json(root: Path) -> None:
    photo(root / "a.jpg")
    points = [[10, 10], [50, 10], [50, 50]]
    region = {
        "id": "r1", "type": "polygonlabels", "from_name": "tag", "to_name": "image",
        "original_width": 48, "original_height": 48, "image_rotation": 0,
        "value": {"points": points, "polygonlabels": ["person"], "closed": True},
    }  # fmt: skip
    task = {"id": 1, "data": {"image": "/data/upload/1/a.jpg"}}
    document(root / "project-1.json", [{**task, "annotations": [{"id": 3, "result": [region]}]}])


def segments_ai(root: Path) -> None:
    """The release's document, as it is downloaded."""
    label = {
        "format_version": "0.1", "annotations": [{"id": 1, "category_id": 1}],
        "segmentation_bitmap": {"url": "https://example.org/a.png"},
    }  # fmt: skip
    sample = {
        "name": "a.jpg", "attributes": {"image": {"url": "https://example.org/a.jpg"}},
        "labels": {"ground-truth": {"label_status": "LABELED", "attributes": label}},
    }  # fmt: skip
    content = {
        "name": "cats", "task_type": "segmentation-bitmap", "samples": [sample],
        "labelsets": [{"name": "ground-truth", "is_groundtruth": True}],
    }  # fmt: skip
    document(root / "cats-v0.1.json", {"name": "v0.1", "description": "", "dataset": content})
    photo(root / "a.jpg")


def segments_ai_bitmaps(root: Path) -> None:
    """Ids in 32 bits: R, G and B, with 255 in A."""
    for number in range(2):
        ids = blocks(number, [0, 1, 2])
        pixels = np.stack([ids, ids * 0, ids * 0, ids * 0 + 255], -1)
        save(root / f"{number}_label_ground-truth.png", Image.fromarray(pixels, "RGBA"))
        photo(root / f"{number}.jpg", seed=number)


def darwin(root: Path) -> None:
    document(
        root / "a.json",
        {"version": "2.0",
         "schema_ref": "https://darwin-public.s3.eu-west-1.amazonaws.com/darwin_json/2.0/schema.json",
         "item": {"name": "a.jpg", "path": "/", "source_info": {"team": {"slug": "x"}},
                  "slots": [{"type": "image", "slot_name": "0", "width": 48, "height": 48}]},
         "annotations": [{"id": "1", "name": "cat", "polygon": {"paths": [[{"x": 1, "y": 1}]]}}]},
    )  # fmt: skip


def cvat_images(root: Path) -> None:
    text(
        root / "annotations.xml",
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task>'
        "<mode>annotation</mode><labels><label><name>cat</name><color>#fa3253</color></label>"
        '</labels></task></meta><image id="0" name="a.jpg" width="48" height="48">'
        '<polygon label="cat" source="manual" occluded="0" points="3.00,2.00;20.00,2.00;'
        '20.00,30.00" z_order="0"></polygon></image></annotations>',
    )
    photo(root / "images/a.jpg")


def cvat_video(root: Path) -> None:
    text(
        root / "annotations.xml",
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task>'
        "<mode>interpolation</mode><labels><label><name>cat</name></label></labels></task></meta>"
        '<track id="0" label="cat" source="manual"><polygon frame="0" keyframe="1" outside="0" '
        'occluded="0" points="3.00,2.00;20.00,2.00;20.00,30.00" z_order="0"></polygon></track>'
        "</annotations>",
    )


def labelme_xml(root: Path) -> None:
    text(
        root / "Annotations/users/me/a.xml",
        "<annotation><filename>a.jpg</filename><folder>users/me</folder><object><name>car</name>"
        "<deleted>0</deleted><polygon><username>me</username><pt><x>1</x><y>1</y></pt><pt><x>9</x>"
        "<y>1</y></pt><pt><x>9</x><y>9</y></pt></polygon></object></annotation>",
    )
    photo(root / "Images/users/me/a.jpg")


def labelme_json(root: Path) -> None:
    for number, label in enumerate(["cat", "sofa"]):
        photo(root / f"{number}.jpg", seed=number)
        shape = {
            "label": label, "points": [[2.0, 2.0], [30.0, 2.0], [30.0, 40.0]], "group_id": None,
            "description": "", "shape_type": "polygon", "flags": {},
        }  # fmt: skip
        document(
            root / f"{number}.json",
            {"version": "5.4.1", "flags": {}, "shapes": [shape], "imagePath": f"{number}.jpg",
             "imageData": None, "imageHeight": 48, "imageWidth": 48},
        )  # fmt: skip


def coco_json(root: Path) -> None:
    photo(root / "val2017/000000000139.jpg")
    document(
        root / "annotations/instances_val2017.json",
        {"info": {}, "licenses": [],
         "images": [{"id": 139, "file_name": "000000000139.jpg", "height": 48, "width": 48}],
         "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}],
         "annotations": [{"id": 1, "image_id": 139, "category_id": 18, "iscrowd": 0, "area": 200,
                          "bbox": [2, 2, 20, 20], "segmentation": [[2, 2, 22, 2, 22, 22]]}]},
    )  # fmt: skip


def coco_panoptic(root: Path) -> None:
    images, annotations = [], []
    for number in range(2):
        first = 3937500 + 70000 * number
        ids = np.where(blocks(number, [0, 1]) > 0, first, first + 513)
        pixels = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)
        name = f"00000000013{number}"
        save(root / f"annotations/panoptic_val2017/{name}.png", Image.fromarray(pixels))
        photo(root / f"val2017/{name}.jpg", seed=number)
        images.append({"id": number, "file_name": f"{name}.jpg", "height": 48, "width": 48})
        segments = [
            {"id": int(one), "category_id": place + 1, "area": int((ids == one).sum()),
             "iscrowd": 0, "bbox": [0, 0, 48, 48]}
            for place, one in enumerate((first, first + 513))
        ]  # fmt: skip
        entry = {"image_id": number, "file_name": f"{name}.png", "segments_info": segments}
        annotations.append(entry)
    categories = [
        {"id": 1, "name": "person", "isthing": 1, "color": [220, 20, 60], "supercategory": ""},
        {"id": 2, "name": "sky", "isthing": 0, "color": [70, 130, 180], "supercategory": ""},
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    document(root / "annotations/panoptic_val2017.json", content)


def yolo(root: Path) -> None:
    text(
        root / "data.yaml",
        "path: .\ntrain: images/train\nval: images/train\nnames:\n  0: cat\n  1: dog\n",
    )
    for number in range(2):
        photo(root / f"images/train/{number}.jpg", seed=number)
        text(root / f"labels/train/{number}.txt", f"{number} 0.1 0.1 0.6 0.1 0.6 0.7\n")


def ultralytics(root: Path) -> None:
    text(
        root / "data.yaml",
        "train: images/train\nval: images/train\nmasks_dir: masks\nnames:\n  0: road\n  1: car\n",
    )
    for number in range(2):
        photo(root / f"images/train/{number}.jpg", seed=number)
        save(root / f"masks/train/{number}.png", grey(blocks(number, [0, 1, 255])))


# ---- plain folders -----------------------------------------------------------------------------


def binary(root: Path) -> None:
    for number in range(3):
        save(root / f"masks/{number}.png", grey(blocks(number, [0, 255])))
        photo(root / f"imgs/{number}.jpg", seed=number)


def grey_jpegs(root: Path) -> None:
    for number in range(3):
        save(root / f"{number}.jpg", grey(blocks(number, [0, 1, 2, 3]) * 60), quality=85)


def palette_of_nobody(root: Path) -> None:
    """VOC's colormap and VOC's folder, but somebody's own three classes without a list."""
    for number in range(3):
        save(root / f"SegmentationClass/frame_{number}.png", palette(blocks(number, [0, 1, 2])))


def empty(root: Path) -> None:
    (root / "masks").mkdir(parents=True)


def pictures(root: Path) -> None:
    for number in range(2):
        photo(root / f"{number}.jpg", seed=number)
    photo(root / "2.png", seed=2)


Writer = Callable[[Path], None]
labelme2voc_classes = partial(labelme2voc, folder="SegmentationClass")
vistas_both = partial(vistas, versions=("v1.2", "v2.0"))
cityscapes_instances = partial(cityscapes, kinds=("instanceIds",))
cityscapes_train_ids = partial(cityscapes, kinds=("labelTrainIds",))
cityscapes_colors = partial(cityscapes, kinds=("color",))
