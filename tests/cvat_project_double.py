"""A server that speaks CVAT's API as the SDK's own description has it, in memory, on loopback.

No CVAT was at hand: what this one does is what the SDK's OpenAPI models and clients say, not what
a live server was seen to do. Its answers are parsed by the SDK's own models.
"""

import io
import json
import re
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from email.parser import BytesParser
from typing import Any
from xml.sax.saxutils import quoteattr

from cvat_sdk.masks import decode_mask
from PIL import Image

from tests.label_studio_double import Answer

TOKEN = "cvat-" + "7b" * 20
NOW = "2026-11-21T10:00:00Z"
NOBODY = {"url": "http://x/api/users/1", "id": 1, "username": "owner"}


@dataclass
class CvatProjectDouble:
    """Its data, and ``before``/``after``: called with (method, path) around every request."""

    projects: dict[int, dict[str, Any]] = field(default_factory=dict)
    labels: dict[int, dict[str, Any]] = field(default_factory=dict)
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    before: Callable[[str, str], None] = lambda method, path: None
    after: Callable[[str, str], None] = lambda method, path: None
    drops: Callable[[dict[str, Any]], bool] = lambda shape: False
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""
    shapes_given: int = 0

    def answer(self, method, path, query, headers, body):
        self.requests.append((method, path))
        self.before(method, path)
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Answer(401, {"detail": "Invalid token."})
        with self.lock:
            found = self._route(method, path, query, headers, body)
        self.after(method, path)
        return found

    def _route(self, method, path, query, headers, body):
        for pattern, wanted, handler in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and wanted == method:
                numbers = [int(part) if part.isdigit() else part for part in match.groups()]
                if "/tasks/" in pattern and numbers[0] not in self.tasks:
                    raise Answer(404, {"detail": "Not found."})
                return handler(self, *numbers, query=query, headers=headers, body=body)
        raise Answer(404, {"detail": f"no {method} {path}"})

    def list_projects(self, *, query, **_):
        found = [one for one in self.projects.values() if query.get("name") in (None, one["name"])]
        return 200, page_of(found)

    def create_project(self, *, body, **_):
        document = json.loads(body)
        number = len(self.projects) + 1
        self.projects[number] = {"id": number, "name": document["name"]}
        for label in document["labels"]:
            identity = 100 + len(self.labels)
            kind = label.get("type", "any")
            self.labels[identity] = {**label, "id": identity, "type": kind, "project": number}
        return 201, self.projects[number]

    def one_project(self, number, **_):
        if number not in self.projects:
            raise Answer(404, {"detail": "Not found."})
        return 200, self.projects[number]

    def list_labels(self, *, query, **_):
        mine = int(query["project_id"])
        return 200, page_of([one for one in self.labels.values() if one["project"] == mine])

    def list_tasks(self, *, query, **_):
        mine = int(query["project_id"])
        shown = [self._shown(one) for one in self.tasks.values() if one["project_id"] == mine]
        return 200, page_of(shown)

    def create_task(self, *, body, **_):
        document = json.loads(body)
        number = max(self.tasks, default=0) + 1
        self.tasks[number] = {
            "id": number, **document, "parts": [], "frames": [], "shapes": [], "state": "new",
            "assignee": None,
        }  # fmt: skip
        return 201, self._shown(self.tasks[number])

    def one_task(self, number, **_):
        return 200, self._shown(self.tasks[number])

    def remove_task(self, number, **_):
        del self.tasks[number]
        return 204, None

    @staticmethod
    def _shown(task):
        return {
            "id": task["id"], "name": task["name"], "project_id": task["project_id"],
            "size": len(task["frames"]), "mode": "annotation", "dimension": "2d",
            "created_date": NOW, "updated_date": NOW, "overlap": 0, "segment_size": 0,
            "status": "annotation", "subset": "", "bug_tracker": "", "owner": NOBODY,
            "assignee": None, "organization": None, "jobs": {"count": 1, "completed": 0,
            "validation": 0, "url": "http://x"}, "labels": {"url": "http://x"}, "url": "http://x",
            "media_type": "image", "initial_replicas": 0, "target_storage": None,
            "source_storage": None,
        }  # fmt: skip

    def take_data(self, number, *, headers, body, **_):
        task = self.tasks[number]
        if "Upload-Start" in headers:
            return 202, None
        if "Upload-Multiple" in headers:
            head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
            for part in BytesParser().parsebytes(head + body).get_payload():
                if part.get_filename():
                    name = part.get_filename().rpartition("/")[2]
                    task["parts"].append((name, part.get_payload(decode=True)))
            return 200, None
        try:
            frames = [(name, Image.open(io.BytesIO(data)).size) for name, data in task["parts"]]
        except OSError:
            task["failed"] = "cannot identify image file"
        else:
            task["frames"] = sorted(frames)
        return 202, {"rq_id": f"create-{number}"}

    def one_request(self, kind, number, **_):
        task = self.tasks[int(number)]
        failed = task.get("failed") if kind == "create" else None
        return 200, {
            "id": f"{kind}-{number}", "status": "failed" if failed else "finished",
            "message": failed or "", "created_date": NOW, "owner": NOBODY,
            "operation": {"type": f"{kind}:task", "target": "task"},
            "result_url": f"{self.url}/api/downloads/{number}",
        }  # fmt: skip

    def one_meta(self, number, **_):
        frames = [
            {"name": name, "width": size[0], "height": size[1], "related_files": 0}
            for name, size in self.tasks[number]["frames"]
        ]
        return 200, {"frames": frames, "size": len(frames)}

    def list_shapes(self, number, **_):
        return 200, {"version": 0, "tags": [], "tracks": [], "shapes": self.tasks[number]["shapes"]}

    def change_shapes(self, number, *, query, body, **_):
        task, sent = self.tasks[number], json.loads(body)["shapes"]
        if query["action"] == "delete":
            ids = {one["id"] for one in sent}
            task["shapes"] = [one for one in task["shapes"] if one["id"] not in ids]
            return 200, {"shapes": sent}
        for one in sent:
            if not self.drops(one):
                self.shapes_given += 1
                task["shapes"].append({**one, "id": self.shapes_given})
        return 200, {"shapes": sent}

    def list_jobs(self, *, query, **_):
        task = self.tasks[int(query["task_id"])]
        assignee = {"id": 5, "username": task["assignee"]} if task["assignee"] else None
        job = {
            "id": 900 + task["id"], "start_frame": 0, "stop_frame": len(task["frames"]) - 1,
            "state": task["state"], "assignee": assignee, "updated_date": NOW,
        }  # fmt: skip
        return 200, page_of([job])

    def begin_export(self, number, *, query, **_):
        assert query["format"] == "CVAT for images 1.1" and query["save_images"].lower() == "false"
        return 202, {"rq_id": f"export-{number}"}

    def download(self, number, **_):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("annotations.xml", self.xml(int(number)))
        return 200, packed.getvalue()

    def xml(self, number: int) -> str:
        task = self.tasks[number]
        parts = ['<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>']
        for frame, (name, (width, height)) in enumerate(task["frames"]):
            parts.append(
                f'<image id="{frame}" name={quoteattr(name)} width="{width}" height="{height}">'
            )
            for shape in task["shapes"]:
                if shape["frame"] == frame:
                    parts.append(self._mask(shape, width, height))
            parts.append("</image>")
        return "\n".join([*parts, "</annotations>"])

    def _mask(self, shape, width, height):
        *_, left, top, right, bottom = (int(value) for value in shape["points"])
        mask = decode_mask(shape["points"], image_width=width, image_height=height)
        flat = mask[top : bottom + 1, left : right + 1].ravel().tolist()
        runs, value = [0], False
        for one in flat:
            if one != value:
                runs.append(0)
                value = one
            runs[-1] += 1
        name = quoteattr(self.labels[shape["label_id"]]["name"])
        return (
            f'<mask label={name} source="{shape["source"]}" occluded="0" z_order="0" '
            f'rle="{", ".join(map(str, runs))}" left="{left}" top="{top}" '
            f'width="{right - left + 1}" height="{bottom - top + 1}"></mask>'
        )


def page_of(found: list[Any]) -> dict[str, Any]:
    return {"count": len(found), "next": None, "previous": None, "results": found}


ROUTES = (
    (r"/api/projects", "GET", CvatProjectDouble.list_projects),
    (r"/api/projects", "POST", CvatProjectDouble.create_project),
    (r"/api/projects/(\d+)", "GET", CvatProjectDouble.one_project),
    (r"/api/labels", "GET", CvatProjectDouble.list_labels),
    (r"/api/tasks", "GET", CvatProjectDouble.list_tasks),
    (r"/api/tasks", "POST", CvatProjectDouble.create_task),
    (r"/api/tasks/(\d+)", "GET", CvatProjectDouble.one_task),
    (r"/api/tasks/(\d+)", "DELETE", CvatProjectDouble.remove_task),
    (r"/api/tasks/(\d+)/data/", "POST", CvatProjectDouble.take_data),
    (r"/api/tasks/(\d+)/data/meta", "GET", CvatProjectDouble.one_meta),
    (r"/api/tasks/(\d+)/annotations/", "GET", CvatProjectDouble.list_shapes),
    (r"/api/tasks/(\d+)/annotations/", "PATCH", CvatProjectDouble.change_shapes),
    (r"/api/tasks/(\d+)/dataset/export", "POST", CvatProjectDouble.begin_export),
    (r"/api/requests/(\w+)-(\d+)", "GET", CvatProjectDouble.one_request),
    (r"/api/jobs", "GET", CvatProjectDouble.list_jobs),
    (r"/api/downloads/(\d+)", "GET", CvatProjectDouble.download),
)
