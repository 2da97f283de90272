"""Room in the cluster, kept up to date by changes."""

import msgspec
import pytest
from grove_operator.gang.needs import Where, needs
from grove_operator.gang.room import Room, RoomNode
from grove_operator.naming import GATE
from grove_operator.pods import Pod
from hypothesis import given, settings
from hypothesis import strategies as st

KEY = ("d", "p")


def node(name="n-0", cpu="4", *, labels=None, taints=(), cordoned=False, ready=None):
    conditions = (
        [] if ready is None else [{"type": "Ready", "status": ready}, {"type": "Full", "status": "False"}]
    )
    return msgspec.convert(
        {
            "metadata": {"name": name, "labels": labels or {}},
            "spec": {"unschedulable": cordoned, "taints": list(taints)},
            "status": {"allocatable": {"cpu": cpu, "pods": "10"}, "conditions": conditions},
        },
        RoomNode,
    )


def pin(name):
    field = {"key": "metadata.name", "operator": "In", "values": [name]}
    required = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


def pod(name="p", cpu="1", *, on="", to="", gated=False, phase="", going=False, port=0, **spec):
    return msgspec.convert(
        {
            "metadata": {
                "name": name,
                "namespace": "d",
                "deletionTimestamp": "2026-01-01T00:00:00Z" if going else None,
            },
            "spec": {
                "nodeName": on,
                "affinity": pin(to) if to else None,
                "schedulingGates": [{"name": GATE}] if gated else None,
                "containers": [
                    {
                        "resources": {"requests": {"cpu": cpu}},
                        "ports": [{"hostPort": port}] if port else None,
                    }
                ],
                **spec,
            },
            "status": {"phase": phase},
        },
        Pod,
    )


def room(*nodes):
    made = Room()
    for one in nodes or (node(),):
        made.put_node(one)
    return made


def free(room, name="n-0", resource="cpu"):
    return int(room.free[room.resources[resource], room.nodes.slots[name]])


@pytest.mark.parametrize(
    ("one", "left"),
    [
        (pod(on="n-0"), 3000),
        (pod(on="elsewhere"), 4000),
        (pod(to="n-0"), 3000),  # released and pinned
        (pod(to="n-0", gated=True), 4000),
        (pod(), 4000),
        (pod(on="n-0", phase="Succeeded"), 4000),
        (pod(on="n-0", phase="Failed"), 4000),
        (pod(on="n-0", going=True), 3000),  # still runs
    ],
)
def test_a_pod_counts_where_it_is_or_is_pinned_until_it_has_ended(one, left):
    held = room()
    held.put_pod(one)
    assert free(held) == left
    held.drop_pod("d", "p")
    assert free(held) == 4000
    assert free(held, resource="pods") == 10


def test_a_pod_counts_once_from_pin_to_end():
    held = room()
    for step in (pod(to="n-0", gated=True), pod(to="n-0"), pod(to="n-0", on="n-0")):
        held.put_pod(step)
    assert free(held) == 3000
    assert held.node_of(KEY) == "n-0"
    before = held.freed
    held.put_pod(pod(to="n-0", on="n-0", going=True))
    assert (free(held), held.freed) == (3000, before)
    held.put_pod(pod(to="n-0", on="n-0", phase="Failed"))
    assert (free(held), held.freed) == (4000, before + 1)
    assert held.node_of(KEY) == ""


def test_a_pod_that_is_resized_in_place_counts_anew():
    held = room()
    held.put_pod(pod(on="n-0"))
    held.put_pod(pod(on="n-0", cpu="3"))
    assert free(held) == 1000


def test_pods_of_a_node_that_comes_late_or_again_count():
    held = Room()
    held.put_pod(pod(on="n-0"))
    held.put_node(node())
    assert free(held) == 3000
    held.drop_node("n-0")
    held.put_node(node("n-1"))  # takes the slot
    assert free(held, "n-1") == 4000
    held.put_pod(pod("q", on="n-0"))
    held.put_node(node())
    assert free(held) == 2000
    held.put_node(node(cpu="8"))
    assert free(held) == 6000


def test_a_reservation_holds_room_until_the_pod_holds_it_itself():
    held = room(node(), node("n-1"))
    asked = needs(pod())
    held.reserve("gang", {KEY: ("n-0", asked)})
    assert free(held) == 3000
    held.put_pod(pod(to="n-0"))
    assert free(held) == 3000
    before = held.freed
    held.unreserve("gang")
    assert (free(held), held.freed) == (3000, before)
    held.drop_pod("d", "p")
    assert (free(held), held.freed) == (4000, before + 1)


def test_a_reservation_outlives_the_pod():
    held = room()
    held.reserve("gang", {KEY: ("n-0", needs(pod()))})
    held.put_pod(pod(to="n-0"))
    held.drop_pod("d", "p")
    assert free(held) == 3000
    held.unreserve("gang")
    assert free(held) == 4000
    held.unreserve("gang")
    assert free(held) == 4000


def test_a_new_reservation_replaces_the_old_one():
    held = room(node(), node("n-1"))
    asked = needs(pod())
    held.reserve("gang", {KEY: ("n-0", asked), ("d", "q"): ("n-0", asked)})
    held.reserve("gang", {KEY: ("n-1", asked), ("d", "q"): ("n-0", needs(pod(cpu="2")))})
    assert (free(held), free(held, "n-1")) == (2000, 3000)
    assert set(held.reserved("gang")) == {KEY, ("d", "q")}


def test_a_pod_that_still_goes_elsewhere_counts_beside_the_reservation_for_its_name():
    held = room(node(), node("n-1"))
    held.put_pod(pod(on="n-1", going=True))
    held.reserve("gang", {KEY: ("n-0", needs(pod()))})
    assert (free(held), free(held, "n-1")) == (3000, 3000)


def opened(room, **spec):
    return sorted(room.nodes.names(room.open(needs(pod(**spec))).nonzero()[0]))


GPU = {"key": "gpu", "value": "h100", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("one", "fit"),
    [
        (node(), True),
        (node(ready="True"), True),
        (node(ready="False"), False),
        (node(ready="Unknown"), False),
        (node(cordoned=True), False),
        (node(taints=[GPU]), False),
        (node(taints=[GPU | {"effect": "NoExecute"}]), False),
        (node(taints=[GPU | {"effect": "PreferNoSchedule"}]), True),
    ],
)
def test_a_node_is_open_if_ready_uncordoned_and_untainted(one, fit):
    assert opened(room(one)) == ["n-0"] * fit


@pytest.mark.parametrize(
    ("toleration", "fit"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "gpu", "value": "h100"}, True),
        ({"key": "gpu", "value": "h100", "operator": "Equal", "effect": "NoSchedule"}, True),
        ({"key": "gpu", "value": "a100"}, False),
        ({"key": "cpu", "operator": "Exists"}, False),
    ],
)
def test_a_taint_is_tolerated_by_key_value_and_effect(toleration, fit):
    assert opened(room(node(taints=[GPU])), tolerations=[toleration]) == ["n-0"] * fit


def test_a_cordon_is_tolerated_like_its_taint():
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    held = room(node(cordoned=True, taints=[taint]))
    assert opened(held, tolerations=[{"key": taint["key"], "operator": "Exists"}]) == ["n-0"]
    assert opened(held) == []


LABELLED = [
    node("a", labels={"gpu": "h100", "gen": "9"}),
    node("b", labels={"gpu": "h200", "gen": "10"}),
    node("c", labels={"gen": "new"}),
    node("d"),
]


def expression(operator, *values, key="gpu"):
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def field(operator, *values, key="metadata.name"):
    return {"matchFields": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("terms", "fit"),
    [
        ([expression("In", "h100", "h300")], "a"),
        ([expression("NotIn", "h100")], "bcd"),
        ([expression("Exists")], "ab"),
        ([expression("DoesNotExist")], "cd"),
        ([expression("Gt", "9", key="gen")], "b"),
        ([expression("Lt", "10", key="gen")], "a"),
        ([expression("Gt", "x", key="gen")], ""),
        ([expression("Near", "h100")], ""),
        ([expression("In", "h100"), expression("In", "h200")], "ab"),
        ([expression("Exists") | field("NotIn", "a")], "b"),
        ([field("In", "d", "z")], "d"),
        ([field("In", "d", key="metadata.uid")], ""),
        ([{}], ""),
        ([], ""),
    ],
)  # fmt: skip
def test_required_node_affinity_is_any_term_and_all_of_it(terms, fit):
    affinity = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    }
    assert opened(room(*LABELLED), affinity=affinity) == list(fit)


def test_a_selector_asks_for_all_of_its_labels():
    assert opened(room(*LABELLED), nodeSelector={"gpu": "h100", "gen": "9"}) == ["a"]
    assert opened(room(*LABELLED), nodeSelector={"gpu": "h100", "gen": "10"}) == []


def test_a_change_of_a_node_is_seen_by_the_next_question():
    held = room(*LABELLED)
    assert opened(held, nodeSelector={"gpu": "h200"}) == ["b"]
    held.put_node(node("d", labels={"gpu": "h200"}))
    held.drop_node("b")
    held.put_node(node("e", labels={"gpu": "h200"}))
    assert opened(held, nodeSelector={"gpu": "h200"}) == ["d", "e"]


def test_domains_nest_and_leave_out_nodes_without_a_label():
    held = room(
        node("a", labels={"zone": "z", "rack": "1"}),
        node("b", labels={"zone": "y", "rack": "1"}),
        node("c", labels={"zone": "z", "rack": "2"}),
        node("d", labels={"rack": "1"}),
    )
    racks, joint = held.nodes.domains(("rack",)), held.nodes.domains(("zone", "rack"))
    assert [racks.names[code] for code in racks.codes] == ["1", "1", "2", "1"]
    assert len(set(joint.codes[:3])) == joint.count == 3
    assert joint.codes[3] == -1
    zones = held.nodes.domains(("zone",))
    assert [zones.names[joint.parents[code]] for code in joint.codes[:3]] == ["z", "y", "z"]


@pytest.mark.parametrize(
    ("change", "grew"),
    [
        (lambda held: held.put_node(node()), False),
        (lambda held: held.put_node(node(cpu="5")), True),
        (lambda held: held.put_node(node(cpu="3")), False),
        (lambda held: held.put_node(node(cordoned=True)), False),
        (lambda held: held.put_node(node(ready="False")), False),
        (lambda held: held.put_node(node(taints=[GPU])), False),
        (lambda held: held.put_node(node(labels={"rack": "1"})), True),
        (lambda held: held.put_node(node("n-9")), True),
        (lambda held: held.put_node(node("bad")), True),  # uncordoned, ready, untainted
        (lambda held: held.drop_node("n-0"), False),
        (lambda held: held.put_pod(pod("q", on="n-0")), False),
        (lambda held: held.put_pod(pod(on="n-0")), False),
        (lambda held: held.put_pod(pod(on="n-0", phase="Succeeded")), True),
        (lambda held: held.drop_pod("d", "p"), True),
        (lambda held: held.drop_pod("d", "nobody"), False),
        (lambda held: held.unreserve("gang"), True),
        (lambda held: held.unreserve("nobody"), False),
    ],
)
def test_freed_rises_when_there_may_be_more_room(change, grew):
    held = room(node(), node("bad", cordoned=True, ready="False", taints=[GPU]))
    held.put_pod(pod(on="n-0"))
    held.reserve("gang", {("d", "r"): ("n-0", needs(pod()))})
    before = held.freed
    change(held)
    assert (held.freed > before) is grew


def test_host_ports_are_taken_and_given_back():
    held = room(node(), node("n-1"))
    held.put_pod(pod(on="n-0", port=80))
    held.reserve("gang", {("d", "q"): ("n-1", needs(pod(port=80)))})
    wanted = needs(pod(port=80)).ports
    assert sorted(held.clashing(wanted)) == [0, 1]
    assert list(held.clashing(needs(pod(port=81)).ports)) == []
    held.drop_pod("d", "p")
    assert list(held.clashing(wanted)) == [1]
    held.unreserve("gang")
    assert list(held.clashing(wanted)) == []


def test_values_that_no_node_has_any_more_are_forgotten():
    held = room()
    held.nodes.asked(Where((("kubernetes.io/hostname", "x"),)))
    for turn in range(4000):
        held.put_node(node(f"n-{turn}", labels={"kubernetes.io/hostname": f"n-{turn}"}))
        held.drop_node(f"n-{turn}")
    held.put_node(node("x", labels={"kubernetes.io/hostname": "x"}))
    assert opened(held, nodeSelector={"kubernetes.io/hostname": "x"}) == ["x"]
    assert len(held.nodes.nodes) == 1
    assert sum(len(column.values) for column in held.nodes._labels.values()) < 1200


NAMES = st.sampled_from(["n-0", "n-1", "n-2"])
PODS = st.sampled_from(["p", "q", "r"])
CPUS = st.sampled_from(["1", "2", "500m"])
EVENTS = st.one_of(
    st.tuples(st.just("node"), NAMES, st.sampled_from(["4", "8"])),
    st.tuples(st.just("no node"), NAMES),
    st.tuples(st.just("pod"), PODS, NAMES, CPUS, st.sampled_from(["Running", "Failed"])),
    st.tuples(st.just("no pod"), PODS),
    st.tuples(st.just("reserve"), st.sampled_from("ab"), st.dictionaries(PODS, st.tuples(NAMES, CPUS))),
)


class PlainRoom:
    """The same, by counting everything anew."""

    def __init__(self):
        self.nodes, self.pods, self.reserved = {}, {}, {}

    def tell(self, event):
        match event:
            case ("node", name, cpu):
                self.nodes[name] = cpu
            case ("no node", name):
                self.nodes.pop(name, None)
            case ("pod", name, on, cpu, phase):
                self.pods[name] = (on if phase == "Running" else "", cpu)
            case ("no pod", name):
                self.pods.pop(name, None)
            case ("reserve", owner, wanted):
                # One pod is never of two gangs.
                self.reserved[owner] = {
                    f"{owner}{name}" if name != "p" else name: at for name, at in wanted.items()
                }
                self.reserved["b" if owner == "a" else "a"] = {}

    def free(self, name):
        left = 1000 * int(self.nodes[name])
        claims = {
            pod: cpu for owned in self.reserved.values() for pod, (on, cpu) in owned.items() if on == name
        }
        claims |= {pod: cpu for pod, (on, cpu) in self.pods.items() if on == name}
        return left - sum(500 if cpu == "500m" else 1000 * int(cpu) for cpu in claims.values())


def tell(room, plain, event):
    plain.tell(event)
    match event:
        case ("node", name, cpu):
            room.put_node(node(name, cpu))
        case ("no node", name):
            room.drop_node(name)
        case ("pod", name, on, cpu, phase):
            room.put_pod(pod(name, cpu, on=on, phase=phase))
        case ("no pod", name):
            room.drop_pod("d", name)
        case ("reserve", *_):
            for owner, wanted in plain.reserved.items():
                room.reserve(
                    owner, {("d", name): (on, needs(pod(name, cpu))) for name, (on, cpu) in wanted.items()}
                )


@settings(max_examples=200, deadline=None)
@given(st.lists(EVENTS, max_size=25))
def test_changes_add_up_to_what_counting_anew_gives(events):
    held, plain = Room(), PlainRoom()
    for event in events:
        before = {name: free(held, name) for name in plain.nodes}
        risen = held.freed
        tell(held, plain, event)
        assert {name: free(held, name) for name in held.nodes.slots} == {
            name: plain.free(name) for name in plain.nodes
        }
        grown = any(free(held, name) > before.get(name, 0) for name in plain.nodes)
        assert held.freed > risen or not grown
