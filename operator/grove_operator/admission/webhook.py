"""Defaults and rules over HTTP, as the API server asks for them: AdmissionReviews of admission.k8s.io/v1.

    POST /webhooks/default-podcliqueset     a JSON patch with the defaults
    POST /webhooks/validate-podcliqueset    yes, or a Status with every fault as a cause; warnings
    POST /webhooks/validate-clustertopology the same for bindings

Paths are Grove's, so that registrations made for it fit. Nothing is remembered between requests and nothing
is written, so every replica of the operator answers, leader or not, and dry runs need no care. Whoever asks
is not looked at: an answer tells nothing that the question did not hold.
"""

import asyncio
import base64
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from aiohttp import web
from msgspec import Struct

from grove_operator.admission.binding import binding_faults, binding_warnings
from grove_operator.admission.defaults import patch
from grove_operator.admission.faults import Fault, Kind, refusal
from grove_operator.admission.registration import DEFAULT_SET, VALIDATE_SET, VALIDATE_TOPOLOGY
from grove_operator.admission.subject import World
from grove_operator.admission.validate import validate

__all__ = ["application", "serving"]

_log = logging.getLogger(__name__)

BODY_MAX: Final = 8 << 20  # an object is 3 MiB at most, and an update brings two
API: Final = "admission.k8s.io/v1"
SEEN_S: Final = 0.5  # what was created a moment ago has been seen by then


class _Kind(Struct):
    group: str = ""
    kind: str = ""


class _Request(Struct, rename="camel"):
    uid: str
    kind: _Kind = msgspec.field(default_factory=_Kind)
    name: str = ""
    operation: str = ""
    object: Any = None
    old_object: Any = None


class _Review(Struct, rename="camel"):
    api_version: str
    kind: str
    request: _Request


Answer = Callable[[_Request], Awaitable[dict[str, Any]]]


def application(world: Callable[[], World]) -> web.Application:
    """Answers by what *world* says at the time."""
    app = web.Application(client_max_size=BODY_MAX)
    app.router.add_post(DEFAULT_SET, _answering(_default_set))
    app.router.add_post(VALIDATE_SET, _answering(lambda request: _validate_set(request, world)))
    app.router.add_post(VALIDATE_TOPOLOGY, _answering(lambda request: _validate_topology(request, world())))
    return app


@asynccontextmanager
async def serving(
    world: Callable[[], World], context: ssl.SSLContext, host: str = "0.0.0.0", port: int = 9443
) -> AsyncIterator[int]:
    """The webhooks over TLS, as long as it lasts; gives the port, which is a free one if *port* is 0."""
    runner = web.AppRunner(application(world), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=context)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        transports = [each.transport for each in runner.server.connections] if runner.server else []
        await runner.cleanup()
        for transport in filter(None, transports):
            transport.abort()  # TLS would wait half a minute for each peer's farewell


# ------------------------------------------------------------ answers


async def _default_set(request: _Request) -> dict[str, Any]:
    operations = patch(request.object, request.old_object)
    if not operations:
        return _allowed(request)
    encoded = base64.b64encode(msgspec.json.encode(operations)).decode()
    return {**_allowed(request), "patchType": "JSONPatch", "patch": encoded}


async def _validate_set(request: _Request, world: Callable[[], World]) -> dict[str, Any]:
    """One file often has a binding and the set that names it: what is not found is looked for once more."""
    if request.operation == "DELETE":
        return _allowed(request)
    verdict = validate(request.object, request.old_object, world())
    if any(fault.kind is Kind.NOT_FOUND for fault in verdict.faults):
        await asyncio.sleep(SEEN_S)
        verdict = validate(request.object, request.old_object, world())
    return _judged(request, verdict.faults, verdict.warnings)


async def _validate_topology(request: _Request, world: World) -> dict[str, Any]:
    if request.operation == "DELETE":
        return _allowed(request)
    faults = binding_faults(request.object, world, request.old_object)
    return _judged(request, faults, binding_warnings(request.object))


def _judged(request: _Request, faults: Sequence[Fault], warnings: Sequence[str]) -> dict[str, Any]:
    answer = _allowed(request)
    if faults:
        status = refusal(request.kind.group, request.kind.kind, request.name, faults)
        answer = {"uid": request.uid, "allowed": False, "status": status}
    if warnings:
        answer["warnings"] = list(warnings)
    return answer


def _allowed(request: _Request) -> dict[str, Any]:
    return {"uid": request.uid, "allowed": True}


# ------------------------------------------------------------ HTTP


def _answering(answer: Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            review = msgspec.json.decode(await request.read(), type=_Review)
        except (msgspec.DecodeError, RecursionError) as error:
            return _bad(f"this is no AdmissionReview: {error}")
        if (review.api_version, review.kind) != (API, "AdmissionReview"):
            return _bad(f"only AdmissionReview of {API} is spoken, not {review.kind} of {review.api_version}")
        response = await answer(review.request)
        body = {"apiVersion": API, "kind": "AdmissionReview", "response": response}
        return web.Response(body=msgspec.json.encode(body), content_type="application/json")

    return handle


def _bad(why: str) -> web.Response:
    _log.warning("admission request refused: %s", why)
    return web.Response(status=400, text=why)
