"""Trouble on request: what a client must survive, made to happen at a known call.

    faults.refuse("POST", "*/pods", times=2, code=429, retry_after_s=1)
    faults.delay("*", "*/leases/*", seconds=3)
    faults.lose_answer("POST", "*/pods")        the call is done, and the caller never hears of it
    faults.lose_call("PATCH", "*")              the connection breaks before the server has read it
    faults.refuse_token("old")                  401 for that bearer
    faults.lose_events(3)                       a gap in every live watch
    faults.cut_watches()                        connections end
    faults.freeze_watches()                     they stay open and say nothing any more
    faults.end_watches()                        they end with 410 in the stream
    faults.forget()                             versions and pages from before now are gone: 410
    faults.gone_in_status = True                ... in the HTTP status, as some servers do

A path is a pattern (`*` any characters), a method `*` is any. The first rule that fits is used, as often as
it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from grove_dp.testing.kubeapi.answers import Refusal
from grove_dp.testing.kubeapi.lists import Lists
from grove_dp.testing.kubeapi.store import Store, event_line

__all__ = ["Faults", "Trouble"]

REASONS: Mapping[int, str] = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class Trouble(msgspec.Struct):
    """What becomes of a call."""

    refusal: Refusal | None = None
    latency_s: float = 0.0
    lost: Literal["", "call", "answer"] = ""


class _Rule(msgspec.Struct):
    method: str
    path: str
    left: int
    trouble: Trouble

    def fits(self, method: str, path: str) -> bool:
        return self.left > 0 and self.method in ("*", method) and fnmatchcase(path, self.path)


class Faults:
    """Of one server."""

    def __init__(self, store: Store, lists: Lists) -> None:
        self.gone_in_status = False
        self._store = store
        self._lists = lists
        self._rules: list[_Rule] = []
        self._tokens: set[str] = set()

    # ------------------------------------------------------------ calls

    def refuse(
        self,
        method: str,
        path: str,
        *,
        times: int = 1,
        code: int = 500,
        reason: str = "",
        message: str = "refused for a test",
        retry_after_s: int | None = None,
    ) -> None:
        """The next calls get an error."""
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        details = {"retryAfterSeconds": retry_after_s}
        refusal = Refusal(code, reason or REASONS.get(code, "Unknown"), message, details, headers)
        self._rules.append(_Rule(method, path, times, Trouble(refusal)))

    def delay(self, method: str, path: str, seconds: float, *, times: int = 1) -> None:
        """The next calls are done at once, and answered so much later."""
        self._rules.append(_Rule(method, path, times, Trouble(latency_s=seconds)))

    def lose_call(self, method: str, path: str, *, times: int = 1) -> None:
        """The next calls never reach the server."""
        self._rules.append(_Rule(method, path, times, Trouble(lost="call")))

    def lose_answer(self, method: str, path: str, *, times: int = 1) -> None:
        """The next calls are done, but the connection breaks before the answer."""
        self._rules.append(_Rule(method, path, times, Trouble(lost="answer")))

    def refuse_token(self, token: str) -> None:
        """401 for whoever shows it, from now on."""
        self._tokens.add(token)

    def accept_token(self, token: str) -> None:
        """No longer."""
        self._tokens.discard(token)

    def clear(self) -> None:
        """No more trouble with calls."""
        self._rules.clear()
        self._tokens.clear()

    def meet(self, method: str, path: str, headers: Mapping[str, str]) -> Trouble:
        """What becomes of this call."""
        shown = next((value for name, value in headers.items() if name.lower() == "authorization"), "")
        if shown.removeprefix("Bearer ") in self._tokens:
            return Trouble(Refusal(401, "Unauthorized", "Unauthorized"))
        for rule in self._rules:
            if rule.fits(method, path):
                rule.left -= 1
                self._rules = [rule for rule in self._rules if rule.left > 0]
                return rule.trouble
        return Trouble()

    # ------------------------------------------------------------ watches

    def lose_events(self, count: int) -> None:
        """The next changes reach no live watch; lists and later watches know of them."""
        self._store.losing = count

    def cut_watches(self) -> None:
        """All of them end, without a word."""
        for table in self._store.tables.values():
            for watcher in list(table.watchers):
                watcher.end()

    def freeze_watches(self) -> None:
        """All of them fall silent, and stay open: what was half a connection is none any more."""
        for table in self._store.tables.values():
            for watcher in table.watchers:
                watcher.frozen = True

    def end_watches(self) -> None:
        """All of them end with 410 as their last event."""
        expired = Refusal(410, "Expired", f"too old resource version: 1 ({self._store.version})")
        line = event_line("ERROR", msgspec.json.encode(expired.document()))
        for table in self._store.tables.values():
            for watcher in list(table.watchers):
                watcher.add(line)
                watcher.end()

    def forget(self) -> None:
        """The past: no watch can begin before now, and no list be continued."""
        for table in self._store.tables.values():
            table.forget(self._store.version)
        self._lists.forget()
