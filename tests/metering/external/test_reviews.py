"""What the API server is asked, how often, and what happens when it does not answer."""

import asyncio

import pytest

from grove_dp.metering.external.documents import Overloaded, Unavailable
from grove_dp.metering.external.identity import User
from grove_dp.metering.external.reviews import AT_A_TIME, WAITING_MAX, Act, Reviews
from tests.metering.external.rig import Cluster, refusing, unreachable

ADA = User(name="ada", uid="u-1", groups=("devs",), extra=(("scopes", ("a", "b")),))
METRIC = Act("", "web", "grove_dp_queued_tokens")


@pytest.fixture
def cluster():
    return Cluster(
        tokens={
            "good": {"username": "ada", "uid": "u-1", "groups": ["devs"], "extra": {"scopes": ["a", "b"]}}
        },
        rights={("ada", "grove_dp_queued_tokens"), ("ada", "/apis")},
    )


@pytest.fixture
def reviews(cluster, clock):
    return Reviews(cluster, clock)


async def test_a_token_has_its_bearer(reviews, cluster):
    assert await reviews.bearer("good") == ADA
    assert cluster.asked == [
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "good"}}
    ]


async def test_nobody_bears_an_unknown_or_huge_token(reviews, cluster):
    assert await reviews.bearer("bad") is None
    assert await reviews.bearer("x" * 20_000) is None
    assert len(cluster.asked) == 1


async def test_answers_about_tokens_hold_ten_seconds(reviews, cluster, clock):
    for token in ("good", "good", "bad", "bad"):
        await reviews.bearer(token)
    assert cluster.kinds() == ["TokenReview"] * 2
    cluster.tokens.clear()  # it expires
    await clock.advance(10)
    assert await reviews.bearer("good") is None


async def test_no_token_is_remembered(reviews):
    await reviews.bearer("secret-token")
    assert len(reviews._bearers) == 1
    assert "secret" not in repr(vars(reviews._bearers))


async def test_a_metric_is_asked_for_as_a_list(reviews, cluster):
    assert (await reviews.verdict(ADA, METRIC)).allowed
    assert cluster.asked[0]["spec"] == {
        "user": "ada",
        "uid": "u-1",
        "groups": ["devs"],
        "extra": {"scopes": ["a", "b"]},
        "resourceAttributes": {
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "namespace": "web",
            "resource": "grove_dp_queued_tokens",
            "verb": "list",
        },
    }


async def test_a_document_is_asked_for_by_its_path(reviews, cluster):
    assert (await reviews.verdict(ADA, Act("/apis"))).allowed
    assert cluster.asked[0]["spec"]["nonResourceAttributes"] == {"path": "/apis", "verb": "get"}
    assert not (await reviews.verdict(User(name="eve"), Act("/apis"))).allowed


async def test_verdicts_hold_ten_seconds_for_their_user_and_act_only(reviews, cluster, clock):
    for _ in range(2):
        await reviews.verdict(ADA, METRIC)
    await reviews.verdict(ADA, Act("", "other", "grove_dp_queued_tokens"))
    await reviews.verdict(User(name="ada"), METRIC)
    assert len(cluster.asked) == 3
    cluster.rights.clear()
    await clock.advance(10)
    assert not (await reviews.verdict(ADA, METRIC)).allowed


async def test_the_masters_group_needs_no_verdict(reviews, cluster):
    assert (await reviews.verdict(User(name="x", groups=("system:masters",)), METRIC)).allowed
    assert cluster.asked == []


async def test_an_api_server_that_does_not_answer_is_asked_again(reviews, cluster, clock):
    cluster.down = unreachable()
    asking = asyncio.create_task(reviews.verdict(ADA, METRIC))
    await clock.advance(0.25)
    cluster.down = None
    await clock.advance(0.5)
    assert (await asking).allowed
    assert len(cluster.asked) == 3


async def test_what_it_never_answers_nobody_may(reviews, cluster, clock):
    cluster.down = unreachable()
    asking = asyncio.create_task(reviews.verdict(ADA, METRIC))
    await clock.advance(10)
    with pytest.raises(Unavailable, match="does not answer"):
        await asking
    cluster.down = None
    assert (await reviews.verdict(ADA, METRIC)).allowed  # a failure is not remembered


async def test_what_we_may_not_ask_is_not_asked_again(reviews, cluster):
    cluster.down = refusing()
    with pytest.raises(Unavailable, match="we may not ask the API server"):
        await reviews.bearer("good")
    assert len(cluster.asked) == 1


async def test_strangers_cannot_make_us_ask_without_end(reviews, cluster):
    cluster.gate = asyncio.Event()
    asking = [asyncio.create_task(reviews.bearer(f"token-{number}")) for number in range(WAITING_MAX + 5)]
    done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 5
    assert len(cluster.asked) == AT_A_TIME
    cluster.gate.set()
    told = await asyncio.gather(*asking, return_exceptions=True)
    assert sum(isinstance(each, Overloaded) for each in told) == 5
    assert told.count(None) == WAITING_MAX
