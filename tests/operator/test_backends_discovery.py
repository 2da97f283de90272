"""Which schedulers' APIs are found, and what becomes of those that come, go, or are too old."""

import asyncio

import pytest
from grove_operator.api import KAI_GROUPS, NATIVE_GROUPS, VOLCANO_GROUPS
from grove_operator.discovery import LOOK_S, Discovery

from grove_dp.kube.errors import ApiUnreachable, Forbidden, NotFound
from grove_dp.testing.loopclock import LoopClock

pytestmark = pytest.mark.looptime


class Cluster:
    """Answers discovery: kinds by API, and the fields of their schema."""

    def __init__(self, *served, fields=("minSubGroup", "subGroupPolicy")):
        self.served = list(served)
        self.fields = fields
        self.errors = []
        self.asked = []

    async def get(self, path):
        self.asked.append(path)
        if self.errors:
            raise self.errors.pop(0)
        if path == "/apis":
            versions = [{"groupVersion": kind.api_version} for kind in self.served]
            return {"groups": [{"versions": versions}]}
        kind = next(kind for kind in self.served if path.endswith(kind.api_version))
        if path.startswith("/openapi"):
            spec = {"properties": {field: {} for field in self.fields}}
            return {"components": {"schemas": {"PodGroup": {"properties": {"spec": spec}}}}}
        return {"resources": [{"name": kind.plural}]}


def discovery(cluster, **more):
    changes = []
    return Discovery(cluster, LoopClock(), changes.append, **more), changes


async def test_what_is_served_is_found_in_one_version_of_each_group():
    found, changes = discovery(Cluster(*NATIVE_GROUPS, KAI_GROUPS, VOLCANO_GROUPS))
    await found.first()
    assert changes == [{NATIVE_GROUPS[0], KAI_GROUPS, VOLCANO_GROUPS}]


async def test_groups_without_the_fields_that_are_written_count_as_not_there(caplog):
    found, changes = discovery(Cluster(KAI_GROUPS, VOLCANO_GROUPS, fields=("subGroupPolicy",)))
    await found.first()
    assert changes == [{VOLCANO_GROUPS}]
    assert "lack minSubGroup and are not used: KAI 0.15 has it" in caplog.text


async def test_an_older_volcano_is_used_and_its_upgrade_is_news(caplog):
    cluster = Cluster(VOLCANO_GROUPS, fields=())
    found, changes = discovery(cluster)
    await found.first()
    assert found.older == {VOLCANO_GROUPS}
    assert "told the sum of minimums alone: Volcano 1.14 has it" in caplog.text
    cluster.fields = ("subGroupPolicy",)
    looking = asyncio.create_task(found.run())
    await asyncio.sleep(LOOK_S + 1)
    looking.cancel()
    assert found.older == frozenset()
    assert changes == [{VOLCANO_GROUPS}] * 2


async def test_nothing_wanted_is_nothing_asked():
    cluster = Cluster(KAI_GROUPS)
    found, _ = discovery(cluster, wanted=())
    await found.first()
    await found.run()
    assert cluster.asked == []


async def test_a_start_waits_for_an_answer_but_not_for_a_right():
    cluster = Cluster(KAI_GROUPS)
    cluster.errors = [ApiUnreachable("GET /apis: nobody there")]
    found, changes = discovery(cluster)
    await found.first()
    assert changes == [{KAI_GROUPS}]
    cluster = Cluster(KAI_GROUPS)
    cluster.errors = [Forbidden("GET /apis", 403, "Forbidden", "not you")]
    found, changes = discovery(cluster)
    await found.first()
    assert changes == []


async def test_what_comes_goes_and_cannot_be_seen_is_followed():
    cluster = Cluster()
    found, changes = discovery(cluster)
    await found.first()
    running = asyncio.create_task(found.run())
    cluster.served = [KAI_GROUPS]
    await asyncio.sleep(LOOK_S + 1)
    assert changes == [{KAI_GROUPS}]
    cluster.errors = [ApiUnreachable("GET /apis: nobody there")]
    await asyncio.sleep(LOOK_S)
    assert changes == [{KAI_GROUPS}]
    cluster.served = []
    cluster.errors = [NotFound("GET /apis", 404, "NotFound", "no")]
    await asyncio.sleep(2 * LOOK_S)
    assert changes == [{KAI_GROUPS}, set()]
    running.cancel()
