"""Who may talk to the server: the browser that was given its address, and nobody else.

A server on loopback can be reached by every page that a browser shows and by every user of the
machine. Against the first stand the checks of Host (a foreign name that points here: DNS rebinding)
and Origin (a foreign page that posts), against the second the token.
"""

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

READING: Final = ("GET", "HEAD")
HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}
_NO_TOKEN: Final = (
    "This page is for whoever started `maskmill view`: open the address that it printed, with its "
    "token.\n"
)


class Guard:
    """Lets requests through that bring the cookie; the token of the address becomes that cookie.

    ``names`` are host names under which the server may be asked for, beside addresses.
    """

    def __init__(self, app: App, *, token: str, port: int, names: frozenset[str]) -> None:
        self._app, self._token, self._port, self._names = app, token, port, names
        self._cookie = f"maskmill_{port}"  # browsers do not part cookies by port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Anything but HTTP is not served."""
        if scope["type"] != "http":
            return
        answer = self._refusal(scope)
        await (answer or self._app)(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_ours(host):
            return PlainTextResponse(f"not a name of this server: {host[:100]}\n", 421)
        method = scope["method"]
        origin = headers.get("origin")
        if method not in READING and origin != f"http://{host}":
            return PlainTextResponse("a request from another page is refused\n", 403)
        if self._is_token(_cookie(headers, self._cookie)):
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(query).get("token", "")
        if method == "GET" and self._is_token(given):
            return self._welcome(scope["path"], [pair for pair in query if pair[0] != "token"])
        return PlainTextResponse(_NO_TOKEN, 403)

    def _welcome(self, path: str, query: list[tuple[str, str]]) -> Response:
        """To the same page, its token out of the address and of the history."""
        place = "/" + path.lstrip("/\\")  # "//host" would be another machine
        answer = RedirectResponse(f"{place}?{urlencode(query)}" if query else place, 303)
        answer.set_cookie(self._cookie, self._token, httponly=True, samesite="lax", path="/")
        return answer

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "replace"), self._token.encode())

    def _is_ours(self, host: str) -> bool:
        """An address (no name can point elsewhere in one), or a name of this server; our port."""
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname or "", parts.port
        except ValueError:
            return False
        if (port or 80) != self._port:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def _with_headers(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return sender
