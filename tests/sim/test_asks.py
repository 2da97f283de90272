"""What a request asks for: the prompt has the tokens that a real vLLM 0.32 made of the same request."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from grove_dp.sim.asks import Reader
from grove_dp.sim.refusals import Refusal
from grove_dp.sim.tokenizer import DEFAULT_MODEL, ModelTokenizer

RECORDED = Path(__file__).parents[1] / "fixtures" / "tokens"


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    """The model with its own template, and with one for agents: tools, thoughts, macros."""
    folder = tmp_path_factory.mktemp("agent") / "model"
    shutil.copytree(DEFAULT_MODEL, folder)
    shutil.copy(RECORDED / "agent.jinja", folder / "chat_template.jinja")
    models = {"plain": DEFAULT_MODEL, "agent": folder}
    return {
        name: Reader(ModelTokenizer(path), ("m",), 4096, auto_tools=True) for name, path in models.items()
    }


def prompt_of(reader: Reader, endpoint: str, body: dict[str, Any]) -> list[int]:
    if endpoint == "tokenize":
        return reader.tokenize(body)
    read = {"chat": reader.chat, "completions": reader.completion}[endpoint]
    return read(body, {}).prompts[0]


@pytest.mark.parametrize("name", ["plain", "agent"])
@pytest.mark.parametrize(("endpoint", "cases"), [("tokenize", 15), ("chat", 22), ("completions", 5)])
def test_prompts_have_the_recorded_tokens(
    readers: dict[str, Reader], name: str, endpoint: str, cases: int
) -> None:
    lines = [json.loads(line) for line in (RECORDED / f"{name}.jsonl").read_text().splitlines()]
    asked = [line for line in lines if line["endpoint"] == endpoint]
    assert len(asked) >= cases
    for line in asked:
        assert prompt_of(readers[name], endpoint, json.loads(line["body"])) == line["ids"], line["body"]


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "assistant", "content": "a"}], "continue_final_message": True},
        {"messages": [{"role": "user", "content": "a"}], "chat_template_kwargs": {"tokenize": False}},
    ],
)
def test_options_that_contradict_are_refused(readers: dict[str, Reader], body: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refused:
        readers["plain"].chat(body, {})
    assert refused.value.status == 400
