"""What a frontend tells those who scale: GET /signals, a msgpack map. The schema, and nothing else.

    GET /signals?since=SEQ&boot=ID&wait=S&most=N

*since* and *boot* come from the answer before: `next_seq` and `boot_id`. A frontend that has started anew
since then has another boot_id and begins with its record 0. With *wait* the answer comes when there are
records, at the latest after that many seconds (30 at most). At most *most* records; `next_seq` says where to
go on, `newest_seq` how far there is more.

Everything that counts up is counted from the start of the process and is 0 then: who wants a rate takes two
answers of one boot_id and the `now_ns` of both. What depends on time alone (queue waits of the last minute)
is told as buckets of schema 4, which add up over frontends.

The records are raw: `dtype` says, as numpy.dtype takes it, what a record is made of, so a reader built for
an older frontend reads the fields that it knows. Times in them are CLOCK_MONOTONIC of the frontend; adding
`wall_offset_ns` makes them nanoseconds since 1970.
"""

from typing import Any, Final, cast

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from grove_dp.errors import GroveError

__all__ = [
    "VERSION",
    "WAIT_MAX_S",
    "BadSignals",
    "CurveSignal",
    "ModelSignal",
    "Signals",
    "WorkerSignal",
    "decode",
    "encode",
]

VERSION: Final = 1
WAIT_MAX_S: Final = 30.0


class BadSignals(GroveError):
    """What a frontend told is not of this schema."""

    reason = "BadSignals"


class WorkerSignal(Struct, kw_only=True):
    """A worker as this frontend sees it: what it is, what this frontend has there now, what it sent there."""

    slot: int  # as in the records of this boot
    id: str
    state: str
    namespace: str = ""
    pod: str = ""
    pod_uid: str = ""
    pcs: str = ""
    pcsg: str = ""
    pclq: str = ""
    component: str = ""
    role: str = "aggregated"
    base: str = ""  # the model that its adapters belong to
    models: list[str] = []
    draining: bool = False
    # now, of this frontend's requests
    inflight: int = 0
    prefill: float = 0.0  # placed there, first token not yet seen
    decode: float = 0.0  # decoding
    backlog_s: float = 0.0  # seconds of uncached prompts before a new one
    # now, of all requests, as the worker's own metrics say; < 0: they do not
    kv_tokens: float = -1.0
    kv_capacity: float = -1.0
    # since the start of this process
    placed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    work_s: float = 0.0  # expected seconds of the uncached prompts placed there


class ModelSignal(Struct, kw_only=True):
    """Requests for one model and of one class."""

    model: str
    slo_class: str = "default"
    queued: int = 0  # waiting for a worker now
    queued_tokens: float = 0.0  # of their prompts
    arrived: int = 0
    ended: int = 0
    output_tokens: int = 0
    judged: int = 0  # streams whose first token came
    kept: int = 0  # of these, both promises kept
    queue_wait: dict[int, float] = {}  # of the last minute: bucket of schema 4 in seconds -> requests
    ttft: dict[int, float] = {}
    itl: dict[int, float] = {}


class CurveSignal(Struct, kw_only=True):
    """What workers of one class take, as learnt: gdp_rates (csrc/include/gdp/cost.h)."""

    class_of: int
    models: list[str]
    prefill: list[float]  # seconds = sum of these times (1, uncached, attention)
    prefill_n: int
    step: list[float]  # seconds = sum of these times (1, running, context)
    step_n: int


class Signals(Struct, kw_only=True):
    """One answer."""

    v: int = VERSION
    boot_id: str
    now_ns: int  # CLOCK_MONOTONIC
    wall_offset_ns: int
    first_seq: int  # of `records`
    next_seq: int
    newest_seq: int
    lost: int  # records that were overwritten before they were asked for: the picture is incomplete
    draining: bool = False
    ttft_s: float = 0.0  # promised to the default class, besides the prompt's own computing time
    itl_s: float = 0.0
    workers: list[WorkerSignal] = []
    models: list[ModelSignal] = []
    curves: list[CurveSignal] = []
    startups: list[float] = []  # seconds from a worker's registration until it was ready, of the last 64
    classes: list[str] = []  # by record.class_id
    reasons: list[str] = []  # by record.reason
    endpoints: list[str] = []  # by record.endpoint
    dtype: dict[str, Any] = {}
    records: bytes = b""

    def array(self) -> npt.NDArray[np.void]:
        """The records as a structured array, without copying. BadSignals."""
        try:
            dtype: np.dtype[np.void] = np.dtype(cast(Any, self.dtype))
            return np.frombuffer(self.records, dtype)
        except (TypeError, ValueError) as error:
            raise BadSignals(f"dtype and records do not fit: {error}") from None


def encode(signals: Signals) -> bytes:
    """The body of an answer."""
    return msgspec.msgpack.encode(signals)


def decode(body: bytes) -> Signals:
    """Read an answer. BadSignals when it is none, or of a later version."""
    try:
        found = msgspec.msgpack.decode(body, type=Signals)
    except msgspec.DecodeError as error:
        raise BadSignals(f"no signals: {error}") from None
    if found.v != VERSION:
        raise BadSignals(f"signals of version {found.v}; this reads version {VERSION}")
    return found
