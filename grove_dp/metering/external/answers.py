"""HTTP answers of the metrics port: what every one of them says, and what a refusal adds."""

import math
from hashlib import sha256
from typing import Final

from aiohttp import web

from grove_dp.errors import GroveError
from grove_dp.metering.external.documents import JSON, status_document

__all__ = ["json_answer", "refusal", "tagged_answer", "text_answer", "typed_answer"]

_SERVER: Final = {"Server": "grove-dp"}
_JSON: Final = {"Content-Type": JSON, "Cache-Control": "no-store", **_SERVER}


def json_answer(body: bytes, status: int = 200) -> web.Response:
    """A document, whatever Accept asked for."""
    return web.Response(body=body, status=status, headers=_JSON)


def typed_answer(body: bytes, kind: str) -> web.Response:
    """A body of another content type."""
    return web.Response(body=body, headers={**_SERVER, "Content-Type": kind})


def tagged_answer(body: bytes, kind: str, known: str | None) -> web.Response:
    """A body under its hash; 304 for who has it (*known*, from If-None-Match) already."""
    etag = f'"{sha256(body).hexdigest()}"'
    if etag == known:
        return web.Response(status=304, headers={**_SERVER, "ETag": etag})
    return web.Response(body=body, headers={**_JSON, "Content-Type": kind, "ETag": etag})


def text_answer(text: str, status: int = 200) -> web.Response:
    """A line for probes and people."""
    return web.Response(text=f"{text}\n", status=status, headers=_SERVER)


def refusal(error: GroveError) -> web.Response:
    """A Status, and when or how to come again."""
    answer = json_answer(status_document(error), error.status)
    if error.retry_after_s is not None:
        answer.headers["Retry-After"] = str(math.ceil(error.retry_after_s))  # HTTP knows whole seconds
    if error.status == 401:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="grove-dp"'
    return answer
