"""From a request's bytes to the names of its blocks: what a token thread does for each request.

Every call has a request that was never read before. Unseen: its first message is new, so nothing is known, as
far as the memo can tell. Known: only its last turn is. Building the request costs a copy of it.

With the simulator's vocabulary of 4,096 tokens, or that of the model in the folder $GDP_BENCH_MODEL (then the
committed budgets mean nothing).
"""

from __future__ import annotations

import json
import os
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from grove_dp.native import spans
from grove_dp.native.kv import ChainKey
from grove_dp.sim.tokenizer import DEFAULT_MODEL
from grove_dp.tokens.load import load_model
from grove_dp.tokens.step import PromptReader

if TYPE_CHECKING:
    from bench.micro.conftest import Gauge

SOURCE = "".join(path.read_text() for path in sorted(Path(__file__).parents[2].glob("grove_dp/*/*.py")))
TURNS, LAST = 16, 2 << 10  # what is known, and the size of the turn that is not
NUMBER = b"000000000000"


@pytest.fixture(scope="module")
def reader() -> PromptReader:
    model = load_model(os.environ.get("GDP_BENCH_MODEL", DEFAULT_MODEL))
    return PromptReader(model.template, model.tokenizer, ChainKey(b"bench"), model="m", block_size=16)


def conversation(size: int, turns: int, last: int = 0) -> list[bytes]:
    """A request of about *size* bytes of text in two halves: a number is left out of the first message, or of
    one more message of *last* bytes."""
    each = (size - last) // turns
    texts = [SOURCE[n * each : (n + 1) * each] for n in range(turns)]
    texts += [SOURCE[-last:]] if last else []
    number_in = -1 if last else 0
    texts[number_in] = NUMBER.decode() + texts[number_in]
    messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
    halves = json.dumps({"model": "m", "messages": messages, "stream": True}).encode().split(NUMBER)
    assert len(halves) == 2
    return halves


@pytest.mark.parametrize(
    ("name", "size", "turns", "last"),
    [
        ("tokens_4k_unseen", 4 << 10, 1, 0),  # 1 K tokens
        ("tokens_8k_unseen", 8 << 10, 3, 0),
        ("tokens_128k_unseen", 128 << 10, TURNS, 0),
        ("tokens_128k_known", 128 << 10, TURNS, LAST),
    ],
)
def test_reading_a_prompt(
    name: str, size: int, turns: int, last: int, reader: PromptReader, gauge: Gauge
) -> None:
    begin, end = conversation(size, turns, last)
    numbers = count()

    def read(rounds: int) -> None:
        for _ in range(rounds):
            reader.read("chat", begin + b"%012d" % next(numbers) + end)

    gauge(name, read)


def test_knowing_a_prompt_again(gauge: Gauge) -> None:
    """What is done in its place when a prompt comes again: naming it by its bytes (gdp/prompt.h)."""
    body = NUMBER.join(conversation(128 << 10, TURNS))

    def name(rounds: int) -> None:
        for seed in range(rounds):
            spans.prompt_key(body, seed)

    gauge("prompt_key_128k", name)
