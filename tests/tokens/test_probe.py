"""What a worker's answers to the probe are worth."""

import json

import pytest

from grove_dp.sim.asks import Reader
from grove_dp.sim.refusals import Refusal
from grove_dp.sim.tokenizer import DEFAULT_MODEL, ModelTokenizer
from grove_dp.tokens.load import WorkerFlags, load_model
from grove_dp.tokens.probe import probes, verdict
from grove_dp.tokens.step import PromptReader
from grove_dp.tokens.unsupported import Unsupported
from tests.tokens.plain_chain import PlainChain

ASKED = probes("m")


def answers_of_simulator():
    worker = Reader(ModelTokenizer(), ("m",), 4096)

    def answer(body):
        try:
            return worker.tokenize(json.loads(body))
        except Refusal:
            return None

    return [answer(probe.body) for probe in ASKED]


def reader(flags=None):
    model = load_model(DEFAULT_MODEL, flags)
    return PromptReader(model.template, model.tokenizer, PlainChain(), model="m", block_size=16)


def test_a_simulated_worker_agrees_in_all_but_corners_that_are_then_refused():
    ours = reader()
    found = verdict(ours, ASKED, answers_of_simulator())
    assert (found.exact, found.reason) == (True, "Equal")
    assert found.without <= {"continued", "developer"}
    ours.without = found.without
    ours.read("chat", b'{"messages":[{"role":"user","content":"a developer"}]}')
    for corner in found.without:
        body = next(probe.body for probe in ASKED if probe.name == corner)
        with pytest.raises(Unsupported, match="WorkerDiffers"):
            ours.read("chat", body)


def test_a_worker_with_another_template_is_not_exact_and_the_place_is_told():
    other = reader(WorkerFlags(chat_template="{% for m in messages %}{{ m.content }}{% endfor %}"))
    found = verdict(other, ASKED, answers_of_simulator())
    assert (found.exact, found.reason) == (False, "OtherText")
    assert "system_user: " in found.detail
    assert "from token 0 on" in found.detail


def test_a_worker_with_another_tokenizer_is_not_exact():
    answers = [[*ids, 5] if ids else ids for ids in answers_of_simulator()]
    found = verdict(reader(), ASKED, answers)
    assert (found.exact, found.reason, found.agreed) == (False, "OtherTokens", 0)


def test_a_worker_that_answers_nothing_is_not_exact():
    found = verdict(reader(), ASKED, [None] * len(ASKED))
    assert (found.exact, found.reason) == (False, "NoAnswer")


def test_what_the_worker_or_we_refuse_is_no_difference():
    answers = answers_of_simulator()
    answers[5] = None
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    own = (DEFAULT_MODEL / "chat_template.jinja").read_text()
    found = verdict(reader(WorkerFlags(chat_template=strict + own)), ASKED, answers)
    assert found.exact
    assert any(why.startswith("system_user: TemplateRefused") for why in found.refused)


def test_every_probe_is_a_request_for_the_model():
    assert len({probe.name for probe in ASKED}) == len(ASKED)
    assert {json.loads(probe.body)["model"] for probe in ASKED} == {"m"}
