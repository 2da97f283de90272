"""What of the cluster admission knows, and since when."""

import msgspec
import pytest
from grove_operator.api import BINDINGS
from grove_operator.settings import OperatorSettings, Scheduler, Topology
from grove_operator.world import Surroundings

from grove_dp.kube.access import Access
from grove_dp.kube.informer import Informer
from grove_dp.kube.objects import Meta
from grove_dp.kube.store import Change
from grove_dp.testing.kubeapi import InProcess, Server


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A binding whose spec is as it came."""

    metadata: Meta = Meta()
    spec: dict = {}


class Listed:
    """Bindings as an informer holds them."""

    def __init__(self, *held, synced=True):
        self.held = {one.metadata.name: one for one in held}
        self.is_synced = synced
        self.told = []

    def __iter__(self):
        return iter(self.held.values())

    def listen(self, told):
        self.told.append(told)

    def put(self, one):
        old = self.held.get(one.metadata.name)
        self.held[one.metadata.name] = one
        for told in self.told:
            told(Change(old, one))


def binding(name, *domains):
    levels = [{"domain": domain, "key": f"example.com/{domain}"} for domain in domains]
    return Held(metadata=Meta(name=name), spec={"levels": levels})


def test_topologies_are_not_known_before_they_are_listed():
    listed = Listed(synced=False)
    world = Surroundings(OperatorSettings(), listed)
    assert world().topologies is None
    listed.is_synced = True
    assert world().topologies == {}


def test_a_binding_is_known_by_its_domains_from_broad_to_narrow():
    listed = Listed(binding("gpus", "zone", "rack"))
    world = Surroundings(OperatorSettings(), listed)
    assert world().topologies == {"gpus": ("zone", "rack")}
    assert world() is world()
    listed.put(binding("gpus", "zone", "rack", "host"))
    assert world().topologies == {"gpus": ("zone", "rack", "host")}


def test_a_binding_that_makes_no_sense_costs_only_itself(caplog):
    broken = Held(metadata=Meta(name="broken"), spec={"levels": "zone"})
    world = Surroundings(OperatorSettings(), Listed(broken, binding("gpus", "zone")))
    assert world().topologies == {"broken": (), "gpus": ("zone",)}
    assert "ClusterTopologyBinding broken" in caplog.text


@pytest.mark.parametrize(
    ("backend", "aware"),
    [
        ("auto", {"kai-scheduler", "default-scheduler"}),
        ("own", {"kai-scheduler", "default-scheduler", "mine"}),
        ("native", {"kai-scheduler"}),
        ("none", {"kai-scheduler"}),
    ],
)
def test_who_knows_topology_follows_from_the_backend(backend, aware):
    scheduler = Scheduler(names=("default-scheduler", "mine"), backend=backend)
    world = Surroundings(OperatorSettings(scheduler=scheduler), Listed())()
    assert world.topology_aware == aware
    assert world.schedulers == {"default-scheduler", "mine"}


def test_topology_can_be_forbidden():
    assert not Surroundings(OperatorSettings(topology=Topology(enabled=False)), Listed())().topology


async def test_an_informer_is_what_it_reads():
    async with Access(InProcess(Server())) as api:
        informer = Informer(api, BINDINGS, Held)
        world = Surroundings(OperatorSettings(), informer)
        assert world().topologies is None
