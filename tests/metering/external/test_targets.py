"""Targets that are known although nobody works there."""

import pytest

from grove_dp.errors import ConfigurationError
from grove_dp.metering.external import targets
from grove_dp.metering.external.board import Board, NotFound
from grove_dp.metering.external.samples import picture
from grove_dp.metering.external.targets import KnownTargets, TargetKey, read_target
from tests.metering.external.test_samples import merged, model, worker

PREFILL = TargetKey("ml", "chat", "prefill", "prefill", "llama")
DECODE = TargetKey("ml", "chat", "decode", "decode", "llama")
WHOLE = TargetKey("ml", "chat", "all", "aggregated", "llama")


def place(key):
    return {"namespace": key.namespace, "pcs": key.pcs, "component": key.component, "role": key.role}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ml/chat/decode/decode=llama", DECODE),
        ("ml/chat/all=llama", WHOLE),
        ("ml/chat/all=org/big=1", TargetKey("ml", "chat", "all", "aggregated", "org/big=1")),
    ],
)
def test_a_target_is_declared_in_one_word(text, found):
    assert read_target(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ml/chat=llama",
        "ml/chat/all",
        "ml/chat/all=",
        "ml/chat/all/boss=llama",
        "ml//all=llama",
        "a/b/c/decode/e=m",
    ],
)
def test_what_is_no_target_is_refused_with_what_to_write(text):
    with pytest.raises(ConfigurationError, match="NAMESPACE/PCS/COMPONENT"):
        read_target(text)


async def test_a_target_stays_known_for_a_while_after_its_last_worker_and_a_declared_one_for_ever(clock):
    known = KnownTargets(clock, [DECODE], remember_s=100)
    assert known.look([PREFILL]) == (PREFILL, DECODE)
    await clock.advance(99)
    assert known.look([]) == (DECODE, PREFILL)
    await clock.advance(2)
    assert known.look([]) == (DECODE,)


async def test_seeing_it_again_begins_the_while_anew(clock):
    known = KnownTargets(clock, remember_s=100)
    for _ in range(3):
        known.look([PREFILL, WHOLE])
        await clock.advance(60)
    known.look([PREFILL])
    await clock.advance(60)
    assert known.look([]) == (PREFILL,)


def test_a_worker_that_has_not_said_what_it_serves_is_told_of_and_not_remembered(clock):
    nothing_yet = WHOLE._replace(model="")
    known = KnownTargets(clock)
    assert known.look([nothing_yet]) == (nothing_yet,)
    assert known.look([]) == ()


def test_what_is_remembered_is_bounded(clock, monkeypatch):
    monkeypatch.setattr(targets, "KNOWN_MAX", 3)
    known = KnownTargets(clock)
    for number in range(5):
        known.look([WHOLE._replace(pcs=f"chat-{number}")])
    assert [target.pcs for target in known.look([])] == ["chat-2", "chat-3", "chat-4"]


def told(of, key):
    """Values of a target, by measure."""
    found = {}
    for each in of.samples:
        if (each.namespace, each.labels) == (key.namespace, key.labels):
            found[each.metric.removeprefix("grove_dp_")] = each.value
    return found


def test_a_target_without_workers_tells_zeros_and_no_wish(clock):
    known = KnownTargets(clock, [WHOLE])
    assert told(picture(merged([]), known.look), WHOLE) == {
        "prefill_work_seconds_per_second": 0.0,
        "output_tokens_per_second": 0.0,
        "decode_virtual_load": 0.0,
        "queued_tokens": 0.0,
        "queue_wait_seconds": 0.0,
    }


def test_what_waits_for_a_model_without_workers_waits_for_its_targets(clock):
    known = KnownTargets(clock, [WHOLE, DECODE])
    found = picture(merged([], [model("llama", 700.0), model("other", 9.0)]), known.look)
    assert told(found, WHOLE)["queued_tokens"] == 700.0
    assert (
        told(found, DECODE)["queued_tokens"] == 0.0
    )  # decoding begins when somebody has computed the prompt


def test_while_somebody_else_works_for_the_model_what_waits_is_theirs(clock):
    known = KnownTargets(clock, [WHOLE])
    found = picture(merged([worker("a", **place(PREFILL))], [model("llama", 700.0)]), known.look)
    assert told(found, PREFILL)["queued_tokens"] == 700.0
    assert told(found, WHOLE)["queued_tokens"] == 0.0


def test_a_board_tells_what_is_known_and_nothing_of_what_is_not(clock):
    known, board = KnownTargets(clock), Board(clock)
    board.publish(picture(merged([worker("a", **place(WHOLE))]), known.look))
    board.publish(picture(merged([]), known.look))  # its last worker has gone
    assert b'"value":"0"' in board.query("ml", "grove_dp_queued_tokens", "component=all")
    assert board.target("ml", "grove_dp_queued_tokens", "chat-all").value == 0
    with pytest.raises(NotFound):
        board.query("ml", "grove_dp_queued_tokens", "component=never")
    with pytest.raises(NotFound):
        board.target("ml", "grove_dp_desired_replicas", "chat-all")
