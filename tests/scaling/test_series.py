"""What /metrics says of a decision."""

import msgspec
from prometheus_client import CollectorRegistry, generate_latest

from grove_dp.scaling.kinds import Autoscaler
from grove_dp.scaling.plan import Memory, plan
from grove_dp.scaling.series import Led, Series
from grove_dp.scaling.spec import Behavior, Span
from tests.scaling.samples import component, demand, seen, spec, target, top, tree

OBJECT = (
    'component="decode",kind="PodClique",name="chat-0-decode",namespace="ml",pcs="chat",role="aggregated"'
)


def page(there, load=4.0, missing=(), **more):
    one = Autoscaler(namespace="ml", name="chat", spec=spec(behavior=Behavior(hold_seconds=0), **more))
    look = seen(0.0, missing, {"decode": demand(load)})
    decision, _ = plan(one, there, look, Memory(), 1000.0)
    registry = CollectorRegistry()
    registry.register(Series(lambda: [Led(one, decision, {"TokenLoad": 2})]))
    lines = generate_latest(registry).decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_an_object_has_what_it_asks_for_what_is_ready_and_what_it_is_to_have():
    told = page(tree(component(target(replicas=2, ready=1))))
    assert told[f"grove_dp_scaling_replicas{{{OBJECT}}}"] == "2.0"
    assert told[f"grove_dp_scaling_ready_replicas{{{OBJECT}}}"] == "1.0"
    assert told[f"grove_dp_desired_replicas{{{OBJECT}}}"] == "5.0"
    assert told['grove_dp_scaling_reason{namespace="ml",pcs="chat",reason="TokenLoad"}'] == "1.0"
    assert told['grove_dp_scaling_changes_total{namespace="ml",pcs="chat",reason="TokenLoad"}'] == "2.0"


def test_advice_is_what_would_be_done_if_the_object_were_ours():
    for there, more in (
        (tree(component(target(replicas=2))), {"mode": "advisory"}),
        (tree(component(target(replicas=2, hpa="theirs"))), {}),
    ):
        assert page(there, **more)[f"grove_dp_desired_replicas{{{OBJECT}}}"] == "5.0"
        fewer = page(msgspec.structs.replace(there, top=top(updating=True)), load=0.1, **more)
        assert fewer[f"grove_dp_desired_replicas{{{OBJECT}}}"] == "2.0"  # in an update nothing goes


def test_what_is_not_known_is_not_there():
    told = page(tree(), missing=("a: TimedOut",))
    assert told['grove_dp_scaling_incomplete{namespace="ml",pcs="chat"}'] == "1.0"
    assert f"grove_dp_scaling_replicas{{{OBJECT}}}" in told
    assert not [name for name in told if "desired" in name or "wished" in name]


def test_a_set_that_is_scaled_itself_is_an_object_too():
    told = page(tree(replicas=2), set_replicas=Span(min=1, max=4))
    of_set = 'component="",kind="PodCliqueSet",name="chat",namespace="ml",pcs="chat",role=""'
    assert told[f"grove_dp_desired_replicas{{{of_set}}}"] == "2.0"
