"""An open loop: every request of a trace goes out at its own time, whatever became of those before it.

A closed loop (N users, each waiting for its answer) slows down with the server and so hides its queues; a
trace played open shows them. The body of the next request is built while waiting for its time, so what is
late is only what this process could not manage, and the report says how late that was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from grove_dp.errors import ConfigurationError, GroveError
from grove_dp.sim.client import LoadClient, Outcome, Unreachable
from grove_dp.sim.report import Report

if TYPE_CHECKING:
    from grove_dp.clock import Clock
    from grove_dp.sim.prompts import Prompts
    from grove_dp.sim.trace import TraceRequest

__all__ = ["Ask", "NoModel", "Replay", "served_model"]

_BREATH = 32  # requests that may leave without letting the loop read


class Ask(msgspec.Struct, frozen=True):
    """How a trace request becomes an API request."""

    model: str
    endpoint: Literal["chat", "completions"] = "chat"
    stream: bool = True
    ignore_eos: bool = True
    seed: int = 0
    max_output_tokens: int | None = None

    @property
    def path(self) -> str:
        """The path of the endpoint."""
        return "/v1/chat/completions" if self.endpoint == "chat" else "/v1/completions"

    def body(self, request: TraceRequest, prompt: str | msgspec.Raw | list[str], serial: int) -> bytes:
        """The JSON body for *request*; a list is a conversation, from its system prompt on."""
        limit = request.output_tokens if self.max_output_tokens is None else self.max_output_tokens
        fields: dict[str, Any] = {"model": self.model}
        if self.endpoint == "chat":
            texts = [(1, prompt)] if not isinstance(prompt, list) else enumerate(prompt)
            fields["messages"] = [{"role": _role(place), "content": text} for place, text in texts]
        else:
            fields["prompt"] = prompt
        fields["max_tokens"] = max(1, min(request.output_tokens, limit))
        fields["seed"] = (self.seed + serial) & 0x7FFF_FFFF
        if self.ignore_eos:
            fields["ignore_eos"] = True
        if self.stream:
            fields["stream"] = True
            fields["stream_options"] = {"include_usage": True}
        return msgspec.json.encode(fields)


def _role(place: int) -> str:
    """Whose the message at *place* is."""
    return "system" if place == 0 else ("assistant", "user")[place % 2]


class Replay:
    """Plays *requests* through *client* into *report*."""

    def __init__(
        self,
        client: LoadClient,
        requests: Iterable[TraceRequest],
        *,
        ask: Ask,
        prompts: Prompts,
        clock: Clock,
        report: Report,
        speed: float = 1.0,
        in_flight_limit: int = 16_384,
    ) -> None:
        self._client = client
        self._requests = requests
        self._ask = ask
        self._prompts = prompts
        self._clock = clock
        self._report = report
        self._speed = speed
        self._in_flight_limit = in_flight_limit
        self.started_at = clock.now()
        self.trace_s = 0.0  # the time of the trace that has been reached

    async def run(self) -> None:
        """Send everything and wait for every answer; cancelled, what is under way counts as interrupted."""
        self.started_at = self._clock.now()
        async with asyncio.TaskGroup() as group:
            for serial, request in enumerate(self._requests):
                body = self._ask.body(request, self._prompt(request, serial), serial)
                due = self.started_at + request.at_s / self._speed
                wait = due - self._clock.now()
                if wait > 0 or serial % _BREATH == 0:
                    await self._clock.sleep(max(0.0, wait))
                self.trace_s = request.at_s
                group.create_task(self._one(body, due))

    def _prompt(self, request: TraceRequest, serial: int) -> str | msgspec.Raw | list[str]:
        if request.messages and self._ask.endpoint == "chat":
            return self._prompts.messages(request)
        return self._prompts.prompt(request, serial)

    async def _one(self, body: bytes, due: float) -> None:
        report = self._report
        now = self._clock.now()
        report.record_sent(now - self.started_at, now - due)
        try:
            if report.in_flight > self._in_flight_limit:  # memory has an end; a flood is counted, not kept
                outcome = Outcome(e2e_s=0.0, reason="InFlightLimit")
            else:
                outcome = await self._client.post(self._ask.path, body)
        except asyncio.CancelledError:
            report.interrupted += 1
            raise
        report.record_outcome(self._clock.now() - self.started_at, outcome)


class _Card(msgspec.Struct):
    id: str


class _Cards(msgspec.Struct):
    data: list[_Card]


async def served_model(client: LoadClient) -> str:
    """The one model that the server has; several or none are an error that lists them."""
    try:
        cards = msgspec.json.decode(await client.get("/v1/models"), type=_Cards).data
    except msgspec.MsgspecError as wrong:
        raise Unreachable(f"/v1/models: no list of models ({wrong}); name the model with --model") from None
    names = sorted({card.id for card in cards})
    if len(names) == 1:
        return names[0]
    if not names:
        raise NoModel("the server has no model now; wait for its workers, or name one with --model")
    raise ConfigurationError(f"the server has several models; choose one with --model: {', '.join(names)}")


class NoModel(GroveError):
    """A server without any model."""

    reason, status = "NoModel", 503
