"""The server's answers: pages, rows as JSON, pictures, layers of values, decisions."""

import json
import math
from collections.abc import Callable
from html import escape
from importlib import resources
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from maskmill.jobs.web.asked import crop_of, query_of, whole_number
from maskmill.jobs.web.trial import MAX_PICTURE_BYTES, Trial
from maskmill.jobs.web.viewer import Viewer
from maskmill.pipeline.review import gallery
from maskmill.pipeline.review.renditions import LAYERS
from maskmill.pipeline.review.subject import Item
from maskmill.schemas.errors import FileFailure, MaskmillError, SettingsError

STATIC: Final = resources.files("maskmill.jobs.web") / "static"
KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
MAX_PAGE: Final = 500
_MAX_WORD_BYTES: Final = 64 << 10
_FRESH: Final = {"cache-control": "private, max-age=3600"}
Answer = Callable[[Request], Response]


class Pages:
    """Routes over one viewer, and over models to try. Either may be missing."""

    def __init__(self, viewer: Viewer | None, trial: Trial) -> None:
        self._viewer, self._trial = viewer, trial

    def application(self) -> Starlette:
        """The routes, without the guard."""
        answers: dict[str, Answer] = {
            "/": self.index, "/static/{name}": self.static, "/api/run": self.run,
            "/api/page": self.page, "/api/counts": self.counts, "/api/numbers": self.numbers,
            "/api/number": self.number, "/api/image/{n:int}": self.image,
            "/api/progress": self.progress, "/api/models": self.models,
            "/thumb/{n:int}": self.thumbnail, "/picture/{n:int}": self.picture,
            "/layer/{n:int}/{name}": self.layer,
        }  # fmt: skip
        routes = [Route(path, _guarded(answer)) for path, answer in answers.items()]
        routes += [
            Route("/api/say", self.say, methods=["POST"]),
            Route("/api/try", self.attempt, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    def index(self, _: Request) -> Response:
        """The page."""
        return _file("index.html")

    def static(self, request: Request) -> Response:
        """A script or style of ours."""
        return _file(request.path_params["name"])

    def run(self, _: Request) -> Response:
        """What is looked at; ``null`` where only models are tried."""
        if self._viewer is None:
            return JSONResponse(None)
        self._viewer.update()
        return _json(self._viewer.facts())

    def page(self, request: Request) -> Response:
        """Rows of a query: ?offset= &limit= and the filters."""
        viewer, query = self._known(), query_of(request.query_params)
        viewer.update()
        offset = whole_number(request.query_params, "offset", 0, 0, 1 << 40)
        limit = whole_number(request.query_params, "limit", 60, 1, MAX_PAGE)
        rows = gallery.page(viewer.index, query, offset, limit)
        return _json({"total": gallery.total(viewer.index, query), "offset": offset, "rows": rows})

    def counts(self, request: Request) -> Response:
        """How the images of a query spread."""
        return _json(gallery.counts(self._known().index, query_of(request.query_params)))

    def numbers(self, request: Request) -> Response:
        """Ids of a query in its order."""
        return _json(gallery.numbers(self._known().index, query_of(request.query_params)))

    def number(self, request: Request) -> Response:
        """Id of a key."""
        return _json(gallery.number_of(self._known().index, request.query_params.get("key", "")))

    def image(self, request: Request) -> Response:
        """Everything known of one image."""
        viewer = self._known()
        viewer.update()
        known = gallery.image(viewer.index, request.path_params["n"])
        if known is None:
            raise SettingsError("there is no such image")
        item = self._item(request)
        row = viewer.subject.row(item)
        words = viewer.decisions.history(item.key) if viewer.decisions else []
        history = [
            {"kind": word.kind, "value": word.value, "reviewer": word.reviewer, "at": word.at}
            for word in words
        ]
        has_soft = any(file["name"] == "soft" for file in row.get("files") or [])
        has_soft = has_soft or bool(row.get("confidence_uri"))
        return _json({**known, "row": row, "history": history, "soft": has_soft})

    def progress(self, _: Request) -> Response:
        """How far the review is."""
        return _json(self._known().progress())

    def models(self, _: Request) -> Response:
        """What can be tried."""
        return _json(self._trial.models())

    def thumbnail(self, request: Request) -> Response:
        """A small picture with outlines; where there is none, a card that says why."""
        side = whole_number(request.query_params, "side", 320, 16, 1024)
        plain = request.query_params.get("plain") == "1"
        renditions, item = self._known().renditions, self._item(request)
        return _picture(lambda: renditions.thumbnail(item, side, plain=plain))

    def picture(self, request: Request) -> Response:
        """The picture, or a box of it."""
        renditions, item = self._known().renditions, self._item(request)
        crop = crop_of(request.query_params)
        return _picture(lambda: renditions.picture(item, crop))

    def layer(self, request: Request) -> Response:
        """Values per pixel: header ``x-facts`` says their size, the body has them."""
        name = request.path_params["name"]
        if name not in LAYERS:
            return PlainTextResponse("no such layer\n", 404)
        try:
            crop = crop_of(request.query_params)
            facts, body = self._known().renditions.layer(self._item(request), name, crop)
        except FileFailure as failure:
            return _values({"error": str(failure)}, b"", {})
        return _values(facts, body, {"content-encoding": "gzip", **_FRESH})

    async def say(self, request: Request) -> Response:
        """One word of a reviewer; answered when it is on the disk."""
        try:
            told = json.loads(await _body(request, _MAX_WORD_BYTES))
            n, kind, value = int(told["n"]), told["kind"], str(told["value"])
            if kind not in ("decision", "note"):
                raise ValueError(kind)
        except (ValueError, KeyError, TypeError) as error:
            return JSONResponse({"error": f"not a word of a reviewer: {error}"}, 400)
        try:
            viewer = self._known()
            await run_in_threadpool(viewer.say, n, kind, value, str(told.get("reviewer", "")))
        except MaskmillError as error:
            return JSONResponse({"error": str(error)}, 400)
        return _json(await run_in_threadpool(viewer.progress))

    async def attempt(self, request: Request) -> Response:
        """A picture labelled: ?model= &threshold=."""
        try:
            data = await _body(request, MAX_PICTURE_BYTES)
            model = request.query_params.get("model", "")
            threshold = float(request.query_params.get("threshold", "0") or 0)
            facts, body = await run_in_threadpool(self._trial.label, data, model, threshold)
        except (MaskmillError, ValueError) as error:
            return _values({"error": str(error)}, b"", {})
        return _values(facts, body, {"content-encoding": "gzip"})

    def _known(self) -> Viewer:
        if self._viewer is None:
            raise SettingsError("no run is looked at here; models can be tried")
        return self._viewer

    def _item(self, request: Request) -> Item:
        found = gallery.item(self._known().index, request.path_params["n"])
        if found is None:
            raise SettingsError("there is no such image")
        return found


def _guarded(answer: Answer) -> Answer:
    """An answer whose failures are sentences. What is wrong with a file is an answer like any."""

    def guarded(request: Request) -> Response:
        try:
            return answer(request)
        except FileFailure as failure:
            return _json({"error": str(failure)})
        except MaskmillError as error:
            return JSONResponse({"error": str(error)}, 400)

    return guarded


def _file(name: str) -> Response:
    suffix = f".{name.rpartition('.')[2]}"
    known = {one.name: one for one in STATIC.iterdir()}
    if name not in known or suffix not in KINDS:
        return PlainTextResponse("no such page\n", 404)
    return Response(known[name].read_bytes(), media_type=KINDS[suffix])


def _picture(make: Callable[[], bytes]) -> Response:
    try:
        return Response(make(), media_type="image/jpeg", headers=_FRESH)
    except FileFailure as failure:
        text = escape(failure.code.value.replace("_", " "))
        card = (
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 240" width="320" '
            'height="240"><rect width="320" height="240" fill="#30343c"/><text x="160" y="124" '
            f'fill="#fff" font-family="sans-serif" font-size="18" text-anchor="middle">{text}'
            "</text></svg>"
        )
        return Response(card, media_type="image/svg+xml")


def _values(facts: dict[str, Any], body: bytes, headers: dict[str, str]) -> Response:
    return Response(
        body,
        media_type="application/octet-stream",
        headers={**headers, "x-facts": json.dumps(facts)},
    )


def _json(value: Any) -> Response:
    """JSON as browsers read it: what is no number becomes null, what is no text is written out."""
    text = json.dumps(_plain(value), ensure_ascii=True, separators=(",", ":"), default=str)
    return Response(text, media_type="application/json")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


async def _body(request: Request, most: int) -> bytes:
    """The body, refused where it is too long before all of it has come."""
    found = bytearray()
    async for piece in request.stream():
        found += piece
        if len(found) > most:
            raise ValueError(f"more than {most:,} bytes")
    return bytes(found)
