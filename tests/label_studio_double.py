"""A small Label Studio on loopback, in memory: what push and pull ask of one, and its moods.

It answers as version 1.23 was seen to (tests/jobs/test_label_studio_live.py asks the real one the
same): an import takes all tasks or none, its counter of predictions says what was sent whatever
became of it, and a failure after the work is done looks like any other.
"""

import json
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "0f" * 20
PERSONAL = "eyJh.eyJy.c2ln"  # three parts, as a JWT has


class Answer(Exception):
    def __init__(self, status: int, document: Any) -> None:
        super().__init__(status)
        self.status, self.document = status, document


@dataclass
class LabelStudioDouble:
    """Its data, and ``mood``: called with (method, path) before and after every request."""

    projects: dict[int, dict[str, Any]] = field(default_factory=dict)
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    files: dict[int, dict[str, Any]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)
    before: Callable[[str, str], None] = lambda method, path: None
    after: Callable[[str, str], None] = lambda method, path: None
    drops: Callable[[dict[str, Any]], bool] = lambda task: False
    refuses: Callable[[dict[str, Any]], bool] = lambda task: False
    access: str = "access-1"
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def answer(self, method: str, path: str, query: dict[str, str], headers: Any, body: bytes):
        self.requests.append((method, path))
        self.before(method, path)
        with self.lock:
            found = self._route(method, path, query, headers, body)
        self.after(method, path)
        return found

    def _route(self, method, path, query, headers, body):
        if path == "/api/token/refresh/":
            if json.loads(body)["refresh"] != PERSONAL:
                raise Answer(401, {"detail": "Token is invalid"})
            return 200, {"access": self.access}
        given = headers.get("Authorization", "")
        self.authorizations.add(given)
        if given not in (f"Token {TOKEN}", f"Bearer {self.access}"):
            raise Answer(401, {"detail": "Invalid token."})
        for pattern, wanted, handler in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and wanted == method:
                numbers = [int(part) for part in match.groups()]
                if "projects" in pattern and numbers and numbers[0] not in self.projects:
                    raise Answer(404, {"detail": "Not found."})
                return handler(self, *numbers, query=query, headers=headers, body=body)
        raise Answer(404, {"detail": f"no {method} {path}"})

    def list_projects(self, *, query, **_):
        found = [one for one in self.projects.values() if query.get("title", "") in one["title"]]
        return 200, {"results": [self._counted(one) for one in found], "next": None}

    def create_project(self, *, body, **_):
        number = len(self.projects) + 1
        self.projects[number] = {"id": number, **json.loads(body)}
        return 201, self._counted(self.projects[number])

    def one_project(self, number, **_):
        return 200, self._counted(self.projects[number])

    def change_project(self, number, *, body, **_):
        self.projects[number].update(json.loads(body))
        return self.one_project(number)

    def _counted(self, project):
        mine = [one for one in self.tasks.values() if one["project"] == project["id"]]
        done = [a for task in mine for a in task["annotations"] if not a["was_cancelled"]]
        return {**project, "task_number": len(mine), "total_annotations_number": len(done)}

    def import_tasks(self, number, *, query, headers, body, **_):
        if query.get("commit_to_project") == "false":
            return self._upload(number, headers, body)
        tasks = json.loads(body)
        if any(self.refuses(task) for task in tasks):
            raise Answer(400, {"validation_errors": {"predictions": ["Task 0: unknown label"]}})
        for task in tasks:
            sent = task.get("predictions", [])
            self.add_task(number, task["data"], [] if self.drops(task) else sent, len(sent))
        return 201, {"task_count": len(tasks), "prediction_count": len(tasks)}

    def add_task(self, project, data, predictions, counted=0):
        identity = max(self.tasks, default=0) + 1
        kept = [{"id": identity * 10 + place, **one} for place, one in enumerate(predictions)]
        self.tasks[identity] = {
            "id": identity, "project": project, "data": data, "predictions": kept,
            "annotations": [], "drafts": [], "total_predictions": counted,
        }  # fmt: skip
        return identity

    def _upload(self, number, headers, body):
        head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
        ids = []
        for part in BytesParser().parsebytes(head + body).get_payload():
            identity = len(self.files) + 1
            name = f"upload/{number}/{identity:08x}-{part.get_filename()}"
            data = part.get_payload(decode=True)
            self.files[identity] = {"id": identity, "file": name, "size": len(data), "data": data}
            ids.append(identity)
        return 201, {"file_upload_ids": ids}

    def list_files(self, number, *, query, **_):
        ids = json.loads(query["ids"]) if "ids" in query else list(self.files)
        shown = ("id", "file", "size")
        return 200, [{name: self.files[one][name] for name in shown} for one in ids]

    def import_predictions(self, number, *, body, **_):
        for one in json.loads(body):
            task = self.tasks[one["task"]]
            if not self.drops(task):
                task["predictions"].append({"id": one["task"] * 10 + 9, **one})
        return 201, {}

    def list_tasks(self, *, query, **_):
        if int(query["project"]) not in self.projects:
            raise Answer(404, {"detail": "No Project matches the given query."})
        filters = json.loads(query["query"])["filters"]["items"]
        found = [
            task
            for _, task in sorted(self.tasks.items())
            if task["project"] == int(query["project"]) and all(passes(task, f) for f in filters)
        ]
        whole = query.get("fields") == "all"
        shown = found[: int(query["page_size"])]
        return 200, {"tasks": [self._shown(task, whole) for task in shown], "total": len(found)}

    @staticmethod
    def _shown(task, whole):
        cancelled = sum(one["was_cancelled"] for one in task["annotations"])
        light = {name: task[name] for name in ("id", "data", "drafts", "total_predictions")}
        light["total_annotations"] = len(task["annotations"]) - cancelled
        light["cancelled_annotations"] = cancelled
        more = {name: task[name] for name in ("annotations", "predictions")} if whole else {}
        return {**light, **more}

    def remove_task(self, number, **_):
        if self.tasks.pop(number, None) is None:
            raise Answer(404, {"detail": "Not found."})
        return 204, None

    def annotate(self, key: str, result: list[dict[str, Any]], **more: Any) -> None:
        """What an annotator does in the browser."""
        task = next(one for one in self.tasks.values() if one["data"]["maskmill_key"] == key)
        annotation = {
            "id": 1000 + task["id"], "result": result, "was_cancelled": False, "completed_by": 3,
            "created_username": "Ada L ada@example.org, 3", "updated_at": "2026-11-21T10:00:00Z",
            "lead_time": 12.5, "parent_prediction": None, **more,
        }  # fmt: skip
        task["annotations"].append(annotation)

    def prediction(self, key: str) -> dict[str, Any]:
        task = next(one for one in self.tasks.values() if one["data"]["maskmill_key"] == key)
        return json.loads(json.dumps(task["predictions"][0]))

    def keys(self) -> list[str]:
        return [task["data"]["maskmill_key"] for _, task in sorted(self.tasks.items())]


ROUTES = (
    (r"/api/projects/", "GET", LabelStudioDouble.list_projects),
    (r"/api/projects/", "POST", LabelStudioDouble.create_project),
    (r"/api/projects/(\d+)/", "GET", LabelStudioDouble.one_project),
    (r"/api/projects/(\d+)/", "PATCH", LabelStudioDouble.change_project),
    (r"/api/projects/(\d+)/import", "POST", LabelStudioDouble.import_tasks),
    (r"/api/projects/(\d+)/import/predictions", "POST", LabelStudioDouble.import_predictions),
    (r"/api/projects/(\d+)/file-uploads", "GET", LabelStudioDouble.list_files),
    (r"/api/tasks", "GET", LabelStudioDouble.list_tasks),
    (r"/api/tasks/(\d+)/", "DELETE", LabelStudioDouble.remove_task),
)


def passes(task: dict[str, Any], condition: dict[str, Any]) -> bool:
    """The filters of the data manager that push and pull use."""
    name, operator, value = condition["filter"], condition["operator"], condition["value"]
    if name == "filter:tasks:id":
        return task["id"] > value if operator == "greater" else task["id"] < value
    if name == "filter:tasks:predictions_model_versions":
        return any(value in one["model_version"] for one in task["predictions"])
    found = str(task["data"].get(name.removeprefix("filter:tasks:data."), ""))
    return found == value if operator == "equal" else value in found


def until(count: int, mood: Callable[[], None]) -> Callable[[str, str], None]:
    """A mood that lasts for the first ``count`` imports of tasks."""
    left = [count]

    def once(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/import") and left[0]:
            left[0] -= 1
            mood()

    return once


@contextmanager
def serving(double: Any) -> Iterator[Any]:
    """A double on a port of loopback, for the length of a block; it has ``answer`` and ``url``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_request(self) -> None:
            parts = urllib.parse.urlsplit(self.path)
            query = dict(urllib.parse.parse_qsl(parts.query))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                status, document = double.answer(
                    self.command, parts.path, query, self.headers, body
                )
            except Answer as answer:
                status, document = answer.status, answer.document
            is_raw = isinstance(document, bytes)
            data = (
                document if is_raw else b"" if document is None else json.dumps(document).encode()
            )
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = handle_request

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    double.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()


def slow(seconds: float) -> Callable[[], None]:
    return lambda: time.sleep(seconds)
