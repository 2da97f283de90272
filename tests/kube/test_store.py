"""Objects by version: what is held never goes back, and what has gone stays gone."""

import pytest

from grove_dp.kube.objects import Meta, Pod
from grove_dp.kube.store import GRAVES, Store


def pod(version, name="a", uid="u1"):
    return Pod(metadata=Meta(name=name, namespace="web", uid=uid, resource_version=str(version)))


@pytest.fixture
def store():
    return Store({"uid": lambda held: (held.metadata.uid,)})


def test_an_answer_that_comes_after_the_end_does_not_bring_an_object_back(store):
    store.put(pod(5))
    store.remove(pod(9))
    assert store.put(pod(8)) is None
    assert store.get("web", "a") is None
    assert store.by("uid", "u1") == []


def test_a_successor_of_the_same_name_is_held(store):
    store.put(pod(5))
    store.remove(pod(9))
    assert store.put(pod(10, uid="u2")).new.metadata.uid == "u2"


def test_what_a_list_did_not_find_any_more_does_not_come_back_by_an_older_answer(store):
    store.put(pod(5))
    assert [change.old.metadata.name for change in store.replace([], 20)] == ["a"]
    assert store.put(pod(19)) is None
    assert store.put(pod(21, uid="u2")) is not None


def test_only_so_many_ends_are_remembered(store):
    for number in range(GRAVES + 10):
        store.put(pod(5, name=f"p{number}"))
        store.remove(pod(9, name=f"p{number}"))
    assert len(store._gone) == GRAVES
    assert store.put(pod(8, name=f"p{GRAVES + 9}")) is None
