"""The admin port, what `explain scale` prints of it, and what is installed."""

import aiohttp
import pytest
import yaml

from grove_dp.cli import explain
from grove_dp.cli.main import main
from grove_dp.scaling.admin import ScalingAdmin
from grove_dp.scaling.manifests import SCALED, rules
from tests.scaling.test_plan import decided
from tests.scaling.world import autoscaler, clique_template


async def get(admin, path):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{admin.port}{path}") as answer,
    ):
        return answer.status, await answer.text()


async def test_it_tells_health_numbers_and_reasons(world):
    await world.make(clique_template("decode", replicas=2))
    await world.autoscale(autoscaler())
    world.traffic.put(3.0)
    fleet = world.fleet()
    async with ScalingAdmin(fleet, port=0) as admin:
        assert (await get(admin, "/readyz"))[0] == 503
        async with world.running(fleet):
            await world.pass_(60)
            assert await get(admin, "/livez") == (200, "ok\n")
            assert await get(admin, "/readyz") == (200, "ok\n")
            _, page = await get(admin, "/metrics")
            of_object = (
                '{component="decode",kind="PodClique",name="chat-0-decode",namespace="default",pcs="chat",'
                'role="aggregated"}'
            )
            assert f"grove_dp_desired_replicas{of_object} 4.0" in page
            assert f"grove_dp_scaling_replicas{of_object} 4.0" in page
            assert f"grove_dp_scaling_ready_replicas{of_object} 4.0" in page
            wished = 'component="decode",namespace="default",pcs="chat",role="aggregated"'
            assert f"grove_dp_scaling_wished_replicas{{{wished}}} 4.0" in page
            assert 'grove_dp_scaling_reason{namespace="default",pcs="chat",reason="Steady"} 1.0' in page
            assert 'grove_dp_scaling_incomplete{namespace="default",pcs="chat"} 0.0' in page
            assert 'grove_dp_scaling_changes_total{namespace="default",pcs="chat",reason="TokenLoad"}' in page
            _, told = await get(admin, "/explain?name=chat")
            assert '"leading":true' in told
            assert '"reason":"Steady"' in told
            assert (await get(admin, "/explain?name=nobody"))[1] == '{"autoscalers":[]}'


def test_explain_prints_a_decision_with_what_stood_against_it(capsys):
    from grove_dp.scaling.kinds import Autoscaler
    from grove_dp.scaling.reporting import explanation
    from tests.scaling.samples import spec

    decision, outcome = decided()
    one = Autoscaler(namespace="ml", name="chat", spec=spec())
    told = explanation(one, decision, outcome) | {"leading": True, "leader": "", "history": []}
    told["moves"].append(
        told["moves"][0] | {"objection": {"reason": "UpdateGoingOn", "message": "nothing goes"}}
    )
    explain._print_scaling(told | {"history": [told]}, 5)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ml/chat  set chat, direct, leads"
    assert lines[1].startswith("  TokenLoad: PodClique/chat-0-decode 4 -> 3: 1.00 workers")
    assert lines[3].split()[:7] == ["decode", "1.00", "4", "4", "2", "2", "3"]
    assert lines[4].endswith("PodClique/chat-0-decode 4 -> 3  made: 1.00 workers of work and 25% head-room")
    assert lines[5].endswith("not made, UpdateGoingOn: nothing goes")


def test_nobody_at_the_admin_port_is_said_with_the_remedy(capsys):
    assert main(["explain", "scale", "--admin", "http://127.0.0.1:1"]) == 1
    assert "does not answer" in capsys.readouterr().err


def test_manifests_print_what_is_installed(capsys):
    words = ["--image", "i:1", "--frontends-dns", "grove-dp-admin.ml:9090", "--namespace", "ml"]
    assert main(["manifests", "autoscale", *words]) == 0
    made = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [one["kind"] for one in made] == [
        "CustomResourceDefinition",
        "ServiceAccount",
        "Role",
        "RoleBinding",
        "Deployment",
    ]
    container = made[-1]["spec"]["template"]["spec"]["containers"][0]
    assert container["args"][-2:] == ["--frontend", "grove-dp-admin.ml:9090"]
    assert {one["metadata"]["namespace"] for one in made[1:]} == {"ml"}


def test_templates_are_not_ours_to_write():
    writes = {
        resource
        for rule in rules()
        for resource in rule["resources"]
        if {"update", "patch", "create", "delete"} & set(rule["verbs"])
    }
    assert writes == {
        "tokenautoscalers/status",
        *(f"{kind}/scale" for kind in SCALED),
        "pods",
        "leases",
        "events",
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--frontend", "nonsense"], "is no frontend's admin port"),
        (["--tick", "0"], "--tick must be 0.1 to 3600"),
        (["--config", "/nowhere.yaml"], "cannot be read"),
        (["--port", "99999"], "--port must be 0 to 65535"),
        (["--namespace", "Bad_NS"], "'Bad_NS' is no namespace's name"),
    ],
)
def test_wrong_usage_is_named(capsys, words, says):
    assert main(["autoscale", *words]) == 2
    assert says in capsys.readouterr().err
