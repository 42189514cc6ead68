"""A real Label Studio on loopback, of the environment .venv-label-studio (make label-studio)."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any

import requests

ENVIRONMENT = Path(__file__).resolve().parents[1] / ".venv-label-studio"
PROGRAM = ENVIRONMENT / "bin/label-studio"
MIGRATED = ENVIRONMENT / "migrated.sqlite3"
"""Its empty database, kept: to make one takes longer than all tests."""

TOKEN = "5e" * 20
USER, PASSWORD = "me@example.org", "a-password-for-tests"
START_SECONDS = 280


@dataclass
class LabelStudioServer:
    """``files``: what the server sees as its document root of local files."""

    url: str
    files: Path
    log: Path

    def api(self, method: str, path: str, **more: Any) -> Any:
        headers = {"Authorization": f"Token {TOKEN}"}
        answer = requests.request(method, self.url + path, headers=headers, timeout=120, **more)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def bytes_of(self, path: str) -> bytes:
        headers = {"Authorization": f"Token {TOKEN}"}
        answer = requests.get(self.url + path, headers=headers, timeout=60)
        answer.raise_for_status()
        return answer.content

    def tasks(self, project: int) -> list[dict[str, Any]]:
        """All tasks, whole; asked for in another way than ours."""
        found: list[dict[str, Any]] = []
        while True:
            page = {"project": project, "page": len(found) // 50 + 1, "page_size": 50}
            answer = self.api("GET", "/api/tasks", params={**page, "fields": "all"})
            found += answer["tasks"]
            if len(found) >= answer["total"]:
                return found


@contextmanager
def label_studio(folder: Path) -> Iterator[LabelStudioServer]:
    """Started for the length of a block, with its data in ``folder``; it calls nobody."""
    with socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    (folder / "files").mkdir(parents=True)
    database = folder / "label_studio.sqlite3"
    if MIGRATED.exists():
        shutil.copy(MIGRATED, database)
    server = LabelStudioServer(f"http://127.0.0.1:{port}", folder / "files", folder / "log")
    with server.log.open("wb") as log:
        process = subprocess.Popen(
            [str(PROGRAM), "start", "--no-browser", "--internal-host", "127.0.0.1",
             "--port", str(port)],
            cwd=folder, env=_environment(folder), stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        _wait(server, process)
        if not MIGRATED.exists():
            shutil.copy(database, MIGRATED)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def _environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "LABEL_STUDIO_USERNAME": USER,
        "LABEL_STUDIO_PASSWORD": PASSWORD,
        "LABEL_STUDIO_USER_TOKEN": TOKEN,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
        "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
        "LABEL_STUDIO_SENTRY_DSN": "",
        "LABEL_STUDIO_FRONTEND_SENTRY_DSN": "",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(folder / "files"),
        "ML_BLOCK_LOCAL_IP": "false",  # backends of tests are on loopback
        "SSRF_PROTECTION_ENABLED": "false",  # as is the webhook made of each of them
        "LABEL_STUDIO_DEBUG": "false",
    }


def _wait(server: LabelStudioServer, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            server.api("GET", "/api/projects/")
            return
        except requests.RequestException:
            time.sleep(0.5)
    raise RuntimeError(f"Label Studio did not start: {server.log.read_text()[-2000:]}")
