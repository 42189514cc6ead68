"""AnnotationServer: requests to an annotators' server, and what its answers mean in a sentence.

The token is read when it is needed and goes into one header of requests to this server only: no
redirect is followed, no ~/.netrc is read, TLS is verified by the system's rules (requests reads
REQUESTS_CA_BUNDLE and the proxies of the environment).
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import requests

from maskmill.schemas.errors import ServerFailed, SettingsError

CONNECT_SECONDS: Final = 10.0
TRIES: Final = 4
FIRST_WAIT: Final = 0.5
"""Seconds before the second try; each further wait is twice as long."""

PASSING: Final = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that may be over in a moment."""

MAX_TOLD: Final = 300
Made = TypeVar("Made")
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class PassingFailure(ServerFailed):
    """No answer, or one that may be another in a moment: whether it was done is not known."""


class NotThere(ServerFailed):
    """404: what was asked for does not exist, or this account may not see it."""


class Refused(ServerFailed):
    """The server understood the request and would not do it (a status of 400 and more)."""

    def __init__(self, sentence: str, answer: str = "") -> None:
        super().__init__(sentence)
        self.answer = answer

    def __reduce__(self) -> tuple[type["Refused"], tuple[str, str]]:
        return type(self), (str(self), self.answer)


def made_once(make: Callable[[], Made], find: Callable[[], Made | None]) -> Made:
    """What ``make`` makes, or what ``find`` finds where its answer was lost or comes late.

    A second one would be made by the next start, and nobody could tell the two apart.

    Raises:
        PassingFailure: no answer, and nothing is to be found for some seconds after.
    """
    try:
        return make()
    except PassingFailure:
        for number in range(TRIES):
            time.sleep(FIRST_WAIT * 2**number)
            found = find()
            if found is not None:
                return found
        raise


def server_url(url: str) -> str:
    """The address of a server without a slash at its end.

    Raises:
        SettingsError: no http(s) address, or one with a password in it.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"{url!r} is no address of a server; give https://host[:port][/path]")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingsError(
            "the address of a server holds no names, passwords or questions here; the token comes "
            "from the environment or from --token-file"
        )
    return url.rstrip("/")


def is_open_to_listeners(url: str) -> bool:
    """True where the token would travel over a network unencrypted."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in LOOPBACK


@dataclass(frozen=True, kw_only=True)
class AnnotationServer:
    """One server. ``authorization`` gives the value of the header, anew where ``renew`` is true.

    ``seconds`` is how long an answer may take before it is given up.
    """

    url: str
    authorization: Callable[["AnnotationServer", bool], str]
    seconds: float = 120.0
    _local: threading.local = field(default_factory=threading.local, repr=False, compare=False)

    @cached_property
    def name(self) -> str:
        """What messages call it: scheme, host and path; it never holds a secret."""
        return self.url

    def json(self, method: str, path: str, **more: Any) -> Any:
        """The JSON that a request answers with; None for an empty answer.

        GET is tried again where the failure may pass. What changes something is tried once: whether
        it was done is then for the caller to find out.

        Raises:
            PassingFailure: no answer, or 5xx, in the end.
            NotThere: 404.
            Refused: another 4xx, or an answer that is no JSON.
            ServerFailed: the token was refused, or the server redirects.
        """
        tries = TRIES if method == "GET" else 1
        for number in range(tries):
            try:
                return self._once(method, path, **more)
            except PassingFailure:
                if number + 1 == tries:
                    raise
                time.sleep(FIRST_WAIT * 2**number)
        raise AssertionError("a try returns or raises")

    def unauthorized(self, method: str, path: str, **more: Any) -> requests.Response:
        """A request without the token: for what gives one."""
        return self._send(method, path, None, **more)

    def _once(self, method: str, path: str, **more: Any) -> Any:
        for renew in (False, True):
            answer = self._send(method, path, self.authorization(self, renew), **more)
            if answer.status_code != 401 or renew:
                break
        self._judge(answer, f"{method} {path}")
        if answer.status_code == 204 or not answer.content:
            return None
        try:
            return answer.json()
        except requests.JSONDecodeError as error:
            raise Refused(
                f"{self.name} answers {method} {path} with something else than JSON "
                f"({answer.headers.get('Content-Type', 'no type')}): is that the address of the "
                "tool itself?"
            ) from error

    def _send(
        self, method: str, path: str, authorization: str | None, **more: Any
    ) -> requests.Response:
        try:
            return self._session.request(
                method,
                f"{self.url}{path}",
                auth=_Header(authorization),
                timeout=(CONNECT_SECONDS, self.seconds),
                allow_redirects=False,
                **more,
            )
        except requests.exceptions.SSLError as error:
            raise ServerFailed(
                f"{self.name}: its certificate cannot be verified ({_reason(error)}); where the "
                "certificate is of an authority of your own, name its file in REQUESTS_CA_BUNDLE"
            ) from error
        except requests.Timeout as error:
            raise PassingFailure(
                f"{self.name} did not answer {method} {path} within {self.seconds:g} s; the same "
                "command continues where it was (--timeout gives it longer)"
            ) from error
        except requests.ConnectionError as error:
            raise PassingFailure(
                f"{self.name} cannot be reached ({_reason(error)}); is it running, and is that its "
                "address? The same command continues where it was"
            ) from error
        except (requests.RequestException, OSError) as error:
            raise PassingFailure(
                f"{self.name}: {method} {path} broke off ({_reason(error)}); the same command "
                "continues where it was"
            ) from error

    def _judge(self, answer: requests.Response, request: str) -> None:
        status, told = answer.status_code, _told(answer)
        if status < 300:
            return
        if status in (401, 403):
            raise ServerFailed(
                f"{self.name} refuses the token ({status} for {request}{told}): it is wrong, has "
                "expired, or its account may not do that; nothing that was sent is lost, and the "
                "same command with a good token continues"
            )
        if status < 400:
            raise ServerFailed(
                f"{self.name} redirects to {answer.headers.get('Location', 'another address')}; a "
                "token is not carried along: give that address with --url"
            )
        if status == 404:
            raise NotThere(f"{self.name} knows nothing of {request}{told}")
        if status == 507 or "no space left" in told.lower() or "disk is full" in told.lower():
            raise ServerFailed(
                f"{self.name} has no room left ({status} for {request}{told}): its disk is full; "
                "make room there, and the same command continues where it was"
            )
        if status in PASSING:
            raise PassingFailure(
                f"{self.name} failed ({status} for {request}{told}); the same command continues "
                "where it was"
            )
        raise Refused(f"{self.name} refuses {request} with {status}{told}", answer.text)

    @property
    def _session(self) -> requests.Session:
        """One per thread: connections are kept, and none is shared."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
        return session


class _Header:
    """Sets the header, or none. Being there, it keeps requests from reading ~/.netrc."""

    def __init__(self, authorization: str | None) -> None:
        self._authorization = authorization

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._authorization is not None:
            request.headers["Authorization"] = self._authorization
        return request


def _told(answer: requests.Response) -> str:
    """What the server says of a failure, in few words; nothing of a page of HTML."""
    if answer.status_code < 300 or "html" in answer.headers.get("Content-Type", ""):
        return ""
    try:
        document = answer.json()
    except requests.JSONDecodeError:
        text = answer.text.strip()
    else:
        text = _words(document)
    text = " ".join(text.split())
    return f": {text[:MAX_TOLD]}{'…' if len(text) > MAX_TOLD else ''}" if text else ""


def _words(document: Any) -> str:
    if not isinstance(document, Mapping):
        return str(document)
    named = [document.get("detail"), document.get("validation_errors"), document.get("message")]
    return "; ".join(str(one) for one in named if one) or str(dict(document))


def _reason(error: BaseException) -> str:
    """The last cause that says something, without the addresses of objects."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return getattr(error, "strerror", None) or type(error).__name__
