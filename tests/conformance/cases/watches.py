"""Watches: what comes in which order, with which versions, and how they end."""

from tests.conformance.cases.objects import config


async def changes_come_in_their_order(calls):
    listed = await calls.read(calls.maps())
    async with calls.watch(calls.maps(), resourceVersion=listed["metadata"]["resourceVersion"]) as events:
        await calls.made(calls.maps(), config("a", k="1"))
        await calls.merge(calls.maps("a"), {"data": {"k": "2"}})
        await calls.merge(calls.maps("a"), {"data": {"k": "2"}})  # changes nothing: no event
        await calls.made(calls.maps(), config("b"))
        await calls.delete(calls.maps("a"))
        assert await events.brief(4) == [("ADDED", "a"), ("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a")]


async def an_event_has_the_whole_object(calls):
    made = await calls.made(calls.maps(), config("a", k="1"))
    async with calls.watch(calls.maps(), resourceVersion="0") as events:
        kind, document = await events.next()
        assert kind == "ADDED"
        assert document == made


async def what_went_is_shown_as_it_was_with_the_version_of_its_going(calls):
    made = await calls.made(calls.maps(), config("a", k="1"))
    async with calls.watch(calls.maps(), resourceVersion=made["metadata"]["resourceVersion"]) as events:
        await calls.delete(calls.maps("a"))
        kind, document = await events.next()
        assert kind == "DELETED"
        assert document["data"] == {"k": "1"}
        assert int(document["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])


async def without_a_version_it_begins_with_all_there_is(calls):
    await calls.made(calls.maps(), config("a"))
    await calls.made(calls.maps(), config("b"))
    for query in ({}, {"resourceVersion": "0"}):
        async with calls.watch(calls.maps(), **query) as events:
            assert sorted(await events.brief(2)) == [("ADDED", "a"), ("ADDED", "b")]


async def from_a_version_it_tells_all_since(calls):
    made = await calls.made(calls.maps(), config("a", k="1"))
    await calls.merge(calls.maps("a"), {"data": {"k": "2"}})
    await calls.made(calls.maps(), config("b"))
    await calls.delete(calls.maps("b"))
    async with calls.watch(calls.maps(), resourceVersion=made["metadata"]["resourceVersion"]) as events:
        assert await events.brief(3) == [("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "b")]


async def what_leaves_a_selection_is_deleted_and_what_enters_it_added(calls):
    await calls.made(calls.maps(), config("a"))
    listed = await calls.read(calls.maps())
    version = listed["metadata"]["resourceVersion"]
    async with calls.watch(calls.maps(), labelSelector="in=yes", resourceVersion=version) as events:
        await calls.merge(calls.maps("a"), {"metadata": {"labels": {"in": "yes"}}})
        await calls.merge(calls.maps("a"), {"data": {"k": "1"}})
        await calls.merge(calls.maps("a"), {"metadata": {"labels": {"in": "no"}}})
        await calls.merge(calls.maps("a"), {"data": {"k": "2"}})
        await calls.merge(calls.maps("a"), {"metadata": {"labels": {"in": "yes"}}})
        await calls.delete(calls.maps("a"))
        happened = await events.brief(5)
        assert happened == [
            ("ADDED", "a"),
            ("MODIFIED", "a"),
            ("DELETED", "a"),
            ("ADDED", "a"),
            ("DELETED", "a"),
        ]


async def one_object_can_be_watched_by_its_name(calls):
    version = (await calls.read(calls.maps()))["metadata"]["resourceVersion"]
    async with calls.watch(calls.maps(), fieldSelector="metadata.name=b", resourceVersion=version) as events:
        await calls.made(calls.maps(), config("a"))
        await calls.made(calls.maps(), config("b"))
        assert await events.brief(1) == [("ADDED", "b")]


async def other_namespaces_are_not_seen(calls):
    version = (await calls.read(calls.maps()))["metadata"]["resourceVersion"]
    async with calls.watch(calls.maps(), resourceVersion=version) as events:
        other = calls.path("configmaps", namespace="default")
        name = (await calls.call("POST", other, {"metadata": {"generateName": "x-"}}, keep=False)).document[
            "metadata"
        ]["name"]
        await calls.made(calls.maps(), config("a"))
        assert await events.brief(1) == [("ADDED", "a")]
        await calls.call("DELETE", f"{other}/{name}", keep=False)


async def pods_are_seen_when_they_get_a_node(calls):
    version = (await calls.read(calls.pods()))["metadata"]["resourceVersion"]
    spec = {"containers": [{"name": "m", "image": "i"}], "schedulingGates": [{"name": "t.test/g"}]}
    async with calls.watch(
        calls.pods(), fieldSelector="spec.nodeName=lost-a", resourceVersion=version
    ) as events:
        await calls.made(calls.pods(), {"metadata": {"name": "a"}, "spec": spec})
        await calls.merge(calls.pods("a"), {"spec": {"schedulingGates": None}})
        binding = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "lost-a"}}
        assert (await calls.post(calls.pods("a", "binding"), binding)).status == 201
        assert await events.brief(1) == [("ADDED", "a")]


async def a_version_must_be_a_number(calls):
    async with calls.watch(calls.maps(), resourceVersion="x") as events:
        assert events.status == 500
        assert "invalid syntax" in (await events.refusal()).document["message"]


async def a_watch_ends_when_its_time_is_over(calls):
    async with calls.watch(calls.maps(), timeoutSeconds=1) as events:
        assert events.status == 200
        assert await events.next() is None


async def who_asks_for_bookmarks_gets_no_other_events_for_it(calls):
    made = await calls.made(calls.maps(), config("a"))
    version = made["metadata"]["resourceVersion"]
    query = {"resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": 1}
    async with calls.watch(calls.maps(), **query) as events:
        assert await events.next() is None


async def a_watch_of_an_unknown_kind_is_refused(calls):
    async with calls.watch("/apis/nothing.test/v1/things") as events:
        assert events.status == 404


async def a_selector_of_a_watch_must_be_readable(calls):
    async with calls.watch(calls.maps(), fieldSelector="data.k=v") as events:
        assert (await events.refusal()).why == (400, "BadRequest")
