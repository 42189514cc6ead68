"""The web application: who asks what, what is taken in, and what is sent back.

`POST /predict` has two doors, told apart by the content type: JSON is Label Studio's, a picture or
a form with one is everybody's. Bodies are bounded while they come in, pictures by their headers.
"""

import asyncio
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from maskmill.jobs.serving.answers import coco_answer, mask_answer
from maskmill.jobs.serving.inference import Inference
from maskmill.jobs.serving.label_studio import LabelStudioBackend
from maskmill.jobs.serving.openapi import openapi_document
from maskmill.schemas.errors import DocumentFailure, ErrorCode, ImageFailure, SettingsError
from maskmill.schemas.json_text import parse_json

PNG, JSON, FORM = "image/png", "application/json", "multipart/form-data"
BYTES = "application/octet-stream"
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
_STATUS = {ErrorCode.TOO_MANY_PIXELS: 413, ErrorCode.OUT_OF_MEMORY: 413}
Result = TypeVar("Result")
Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one server takes on: bytes of a body, requests at once, seconds of a request."""

    max_bytes: int
    max_waiting: int
    seconds: float


class BoundedRequest(Request):
    """A request whose body ends with an error once it is larger than ``max_bytes``."""

    max_bytes = 0

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The body, counted as it comes: what its header says of its length may be wrong."""
        size = 0
        async for chunk in super().stream():
            size += len(chunk)
            if size > self.max_bytes:
                raise HTTPException(
                    413, f"the body is larger than {self.max_bytes / 1e6:g} MB (--max-upload)"
                )
            yield chunk


class Service:
    """The endpoints, over one network and the limits of one server."""

    def __init__(
        self, inference: Inference, backend: LabelStudioBackend, limits: Limits, version: str
    ) -> None:
        self._inference, self._backend = inference, backend
        self._limits, self._version = limits, version
        self._provenance = inference.labeller.provenance()
        self._inside = 0

    async def health(self, _: Request) -> Response:
        """Whether the network is there, and which it is; answered while others wait."""
        labeller = self._inference.labeller
        return JSONResponse(
            {
                "status": "UP",
                "model_class": labeller.choice.title,
                "model_version": self._version,
                "device": labeller.segmenter.device.type,
                "classes": list(labeller.choice.labels.names),
                "waiting": self._inside,
            }
        )

    async def describe(self, _: Request) -> Response:
        """The OpenAPI document of this server."""
        return JSONResponse(openapi_document())

    async def versions(self, _: Request) -> Response:
        """The one model version there is."""
        return JSONResponse({"versions": [self._version]})

    async def setup(self, request: Request) -> Response:
        """Label Studio asks whether the model suits a project."""
        document = await self._in_time(self._document(request))
        with self._telling("/setup"):
            return JSONResponse(self._backend.setup(document))

    async def webhook(self, request: Request) -> Response:
        """Label Studio tells what happens in a project."""
        document = await self._in_time(self._document(request))
        with self._telling("/webhook"):
            return JSONResponse(self._backend.webhook(document))

    async def predict(self, request: Request) -> Response:
        """Tasks of Label Studio, or one picture; refused where too many wait already."""
        if self._inside >= self._limits.max_waiting:
            raise HTTPException(
                503,
                f"{self._inside} requests wait already (--max-waiting); ask again in a moment",
                {"Retry-After": "2"},
            )
        self._inside += 1
        try:
            if _content_type(request) != JSON:
                return await self._in_time(self._picture(request))
            document = await self._in_time(self._document(request))
            with self._telling("/predict"):
                return JSONResponse(await self._backend.predict(document))
        finally:
            self._inside -= 1

    @contextmanager
    def _telling(self, path: str) -> Iterator[None]:
        try:
            yield
        except (SettingsError, DocumentFailure) as error:
            self._backend.refused(path, error)
            raise

    async def _in_time(self, work: Awaitable[Result]) -> Result:
        try:
            return await asyncio.wait_for(work, self._limits.seconds)
        except asyncio.TimeoutError:
            raise HTTPException(
                504, f"not done within {self._limits.seconds:g} s (--time-limit); ask again later"
            ) from None

    async def _picture(self, request: Request) -> Response:
        answers_json = _wants_json(request.headers.get("accept", ""))
        data, name = await self._upload(request)
        labelled = await self._inference.label(lambda: data, name)
        labels = self._inference.labeller.choice.labels
        if answers_json:
            work = functools.partial(coco_answer, name=name)
            body, kind = await asyncio.to_thread(work, labelled, labels, self._provenance), JSON
        else:
            body, kind = (
                await asyncio.to_thread(mask_answer, labelled, labels, self._provenance),
                PNG,
            )
        return Response(body, media_type=kind, headers={"X-Model-Version": self._version})

    async def _upload(self, request: Request) -> tuple[bytes, str]:
        """The picture's bytes, and what messages and COCO call it."""
        kind = _content_type(request)
        if kind == FORM:
            async with request.form(max_files=1, max_fields=8) as form:
                files = [one for one in form.values() if isinstance(one, UploadFile)]
                if not files:
                    raise HTTPException(400, "the form holds no file: send one, as field image")
                return await files[0].read(), files[0].filename or "picture"
        if kind.startswith("image/") or kind == BYTES:
            return await request.body(), "picture"
        raise HTTPException(
            415,
            f"{kind or 'a body without a content type'} is not taken: send a picture (image/jpeg, "
            f"image/png, {BYTES} …), a form with one ({FORM}), or Label Studio's tasks ({JSON})",
        )

    async def _document(self, request: Request) -> Mapping[str, Any]:
        document = parse_json(await request.body(), "the body")
        if not isinstance(document, dict):
            raise DocumentFailure(ErrorCode.MALFORMED, "the body must be a JSON object")
        return document


def application(service: Service, limits: Limits, *, local_only: bool) -> Starlette:
    """The application. ``local_only``: answer only requests that call this machine by its name.

    A page of a stranger, open in a browser here, could else reach the server by a host name of its
    own that points to this machine.
    """
    endpoints: list[tuple[str, str, Endpoint]] = [
        ("GET", "/", service.health),
        ("GET", "/health", service.health),
        ("GET", "/versions", service.versions),
        ("GET", "/openapi.json", service.describe),
        ("POST", "/setup", service.setup),
        ("POST", "/webhook", service.webhook),
        ("POST", "/predict", service.predict),
    ]
    trusted = Middleware(TrustedHostMiddleware, allowed_hosts=list(LOCAL_NAMES))
    return Starlette(
        routes=[
            Route(path, _bounded(endpoint, limits.max_bytes), methods=[method])
            for method, path, endpoint in endpoints
        ],
        middleware=[trusted] if local_only else [],
        exception_handlers={
            HTTPException: _http_error,
            ImageFailure: _picture_error,
            DocumentFailure: _request_error,
            SettingsError: _request_error,
        },
    )


def _bounded(endpoint: Endpoint, max_bytes: int) -> Endpoint:
    async def bounded(request: Request) -> Response:
        inside = BoundedRequest(request.scope, request.receive)
        inside.max_bytes = max_bytes
        try:
            return await endpoint(inside)
        except ClientDisconnect:  # nobody is left to be answered
            return Response(status_code=400)

    return bounded


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _wants_json(accept: str) -> bool:
    """What comes first in an Accept header, by its weights: COCO, or the mask.

    Raises:
        HTTPException: 406, where neither is taken.
    """
    ranked = []
    for part in accept.split(",") if accept.strip() else ["*/*"]:
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        told = next((one[2:] for one in parameters if one.startswith("q=")), "1")
        ranked.append((-_number(told), name))
    for weight, name in sorted(ranked, key=lambda one: one[0]):
        if weight and name in (PNG, "image/*", "*/*"):
            return False
        if weight and name in (JSON, "application/*"):
            return True
    raise HTTPException(406, f"the answer is {PNG} (the mask) or {JSON} (COCO)")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, "request", str(error.detail), error.headers)


async def _picture_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ImageFailure)
    return _error(_STATUS.get(error.code, 422), error.code.value, str(error))


async def _request_error(_: Request, error: Exception) -> Response:
    code = error.code.value if isinstance(error, DocumentFailure) else "settings"
    return _error(400, code, str(error))


def _error(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)
