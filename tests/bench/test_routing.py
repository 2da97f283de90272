"""Tests of bench.routing: requests that are never the same, events that are not lost, rows with bounds."""

import json
import os
import shutil
from pathlib import Path

import pytest

from bench import results
from bench.proxy.bodies import COUNTER
from bench.proxy.tools import build
from bench.routing import events, frontend
from bench.routing.__main__ import main
from bench.routing.native import EVENTS, medians
from bench.routing.prompts import PROMPTS, bodies
from grove_dp.sim.tokenizer import ModelTokenizer

CPUS = [str(cpu) for cpu in sorted(os.sched_getaffinity(0))[:2]]
needs_two_cpus = pytest.mark.skipif(
    len(CPUS) < 2 or shutil.which("taskset") is None, reason="needs two CPUs and taskset"
)


@pytest.mark.parametrize("name", PROMPTS)
def test_the_bodies_of_a_prompt_differ_and_carry_one_counter(name: str) -> None:
    made = bodies(PROMPTS[name])
    assert len(set(made)) == len(made)
    assert all(body.count(COUNTER.encode()) == 1 for body in made)
    assert sum(map(len, made)) / len(made) == pytest.approx(PROMPTS[name].size, rel=0.1)


def test_the_counter_makes_all_of_a_prompt_new_or_only_its_last_message() -> None:
    for name, place in (("128k_unseen", 0), ("128k_known", -1)):
        messages = json.loads(bodies(PROMPTS[name])[0])["messages"]
        assert COUNTER in messages[place]["content"]
        assert messages[-1]["role"] == "user"


def test_a_prompt_of_1_k_tokens_has_that_many() -> None:
    tokenizer = ModelTokenizer()
    counts = [len(tokenizer.chat(json.loads(body)["messages"])) for body in bodies(PROMPTS["1k_tokens"])]
    assert sum(counts) / len(counts) == pytest.approx(1024, rel=0.15)


@pytest.mark.parametrize("kind", events.KINDS)
def test_no_event_of_the_intake_is_lost(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "payloads.bin"
    events.write(path, kind, 2 * events.PROMPT)
    got = medians(EVENTS, [path], 1)  # ends with an error where one is
    told = [
        batch for slot, batches in events.payloads(kind, 2 * events.PROMPT) for batch in batches if slot < 64
    ]
    assert got["blocks"] == sum(len(event["block_hashes"]) for event in told)
    assert 0 < got["distinct"] <= got["held"]


@needs_two_cpus
@pytest.mark.timeout(400)
@pytest.mark.xdist_group("cpus")
def test_a_frontend_before_fakes_places_by_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontend, "LOADS", frontend.LOADS[:1])
    build()
    plan = frontend.Plan(turns=1, pace=0.6, cpu=int(CPUS[0]), generator_cpu=int(CPUS[1]))
    made = {row.name: row for row in frontend.rows(plan, tmp_path)}
    cost = made["frontend, 1 K tokens"]
    assert (cost.must, cost.aim, cost.anchor) == ("value <= 0.2", "value <= 0.1", "round_robin")
    assert cost.anchor_value is not None
    assert 0 < cost.anchor_value < cost.value
    assert made["placed by tokens meanwhile"].value > 0


def test_a_part_is_written_beside_the_whole_and_gated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--quick", "--only", "books", "--beside", "--out", str(tmp_path)]
    assert main(words) == 0
    made = results.load(tmp_path / "routing_part.json").rows
    assert [row.name for row in made] == ["select + book + settle, 256 workers", "calibration loop"]
    assert made[0].must == "value <= 3"
    assert (tmp_path / "routing_part.svg").exists()


def test_an_unknown_part_is_named_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "indices"]) == 2
    assert "UnknownPart: indices; there are index, events, books, frontend" in capsys.readouterr().err
