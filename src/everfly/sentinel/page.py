"""Turn three files into one self-contained page, and say what a browser may do with it.

Rules: nothing comes from elsewhere; only this very script and style run, named by their hashes, so
that nothing that a group or an instance is called can become code.
"""

import base64
import hashlib
from functools import lru_cache
from http import HTTPStatus
from importlib.resources import files
from typing import Final

from everfly.runtime.http import Response

_FOLDER: Final = "static"


@lru_cache(1)
def page_response() -> Response:
    """Return the page. It reads `api/` beside itself."""
    style, script = _part("page.css"), _part("page.js")
    html = _part("page.html").replace("/*STYLE*/", style).replace("/*SCRIPT*/", script)
    policy = "; ".join(
        [
            "default-src 'none'",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
    return Response(
        HTTPStatus.OK,
        "text/html; charset=utf-8",
        html.encode(),
        (("Content-Security-Policy", policy), ("X-Frame-Options", "DENY")),
    )


def _part(name: str) -> str:
    return files(__package__).joinpath(_FOLDER, name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
