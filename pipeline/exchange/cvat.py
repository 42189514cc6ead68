"""Cvat: the requests to CVAT that push and pull are made of, through its own SDK.

The SDK is an extra of the package (`pip install 'maskmill[cvat]'`). Answers are taken as JSON, so
that a server which is newer than the SDK and says more is understood all the same.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from maskmill.pipeline.exchange.server import (
    CONNECT_SECONDS,
    PASSING,
    NotThere,
    PassingFailure,
    Refused,
)
from maskmill.pipeline.exchange.tokens import TokenPlace
from maskmill.schemas.errors import ServerFailed, SettingsError

Document = dict[str, Any]

TOKEN_VARIABLE: Final = "CVAT_ACCESS_TOKEN"
PAGE: Final = 100
MAX_TOLD: Final = 300
EXPORT_FORMAT: Final = "CVAT for images 1.1"


@dataclass(frozen=True, kw_only=True)
class Cvat:
    """One server, with the patience of ``seconds`` for an answer and ``period`` between looks."""

    url: str
    token: TokenPlace
    seconds: float = 120.0
    period: float = 1.0

    @cached_property
    def _client(self) -> Any:
        try:
            from cvat_sdk import Client, Config
            from cvat_sdk.core.client import AccessTokenCredentials
        except ImportError as error:
            raise SettingsError(
                "CVAT is spoken to by its own SDK, which is not installed: "
                "pip install 'maskmill[cvat]'"
            ) from error
        logger = logging.getLogger("maskmill.cvat")
        logger.setLevel(logging.CRITICAL)  # it tells of failures that we tell in a sentence
        config = Config(status_check_period=self.period)
        client = Client(self.url, logger=logger, config=config, check_server_version=False)
        client.login(AccessTokenCredentials(self.token.read()))
        self._limit(client.api_client.rest_client)
        return client

    def _limit(self, rest: Any) -> None:
        """Uploads and exports of the SDK wait for ever otherwise: it hands no limit through."""
        plain, seconds = rest.request, (CONNECT_SECONDS, self.seconds)

        def request(*arguments: Any, **more: Any) -> Any:
            more["_request_timeout"] = more.get("_request_timeout") or seconds
            return plain(*arguments, **more)

        rest.request = request

    def ask(self, api: str, operation: str, *arguments: Any, **more: Any) -> Any:
        """The JSON that an operation of one of the SDK's APIs answers with; None where empty.

        Raises:
            PassingFailure: no answer, or 5xx.
            NotThere: 404.
            Refused: another 4xx.
            ServerFailed: the token was refused.
        """
        with self._told(f"{api} {operation}"):
            function = getattr(getattr(self._client.api_client, f"{api}_api"), operation)
            _, response = function(*arguments, **more, _parse_response=False)
            data = response.data
        return json.loads(data) if data else None

    def every(self, api: str, **more: Any) -> Iterator[Document]:
        """All results of a listing, page by page."""
        page = 1
        while True:
            answer = self.ask(api, "list", page=page, page_size=PAGE, **more)
            yield from answer["results"]
            if not answer.get("next"):
                return
            page += 1

    def project(self, name: str) -> Document | None:
        """The project with that number, or of exactly that name; None where there is no name so.

        Raises:
            SettingsError: no such number, or several projects of that name.
        """
        if name.isdecimal():
            try:
                found: Document = self.ask("projects", "retrieve", int(name))
                return found
            except NotThere as gone:
                raise SettingsError(
                    f"{self.url} has no project {name} for this account: it was deleted, or is "
                    "another's; the ledger in the run stays as it is, and another --project "
                    "begins anew"
                ) from gone
        same = [one for one in self.every("projects", name=name) if one["name"] == name]
        if len(same) > 1:
            ids = ", ".join(str(one["id"]) for one in same)
            raise SettingsError(f"{self.url} has several projects called {name!r}: --project {ids}")
        return same[0] if same else None

    def create_project(self, name: str, labels: Sequence[Mapping[str, str]]) -> Document:
        """A new project with labels of ``name`` and ``color``, which take masks and polygons."""
        from cvat_sdk import models

        wanted = [models.PatchedLabelRequest(**one) for one in labels]
        body = models.ProjectWriteRequest(name=name, labels=wanted)
        made: Document = self.ask("projects", "create", body)
        return made

    def create_task(self, name: str, project: int) -> Document:
        """A new task without pictures."""
        from cvat_sdk import models

        body = models.TaskWriteRequest(name=name, project_id=project)
        made: Document = self.ask("tasks", "create", body)
        return made

    def fill_task(self, task: int, files: Sequence[Path]) -> None:
        """Upload a task's pictures, in this order, and wait until it has its frames.

        Raises:
            Refused: the server could not make frames of them; its words.
        """
        from cvat_sdk.core.proxies.tasks import Task

        with self._told(f"the pictures of task {task}"):
            proxy = Task(self._client, model=self._client.api_client.tasks_api.retrieve(task)[0])
            proxy.upload_data(files, params={"sorting_method": "predefined", "image_quality": 95})

    def frames(self, task: int) -> list[str]:
        """Names of a task's pictures; the position is the frame."""
        meta = self.ask("tasks", "retrieve_data_meta", task)
        return [str(one["name"]) for one in meta["frames"] or []]

    def shapes(self, task: int) -> list[Document]:
        """The shapes that a task has."""
        found: list[Document] = self.ask("tasks", "retrieve_annotations", task)["shapes"]
        return found

    def change_shapes(self, action: str, task: int, shapes: Sequence[Document]) -> None:
        """``create`` or ``delete`` shapes of a task."""
        from cvat_sdk import models

        wanted = [models.LabeledShapeRequest(**one) for one in shapes]
        body = models.PatchedLabeledDataRequest(shapes=wanted)
        more = {"patched_labeled_data_request": body}
        self.ask("tasks", "partial_update_annotations", action, task, **more)

    def export_task(self, task: int, path: Path) -> None:
        """A task's annotations as an archive in ``path``, without pictures."""
        from cvat_sdk.core.proxies.tasks import Task

        with self._told(f"the export of task {task}"):
            proxy = Task(self._client, model=self._client.api_client.tasks_api.retrieve(task)[0])
            proxy.export_dataset(EXPORT_FORMAT, path, include_images=False)

    @contextmanager
    def _told(self, request: str) -> Iterator[None]:
        """What the SDK raises, as our failures."""
        import urllib3
        from cvat_sdk.api_client.exceptions import ApiException
        from cvat_sdk.core.exceptions import BackgroundRequestException
        from cvat_sdk.exceptions import CvatSdkException

        try:
            yield
        except ApiException as error:
            raise self._judged(error, request) from error
        except BackgroundRequestException as error:
            raise Refused(f"{self.url} could not do {request}: {_short(str(error))}") from error
        except urllib3.exceptions.SSLError as error:
            raise self._not_trusted() from error
        except (urllib3.exceptions.HTTPError, CvatSdkException, OSError) as error:
            reason = getattr(error, "reason", None)
            if isinstance(reason, urllib3.exceptions.SSLError):
                raise self._not_trusted() from error
            raise PassingFailure(
                f"{self.url} gave no whole answer to {request} ({type(reason or error).__name__}); "
                "the same command continues where it was"
            ) from error

    def _not_trusted(self) -> ServerFailed:
        return ServerFailed(
            f"{self.url}: its certificate cannot be verified; where the certificate is of an "
            "authority of your own, name its file in SSL_CERT_FILE"  # CVAT's SDK asks OpenSSL
        )

    def _judged(self, error: Any, request: str) -> ServerFailed:
        status = int(error.status or 0)
        told = f"{status} for {request}: {_short(_text(error.body))}"
        if status in (401, 403):
            return ServerFailed(
                f"{self.url} refuses the token ({told}): it is wrong, has expired, or its account "
                "may not do that; nothing that was sent is lost, and the same command with a good "
                "token continues"
            )
        if status == 404:
            return NotThere(f"{self.url} knows nothing of it ({told})")
        if status == 507 or "no space left" in told.lower() or "disk is full" in told.lower():
            return ServerFailed(
                f"{self.url} has no room left ({told}): make room there, and the same command "
                "continues where it was"
            )
        if status in PASSING or not status:
            return PassingFailure(
                f"{self.url} failed ({told}); the same command continues where it was"
            )
        return Refused(f"{self.url} refuses that ({told})")


def _text(body: Any) -> str:
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    return "" if text.lstrip().startswith("<") else text


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text[:MAX_TOLD] + ("…" if len(text) > MAX_TOLD else "")
