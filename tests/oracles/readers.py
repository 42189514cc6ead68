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


READERS = {
    "label_studio": label_studio,
    "labelme": labelme,
    "imagefolder": hugging_face("imagefolder"),
    "parquet": hugging_face("parquet"),
    "tfrecord": tfrecords,
    "cityscapesscripts": cityscapes,
}

if __name__ == "__main__":
    reader, folder, out = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    read = READERS.get(reader) or datumaro_reader(reader.removeprefix("datumaro:"))
    arrays = read(folder)
    keys = np.array(list(arrays), dtype=str)
    np.savez(out, keys=keys, **{f"m{place}": arrays[key] for place, key in enumerate(arrays)})
