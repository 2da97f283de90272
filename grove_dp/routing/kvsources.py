"""Where a worker publishes its KV events: as it says itself, or as the settings say. Pure.

Since 0.31 vLLM answers GET /kv_event_sources with one entry per data-parallel rank; for older ones there is
a template, in which rank r has port + r (as vLLM itself counts). What a worker says is what it was told to
bind: `tcp://*:5557`, or a name that only its own machine knows, so the host becomes the address under which
we reach the worker, unless it is a literal address that somebody chose.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

import msgspec
from msgspec import Struct

from grove_dp.errors import WorkerFault

__all__ = ["InvalidSources", "KvSource", "left_out", "read_sources", "rewritten", "template_sources"]

BUFFER_STEPS: Final = 10_000
PORT_MAX: Final = 65_535
_TCP = re.compile(r"tcp://(?P<host>\[[^\]]*\]|[^:/\[\]]*|::):(?P<port>\d{1,5})")


# What the events of older releases do not tell of a block: (first release that does, what).
_TOLD_SINCE: Final = (((0, 14), "lora"), ((0, 18), "cache_salt"))


def left_out(release: str) -> frozenset[str]:
    """What the events of a vLLM *release* leave out of a block's name: "lora", "cache_salt".

    Blocks that differ in that look the same there. A release that is no number ("dev") tells all."""
    found = re.match(r"(\d+)\.(\d+)", release)
    if found is None or (number := (int(found[1]), int(found[2]))) == (
        0,
        1,
    ):  # 0.1.dev: built from a checkout
        return frozenset()
    return frozenset(what for since, what in _TOLD_SINCE if number < since)


class InvalidSources(WorkerFault):
    """A worker's answer, or a template, names no endpoint that we could subscribe to."""

    reason = "InvalidKvSources"


class KvSource(Struct, frozen=True):
    """One publisher: a worker's one rank."""

    rank: int
    endpoint: str
    replay_endpoint: str = ""  # "": it keeps nothing
    topic: str = ""
    buffer_steps: int = BUFFER_STEPS  # batches that the replay socket keeps


class _Said(Struct):
    endpoint: str
    enable_kv_cache_events: bool = True
    publisher: str = "zmq"
    replay_endpoint: str | None = None
    topic: str = ""
    buffer_steps: int = BUFFER_STEPS


def read_sources(body: bytes, address: str) -> tuple[KvSource, ...]:
    """What GET /kv_event_sources of the worker at *address* says, by rank; none where events are off."""
    try:
        said = msgspec.json.decode(body, type=dict[int, _Said])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidSources(f"/kv_event_sources of {address} is not understood: {error}") from None
    return tuple(
        _source(rank, said[rank], address)
        for rank in sorted(said)
        if said[rank].enable_kv_cache_events and said[rank].publisher == "zmq"
    )


def template_sources(
    endpoint: str, replay_endpoint: str, ranks: int, address: str, topic: str = ""
) -> tuple[KvSource, ...]:
    """Sources of a worker that cannot say: the template's port is that of rank 0."""
    return tuple(
        _source(
            rank,
            _Said(_shifted(endpoint, rank), replay_endpoint=_shifted(replay_endpoint, rank), topic=topic),
            address,
        )
        for rank in range(ranks)
    )


def _source(rank: int, said: _Said, address: str) -> KvSource:
    replay = said.replay_endpoint or ""
    return KvSource(
        rank,
        rewritten(said.endpoint, address),
        rewritten(replay, address) if replay else "",
        said.topic,
        max(1, said.buffer_steps),
    )


def rewritten(endpoint: str, address: str) -> str:
    """*endpoint* as we can reach it when its worker's address is *address*."""
    if endpoint.startswith("ipc://"):
        return endpoint
    parts = _parts(endpoint)
    host = parts["host"].strip("[]")
    try:
        literal = not ip_address(host).is_unspecified
    except ValueError:
        literal = False
    host = host if literal else address
    return f"tcp://[{host}]:{parts['port']}" if ":" in host else f"tcp://{host}:{parts['port']}"


def _shifted(endpoint: str, rank: int) -> str:
    if not endpoint or not rank or not endpoint.startswith("tcp://"):
        return endpoint
    parts = _parts(endpoint)
    return f"tcp://{parts['host']}:{int(parts['port']) + rank}"


def _parts(endpoint: str) -> Mapping[str, str]:
    found = _TCP.fullmatch(endpoint)
    if not found or not 0 < int(found["port"]) <= PORT_MAX:
        raise InvalidSources(
            f"cannot subscribe to KV events at {endpoint!r}: expected tcp://HOST:PORT with a port that is"
            " not 0, or ipc://PATH; give vLLM one with --kv-events-config"
        )
    return found.groupdict()
