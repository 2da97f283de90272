"""One request being answered: from engine outputs to bytes of its dialect.

An exchange owns its choices (n answers to each prompt) and their engine sequences. `push` takes a token;
`flush`, called once per engine step, sends everything new in one write. While the client reads too slowly
tokens pile up in their choice and leave later as one event, as vLLM merges them; so a stopped reader costs
its tokens and nothing more.
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from grove_dp.sim.asks import Ask
from grove_dp.sim.engine import Engine
from grove_dp.sim.faults import Fault
from grove_dp.sim.http import Reply
from grove_dp.sim.metrics import WorkerMetrics
from grove_dp.sim.refusals import OVERLOADED, Refusal
from grove_dp.sim.replies import Choice, Dialect, Face, Timing
from grove_dp.sim.sequences import Output
from grove_dp.sim.sequences import Sequence as EngineSequence

__all__ = ["Exchange"]

KEEP_ALIVE = b": keep-alive\n\n"


class Exchange:
    """An `Ask` on its way through the engine to a `Reply`."""

    def __init__(
        self,
        ask: Ask,
        face: Face,
        dialect: Dialect,
        reply: Reply,
        fault: Fault,
        *,
        metrics: WorkerMetrics,
        extra: Callable[[], dict[str, str]],
        ended: Callable[["Exchange"], None],
    ) -> None:
        self.ask, self.face, self.fault = ask, face, fault
        self.timing = Timing()
        self.choices = [
            Choice(at * ask.n + k, prompt, ask.texts[at])
            for at, prompt in enumerate(ask.prompts)
            for k in range(ask.n)
        ]
        self.over = False
        self._dialect, self._reply = dialect, reply
        self._metrics, self._extra, self._ended = metrics, extra, ended
        self._sequences: list[EngineSequence] = []
        self._engine: Engine | None = None
        self._begun = False
        self._hold_back = max(map(len, ask.stop), default=1) - 1
        self._late: asyncio.TimerHandle | None = None
        self._quiet: asyncio.TimerHandle | None = None
        self._open_choices = len(self.choices)

    def start(
        self, engine: Engine, script: Sequence[int] | None, answer_len: int, keep_alive_s: float
    ) -> None:
        """Hand the prompts to the engine and open the stream."""
        loop = asyncio.get_running_loop()
        self._engine = engine
        self.timing.asked = loop.time()
        ask = self.ask
        self._sequences = [
            engine.submit(
                choice.prompt,
                ask.max_tokens,
                cache=ask.cache,
                seed=_spice(ask.seed, choice.index % ask.n),
                script=script,
                answer_len=0 if ask.ignore_eos else answer_len,
                owner=(self, choice),
            )
            for choice in self.choices
        ]
        self._reply.on_gone = self.abandon
        self._reply.on_drained = self.flush
        if ask.stream:
            self._reply.open()
            if prelude := self._dialect.prelude(self.choices):
                self._reply.send(prelude)
            if keep_alive_s > 0:
                self._quiet = loop.call_later(keep_alive_s, self._say_alive, keep_alive_s)

    def push(self, output: Output, choice: Choice) -> None:
        """Take one token from the engine."""
        if self.over or choice.finish_reason is not None:
            return
        now = asyncio.get_running_loop().time()
        if not choice.tokens:
            choice.cached = max(0, output.sequence.cached_tokens)
            self.timing.first = self.timing.first or now
            self._metrics.first_token(now - self.timing.asked)
        else:
            self._metrics.next_token(now - self.timing.last)
        self.timing.last = now
        choice.tokens.append(output.token)
        choice.fresh.append(output.token)
        if output.finish_reason is not None:
            choice.finish_reason = output.finish_reason
            self._metrics.finished(output, self)
        if self.ask.stop or not self.ask.stream:
            choice.text += self.face.tokenizer.text(output.token)
        if self.ask.stop and self._stopped(choice):
            assert self._engine is not None
            self._engine.abort(output.sequence)

    def flush(self) -> None:
        """Send what is new, unless the client, or a fault, asks for patience."""
        if self.over or self._reply.paused or self._late is not None:
            return
        if self.fault.kind == "slow":
            self._late = asyncio.get_running_loop().call_later(self.fault.delay_s, self._flush_late)
            return
        self._send()

    def fail(self, refusal: Refusal) -> None:
        """End with an error, in whatever form is still possible."""
        if self.over:
            return
        if self._reply.opened:
            self._reply.send(self._dialect.failure(refusal))
            self._finish(end=True)
        else:
            self._reply.whole(refusal.status, refusal.body())
            self._finish(end=False)

    def abandon(self) -> None:
        """The client left: give everything back at once."""
        self._finish(end=False)

    def cut(self) -> None:
        """The process died: the connection ends in the middle."""
        self._reply.abort()
        self._finish(end=False)

    def _stopped(self, choice: Choice) -> bool:
        found = [(choice.text.find(stop), stop) for stop in self.ask.stop if stop in choice.text]
        if not found:
            return False
        at, stop = min(found)
        choice.text = choice.text[:at]
        choice.finish_reason, choice.stop_reason = "stop", stop
        return True

    def _flush_late(self) -> None:
        self._late = None
        if not self.over and not self._reply.paused:
            self._send()

    def _send(self) -> None:
        if not self.ask.stream:
            self._answer_whole()
            return
        events = self._new_events()
        limit = self.fault.after_events - self._reply.events
        if self.fault.kind in ("die_mid_stream", "error_in_200", "hang") and len(events) >= limit:
            self._reply.send(events[: max(0, limit)])
            self._break()
            return
        if events:
            self._reply.send(events)
        if self._open_choices == 0:
            self._finish(end=True)

    def _new_events(self) -> list[bytes]:
        events: list[bytes] = []
        if not self._begun and any(choice.fresh for choice in self.choices):
            self._begun = True
            events += self._dialect.opening(self.choices)
        for choice in self.choices:
            if choice.fresh and not choice.closed:
                events += self._choice_events(choice)
        if self._open_choices == 0:
            events += self._dialect.closing(self.choices, self.timing)
        return events

    def _choice_events(self, choice: Choice) -> list[bytes]:
        tokens, choice.fresh = choice.fresh, []
        last = choice.finish_reason is not None
        if last:
            choice.closed = True
            self._open_choices -= 1
        return self._dialect.delta(choice, tokens, self._new_text(choice, tokens, last=last), last=last)

    def _new_text(self, choice: Choice, tokens: list[int], *, last: bool) -> bytes:
        """The text of new tokens as JSON; text that may become a stop string stays back."""
        if self.ask.stop:
            upto = len(choice.text) if last else max(choice.sent, len(choice.text) - self._hold_back)
            text, choice.sent = choice.text[choice.sent : upto], upto
            return msgspec.json.encode(text)
        if len(tokens) == 1:
            return self.face.tokenizer.json_text(tokens[0])
        return msgspec.json.encode("".join(map(self.face.tokenizer.text, tokens)))

    def _answer_whole(self) -> None:
        if any(choice.finish_reason is None for choice in self.choices):
            return
        if self.fault.kind in ("die_mid_stream", "error_in_200", "hang"):
            self._break()
            return
        self._reply.whole(200, self._dialect.whole(self.choices, self.timing), extra=self._extra())
        self._finish(end=False)

    def _break(self) -> None:
        """Do what the fault says, now."""
        if self.fault.kind == "die_mid_stream":
            self.cut()
        elif self.fault.kind == "error_in_200":
            self.fail(OVERLOADED)
        else:
            self._release()

    def _say_alive(self, every_s: float) -> None:
        if self.over or self._begun:
            return
        self._reply.send([KEEP_ALIVE])
        self._quiet = asyncio.get_running_loop().call_later(every_s, self._say_alive, every_s)

    def _finish(self, *, end: bool) -> None:
        if self.over:
            return
        self._release()
        if end:
            self._reply.end()

    def _release(self) -> None:
        self.over = True
        self._ended(self)
        for timer in (self._late, self._quiet):
            if timer is not None:
                timer.cancel()
        if self._engine is not None:
            for sequence in self._sequences:
                self._engine.abort(sequence)


def _spice(seed: int | None, k: int) -> int | None:
    """Different answers for the k-th of n."""
    if k == 0:
        return seed
    return (seed or 0) * 1_000_003 + k
