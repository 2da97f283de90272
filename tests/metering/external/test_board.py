"""The board: what it tells, and what it must not."""

from math import nan

import msgspec
import pytest

from grove_dp.metering.external.board import EVERYWHERE, METRICS, Board, Picture, label_value
from grove_dp.metering.external.documents import NotFound, Unavailable
from grove_dp.metering.external.selector import BadSelector
from tests.metering.external.rig import PICTURE, WALL_S, sample

QUEUED = "grove_dp_queued_tokens"


@pytest.fixture
def board(clock):
    made = Board(clock)
    made.publish(PICTURE)
    return made


def values(board, namespace="web", metric=QUEUED, selector=""):
    items = msgspec.json.decode(board.query(namespace, metric, selector))["items"]
    return {item["metricLabels"].get("component"): item["value"] for item in items}


def test_a_query_tells_every_series_of_its_namespace(board):
    assert values(board) == {"prefill": "12", "decode": "500m"}


def test_a_selector_chooses_among_them(board):
    assert values(board, selector="role=decode") == {"decode": "500m"}
    assert values(board, selector="role=decode") == {"decode": "500m"}  # remembered
    assert values(board, selector="role in (prefill,decode),pcs=chat") == {"prefill": "12", "decode": "500m"}


def test_a_namespace_does_not_see_another(board):
    assert values(board, "other", "grove_dp_desired_replicas") == {"prefill": "7"}
    with pytest.raises(NotFound, match="could not find the metric grove_dp_queued_tokens in namespace other"):
        board.query("other", QUEUED, "")


def test_what_is_in_no_namespace_is_seen_from_all(board):
    board.publish(Picture(samples=(sample(namespace=EVERYWHERE, value=4, model="m"),)))
    assert values(board, "any") == {None: "4"}
    assert board.query(EVERYWHERE, QUEUED, "").count(b"metricName") == 1


def test_a_target_without_traffic_tells_zero(board):
    board.publish(Picture(samples=(sample(value=0, component="decode"),)))
    assert values(board) == {"decode": "0"}


def test_a_selector_that_takes_nothing_says_what_there_is(board):
    with pytest.raises(
        NotFound, match=r"with pcs=nope in namespace web; there is component=prefill,model=org_small"
    ):
        board.query("web", QUEUED, "pcs=nope")


def test_a_wrong_selector_is_refused(board):
    with pytest.raises(BadSelector):
        board.query("web", QUEUED, "a in b")


def test_nothing_is_told_before_the_first_picture(clock):
    board = Board(clock)
    assert not board.published
    with pytest.raises(Unavailable, match="no picture"):
        board.query("web", QUEUED, "")


def test_an_incomplete_picture_is_not_told_and_names_who_is_missing(board):
    board.query("web", QUEUED, "")
    board.publish(Picture(samples=PICTURE.samples, missing=("http://10.0.0.7:9090",)))
    for ask in (lambda: board.query("web", QUEUED, ""), lambda: board.target("web", QUEUED, "chat-prefill")):
        with pytest.raises(Unavailable, match=r"no answer from http://10\.0\.0\.7:9090"):
            ask()
    board.publish(PICTURE)
    assert values(board) == {"prefill": "12", "decode": "500m"}


async def test_a_picture_that_nobody_renews_is_not_told_any_more(board, clock):
    await clock.advance(15)
    assert values(board)
    await clock.advance(0.1)
    with pytest.raises(Unavailable, match="15 s old"):
        board.query("web", QUEUED, "")
    board.publish(PICTURE)
    assert values(board)


def test_a_value_that_is_no_number_stops_its_metric_only(board):
    board.publish(Picture(samples=(*PICTURE.samples, sample(value=nan, pcs="other"))))
    with pytest.raises(Unavailable, match="pcs=other: nan"):
        board.query("web", QUEUED, "pcs=chat")
    assert values(board, metric="grove_dp_desired_replicas") == {"prefill": "3"}


def test_a_series_told_twice_stops_its_metric(board):
    # Their sum is what the HPA would act on.
    board.publish(Picture(samples=(sample(model="a/b"), sample(model="a_b"))))
    with pytest.raises(Unavailable, match="two series have the labels model=a_b"):
        board.query("web", QUEUED, "")


def test_a_new_picture_replaces_what_was_remembered(board):
    assert values(board, selector="role=decode") == {"decode": "500m"}
    changed = sample(value=9, component="decode", role="decode", wall_s=WALL_S + 60)
    board.publish(Picture(samples=(changed,)))
    assert values(board, selector="role=decode") == {"decode": "9"}


def test_keda_gets_the_sum_of_a_target(board):
    told = board.target("web", QUEUED, "chat-prefill")
    assert (told.value, told.wall_s) == (12.0, WALL_S)
    assert board.target("web", QUEUED, "org/small").value == 12.5
    assert board.target("web", QUEUED, "org_small").value == 12.5
    with pytest.raises(NotFound, match="no target nope"):
        board.target("web", QUEUED, "nope")


def test_all_metrics_are_known_before_they_have_values(board, clock):
    assert Board(clock).metrics == tuple(sorted(METRICS))
    board.publish(Picture(samples=(sample("grove_dp_more"),)))
    assert board.metrics == tuple(sorted([*METRICS, "grove_dp_more"]))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("small", "small"),
        ("org/model-7B", "org_model-7B"),
        ("ünï/x", "n__x"),
        ("a" * 70, "a" * 63),
        ("//", ""),
    ],
)
def test_a_label_is_something_that_a_selector_can_name(text, value):
    assert label_value(text) == value
