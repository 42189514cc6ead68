"""Pages in Chromium: opened at a screen, watched for errors, looked at pixel by pixel."""

import base64
import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image

SCREENS = {"wide and light": (1280, 900, "light"), "narrow and dark": (390, 844, "dark")}
OTHER_SCREENS = {"wide and dark": (1280, 900, "dark"), "narrow and light": (390, 844, "light")}


@contextmanager
def watched(browser: Any, screen: tuple[int, int, str], **context: Any) -> Iterator[Any]:
    """An empty page of a screen; at the end nothing has gone wrong in it, and it fits its width."""
    width, height, scheme = screen
    opened = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, **context
    )
    page = opened.new_page()
    page.set_default_timeout(90_000)  # a busy machine is no failure
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("requestfailed", lambda request: problems.extend(_fault(request)))
    page.on("response", lambda answer: answer.status >= 400 and problems.append(answer.url))
    page.on("dialog", lambda dialog: problems.append(f"dialog {dialog.message}"))
    try:
        yield page
        assert not problems, problems
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    finally:
        opened.close()


def _fault(request: Any) -> list[str]:
    """What failed; a request of a page that was left before the answer came is no fault."""
    return [] if "ABORTED" in request.failure else [f"{request.failure}: {request.url[:80]}"]


def until(page: Any, condition: str, arg: object = None, seconds: float = 90) -> None:
    """Playwright evaluates such a condition as text, which the page forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition, arg):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(50)


def pixels(page: Any, selector: str = "#panes canvas") -> np.ndarray:
    """(H, W, 4) of what a canvas shows."""
    uri = page.evaluate("one => document.querySelector(one).toDataURL('image/png')", selector)
    data = base64.b64decode(uri.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


def serious(page: Any, axe: str) -> list[str]:
    """Faults that axe calls serious or critical, as text."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document)")
    return [
        f"{fault['id']}: {json.dumps([node['html'][:160] for node in fault['nodes']][:3])}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
    ]
