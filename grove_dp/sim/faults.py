"""Faults that a simulated worker can be told to have."""

from typing import Literal, get_args

import msgspec

__all__ = ["FAULT_KINDS", "Fault", "FaultKind"]

FaultKind = Literal[
    "none",
    "refuse",  # the port is closed, idle connections too; running answers go on
    "hang",  # requests are read and never answered
    "error500",  # a plain 500
    "die_mid_stream",  # the connection is closed without an end after `after_events` events
    "slow",  # the first event, and each one after it, `delay_s` late; late ones merge
    "error_in_200",  # after `after_events` events of a 200 stream an error line; 503 when not streamed
    "drain",  # as after SIGTERM with --shutdown-timeout: new requests get 500, running ones finish
    "crash",  # the engine dies: running streams get an error line, /health says 503
    "events_gap",  # the next `count` batches of KV events reach no subscriber, but a replay has them
    "restart",  # at once a new process: connections of running answers cut, cache empty, events from 0
]
FAULT_KINDS: tuple[str, ...] = get_args(FaultKind)


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong, for the next `count` generating requests (None: until told otherwise).

    With a count, only generating requests are touched, so that health checks do not use it up; without one,
    `hang` silences every path. `events_gap` and `restart` happen and are over: no state of the worker.
    """

    kind: FaultKind = "none"
    after_events: int = 0
    count: int | None = None
    delay_s: float = 0.0
