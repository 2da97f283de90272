"""Gangs that cannot stay whole, and those that wait behind others."""

from tests.operator.scenarios.harness import scenario
from tests.operator.scenarios.test_gang_scheduling import eight
from tests.operator.scenarios.world import name


@scenario(scheduler_after_s=0.1)
async def test_a_gang_that_lost_a_node_while_it_was_bound_does_not_stay_half(scene):
    await scene.nodes(8)
    await scene.apply("workload1", eight)
    await scene.until(lambda world: any("schedulingGates" not in pod["spec"] for pod in world.pods))
    stolen = scene.all_nodes[0]
    await scene.foreign_pod("squatter", nodeName=stolen)
    await scene.until(lambda world: len(world.bound("wl1")) == 7)
    await scene.until(lambda world: not world.bound("wl1"), 120, "the seven are taken back")
    await scene.kill_pod("squatter")
    await scene.reaches("wl1", running=8)
