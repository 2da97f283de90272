"""Zeros where they are true."""

from grove_dp.metering.external.board import Board, Picture
from grove_dp.metering.external.targets import TRAFFIC, KnownTarget, with_zeros
from tests.metering.external.rig import WALL_S, sample

BUSY = {"pcs": "chat", "component": "prefill"}
IDLE = {"pcs": "chat", "component": "decode"}


def test_a_target_without_traffic_tells_zero_and_one_with_traffic_its_own():
    samples = [sample(value=5, **BUSY)]
    targets = [KnownTarget("web", dict(reversed(BUSY.items()))), KnownTarget("web", IDLE)]
    told = {
        (each.metric, each.labels["component"]): each.value for each in with_zeros(samples, targets, WALL_S)
    }
    assert told.pop(("grove_dp_queued_tokens", "prefill")) == 5
    assert len(told) == 2 * len(TRAFFIC) - 1
    assert set(told.values()) == {0.0}


def test_a_wish_is_never_made_up():
    told = with_zeros([], [KnownTarget("web", IDLE)], WALL_S)
    assert "grove_dp_desired_replicas" not in {each.metric for each in told}


def test_the_same_target_of_another_namespace_is_another():
    samples = [sample(namespace="web", value=5, **BUSY)]
    told = with_zeros(samples, [KnownTarget("other", BUSY)], WALL_S)
    assert len(told) == 1 + len(TRAFFIC)


def test_a_board_takes_them(clock):
    board = Board(clock)
    board.publish(Picture(samples=with_zeros([], [KnownTarget("web", IDLE)], WALL_S)))
    assert b'"value":"0"' in board.query("web", "grove_dp_queued_tokens", "component=decode")
