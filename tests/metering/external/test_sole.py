"""One frontend that serves its own external metrics, and a real HPA that brings its model back from zero."""

import asyncio
import json
import socket

import pytest

from grove_dp.sim.worker import SimWorkers
from grove_dp.testing.frontend import Frontend
from tests.metering.external.cluster import autoscaler, autoscalers, has_replicas, says
from tests.metering.external.rig import VALUES

pytestmark = [
    pytest.mark.controlplane("kube-controller-manager"),
    pytest.mark.timeout(400),
]
BODY = b'{"model":"tiny-llama","prompt":"Tell me a story of a long and winding road","max_tokens":4}'
CALL = (
    b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
SLICES = "/apis/discovery.k8s.io/v1/namespaces/grove-dp-chain/endpointslices"
GROUP = "rbac.authorization.k8s.io"


def sole(installed, file, namespace):
    """A frontend without workers."""
    external = {
        "mode": "sole",
        "port": installed.port,
        "namespace": installed.namespace,
        "service": installed.service,
        "secret": installed.secret,
        "window_s": 5.0,
        "targets": [f"{namespace}/chat/decode=tiny-llama"],
    }
    workers = {"file": str(file), "known_models": ["tiny-llama"]}
    cluster = {"kubeconfig": str(installed.kubeconfig)}
    return Frontend(workers=workers, kubernetes=cluster, external=external, queue={"no_worker_s": 120.0})


async def within(controlplane, path, holds, what, seconds=60):
    return await asyncio.to_thread(controlplane.api.until, path, holds, seconds, what)


async def test_a_real_hpa_brings_a_model_back_from_zero_and_sends_it_there_again(
    controlplane, installed, deployment, kube_namespace, tmp_path
):
    file = tmp_path / "workers.yaml"
    file.write_text("[]\n")
    scale = f"{deployment}/scale"
    asked = f"{VALUES}/{kube_namespace}/grove_dp_queued_tokens"
    async with sole(installed, file, kube_namespace) as frontend, await frontend.client() as client:
        nothing = lambda seen: [item["value"] for item in seen["items"]] == ["0"]  # noqa: E731
        seen = await within(controlplane, asked, nothing, "a target without workers tells zero")
        assert seen["items"][0]["metricLabels"]["component"] == "decode"
        assert controlplane.api.call("GET", f"{asked}?labelSelector=component%3Dother").status == 404

        controlplane.api.create(
            autoscalers(kube_namespace), autoscaler("grove_dp_queued_tokens", "100", least=0, most=2)
        )
        await within(controlplane, scale, has_replicas(0), "nobody waits: none")
        client.patience_s = 120.0
        await client.send(CALL)
        answer = asyncio.create_task(client.answer())
        await within(controlplane, scale, has_replicas(1), "somebody waits: one")
        assert not answer.done()
        async with SimWorkers(1, profile="tiny-cpu", speed=100.0, max_model_len=1024) as workers:
            place = {"namespace": kube_namespace, "pcs": "chat", "component": "decode"}
            file.write_text(json.dumps([{"url": workers[0].url, "place": place}]))
            assert (await answer).status == 200
        file.write_text("[]\n")
        await within(controlplane, scale, has_replicas(0), "nobody waits: none again")


async def test_a_second_frontend_behind_the_service_silences_both(
    controlplane, installed, deployment, kube_namespace, tmp_path
):
    file = tmp_path / "workers.yaml"
    file.write_text("[]\n")
    roles = f"/apis/{GROUP}/v1/namespaces/{installed.namespace}"
    rules = [{"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]}]
    name = {"metadata": {"name": f"endpoints-of-{kube_namespace}"}}
    controlplane.api.create(f"{roles}/roles", {**name, "rules": rules})
    role = {"apiGroup": GROUP, "kind": "Role", "name": name["metadata"]["name"]}
    subject = {"kind": "ServiceAccount", "namespace": installed.namespace, "name": "metrics"}
    controlplane.api.create(f"{roles}/rolebindings", {**name, "roleRef": role, "subjects": [subject]})
    asked = f"{VALUES}/{kube_namespace}/grove_dp_queued_tokens"
    async with sole(installed, file, kube_namespace) as frontend:
        await within(controlplane, asked, lambda seen: bool(seen["items"]), "alone: told")
        controlplane.api.create(
            autoscalers(kube_namespace), autoscaler("grove_dp_queued_tokens", "100", least=0, most=2)
        )
        ready = [{"addresses": [f"10.0.0.{n}"], "conditions": {"ready": True}} for n in (7, 8)]
        labels = {"kubernetes.io/service-name": installed.service}
        metadata = {"name": "metrics-two", "labels": labels}
        controlplane.api.create(
            SLICES, {"metadata": metadata, "addressType": "IPv4", "endpoints": ready, "ports": []}
        )
        path = f"{autoscalers(kube_namespace)}/decode"
        await within(
            controlplane, path, says("NotSole: Service metrics leads to 2 frontends"), "the HPA says it"
        )
        controlplane.api.delete(f"{SLICES}/metrics-two")
        await within(controlplane, asked, lambda seen: bool(seen["items"]), "alone again")
        assert "the picture is complete" in frontend.log()


async def test_a_missing_cluster_and_a_taken_port_are_said_at_once(installed, tmp_path):
    file = tmp_path / "workers.yaml"
    file.write_text("[]\n")
    frontend = sole(installed, file, "default")
    with socket.create_server(("127.0.0.1", installed.port)), pytest.raises(AssertionError):
        await frontend.start("/livez")
    assert f"external: cannot listen on 127.0.0.1:{installed.port}" in frontend.log()
    frontend = sole(installed, file, "default")
    frontend.settings["kubernetes"]["kubeconfig"] = str(tmp_path / "none")
    with pytest.raises(AssertionError):
        await frontend.start("/livez")
    assert "no such kubeconfig" in frontend.log()
