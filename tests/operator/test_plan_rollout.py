"""What an update may replace, and that it comes to an end whatever happens meanwhile."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operator.plan_samples import a_set, clique, group, workload
from tests.operator.update_world import World


def rolled(world):
    return not world.old() and world.ready() == len(world.pods())


def test_a_new_template_reaches_every_pod():
    world = World(workload())
    world.image("2")
    world.settle_all()
    assert rolled(world)
    assert len(world.pods()) == 10


@st.composite
def sets(draw):
    def some(most=4):
        count = draw(st.integers(1, most))
        return count, draw(st.integers(1, count))

    def bounds():
        away, surge = draw(st.sampled_from([(None, None), (1, 0), (2, 0), (9, 0), (0, 1), (1, 2), (0, 3)]))
        found = {"maxUnavailable": away, "maxSurge": surge}
        return {"rollingUpdate": {key: value for key, value in found.items() if value is not None}}

    alone = [clique(f"a{at}", *some(), **bounds()) for at in range(draw(st.integers(0, 2)))]
    members = [clique(f"m{at}", *some(3)) for at in range(draw(st.integers(0 if alone else 1, 2)))]
    groups = []
    if members:
        count, least = some()
        names = [one["name"] for one in members]
        groups = [group("g", *names, replicas=count, minimum=least, **bounds())]
    return a_set(alone + members, groups, draw(st.integers(1, 3)))


DEEDS = st.lists(
    st.tuples(
        st.sampled_from(
            ["image", "part", "clique", "group", "set", "fail", "kill", "strategy", "step", "half"]
        ),
        st.integers(0, 30),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(owner=sets(), deeds=DEEDS)
def test_it_ends_updated_whatever_happens_meanwhile(owner, deeds):
    world = World(owner)
    world.image("new")
    for deed, number in deeds:
        act(world, deed, number)
    world.strategy("RollingRecreate")
    world.settle_all()
    assert rolled(world)
    for replica in world.tree():
        for unit in replica.units:
            assert len(world.pods(unit.name)) >= unit.count


def act(world, deed, number):
    units = [unit for replica in world.tree() for unit in replica.units]
    groups = [one for replica in world.tree() for one in replica.groups]
    pods = sorted(world.pods(), key=lambda one: one.name)
    match deed:
        case "image":
            world.image(str(number))
        case "part":
            world.image(str(number), world.owner.spec.template.cliques[0].name)
        case "clique" if units:
            world.counts[units[number % len(units)].name] = number % 6
        case "group" if groups:
            world.group_counts[groups[number % len(groups)].name] = number % 5
        case "set":
            world.scale(number % 4)
        case "fail" if pods:
            pods[number % len(pods)].ready = False
        case "kill" if pods:
            pods[number % len(pods)].leaving = True
        case "strategy":
            world.strategy(("RollingRecreate", "OnDelete")[number % 2])
        case "half":
            world.operate()
        case _:
            world.operate()
            world.settle()
