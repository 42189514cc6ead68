"""The pictures of Label Studio's tasks: from the one host that was configured, and nothing else.

A task's picture is an address somebody put into a project. So only GET requests for Label Studio's
own addresses of files are sent, to the configured scheme, host and port; a redirect elsewhere is
not followed, no proxy address, local path or other scheme is opened, and the token goes nowhere
else. Addresses: Label Studio 1.23, data_import/urls.py, io_storages/urls.py.
"""

import base64
import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit

from maskmill.schemas.errors import ErrorCode, ImageFailure, SettingsError

FILES: Final = re.compile(r"/(data/|storage-data/|(tasks|projects)/\d+/(resolve|presign)/)")
"""Where Label Studio serves the pictures of tasks; its API is not among them."""

CLOUD: Final = ("s3", "s3s", "gs", "azure-blob", "azure_spi", "redis")
"""Schemes of storages that Label Studio itself opens for a task."""

_UNSAFE: Final = re.compile(r"[\x00-\x20\\\x7f]")
_REDIRECTS: Final = 5
_CHUNK: Final = 1 << 20
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPictures:
    """The files of the Label Studio at ``url``.

    ``token`` reads the token where it is kept, so that it stands in no object that is printed.
    ``max_bytes`` and ``seconds`` bound one picture.
    """

    url: str
    token: Callable[[], str]
    max_bytes: int
    seconds: float = 30.0

    def __post_init__(self) -> None:
        parts = _split(self.url)
        odd = parts is None or parts.username or parts.query or parts.fragment
        if odd or parts is None or parts.scheme not in _PORTS or not parts.hostname:
            raise SettingsError(
                "--label-studio is no address of a Label Studio; one looks like "
                "https://labels.example.org or http://localhost:8080, without names or passwords"
            )

    def address(self, value: object, task: object) -> str:
        """The URL that a task's value names.

        Raises:
            ImageFailure: UNSAFE_PATH for whatever is no file of this Label Studio.
        """
        if not isinstance(value, str) or not value:
            raise _refused(value, "names no picture")
        parts = _split(value)
        if parts is None or _UNSAFE.search(value):
            raise _refused(value, "is no address")
        if parts.scheme in CLOUD and isinstance(task, int):
            hidden = quote(base64.b64encode(value.encode()).decode())
            return self._base + f"/tasks/{task}/resolve/?fileuri={hidden}"
        if parts.scheme and self._is_ours(parts):
            return self._checked(value, value)
        if parts.scheme or parts.netloc or not value.startswith("/"):
            raise _refused(value, f"does not lie on {self._base}")
        path = value if value.startswith(self._path + "/") else self._path + value
        return self._checked(urljoin(self.url, path), value)

    def read(self, value: object, task: object) -> bytes:
        """The bytes of a task's picture.

        Raises:
            ImageFailure: UNSAFE_PATH, PERMISSION_DENIED, VANISHED, UNSAFE_SIZE or UNREADABLE.
        """
        url, deadline = self.address(value, task), time.monotonic() + self.seconds
        authorization = self._authorization()
        for _ in range(_REDIRECTS):
            answer = self._get(url, authorization, str(value))
            with answer:
                target = answer.headers.get("Location")
                if answer.status not in (301, 302, 303, 307, 308) or target is None:
                    return self._body(answer, str(value), deadline)
            url = self._redirected(url, target, str(value))
        raise _refused(value, f"is redirected more than {_REDIRECTS} times")

    @property
    def _path(self) -> str:
        return urlsplit(self.url).path.rstrip("/")

    @property
    def _base(self) -> str:
        return self.url.rstrip("/")

    def _is_ours(self, parts: SplitResult) -> bool:
        return _origin(parts) == _origin(urlsplit(self.url)) and parts.username is None

    def _checked(self, url: str, value: str) -> str:
        """The URL, once its path is seen to be one of files."""
        path = urlsplit(url).path
        inner = path.removeprefix(self._path)
        if ".." in unquote(unquote(path)).split("/") or not FILES.match(inner):
            raise _refused(value, "is no file of a task: Label Studio's own begin with /data/")
        return url

    def _redirected(self, url: str, target: str, value: str) -> str:
        joined = urljoin(url, target)
        parts = _split(joined)
        if parts is None or not self._is_ours(parts):
            where = parts.hostname if parts else target
            raise _refused(
                value,
                f"is redirected to {where}; switch pre-signed URLs off in the storage's settings, "
                "then Label Studio hands out the file itself",
            )
        if "/user/login" in parts.path:
            raise _denied(value)
        return self._checked(urlunsplit(parts), value)

    def _authorization(self) -> str:
        """The header of a token: a legacy one as it is, a personal one for an access token."""
        token = self.token()
        if token.count(".") != 2:
            return f"Token {token}"
        body = json.dumps({"refresh": token}).encode()
        request = urllib.request.Request(
            self._base + "/api/token/refresh/", body, {"Content-Type": "application/json"}
        )
        with self._open(request, "the token") as answer:
            if answer.status != 200:
                raise _denied("the token")
            return f"Bearer {_access(answer.read(_CHUNK))}"

    def _get(self, url: str, authorization: str, value: str) -> Any:
        request = urllib.request.Request(url, headers={"Authorization": authorization})
        answer = self._open(request, value)
        status = answer.status
        if status >= 400:
            answer.close()
            if status in (401, 403):
                raise _denied(value)
            code = ErrorCode.VANISHED if status in (404, 410) else ErrorCode.UNREADABLE
            raise ImageFailure(code, f"{value}: {self._base} answers {status}")
        return answer

    def _open(self, request: urllib.request.Request, value: str) -> Any:
        try:
            return _opener().open(request, timeout=min(self.seconds, 10.0))
        except urllib.error.HTTPError as error:  # also an answer, of 300 or more
            return error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise ImageFailure(
                ErrorCode.UNREADABLE, f"{value}: {self._base} cannot be reached: {reason}"
            ) from error

    def _body(self, answer: Any, value: str, deadline: float) -> bytes:
        parts, size = [], 0
        try:
            while chunk := answer.read(_CHUNK):
                parts.append(chunk)
                size += len(chunk)
                if size > self.max_bytes:
                    raise ImageFailure(
                        ErrorCode.UNSAFE_SIZE,
                        f"{value}: more than {self.max_bytes / 1e6:g} MB; raise --max-upload if "
                        "the file is to be trusted",
                    )
                if time.monotonic() > deadline:
                    raise ImageFailure(
                        ErrorCode.UNREADABLE,
                        f"{value}: not here after {self.seconds:g} s, given up",
                    )
        except (OSError, http.client.HTTPException) as error:
            raise ImageFailure(
                ErrorCode.UNREADABLE, f"{value}: the connection broke: {error}"
            ) from error
        return b"".join(parts)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are looked at by us, one at a time."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS, by the environment's proxies; no files, no FTP, no data URLs."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        _NoRedirect(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        return parts if parts.port != 0 else None
    except ValueError:
        return None


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _access(body: bytes) -> str:
    try:
        return str(json.loads(body)["access"])
    except (ValueError, KeyError, TypeError) as error:
        raise _denied("the token") from error


def _refused(value: object, why: str) -> ImageFailure:
    shown = value if isinstance(value, str) else repr(value)
    return ImageFailure(ErrorCode.UNSAFE_PATH, f"{shown[:200]} {why}: it is not opened")


def _denied(value: object) -> ImageFailure:
    return ImageFailure(
        ErrorCode.PERMISSION_DENIED,
        f"{value}: Label Studio does not take the token; look at LABEL_STUDIO_API_KEY or the "
        "--token-file, and whether its user may see the project",
    )
