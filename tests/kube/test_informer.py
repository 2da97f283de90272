"""What an informer holds and tells, whatever lists and watches do to it."""

import asyncio
from random import Random

import pytest

from grove_dp.clock import ManualClock
from grove_dp.kube.informer import Informer
from grove_dp.kube.objects import PODS, Pod
from tests.kube.scripted import Scripted, bookmark, error, event, pod


class Watched:
    """An informer that runs, and what it told."""

    def __init__(self, server, **options):
        self.clock = ManualClock()
        self.informer = Informer(
            server.api(),
            PODS,
            Pod,
            namespace="web",
            indexes={"node": lambda held: [held.spec.node_name] if held.spec.node_name else []},
            clock=self.clock,
            rng=Random(1),
            **options,
        )
        self.told = []
        self.informer.listen(self._note)
        self.task = asyncio.create_task(self.informer.run())

    def _note(self, change):
        word = "came" if change.old is None else "went" if change.new is None else "changed"
        meta = change.last.metadata
        self.told.append((word, meta.name, meta.resource_version))

    def names(self):
        return sorted(held.metadata.name for held in self.informer)

    async def until(self, good):
        async with asyncio.timeout(5):
            while not good():
                assert not self.task.done(), self.task
                await asyncio.sleep(0)


@pytest.fixture
async def server():
    return Scripted()


@pytest.fixture
async def start(server):
    made = []

    def begin(**options):
        made.append(Watched(server, **options))
        return made[-1]

    yield begin
    for watched in made:
        watched.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watched.task


async def test_a_list_in_pages_is_taken_over_as_one(server, start):
    server.lists(pod("a", 3), pod("b", 4), more="token")
    server.lists(pod("c", 5), version="10")
    watched = start(page=2, labels="app=x")
    await watched.informer.synced()
    assert watched.names() == ["a", "b", "c"]
    assert server.asked[:2] == [
        {"labelSelector": "app=x", "limit": "2"},
        {"labelSelector": "app=x", "limit": "2", "continue": "token"},
    ]


async def test_the_watch_goes_on_from_the_lists_version_and_asks_for_bookmarks(server, start):
    server.lists(version="77")
    watched = start()
    await watched.until(lambda: len(server.asked) == 2)
    asked = server.asked[1]
    assert (asked["resourceVersion"], asked["allowWatchBookmarks"]) == ("77", "true")
    assert 300 <= int(asked["timeoutSeconds"]) <= 600


async def test_listeners_are_told_of_what_comes_changes_and_goes(server, start):
    server.lists(pod("a", 1))
    stream = server.watches()
    watched = start()
    stream.send(event("ADDED", pod("b", 11)), event("MODIFIED", pod("a", 12, node="n")))
    stream.send(event("DELETED", pod("b", 13)))
    await watched.until(lambda: len(watched.told) == 4)
    assert watched.told == [
        ("came", "a", "1"),
        ("came", "b", "11"),
        ("changed", "a", "12"),
        ("went", "b", "13"),
    ]
    assert watched.names() == ["a"]


async def test_who_listens_later_is_told_of_what_is_there(server, start):
    server.lists(pod("a", 1))
    watched = start()
    await watched.informer.synced()
    late = []
    watched.informer.listen(lambda change: late.append((change.old, change.new.metadata.name)))
    assert late == [(None, "a")]


async def test_an_index_follows_its_objects(server, start):
    server.lists(pod("a", 1, node="n1"), pod("b", 2, node="n1"), pod("c", 3))
    stream = server.watches()
    watched = start()
    informer = watched.informer

    def on(node):
        return [held.metadata.name for held in informer.by("node", node)]

    await informer.synced()
    assert (on("n1"), on("n2"), on("")) == (["a", "b"], [], [])
    stream.send(event("MODIFIED", pod("a", 11, node="n2")), event("DELETED", pod("b", 12, node="n1")))
    await informer.reached("12")
    assert (on("n1"), on("n2")) == ([], ["a"])


async def test_a_line_in_many_pieces_is_one_event(server, start):
    server.lists()
    stream = server.watches()
    watched = start()
    whole = b'{"type":"ADDED","object":{"metadata":{"name":"a","namespace":"web","resourceVersion":"11"}}}\n'
    for at in range(len(whole)):
        stream.send_raw(whole[at : at + 1])
    await watched.until(lambda: watched.names() == ["a"])


async def test_a_watch_that_ends_goes_on_from_the_last_version_without_a_list(server, start):
    server.lists()
    first, _ = server.watches(), server.watches()
    watched = start()
    first.send(event("ADDED", pod("a", 11)), bookmark(20))
    await watched.informer.reached("20")
    await watched.clock.advance(400)
    first.end()
    await watched.until(lambda: len(server.asked) == 3)
    assert server.asked[2]["resourceVersion"] == "20"
    assert watched.informer.lists == 1


async def test_a_bookmark_is_taken_though_it_has_nulls_where_objects_never_have(server, start):
    server.lists()
    stream = server.watches()
    watched = start()
    nulls = {"kind": "Pod", "metadata": {"resourceVersion": "25"}, "spec": {"containers": None}, "status": {}}
    stream.send(event("BOOKMARK", nulls))
    await watched.informer.reached("25")
    assert watched.informer.undecodable == 0


@pytest.mark.parametrize("how", ["by status", "in the stream"])
async def test_expired_versions_lead_to_a_list_that_tells_what_was_missed(server, start, how):
    server.lists(pod("stays", 1), pod("goes", 2), pod("changes", 3))
    first = server.watches()
    watched = start()
    await watched.informer.synced()
    server.lists(pod("stays", 1), pod("changes", 30), pod("came", 31), version="40")
    if how == "by status":
        server.watches(410, "Expired")
        await watched.clock.advance(400)
        first.end()
    else:
        first.send(error(410, "Expired"))
    await watched.until(
        lambda: server.asked[-1].get("resourceVersion") == "40" or not watched.clock._sleepers
    )
    await watched.clock.advance(60)
    await watched.until(lambda: watched.informer.lists == 2)
    assert watched.told[3:] == [("changed", "changes", "30"), ("came", "came", "31"), ("went", "goes", "2")]
    assert watched.names() == ["came", "changes", "stays"]
    assert all("resourceVersion" not in asked for asked in server.asked if "limit" in asked)


async def test_what_was_there_stays_readable_while_the_list_fails(server, start):
    server.lists(pod("a", 1))
    first = server.watches()
    watched = start()
    await watched.informer.synced()
    server.refuses(500, "InternalError")
    server.answers.append(ConnectionRefusedError("nobody"))
    server.lists(pod("a", 1), version="40")
    first.send(error(410, "Expired"))
    for _ in range(3):
        await watched.clock.advance(30)
        assert watched.names() == ["a"]
    await watched.until(lambda: watched.informer.lists == 2)
    assert watched.told == [("came", "a", "1")]


async def test_a_server_that_ends_every_watch_at_once_is_not_run_against(server, start):
    server.lists()
    for _ in range(200):
        server.watches().end()
    watched = start()
    await watched.informer.synced()
    await watched.clock.advance(60)
    assert 3 <= watched.informer.watches <= 15


async def test_failures_are_tried_again_later_and_later_and_then_listed_anew(server, start):
    server.lists(version="10")
    watched = start()
    for _ in range(5):
        server.watches(500, "InternalError")
    server.lists(version="50")
    await watched.informer.synced()
    await watched.clock.advance(120)
    await watched.until(lambda: watched.informer.lists == 2)
    assert watched.informer.watches >= 5


async def test_a_server_that_says_when_to_come_is_not_asked_before(server, start):
    server.refuses(429, "TooManyRequests", {"retry-after": "700"})
    server.lists(pod("a", 1))
    watched = start()
    await watched.until(lambda: len(server.asked) == 1)
    await watched.clock.advance(690)
    assert len(server.asked) == 1
    await watched.clock.advance(20)
    await watched.informer.synced()


async def test_a_silent_watch_is_given_up_and_followed_by_another(server, start):
    server.lists()
    server.watches()
    second = server.watches()
    watched = start(quiet_s=0.05)
    await watched.informer.synced()
    await asyncio.sleep(0.1)
    await watched.clock.advance(5)
    second.send(event("ADDED", pod("a", 11)))
    await watched.until(lambda: watched.names() == ["a"])
    assert watched.informer.lists == 1


async def test_one_object_that_does_not_fit_costs_only_itself(server, start, caplog):
    server.lists(pod("a", 1), pod("bad", 2, status={"phase": 7}))
    stream = server.watches()
    watched = start()
    await watched.informer.synced()
    stream.send(event("ADDED", pod("worse", 11, status=[])), event("ADDED", pod("b", 12)))
    await watched.informer.reached("12")
    assert watched.names() == ["a", "b"]
    assert watched.informer.undecodable == 2
    assert "bad is left out" in caplog.text
    assert "worse is left out" in caplog.text


async def test_lines_that_are_no_events_end_the_watch_not_the_informer(server, start):
    server.lists()
    first, second = server.watches(), server.watches()
    watched = start()
    first.send_raw(b"<html>Bad Gateway</html>\n")
    await watched.informer.synced()
    await watched.until(lambda: watched.clock._sleepers)
    await watched.clock.advance(5)
    second.send(event("ADDED", pod("a", 11)))
    await watched.until(lambda: watched.names() == ["a"])


async def test_a_write_is_read_back_at_once_and_older_news_of_it_is_left_aside(server, start):
    server.lists()
    stream = server.watches()
    watched = start()
    await watched.informer.synced()
    written = watched.informer._object.decode(
        b'{"metadata":{"name":"a","namespace":"web","uid":"uid-a","resourceVersion":"15"},"spec":{"nodeName":"n"}}'
    )
    watched.informer.wrote(written)
    assert watched.informer.by("node", "n") == [written]
    stream.send(event("ADDED", pod("a", 12)), event("MODIFIED", pod("a", 15, node="n")), bookmark(16))
    await watched.informer.reached("16")
    assert watched.told == [("came", "a", "15")]
    stream.send(event("DELETED", pod("a", 17)))
    await watched.until(lambda: watched.names() == [])


async def test_a_list_older_than_a_write_does_not_undo_it(server, start):
    server.lists()
    first = server.watches()
    watched = start()
    await watched.informer.synced()
    server.lists(version="14")
    written = watched.informer._object.decode(
        b'{"metadata":{"name":"a","namespace":"web","uid":"uid-a","resourceVersion":"15"}}'
    )
    watched.informer.wrote(written)
    first.send(error(410, "Expired"))
    await watched.until(lambda: watched.clock._sleepers)
    await watched.clock.advance(5)
    await watched.until(lambda: watched.informer.lists == 2)
    assert watched.names() == ["a"]


async def test_the_end_of_a_predecessor_does_not_take_the_successor_of_its_name(server, start):
    server.lists(pod("a", 20, uid="new"))
    stream = server.watches()
    watched = start()
    stream.send(event("DELETED", pod("a", 19, uid="old")), bookmark(30))
    await watched.informer.reached("30")
    assert watched.names() == ["a"]
