"""A conflict may be about the name, or about nothing but the moment: what is still there is tried again."""

from grove_operator.api import CLIQUES
from grove_operator.naming import L

from tests.operator.scenarios.harness import image, scenario
from tests.operator.scenarios.world import labels, name


@scenario
async def test_pods_whose_delete_met_a_conflict_are_deleted_all_the_same(scene):
    await scene.nodes(28)
    called = await scene.apply("workload1")
    before = await scene.reaches(running=10)
    scene.cluster.faults.refuse("DELETE", "*/pods/*", times=4, code=409)
    await scene.edit(called, image("registry.test/worker:2", "pc-a"))
    old = {name(pod) for pod in before.running() if labels(pod)[L.CLIQUE] == f"{called}-0-pc-a"}
    await scene.until(
        lambda world: not old & {name(pod) for pod in world.running()} and len(world.running()) == 10,
        120,
        "pods of the old template are gone, and the new ones run",
    )


@scenario
async def test_a_clique_whose_delete_met_a_conflict_is_deleted_all_the_same(scene):
    await scene.nodes(28)
    called = await scene.apply("workload1")
    await scene.reaches(running=10)
    scene.cluster.faults.refuse("DELETE", "*/podcliques/*", times=2, code=409)
    await scene.scale_set(called, 0)
    await scene.until(lambda world: not world.of(CLIQUES), 120, "nothing is left")
