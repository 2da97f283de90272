"""Tokens recorded from a real vLLM 0.32, made again here: the same ids."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from grove_dp.tokens.probe import Probe, probes, verdict

FIXTURES = Path(__file__).parents[1] / "fixtures"
HTTP = FIXTURES / "vllm_http"
ENDPOINTS = {
    "/tokenize": "tokenize",
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
    "/v1/messages/count_tokens": "messages",
}


def recorded(name: str) -> list[dict[str, Any]]:
    lines = (FIXTURES / "tokens" / f"{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("name", ["plain", "agent"])
def test_every_prompt_has_the_ids_that_the_worker_gave_it(name, reader_of):
    reader = reader_of(name)
    for case in recorded(name):
        ids = reader.ids(case["endpoint"], case["body"].encode())
        assert ids.tolist() == case["ids"], case


@pytest.mark.parametrize("name", ["plain", "agent"])
def test_the_probe_of_the_recorded_worker_says_exact(name, reader_of):
    answers = [case["ids"] for case in recorded(name) if case["endpoint"] == "tokenize"]
    found = verdict(reader_of(name), probes("m"), answers)
    assert (found.exact, found.reason, found.detail, found.without) == (True, "Equal", "", frozenset())
    assert found.agreed == len(answers)


def test_the_probe_tells_the_templates_apart(reader_of):
    asked = [Probe(case["endpoint"], "", case["body"].encode()) for case in recorded("plain")]
    asked = [probe for probe in asked if probe.name == "tokenize"]
    answers = [case["ids"] for case in recorded("plain") if case["endpoint"] == "tokenize"]
    assert not verdict(reader_of("agent"), asked, answers).exact


def exchanges() -> list[tuple[str, str, bytes, bytes]]:
    """(name, endpoint, body, answer) of the recorded requests that have one prompt and were answered."""
    found = []
    for path in sorted(HTTP.glob("*/*.request.http")):
        head, _, body = path.read_bytes().partition(b"\r\n\r\n")
        endpoint = ENDPOINTS.get(head.decode().partition(" ")[2].partition(" ")[0])
        answer = path.with_name(path.name.replace(".request.", ".response.")).read_bytes()
        if endpoint and answer.startswith(b"HTTP/1.1 200") and "prompts" not in path.name:
            found.append((path.name, endpoint, body, answer))
    return found


def test_every_recorded_exchange_counts_as_many_prompt_tokens(reader_of):
    reader, compared = reader_of("plain"), 0
    for name, endpoint, body, answer in exchanges():
        told = re.findall(rb'"(?:prompt_tokens|input_tokens|count)":(\d+)', answer)
        if told:
            assert reader.read(endpoint, body).tokens == int(told[-1]), name
            compared += 1
    assert compared > 45


def test_recorded_prompt_token_ids_are_ours(reader_of):
    reader, compared = reader_of("plain"), 0
    for name, endpoint, body, answer in exchanges():
        told = re.search(rb'"(?:prompt_token_ids|tokens)":(\[[0-9,]+\])', answer)
        if told:
            assert reader.ids(endpoint, body).tolist() == json.loads(told[1]), name
            compared += 1
    assert compared >= 3
