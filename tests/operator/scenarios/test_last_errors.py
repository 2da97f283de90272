"""What cannot be done is told where people look: `status.lastErrors`, and one Event; and goes when it can."""

import pytest
from grove_operator.api import CLIQUES, GANGS, GROUPS, SERVICE_ACCOUNTS, SERVICES, SETS

from grove_dp.kube.errors import Invalid
from grove_dp.kube.objects import Resource
from tests.operator.scenarios.harness import replicas, scenario
from tests.operator.scenarios.test_objects import a_set, clique, group, roomy
from tests.operator.scenarios.world import condition, controller, name

ALWAYS = 10**6
QUOTA = (
    'pods "wl1-0-pc-a-x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=5, limited: pods=5'
)
SG = "wl1-0-sg-x"


def errors(world, kind=SETS, called="wl1"):
    return world.status(kind, called).get("lastErrors") or []


def codes(world, kind=SETS, called="wl1"):
    return [one["code"] for one in errors(world, kind, called)]


async def told(scene, *wanted, within_s=60):
    what = f"the set tells {wanted}"
    return await scene.until(lambda world: codes(world) == list(wanted), within_s, what)


async def events(scene, reason):
    found = await scene.api.get(f"/apis/events.k8s.io/v1/namespaces/{scene.namespace}/events")
    return [one for one in found["items"] if one["reason"] == reason]


def status_writes(scene, mark):
    return [one for one in scene.writes[mark:] if one.path.endswith("/status") and one.status == 200]


async def quiet(scene, for_s=300):
    """No status is written, however often it is tried again."""
    await scene.clock.sleep(10)
    mark = len(scene.writes)
    await scene.clock.sleep(for_s)
    assert not status_writes(scene, mark), "\n".join(map(str, status_writes(scene, mark)))


# ------------------------------------------------------------ names of others


def plain(kind, called, **body):
    head = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": called}}
    return head | body


@scenario
async def test_a_service_of_somebody_else_is_let_be_and_told(scene):
    theirs = plain(SERVICES, "wl1-0", spec={"clusterIP": "None", "selector": {"app": "theirs"}})
    await scene.api.create(SERVICES.path(scene.namespace), theirs)
    await scene.nodes(10)
    await scene.apply("workload1")
    await scene.until(lambda world: world.count() == (10, 0), what="the rest is done all the same")
    world = await told(scene, "ForeignObject")
    said = errors(world)[0]["description"]
    assert "replica 0: Service default/wl1-0 belongs to another: delete it" in said
    assert world.status(SETS, "wl1")["availableReplicas"] == 1
    held = world.named(SERVICES, "wl1-0")
    assert controller(held) is None
    assert held["spec"]["selector"] == {"app": "theirs"}
    await quiet(scene)
    assert len(await events(scene, "ForeignObject")) == 1
    await scene.api.delete(SERVICES.path(scene.namespace, "wl1-0"))
    world = await told(scene, within_s=120)
    assert controller(world.named(SERVICES, "wl1-0"))[1] == "wl1"


@scenario
async def test_an_account_of_somebody_else_outlives_the_set(scene):
    await scene.api.create(SERVICE_ACCOUNTS.path(scene.namespace), plain(SERVICE_ACCOUNTS, "wl1"))
    await scene.nodes(10)
    await scene.apply("workload1")
    await scene.until(lambda world: world.count() == (10, 0))
    await told(scene, "ForeignObject")
    await scene.remove("wl1")
    await scene.until(lambda world: not world.of(SETS))
    await scene.clock.sleep(60)
    assert (await scene.world()).named(SERVICE_ACCOUNTS, "wl1")


@scenario
async def test_of_two_sets_that_come_to_one_name_the_later_says_so(scene):
    await scene.nodes(4, roomy)
    await scene.apply(a_set("s", clique("0-a", 2), clique("b", 1)))
    await scene.reaches(running=3)
    old = (await scene.world()).uids()
    await scene.apply(a_set("s-0", clique("a", 2), clique("c", 1)))
    world = await scene.until(lambda world: codes(world, called="s-0") == ["ForeignObject"])
    assert "PodClique default/s-0-0-a belongs to another" in errors(world, called="s-0")[0]["description"]
    assert not errors(world, called="s")
    assert old <= world.uids()
    await scene.remove("s")
    await scene.until(lambda world: len(world.running()) == 3 and not errors(world, called="s-0"), 200)


# ------------------------------------------------------------ refusals


@scenario
async def test_pods_that_a_quota_refuses_are_told_at_clique_and_set(scene):
    scene.cluster.faults.refuse("POST", "*/pods", times=ALWAYS, code=403, message=QUOTA)
    await scene.nodes(10)
    await scene.apply("workload1")
    world = await told(scene, "Forbidden")
    assert "replica 0: " in errors(world)[0]["description"]
    assert "exceeded quota: q" in errors(world)[0]["description"]
    await scene.until(lambda world: codes(world, CLIQUES, "wl1-0-pc-a") == ["Forbidden"], 30)
    await scene.until(lambda world: codes(world, CLIQUES, SG + "-1-pc-c") == ["Forbidden"], 30)
    world = await scene.world()
    assert world.status(GANGS, "wl1-0")["phase"] == "Pending"
    await scene.until(
        lambda world: condition(world.named(GANGS, "wl1-0"), "Scheduled") == ("False", "Forbidden"), 30
    )
    assert condition(world.named(CLIQUES, "wl1-0-pc-a"), "PodCliqueScheduled")[0] == "False"
    await quiet(scene)
    assert len(await events(scene, "Forbidden")) == 1
    scene.cluster.faults.clear()
    await scene.reaches(running=10)
    world = await scene.world()
    for kind in (SETS, CLIQUES, GROUPS):
        assert not [name(one) for one in world.of(kind) if (one["status"].get("lastErrors"))]


@scenario
async def test_a_refusal_in_a_scale_out_freezes_nothing_else(scene):
    await scene.nodes(28)
    await scene.apply("workload1")
    await scene.reaches(running=10)
    scene.cluster.faults.refuse("POST", "*/pods", times=ALWAYS, code=403, message=QUOTA)
    await scene.scale_group(SG, 3)
    await told(scene, "Forbidden")
    pod = (await scene.world()).running("wl1-0-pc-a")[0]
    await scene.set_ready(pod, False)
    await scene.until(lambda world: world.status(CLIQUES, "wl1-0-pc-a")["readyReplicas"] == 1, 30)
    await scene.until(lambda world: world.status(SETS, "wl1")["availableReplicas"] == 0, 30)
    await scene.set_ready(pod, True)
    await scene.until(lambda world: world.status(SETS, "wl1")["availableReplicas"] == 1, 30)
    scene.cluster.faults.clear()
    await scene.reaches(running=14)


@scenario
async def test_cliques_that_are_refused_are_told_at_their_group(scene):
    scene.cluster.faults.refuse("POST", "*/podcliques", times=ALWAYS, code=422, message="no")
    await scene.nodes(10)
    await scene.apply("workload1")
    await told(scene, "Invalid")
    await scene.until(lambda world: codes(world, GROUPS, SG) == ["Invalid"], 30)
    await quiet(scene)
    gang = (await scene.world()).named(GANGS, "wl1-0")
    assert condition(gang, "Scheduled") == ("False", "Invalid")
    scene.cluster.faults.clear()
    await scene.reaches(running=10)
    assert not errors(await scene.world(), GROUPS, SG)


@scenario
async def test_many_replicas_with_one_trouble_are_one_line_and_one_event(scene):
    scene.cluster.faults.refuse("POST", "*/pods", times=ALWAYS, code=403, message=QUOTA)
    await scene.nodes(4, roomy)
    await scene.apply(a_set("wl1", clique("a", 1), count=12))
    world = await told(scene, "Forbidden")
    await quiet(scene)
    world = await scene.world()
    assert errors(world)[0]["description"].startswith("replicas 0, 1, 2, 3, 4 and 7 more: POST ")
    assert len(await events(scene, "Forbidden")) == 1
    scene.cluster.faults.clear()
    await scene.reaches(running=12)


@scenario
async def test_what_a_second_try_mends_is_not_told(scene):
    scene.cluster.faults.refuse("POST", "*/pods", times=3, code=403, message=QUOTA)
    await scene.nodes(10)
    await scene.apply("workload1")
    await scene.reaches(running=10)
    assert not [one for one in scene.writes if b"lastErrors" in (one.body or b"")]
    assert not await events(scene, "Forbidden")


@scenario
@pytest.mark.parametrize(("for_s", "is_told"), [(20, False), (90, True)])
async def test_an_error_of_the_server_is_told_when_it_lasts(scene, for_s, is_told):
    scene.cluster.faults.refuse("POST", "*/pods", times=ALWAYS, code=500)
    await scene.nodes(10)
    await scene.apply("workload1")
    await scene.clock.sleep(for_s)
    assert bool(errors(await scene.world())) is is_told
    scene.cluster.faults.clear()
    await scene.reaches(running=10)
    assert not errors(await scene.world())


@scenario
async def test_a_new_operator_finds_the_same_trouble_and_writes_nothing_of_it(scene):
    scene.cluster.faults.refuse("POST", "*/pods", times=ALWAYS, code=403, message=QUOTA)
    await scene.nodes(20)
    await scene.apply("workload1", replicas(2))
    await told(scene, "Forbidden")
    await quiet(scene, 60)
    mark, before = len(scene.writes), errors(await scene.world())
    await scene.restart_operator()
    await scene.clock.sleep(120)
    assert not status_writes(scene, mark), "\n".join(map(str, status_writes(scene, mark)))
    assert errors(await scene.world()) == before
    assert len(await events(scene, "Forbidden")) == 1
    scene.cluster.faults.clear()
    await scene.reaches(running=20)


# ------------------------------------------------------------ sizes


@scenario
async def test_a_scale_without_measure_is_refused(scene):
    await scene.nodes(10)
    await scene.apply("workload1")
    await scene.reaches(running=10)
    for kind, called in ((SETS, "wl1"), (GROUPS, SG), (CLIQUES, "wl1-0-pc-a")):
        with pytest.raises(Invalid, match="less than or equal to 1"):
            await scene.scale(kind, called, 2_000_000_000)


@scenario
async def test_a_replica_without_measure_is_not_made_and_told_and_keeps_nobody_else(scene):
    await scene.nodes(10, roomy)
    await scene.apply(a_set("wl1", clique("a", 5), clique("b", 5), group("g", "a", "b")))
    await scene.reaches(running=10)
    await scene.scale_group("wl1-0-g", 3000)
    world = await told(scene, "TooManyPods")
    assert "replica 0: it would have 30000 pods or more, at most are 10000" in errors(world)[0]["description"]
    await scene.apply(a_set("other", clique("a", 2)))
    await scene.until(lambda world: len(world.running("other")) == 2, 5)
    await scene.scale_group("wl1-0-g", 2)
    await scene.reaches(running=22)
    assert not errors(await scene.world())


# ------------------------------------------------------------ the real one


@scenario(real="only")
async def test_what_the_real_api_server_refuses_is_told_and_forgotten_when_it_is_mended(scene):
    limits = Resource("", "v1", "limitranges", "LimitRange")

    def spec(memory):
        return {"limits": [{"type": "Container", "max": {"memory": memory}, "default": {"memory": memory}}]}

    await scene.api.create(limits.path(scene.namespace), plain(limits, "small", spec=spec("10Mi")))
    await scene.nodes(10)
    await scene.apply("workload1")
    world = await told(scene, "Invalid", within_s=30)
    assert "must be less than or equal to memory limit of 10Mi" in errors(world)[0]["description"]
    await scene.until(lambda world: codes(world, CLIQUES, "wl1-0-pc-a") == ["Invalid"], 30)
    await scene.clock.sleep(2.5)
    mark = len(scene.writes)
    await scene.clock.sleep(3)
    assert not status_writes(scene, mark), "\n".join(map(str, status_writes(scene, mark)))
    assert len(await events(scene, "Invalid")) == 1
    await scene.api.merge(limits.path(scene.namespace, "small"), {"spec": spec("1Gi")})
    await scene.until(lambda world: world.count() == (10, 0) and not errors(world), 60)


# ------------------------------------------------------------ rules, where nobody asks before


@scenario
async def test_a_set_at_work_that_comes_to_break_a_rule_says_which(scene):
    await scene.nodes(10)
    called = await scene.apply("workload1")
    await scene.until(lambda world: world.count() == (10, 0))

    async def name_scheduler(scheduler):
        path = "/spec/template/cliques/0/spec/podSpec/schedulerName"
        await scene.api.json_patch(
            SETS.path(scene.namespace, called), [{"op": "add", "path": path, "value": scheduler}]
        )

    await name_scheduler("mine")
    world = await told(scene, "InvalidSpec")
    assert "spec.template.cliques[0].spec.podSpec.schedulerName" in errors(world)[0]["description"]
    assert len(await events(scene, "InvalidSpec")) == 1
    await name_scheduler("default-scheduler")
    await told(scene)
    await scene.until(lambda world: world.count() == (10, 0))
