"""Places for gangs: levels of topology, and against an oracle that tries everything."""

from collections import Counter
from itertools import product

import msgspec
from grove_operator.gang.needs import Needs, needs
from grove_operator.gang.pack import Ask, AskConfig, AskGroup, AskPod, Packing, Placement, Refusal, place
from grove_operator.gang.room import Room, RoomNode
from grove_operator.pods import Pod
from hypothesis import given, settings
from hypothesis import strategies as st

ZONE, BLOCK, RACK, HOST = (f"kubernetes.io/{name}" for name in ("zone", "block", "rack", "hostname"))
MI = 1 << 20


def node(name, labels=None, *, cordoned=False, taints=(), ready=True, **allocatable):
    return msgspec.convert(
        {
            "metadata": {"name": name, "labels": labels or {}},
            "spec": {"unschedulable": cordoned, "taints": list(taints)},
            "status": {
                "allocatable": {"pods": "110", **allocatable},
                "conditions": [{"type": "Ready", "status": str(ready)}],
            },
        },
        RoomNode,
    )


def cluster(memory="150Mi", count=28):
    """As in Grove's own tests: one zone, blocks of 14 nodes, racks of 7; a pod of 80 Mi fits each node."""
    room = Room()
    for at in range(count):
        name = f"n-{at:02}"
        labels = {ZONE: "z-0", BLOCK: f"b-{at // 14}", RACK: f"r-{at // 7}", HOST: name}
        room.put_node(node(name, labels, memory=memory))
    return room


def asked(**requests):
    return Needs(
        tuple(sorted({"pods": 1, **{name: value for name, value in requests.items() if value}}.items()))
    )


SMALL = asked(memory=80 * MI)


def group(name, count, required=None, preferred=None, *, needs=SMALL, fixed=(), former=()):
    pods = tuple(
        AskPod(("d", f"{name}-{at}"), needs, former[at] if at < len(former) else "") for at in range(count)
    )
    return AskGroup(name, pods, tuple(fixed), Packing(required, preferred))


def whole(*groups, required=None, preferred=None, configs=(), **more):
    return Ask(groups, Packing(required, preferred), configs, **more)


def placed(room, ask):
    answer = place(room, ask)
    assert isinstance(answer, Placement), answer
    assert set(answer.nodes) == {pod.key for one in ask.groups for pod in one.pods}
    hold(room, ask, answer, owner="tried")
    assert (room.free >= 0).all()
    room.unreserve("tried")
    return answer


def hold(room, ask, answer, owner="gang"):
    by_key = {pod.key: pod.needs for one in ask.groups for pod in one.pods}
    room.reserve(owner, {key: (name, by_key[key]) for key, name in answer.nodes.items()})


def refused(room, ask):
    answer = place(room, ask)
    assert isinstance(answer, Refusal), answer
    return answer


def domains(room, answer, key, prefix=""):
    """Of the pods whose names start so."""
    nodes = [
        room.nodes.nodes[room.nodes.slots[on]]
        for pod, on in answer.nodes.items()
        if pod[1].startswith(prefix)
    ]
    return {one.metadata.labels.get(key) for one in nodes}


# Grove's topology scenarios


def test_tas2_independent_cliques_are_packed_each_into_its_own_domain():
    room = cluster()
    answer = placed(room, whole(group("a", 3, RACK), group("b", 4, BLOCK)))
    assert len(domains(room, answer, RACK, "a")) == len(domains(room, answer, BLOCK, "b")) == 1


def test_tas3_the_whole_set_is_packed_into_one_rack():
    room = cluster()
    answer = placed(room, whole(group("a", 2), group("b", 2), group("c", 3), required=RACK))
    assert len(domains(room, answer, RACK)) == 1


def test_tas4_each_group_replica_is_packed_into_one_rack():
    room = cluster()
    groups = [group(f"{at}-{name}", 2) for at in range(3) for name in ("lead", "work")]
    configs = [AskConfig((f"{at}-lead", f"{at}-work"), Packing(RACK)) for at in range(3)]
    answer = placed(room, whole(*groups, configs=tuple(configs)))
    assert all(len(domains(room, answer, RACK, str(at))) == 1 for at in range(3))
    assert len(domains(room, answer, RACK)) > 1  # 12 pods


def test_tas5_two_pods_share_a_host_that_has_room_for_both():
    room = cluster()
    assert refused(room, whole(group("a", 2, HOST))).reason == "NoDomainFits"
    room.put_node(node("n-13", {ZONE: "z-0", HOST: "n-13"}, memory="170Mi"))
    assert set(placed(room, whole(group("a", 2, HOST))).nodes.values()) == {"n-13"}


def test_tas6_a_standalone_clique_shares_a_zone():
    room = cluster()
    room.put_node(node("other", {ZONE: "z-1"}, memory="1Gi"))
    assert domains(room, placed(room, whole(group("a", 4, ZONE))), ZONE) == {"z-1"}  # the tightest
    assert domains(room, placed(room, whole(group("a", 14, ZONE))), ZONE) == {"z-0"}


def test_tas8_levels_nest_block_then_rack_for_each_replica_then_host_for_each_clique():
    room = cluster("320Mi")  # 4 pods a node
    groups = [group(f"{at}-{name}", 2, HOST) for at in range(2) for name in ("prefill", "decode")]
    configs = [AskConfig((f"{at}-prefill", f"{at}-decode"), Packing(RACK)) for at in range(2)]
    answer = placed(room, whole(*groups, required=BLOCK, configs=tuple(configs)))
    assert len(domains(room, answer, BLOCK)) == 1
    assert all(len(domains(room, answer, RACK, str(at))) == 1 for at in range(2))
    assert all(len(domains(room, answer, HOST, one.name)) == 1 for one in groups)


def test_tas10_base_and_scaled_gangs_get_a_rack_each_in_turn():
    room = cluster()
    gangs = [
        whole(group("base", 4), required=RACK),
        *(whole(group(f"s{at}", 4), required=RACK) for at in range(3)),
    ]
    for at, ask in enumerate(gangs):
        answer = placed(room, ask)
        assert len(domains(room, answer, RACK)) == 1
        hold(room, ask, answer, owner=str(at))
    assert "the best of 4, holds 3 of 4" in refused(room, whole(group("s3", 4), required=RACK)).message


def test_tas13_ten_pods_find_no_rack_of_seven_and_all_of_them_wait():
    answer = refused(cluster(), whole(group("a", 10), required=RACK))
    assert answer == Refusal(
        "NoDomainFits",
        "All 10 pods fit, but the gang needs one kubernetes.io/rack: r-0, the best of 4, holds 7 of 10.",
        ever=False,
    )


def test_tas14_two_replicas_get_a_rack_each():
    room, used = cluster(), []
    for at in range(2):
        ask = whole(group(f"{at}-a", 7), required=RACK)
        answer = placed(room, ask)
        hold(room, ask, answer, owner=str(at))
        used += domains(room, answer, RACK)
    assert len(set(used)) == 2


def test_tas23_what_is_preferred_is_tried_first_and_given_up():
    room = cluster()
    tight = placed(room, whole(group("a", 7), preferred=RACK))
    assert (len(domains(room, tight, RACK)), tight.score) == (1, 1.0)
    wide = placed(room, whole(group("a", 10), required=BLOCK, preferred=RACK))
    assert (len(domains(room, wide, RACK)), len(domains(room, wide, BLOCK)), wide.score) == (2, 1, 0.0)
    assert placed(room, whole(group("a", 20), preferred=RACK)).score == 0.0


def test_of_what_is_preferred_the_outer_level_is_kept_where_the_inner_one_cannot_be():
    room = cluster()
    answer = placed(room, whole(group("a", 2, preferred=HOST), group("b", 1), preferred=RACK))
    assert (len(domains(room, answer, RACK)), answer.score) == (1, 0.5)
    room.put_node(node("n-13", {HOST: "n-13", RACK: "r-1"}, memory="160Mi"))
    answer = placed(room, whole(group("a", 2, preferred=HOST), group("b", 1), preferred=RACK))
    assert (domains(room, answer, RACK), domains(room, answer, HOST, "a")) == ({"r-1"}, {"n-13"})
    assert answer.score == 1.0


def test_a_level_without_a_place_names_itself_and_the_rest_is_untouched():
    room = cluster()
    before = room.free.copy()
    groups = (group("0-lead", 4), group("0-work", 4), group("router", 1))
    answer = refused(room, whole(*groups, configs=(AskConfig(("0-lead", "0-work"), Packing(RACK)),)))
    assert "0-lead + 0-work needs one kubernetes.io/rack: r-0, the best of 4, holds 7 of 8" in answer.message
    assert (room.free == before).all()


def test_levels_that_fit_alone_but_not_together_are_told_so():
    room = cluster(count=10)  # racks of 7 and 3
    answer = refused(room, whole(group("a", 5, RACK), group("b", 5, RACK)))
    assert answer.message == "All 10 pods fit, but no domains hold all levels of the gang at once."
    assert answer.ever is False


# Choice among places that would do


def test_the_tightest_domain_that_fits_is_taken():
    room = cluster()
    hold(room, ask := whole(group("x", 3), required=RACK), placed(room, ask))
    assert domains(room, placed(room, whole(group("a", 4), required=RACK)), RACK) == {"r-0"}
    assert domains(room, placed(room, whole(group("a", 5), required=RACK)), RACK) == {"r-1"}


def test_the_fullest_node_that_fits_is_taken_and_filled():
    room = Room()
    for name, gpus in (("a", 8), ("b", 3), ("c", 5)):
        room.put_node(node(name, gpu=gpus))
    answer = placed(room, whole(group("p", 4, needs=asked(gpu=2))))
    assert Counter(answer.nodes.values()) == {"b": 1, "c": 2, "a": 1}


def test_the_choice_does_not_depend_on_the_order_in_which_nodes_came():
    rooms = [Room(), Room()]
    nodes = [node(f"n-{at}", {RACK: str(at % 3)}, gpu=4) for at in range(9)]
    for room, order in zip(rooms, (nodes, nodes[::-1]), strict=True):
        for one in order:
            room.put_node(one)
    for ask in (whole(group("p", 5, needs=asked(gpu=2))), whole(group("p", 5, RACK, needs=asked(gpu=2)))):
        assert placed(rooms[0], ask) == placed(rooms[1], ask)


def test_pods_that_are_there_bind_a_required_domain():
    room = cluster()
    assert domains(room, placed(room, whole(group("a", 2, RACK, fixed=["n-20"]))), RACK) == {"r-2"}
    answer = placed(room, whole(group("a", 2), group("b", 0, fixed=["n-20"]), required=RACK))
    assert domains(room, answer, RACK) == {"r-2"}
    answer = refused(room, whole(group("a", 8, RACK, fixed=["n-20"])))
    assert answer.message == (
        "All 8 pods fit, but a needs one kubernetes.io/rack, where pods of it are already, and there is no "
        "room there for 8 pods."
    )


def test_pods_that_are_there_attract_a_preferred_domain_and_bind_the_required_one():
    room = cluster()
    near = placed(room, whole(group("a", 3, BLOCK, RACK, fixed=["n-20"])))
    assert (domains(room, near, RACK), near.score) == ({"r-2"}, 1.0)
    wide = placed(room, whole(group("a", 9, BLOCK, RACK, fixed=["n-20"])))
    assert (domains(room, wide, BLOCK), wide.score) == ({"b-1"}, 0.0)
    assert Counter(
        room.nodes.nodes[room.nodes.slots[on]].metadata.labels[RACK] for on in wide.nodes.values()
    ) == {
        "r-2": 7,
        "r-3": 2,
    }


def test_pods_that_are_there_without_the_preferred_label_still_bind_the_required_domain():
    room = cluster()
    room.put_node(node("odd", {ZONE: "z-0", BLOCK: "b-1"}, memory="10Mi"))
    answer = placed(room, whole(group("a", 3, BLOCK, RACK, fixed=["odd"])))
    assert domains(room, answer, BLOCK) == {"b-1"}


def test_a_node_that_is_gone_binds_nothing():
    assert placed(cluster(), whole(group("a", 7, RACK, fixed=["gone"]))).score == 1.0


def test_a_pod_returns_to_its_former_node():
    room = cluster()
    answer = placed(room, whole(group("a", 3, former=["n-17", "", "n-03"])))
    assert (answer.nodes["d", "a-0"], answer.nodes["d", "a-2"]) == ("n-17", "n-03")


def test_a_pod_whose_former_node_is_full_returns_to_its_domain():
    room = cluster()
    room.put_pod(
        msgspec.convert(
            {
                "metadata": {"name": "x", "namespace": "d"},
                "spec": {
                    "nodeName": "n-17",
                    "containers": [{"resources": {"requests": {"memory": "100Mi"}}}],
                },
            },
            Pod,
        )
    )
    answer = placed(room, whole(group("a", 1, RACK, former=["n-17"])))
    assert domains(room, answer, RACK) == {"r-2"}


def test_former_places_give_way_where_they_would_leave_no_place_for_another():
    room = Room()
    room.put_node(node("big", gpu=8))
    room.put_node(node("small", gpu=2))
    ask = whole(group("a", 1, needs=asked(gpu=2), former=["big"]), group("b", 1, needs=asked(gpu=8)))
    assert placed(room, ask).nodes == {("d", "a-0"): "small", ("d", "b-0"): "big"}


def test_nodes_without_the_label_are_out_where_it_is_required():
    room = Room()
    room.put_node(node("a", gpu=8))
    answer = refused(room, whole(group("p", 1, RACK, needs=asked(gpu=1))))
    assert answer.message == "All 1 pod fit, but p needs one kubernetes.io/rack, a label that no node has."
    assert placed(room, whole(group("p", 1, None, RACK, needs=asked(gpu=1)))).score == 0.0


def test_replicas_of_a_set_keep_apart_where_there_is_a_choice():
    room = cluster()
    first = placed(room, ask := whole(group("a", 3, RACK)))
    hold(room, ask, first)
    elsewhere = tuple(first.nodes.values())
    near = placed(room, whole(group("b", 3), required=RACK))
    apart = placed(room, whole(group("b", 3), required=RACK, apart=RACK, elsewhere=elsewhere))
    assert domains(room, near, RACK) == domains(room, first, RACK) != domains(room, apart, RACK)
    loose = placed(room, whole(group("b", 3), apart=BLOCK, elsewhere=elsewhere))
    assert domains(room, loose, BLOCK) == {"b-1"}
    assert placed(room, whole(group("b", 25), apart=BLOCK, elsewhere=elsewhere))


def test_nodes_and_domains_that_refused_are_tried_last():
    room = cluster()
    first = placed(room, whole(group("a", 2)))
    other = placed(room, whole(group("a", 2), avoided=tuple(first.nodes.values())))
    assert not {*first.nodes.values()} & {*other.nodes.values()}
    rack = tuple(f"n-{at:02}" for at in range(7))
    assert domains(room, placed(room, whole(group("a", 2, RACK), avoided=rack)), RACK) != {"r-0"}
    assert len(placed(room, whole(group("a", 28), avoided=rack)).nodes) == 28


def test_a_group_that_fits_only_once_another_moves_is_found_by_going_back():
    room = Room()
    for rack, gpus in (("r-0", 4), ("r-1", 6)):
        room.put_node(node(rack, {RACK: rack}, gpu=gpus))
    # b and c together need the rack that a, going first, could take.
    ask = whole(
        group("a", 1, RACK, needs=asked(gpu=4)),
        group("b", 3, RACK, needs=asked(gpu=1)),
        group("c", 3, RACK, needs=asked(gpu=1)),
    )
    assert placed(room, ask)


def test_many_domains_that_only_seem_to_fit_do_not_hide_one_that_does():
    room = Room()
    for at in range(300):  # each pod fits, and the sums do; but the first takes the room of one of the others
        room.put_node(node(f"a-{at}", {RACK: f"r-{at}"}, gpu=2, cpu="2m"))
        room.put_node(node(f"b-{at}", {RACK: f"r-{at}"}, gpu=1, cpu="3m"))
    ask = whole(
        group("a", 1, needs=asked(gpu=2, cpu=1)), group("b", 2, needs=asked(gpu=0, cpu=2)), required=RACK
    )
    assert (
        "needs one kubernetes.io/rack: 300 have enough in sum, but not node by" in refused(room, ask).message
    )
    room.put_node(node("roomy", {RACK: "r-x"}, gpu=8, cpu="64"))
    assert domains(room, placed(room, ask), RACK) == {"r-x"}


def test_hundreds_of_levels_are_no_depth():
    room = cluster("16Gi")
    ask = whole(*(group(f"g{at}", 2, RACK) for at in range(400)), required=ZONE)
    assert len(placed(room, ask).nodes) == 800


def test_nothing_asked_is_placed():
    assert place(Room(), whole()) == Placement({})
    assert place(Room(), whole(group("a", 0, RACK))) == Placement({})


def test_host_ports_keep_pods_of_one_gang_and_of_others_apart():
    room = Room()
    for name in "abc":
        room.put_node(node(name))
    listening = needs(msgspec.convert({"spec": {"containers": [{"ports": [{"hostPort": 80}]}]}}, Pod))
    two = whole(group("p", 1, needs=listening), group("q", 1, needs=listening))
    first = placed(room, two)
    assert len(set(first.nodes.values())) == 2
    hold(room, two, first)
    answer = refused(room, whole(group("r", 2, needs=listening)))
    assert answer.message == "1 of 2 pods fit; of 3 nodes: 2 have the host port taken."
    assert answer.ever


# Refusals


def test_a_refusal_counts_what_stands_in_the_way():
    room = Room()
    for at in range(12):
        room.put_node(node(f"cpu-{at}", cpu="4"))
    for at in range(3):
        room.put_node(node(f"cordoned-{at}", cpu="4", gpu=8, cordoned=True))
    room.put_node(node("tainted", cpu="4", gpu=8, taints=[{"key": "x", "effect": "NoSchedule"}]))
    room.put_node(node("broken", cpu="4", gpu=8, ready=False))
    room.put_node(node("good", cpu="4", gpu=5))
    answer = refused(room, whole(group("p", 8, needs=asked(gpu=1))))
    assert answer == Refusal(
        "InsufficientCapacity",
        "5 of 8 pods fit; of 18 nodes: 1 is not ready, 3 are cordoned, 1 has a taint that is not tolerated, "
        "13 lack gpu.",
        ever=True,
    )


def test_a_refusal_tells_what_could_never_be():
    room = cluster()
    assert not refused(room, whole(group("p", 1, needs=asked(memory=1 << 30)))).ever
    assert not refused(room, whole(group("p", 1, needs=asked(gpu=1)))).ever
    assert not refused(room, whole(group("p", 29))).ever
    hold(room, ask := whole(group("x", 28)), placed(room, ask))
    assert refused(room, whole(group("p", 7, RACK))).ever


def test_no_node_matches_where_selector_and_taints_leave_none():
    picky = needs(msgspec.convert({"spec": {"nodeSelector": {"gpu": "h100"}}}, Pod))
    answer = refused(cluster(), whole(group("p", 2, needs=picky)))
    assert answer == Refusal(
        "NoNodeMatches", "0 of 2 pods fit; of 28 nodes: 28 do not match selector and affinity.", ever=False
    )
    assert refused(Room(), whole(group("p", 1))).message == "0 of 1 pod fit; there are no nodes."


# Against an oracle that tries everything


RACKS = st.sampled_from(["r-0", "r-1", "r-2", None])
CLUSTERS = st.lists(st.tuples(st.integers(0, 4), RACKS), min_size=1, max_size=5)


def small(nodes):
    room = Room()
    for at, (gpus, rack) in enumerate(nodes):
        room.put_node(node(f"n-{at}", {RACK: rack} if rack else {}, gpu=gpus))
    return room


def fits(nodes, sizes):
    """Whether pods of these sizes fit nodes with so much free."""
    left = list(nodes)

    def go(at):
        if at == len(sizes):
            return True
        for slot in range(len(left)):
            if left[slot] >= sizes[at]:
                left[slot] -= sizes[at]
                if go(at + 1):
                    return True
                left[slot] += sizes[at]
        return False

    return go(0)


def racked(nodes, sizes, rack):
    return fits([gpus for gpus, of in nodes if of == rack], sizes)


def check(nodes, ask, answer):
    """No node gives more than it has; all or none; required domains are kept."""
    assert set(answer.nodes) == {pod.key for one in ask.groups for pod in one.pods}
    used = Counter()
    for one in ask.groups:
        for pod in one.pods:
            used[answer.nodes[pod.key]] += dict(pod.needs.requests).get("gpu", 0)
        if one.pack.required and one.pods:
            racks = {nodes[int(answer.nodes[pod.key][2:])][1] for pod in one.pods}
            assert len(racks) == 1
            assert None not in racks
    assert all(used[f"n-{at}"] <= gpus for at, (gpus, _) in enumerate(nodes))


@settings(max_examples=300, deadline=None)
@given(CLUSTERS, st.integers(1, 8), st.integers(1, 3), st.booleans())
def test_identical_pods_are_placed_exactly_when_they_fit(nodes, count, size, rack):
    ask = whole(group("a", count, RACK if rack else None, needs=asked(gpu=size)))
    answer = place(small(nodes), ask)
    sizes = [size] * count
    possible = (
        any(racked(nodes, sizes, one) for one in {of for _, of in nodes if of})
        if rack
        else fits([gpus for gpus, _ in nodes], sizes)
    )
    assert isinstance(answer, Placement) is possible
    if possible:
        check(nodes, ask, answer)
    else:
        assert answer.reason in ("InsufficientCapacity", "NoDomainFits")


# The search is bounded, so that it may miss a place in theory: the same examples in every run.
@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    CLUSTERS, st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2), st.booleans()), min_size=1, max_size=3)
)
def test_a_placement_is_sound_and_a_refusal_never_lies(nodes, parts):
    groups = [
        group(f"g{at}", count, RACK if rack else None, needs=asked(gpu=size))
        for at, (count, size, rack) in enumerate(parts)
    ]
    ask = whole(*groups)
    answer = place(small(nodes), ask)
    if isinstance(answer, Placement):
        check(nodes, ask, answer)
    else:
        assert not possible(nodes, parts)


def possible(nodes, parts):
    """Whether some choice of racks holds all."""
    racks = sorted({of for _, of in nodes if of})
    choices = [racks if rack else [None] for _, _, rack in parts]
    for choice in product(*choices):
        pods = [
            (size, rack if bound else None)
            for (count, size, bound), rack in zip(parts, choice, strict=True)
            for _ in range(count)
        ]
        if assigned([gpus for gpus, _ in nodes], [of for _, of in nodes], pods):
            return True
    return False


def assigned(left, racks, pods):
    if not pods:
        return True
    (size, rack), *rest = pods
    seen = set()
    for slot, gpus in enumerate(left):
        if gpus >= size and rack in (None, racks[slot]) and (gpus, racks[slot]) not in seen:
            seen.add((gpus, racks[slot]))
            left[slot] -= size
            if assigned(left, racks, rest):
                return True
            left[slot] += size
    return False


@settings(max_examples=100, deadline=None)
@given(CLUSTERS, st.integers(1, 6), st.booleans())
def test_what_is_preferred_never_costs_a_place(nodes, count, whole_too):
    bare = whole(group("a", count, needs=asked(gpu=1)))
    wish = whole(group("a", count, None, RACK, needs=asked(gpu=1)), preferred=RACK if whole_too else None)
    assert isinstance(place(small(nodes), wish), Placement) is isinstance(
        place(small(nodes), bare), Placement
    )


KEYS = st.sampled_from([None, None, BLOCK, RACK, HOST])
PACKS = st.builds(Packing, KEYS, KEYS)
PARTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 2), PACKS, st.booleans()), min_size=1, max_size=4
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=8, max_size=8), PARTS, PACKS, PACKS, st.integers(0, 7))
def test_every_level_keeps_its_domain_and_no_node_is_overcommitted(gpus, parts, outer, inner, there):
    room = Room()
    for at, count in enumerate(gpus):
        labels = {BLOCK: f"b-{at // 4}", RACK: f"r-{at // 2}", HOST: f"n-{at}"}
        room.put_node(node(f"n-{at}", labels, gpu=count))
    groups = tuple(
        group(
            f"g{at}", count, pack.required, pack.preferred, needs=asked(gpu=size), fixed=[f"n-{there}"] * held
        )
        for at, (count, size, pack, held) in enumerate(parts)
    )
    config = AskConfig(tuple(one.name for one in groups[:2]), inner)
    ask = Ask(groups, outer, (config,))
    answer = place(room, ask)
    if isinstance(answer, Refusal):
        return
    placed(room, ask)
    for members, pack in ((groups, outer), (groups[:2], inner), *(((one,), one.pack) for one in groups)):
        nodes = {answer.nodes[pod.key] for one in members for pod in one.pods}
        if pack.required and nodes:
            nodes |= {name for one in members for name in one.fixed}
            labels = {
                room.nodes.nodes[room.nodes.slots[name]].metadata.labels[pack.required] for name in nodes
            }
            assert len(labels) == 1
