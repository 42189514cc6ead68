"""A CVAT server as far as its SDK's auto-annotation asks: a task of pictures, and what is sent.

Written after the SDK's own description of the API (cvat_sdk 2.80), whose models read the answers.
"""

import io
import json
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

DAY = "2026-01-01T00:00:00.000000Z"


@dataclass
class CvatDouble:
    """``pictures`` are the frames by name; ``sent`` is what came: (method, path, document)."""

    pictures: Mapping[str, bytes]
    labels: list[tuple[str, str]]  # name, type; ids from 101
    sizes: Mapping[str, tuple[int, int]]  # (height, width)
    url: str = ""
    sent: list[tuple[str, str, Any]] = field(default_factory=list)

    def answer(self, path: str) -> Any:
        """What a GET is answered with: JSON, or the bytes of a chunk."""
        summary = {"url": f"{self.url}{path}", "count": 0}
        answers = {
            "/api/server/about": {
                "name": "CVAT", "description": "", "version": "2.80.0", "logo_url": self.url,
                "subtitle": "",
            },
            "/api/tasks/7": {
                "url": f"{self.url}/api/tasks/7", "id": 7, "name": "seven", "project_id": None,
                "mode": "annotation", "owner": None, "assignee": None, "bug_tracker": "",
                "created_date": DAY, "updated_date": DAY, "overlap": 0, "segment_size": 9,
                "status": "annotation", "data_chunk_size": 2, "data_compressed_chunk_type":
                "imageset", "data_original_chunk_type": "imageset", "size": len(self.pictures),
                "image_quality": 70, "data": 7, "dimension": "2d", "subset": "",
                "organization": None, "target_storage": None, "source_storage": None,
                "jobs": {**summary, "completed": 0, "validation": 0}, "labels": summary,
                "guide_id": None, "assignee_updated_date": None, "validation_mode": None,
                "consensus_enabled": False, "organization_id": None, "data_cloud_storage_id": None,
                "media_type": "image",
            },
            "/api/labels": {
                "count": len(self.labels), "next": None, "previous": None,
                "results": [
                    {
                        "id": 101 + number, "name": name, "color": "#aabbcc", "attributes": [],
                        "type": kind, "sublabels": [], "project_id": None, "task_id": 7,
                        "parent_id": None, "has_parent": False,
                    }
                    for number, (name, kind) in enumerate(self.labels)
                ],
            },
            "/api/tasks/7/data/meta": {
                "chunk_size": 2, "size": len(self.pictures), "image_quality": 70, "start_frame": 0,
                "stop_frame": len(self.pictures) - 1, "frame_filter": "", "deleted_frames": [],
                "included_frames": None, "cloud_storage_id": None, "storage_method": "cache",
                "storage": "local", "sorting_method": "lexicographical", "chunks_updated_date": DAY,
                "frames": [
                    {
                        "name": name, "width": self.sizes[name][1], "height": self.sizes[name][0],
                        "related_files": 0,
                    }
                    for name in self.pictures
                ],
            },
        }  # fmt: skip
        return answers.get(path.rstrip("/"))

    def chunk(self, number: int) -> bytes:
        """Two frames, stored."""
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for frame, (name, data) in enumerate(list(self.pictures.items())[2 * number :][:2]):
                archive.writestr(f"{frame:06}{name[name.rindex('.') :]}", data)
        return stream.getvalue()


@contextmanager
def cvat_double(
    pictures: Mapping[str, bytes],
    sizes: Mapping[str, tuple[int, int]],
    labels: list[tuple[str, str]],
) -> Iterator[CvatDouble]:
    """The server, on loopback, for the length of a block."""
    double = CvatDouble(pictures, labels, sizes)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path.rstrip("/") == "/api/tasks/7/data":
                number = int(dict(one.split("=") for one in parts.query.split("&"))["number"])
                self.put(double.chunk(number), "application/zip")
                return
            found = double.answer(parts.path)
            self.put(json.dumps(found).encode(), status=200 if found is not None else 404)

        def do_PATCH(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            double.sent.append((self.command, self.path, body))
            kept = {"version": 1, "tags": [], "shapes": [], "tracks": []}
            self.put(json.dumps(kept).encode())

        do_PUT = do_PATCH

        def put(self, body: bytes, kind: str = "application/json", status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests say enough."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    double.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
