"""Other programs' readers, run in their own environment: READER FOLDER OUT.npz."""

import io
import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np

warnings.filterwarnings("ignore")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


def datumaro_reader(name):
    """Masks of class names per item: object arrays of (label, mask) flattened to one npz."""

    def read(folder):
        import datumaro

        dataset = datumaro.Dataset.import_from(str(folder), name)
        labels = [entry.name for entry in dataset.categories()[datumaro.AnnotationType.label]]
        found = {}
        for item in dataset:
            for annotation in item.annotations:
                if annotation.type in (
                    datumaro.AnnotationType.mask,
                    datumaro.AnnotationType.polygon,
                ):
                    image = getattr(annotation, "image", None)
                    mask = np.asarray(image() if callable(image) else image) > 0
                    key = f"{item.id}|{labels[annotation.label]}"
                    found[key] = found.get(key, np.zeros_like(mask)) | mask
        return found

    return read


def label_studio(folder):
    from label_studio_sdk.converter import brush

    found = {}
    for task in json.loads((folder / "tasks.json").read_text(encoding="utf-8")):
        name = task["data"]["image"].split("?d=")[1]
        for region in task["predictions"][0]["result"]:
            values = np.asarray(brush.decode_rle(region["value"]["rle"]), dtype=np.uint8)
            shape = region["original_height"], region["original_width"], 4
            mask = values.reshape(shape)[..., 3] > 0
            found[f"{name}|{region['value']['brushlabels'][0]}"] = mask
    return found


def labelme(folder):
    """labelme's own loader, which refuses sizes that are not the picture's as shown."""
    from labelme._label_file import read_label_file

    found = {}
    for path in sorted(folder.rglob("*.json")):
        data = read_label_file(str(path))
        document = json.loads(path.read_text(encoding="utf-8"))
        size = (document["imageHeight"], document["imageWidth"])
        shapes = data.shapes if hasattr(data, "shapes") else data["shapes"]
        for shape in shapes:
            (x1, y1), (x2, y2) = np.asarray(shape["points"]).round().astype(int)
            mask = np.zeros(size, bool)
            mask[y1 : y2 + 1, x1 : x2 + 1] = shape["mask"]
            key = f"{path.relative_to(folder).with_suffix('')}|{shape['label']}"
            found[key] = found.get(key, np.zeros(size, bool)) | mask
    return found


def hugging_face(kind):
    def read(folder):
        from datasets import load_dataset

        if kind == "imagefolder":
            rows = load_dataset("imagefolder", data_dir=str(folder), split="train")
        else:
            files = [str(path) for path in sorted((folder / "data").glob("*.parquet"))]
            rows = load_dataset("parquet", data_files=files, split="train")
        return {
            str(row.get("key") or row.get("file_name")): np.asarray(row["mask"]) for row in rows
        }

    return read


def tfrecords(folder):
    from PIL import Image
    from tfrecord.reader import tfrecord_loader

    found = {}
    for path in sorted(folder.glob("*.tfrecord")):
        for row in tfrecord_loader(str(path), None):
            text = {
                key: bytes(value) for key, value in row.items() if "encoded" in key or "name" in key
            }
            mask = np.asarray(Image.open(io.BytesIO(text["image/segmentation/class/encoded"])))
            picture = Image.open(io.BytesIO(text["image/encoded"]))
            size = int(row["image/height"][0]), int(row["image/width"][0])
            assert mask.shape == size == picture.size[::-1]
            found[text["image/filename"].decode()] = mask
    return found


def cityscapes(folder):
    """The official table turns our labelIds into trainIds; they must be those we wrote."""
    from cityscapesscripts.helpers.labels import id2label
    from PIL import Image

    found = {}
    for path in sorted((folder / "gtFine").rglob("*_labelIds.png")):
        ids = np.asarray(Image.open(path))
        table = np.array(
            [id2label[value].trainId & 255 if value in id2label else 255 for value in range(256)],
            np.uint8,
        )
        ours = np.asarray(Image.open(str(path).replace("_labelIds", "_labelTrainIds")))
        assert np.array_equal(table[ids], ours)
        found[path.name.split("_gtFine")[0]] = ours
    return found


def panoptic_rules(folder):
    """panopticapi's rules, written from its documents: it cannot be installed from an index.

    id = R + 256 G + 65536 B with 0 for void; every id of the PNG has a segment and every segment
    pixels; categories are declared; area and box are those of the pixels; one entry per picture.
    """
    from PIL import Image

    found = {}
    for path in sorted((folder / "annotations").glob("panoptic_*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        names = {entry["id"]: entry["name"] for entry in document["categories"]}
        assert len(names) == len(document["categories"])
        assert all(entry["isthing"] in (0, 1) for entry in document["categories"])
        files = {entry["id"]: entry for entry in document["images"]}
        assert sorted(files) == sorted(one["image_id"] for one in document["annotations"])
        for annotation in document["annotations"]:
            image = files[annotation["image_id"]]
            picture = Image.open(path.with_suffix("") / annotation["file_name"])
            assert picture.mode == "RGB"
            assert picture.size == (image["width"], image["height"])
            pixels = np.asarray(picture).astype(np.uint32)
            ids = pixels[..., 0] + 256 * pixels[..., 1] + 256**2 * pixels[..., 2]
            segments = annotation["segments_info"]
            assert set(np.unique(ids).tolist()) - {0} == {one["id"] for one in segments}
            for segment in segments:
                inside = ids == segment["id"]
                rows, columns = np.nonzero(inside)
                x, y = columns.min(), rows.min()
                box = [x, y, columns.max() - x + 1, rows.max() - y + 1]
                assert segment["area"] == inside.sum() and segment["bbox"] == box
                assert segment["iscrowd"] in (0, 1)
                key = f"{image['file_name']}|{names[segment['category_id']]}"
                found[key] = found.get(key, np.zeros_like(inside)) | inside
    return found


def ultralytics(folder):
    """ultralytics' own check of data.yaml and of every label file; pycocotools draws what it got.

    It needs torch, so it runs in the project's environment with this one's packages behind it.
    """
    from pycocotools import mask as coco_mask
    from ultralytics.data.utils import check_det_dataset, img2label_paths, verify_image_label

    data = check_det_dataset(str(folder / "data.yaml"))
    found = {}
    for name in ("train", "val", "test"):
        pictures = Path(data[name]) if data.get(name) else None
        for image in sorted(path for path in pictures.rglob("*.*")) if pictures else ():
            (labels,) = img2label_paths([str(image)])
            arguments = (str(image), labels, "", False, data["nc"], 0, 0, False)
            _, rows, (height, width), segments, _, missing, _, _, corrupt, message = (
                verify_image_label(arguments)
            )
            assert not missing and not corrupt and not message, message
            for row, segment in zip(rows, segments, strict=True):
                ring = (np.asarray(segment, float) * (width, height)).ravel().tolist()
                drawn = coco_mask.decode(coco_mask.frPyObjects([ring], height, width)) > 0
                stem = image.relative_to(pictures).with_suffix("")
                key = f"{stem}|{data['names'][int(row[0])]}"
                found[key] = found.get(key, np.zeros((height, width), bool)) | drawn[..., 0]
    return found


def ultralytics_semantic(folder):
    """ultralytics' own check and reader of semantic masks."""
    from PIL import Image
    from ultralytics.data.utils import (
        check_det_dataset,
        img2label_paths,
        read_mask,
        verify_image_mask,
    )

    data = check_det_dataset(str(folder / "data.yaml"))
    pictures = Path(data["train"])
    images = sorted(str(path) for path in pictures.rglob("*.*"))
    masks = img2label_paths(images, label_dir=data["masks_dir"], suffix=".png")
    invalid = np.arange(256) >= data["nc"]
    invalid[255] = False
    found = {}
    for image, mask in zip(images, masks, strict=True):
        arguments = (image, mask, "", invalid.astype(np.uint8))
        *_, missing, _, corrupt, message = verify_image_mask(arguments)
        assert not missing and not corrupt and not message, message
        stem = Path(image).relative_to(pictures).with_suffix("")
        found[str(stem)] = read_mask(mask, Image.open(mask).mode)
    return found


READERS = {
    "panoptic_rules": panoptic_rules,
    "ultralytics": ultralytics,
    "ultralytics_semantic": ultralytics_semantic,
    "label_studio": label_studio,
    "labelme": labelme,
    "imagefolder": hugging_face("imagefolder"),
    "parquet": hugging_face("parquet"),
    "tfrecord": tfrecords,
    "cityscapesscripts": cityscapes,
}

if __name__ == "__main__":
    sys.path.extend(os.environ.get("ORACLE_PACKAGES", "").split(os.pathsep))
    reader, folder, out = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    read = READERS.get(reader) or datumaro_reader(reader.removeprefix("datumaro:"))
    arrays = read(folder)
    keys = np.array(list(arrays), dtype=str)
    np.savez(out, keys=keys, **{f"m{place}": arrays[key] for place, key in enumerate(arrays)})
