"""LabelStudio: the requests to Label Studio that push and pull are made of.

Facts: Label Studio 1.23, its API and its source. Two kinds of token: the legacy one (40 hex digits)
goes into the header as it is; a personal access token is a JWT that buys access tokens of a few
minutes. The counter ``total_predictions`` of a task says what was sent, not what was kept: what was
kept is asked by a filter over the predictions themselves.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.etree.ElementTree import Element

from maskmill.pipeline.datasets.documents.label_studio_config import FROM_NAME, TO_NAME
from maskmill.pipeline.datasets.documents.xml import parse_xml
from maskmill.pipeline.exchange.server import AnnotationServer, NotThere, Refused
from maskmill.pipeline.exchange.tokens import TokenPlace
from maskmill.schemas.errors import DocumentFailure, ServerFailed, SettingsError

Document = dict[str, Any]

TOKEN_VARIABLE: Final = "LABEL_STUDIO_API_KEY"
TAGS: Final = {"brushlabels": "BrushLabels", "polygonlabels": "PolygonLabels"}
KEY: Final = "maskmill_key"
CHUNK: Final = "maskmill_chunk"
"""Data of a task: the image's key in its run, and which chunk of which push it came with."""

ID_PAGE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project there. ``config`` is its labelling config; ``tasks`` how many it holds, and
    ``annotations`` how many of those nobody cancelled."""

    id: int
    title: str
    config: str
    tasks: int
    annotations: int

    @classmethod
    def from_dict(cls, document: Document) -> "Project":
        """Of the server's answer."""
        return cls(
            id=int(document["id"]), title=str(document.get("title") or ""),
            config=str(document.get("label_config") or ""),
            tasks=int(document.get("task_number") or 0),
            annotations=int(document.get("total_annotations_number") or 0),
        )  # fmt: skip


def token_header(place: TokenPlace) -> Callable[[AnnotationServer, bool], str]:
    """What goes into the header: a legacy token, or what a personal access token buys."""
    access: list[str] = []

    def header(server: AnnotationServer, renew: bool) -> str:
        token = place.read()
        if token.count(".") != 2:
            return f"Token {token}"
        if renew or not access:
            access[:] = [_access_token(server, token)]
        return f"Bearer {access[0]}"

    return header


def _access_token(server: AnnotationServer, token: str) -> str:
    answer = server.unauthorized("POST", "/api/token/refresh/", json={"refresh": token})
    try:
        return str(answer.json()["access"])
    except (ValueError, KeyError, TypeError):
        raise ServerFailed(
            f"{server.name} gives no access for the personal access token ({answer.status_code}): "
            "it is wrong or has expired; make a new one in Account & Settings"
        ) from None


@dataclass(frozen=True, slots=True)
class LabelStudio:
    """The server, spoken to in its own terms."""

    server: AnnotationServer

    def project(self, name: str) -> Project | None:
        """The project with that number, or of exactly that title; None where there is no title so.

        Raises:
            SettingsError: no such number, or several projects of that title.
            ServerFailed: the server fails.
        """
        if name.isdecimal():
            return self.project_of_id(int(name))
        found = [one for one in self._titled(name) if one.title == name]
        if len(found) > 1:
            ids = ", ".join(str(one.id) for one in found)
            raise SettingsError(
                f"{self.server.name} has {len(found)} projects called {name!r}; say which by "
                f"number: --project {ids}"
            )
        return found[0] if found else None

    def project_of_id(self, number: int) -> Project:
        """The project with that number.

        Raises:
            SettingsError: there is none, any more or for this account.
        """
        try:
            return Project.from_dict(self.server.json("GET", f"/api/projects/{number}/"))
        except NotThere as gone:
            raise SettingsError(
                f"{self.server.name} has no project {number} for this account: it was deleted, or "
                "is another's; the ledger in the run stays as it is, and another --project begins "
                "anew"
            ) from gone

    def _titled(self, title: str) -> Iterator[Project]:
        page = 1
        while True:
            more = {"title": title, "page": page, "page_size": 100}
            answer = self.server.json("GET", "/api/projects/", params=more)
            yield from map(Project.from_dict, answer["results"])
            if not answer.get("next"):
                return
            page += 1

    def create_project(self, title: str, config: str, description: str) -> Project:
        """A new project."""
        body = {"title": title, "description": description, "label_config": config}
        return Project.from_dict(self.server.json("POST", "/api/projects/", json=body))

    def configure(self, project: Project, config: str) -> Project:
        """The project with another labelling config."""
        path = f"/api/projects/{project.id}/"
        return Project.from_dict(self.server.json("PATCH", path, json={"label_config": config}))

    def tasks(
        self, project: int, filters: Sequence[Document] = (), *, whole: bool = False, size: int
    ) -> Iterator[list[Document]]:
        """The tasks that pass every filter, by rising number, page by page.

        Each page is asked for by the last number of the one before, so that tasks which come or go
        meanwhile neither repeat nor hide others. ``whole``: with annotations and predictions.
        """
        last = 0
        while True:
            after = condition("tasks:id", "greater", "Number", last)
            page = self._page(project, [after, *filters], whole, size)
            if page:
                yield page
            if len(page) < size:
                return
            last = int(page[-1]["id"])

    def _page(
        self, project: int, filters: Sequence[Document], whole: bool, size: int
    ) -> list[Document]:
        query = {"filters": {"conjunction": "and", "items": filters}, "ordering": ["tasks:id"]}
        params = {"project": project, "page": 1, "page_size": size, "query": json.dumps(query)}
        params |= {"fields": "all", "resolve_uri": "false"} if whole else {}
        answer = self.server.json("GET", "/api/tasks", params=params)
        if not isinstance(answer, dict) or not isinstance(answer.get("tasks"), list):
            raise Refused(f"{self.server.name}: its list of tasks has none; is it Label Studio?")
        return list(answer["tasks"])

    def import_tasks(self, project: int, tasks: Sequence[Document]) -> None:
        """New tasks with their predictions; the server takes all or none of the tasks."""
        self.server.json(
            "POST", f"/api/projects/{project}/import", data=_json(tasks), headers=_JSON
        )

    def import_predictions(self, project: int, predictions: Sequence[Document]) -> None:
        """Predictions for tasks that are there."""
        path = f"/api/projects/{project}/import/predictions"
        self.server.json("POST", path, data=_json(predictions), headers=_JSON)

    def delete_task(self, number: int) -> None:
        """Remove one task."""
        self.server.json("DELETE", f"/api/tasks/{number}/")

    def upload(self, project: int, files: Mapping[str, bytes]) -> list[Document]:
        """Files of pictures by name; in order what they are there: ``id``, ``file``, ``size``."""
        path = f"/api/projects/{project}/import"
        parts = {f"file{number}": one for number, one in enumerate(files.items())}
        more = {"commit_to_project": "false"}
        answer = self.server.json("POST", path, files=parts, params=more)
        return self.uploads(project, [int(one) for one in answer["file_upload_ids"]])

    def uploads(self, project: int, ids: Sequence[int] | None = None) -> list[Document]:
        """Uploaded files by number; without numbers all that this account has uploaded."""
        params = {"all": "true"} if ids is None else {"ids": json.dumps(list(ids))}
        path = f"/api/projects/{project}/file-uploads"
        found: list[Document] = self.server.json("GET", path, params=params)
        return sorted(found, key=lambda one: int(one["id"]))

    def ensure_local_files(self, project: int, folder: str) -> None:
        """A local-files storage of the project over a folder of the server's disk."""
        query = {"project": project}
        known = self.server.json("GET", "/api/storages/localfiles/", params=query)
        if any(one.get("path") == folder for one in known):
            return
        body = {"project": project, "path": folder, "title": "maskmill", "use_blob_urls": False}
        try:
            self.server.json("POST", "/api/storages/localfiles/", json=body)
        except Refused as refused:
            raise SettingsError(
                f"{refused}; --local-files is the folder as the server sees it, below its "
                "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"
            ) from refused


_JSON: Final = {"Content-Type": "application/json"}


def _json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def condition(column: str, operator: str, kind: str, value: Any) -> Document:
    """One filter of the data manager."""
    return {"filter": f"filter:{column}", "operator": operator, "type": kind, "value": value}


def missing_labels(config: str, kind: str, names: Sequence[str]) -> list[str] | None:
    """Of class names those that a labelling config lacks under our tag; None: it lacks the tag."""
    root = _root(config)
    for tag in root.iter(TAGS[kind]):
        if tag.get("name") == FROM_NAME and tag.get("toName") == TO_NAME:
            known = {one.get("value") for one in tag.iter("Label")}
            return [name for name in names if name not in known]
    return None


def is_blank(config: str) -> bool:
    """True for the config of a project that nobody has configured: nothing is labelled with it."""
    return not config.strip() or not list(_root(config))


def _root(config: str) -> Element:
    try:
        return parse_xml(config.encode(), "the labelling config")
    except DocumentFailure as failure:
        raise ServerFailed(f"the project's labelling config cannot be read: {failure}") from failure
