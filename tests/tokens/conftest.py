"""The tiny model, and readers for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grove_dp.tokens.load import Model, WorkerFlags, load_model
from grove_dp.tokens.step import PromptReader
from tests.tokens.plain_chain import PlainChain

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="session")
def models() -> dict[str, Model]:
    """The tiny model with its own template, and with one for agents: tools, thoughts, macros."""
    agent = (FIXTURES / "tokens" / "agent.jinja").read_text()
    return {
        "plain": load_model(FIXTURES / "tokenizer"),
        "agent": load_model(FIXTURES / "tokenizer", WorkerFlags(chat_template=agent)),
    }


@pytest.fixture
def reader_of(models: dict[str, Model]) -> Callable[..., PromptReader]:
    def made(name: str = "agent", **options: Any) -> PromptReader:
        model = models[name]
        given: dict[str, Any] = {"model": "m", "block_size": 16} | options
        return PromptReader(model.template, model.tokenizer, PlainChain(), **given)

    return made
