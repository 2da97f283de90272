"""The port for kubelet and Prometheus."""

import aiohttp
import pytest
from grove_operator.health import CannotListen, serving
from grove_operator.metrics import OperatorMetrics


async def ask(port, path):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        return answer.status, await answer.text()


async def test_alive_at_once_and_ready_when_nothing_is_missing():
    missing = {"informers": "pods are not listed yet", "webhooks": ""}
    checks = {name: lambda name=name: missing[name] for name in missing}
    async with serving(checks, OperatorMetrics().page, "127.0.0.1", 0) as port:
        assert await ask(port, "/livez") == (200, "ok\n")
        assert await ask(port, "/readyz") == (503, "informers: pods are not listed yet\n")
        missing["informers"] = ""
        assert await ask(port, "/readyz") == (200, "ok\n")


async def test_the_figures_are_on_the_same_port():
    metrics = OperatorMetrics()
    metrics.wrote("Pod", "create", "ok")
    async with serving({}, metrics.page, "127.0.0.1", 0) as port:
        status, text = await ask(port, "/metrics")
    assert status == 200
    assert 'grove_dp_operator_writes_total{kind="Pod",outcome="ok",verb="create"} 1.0' in text


async def test_a_port_that_is_taken_is_named_with_the_remedy():
    async with serving({}, OperatorMetrics().page, "127.0.0.1", 0) as port:
        with pytest.raises(CannotListen, match=f"cannot listen on 127.0.0.1:{port}: .*--health-port"):
            async with serving({}, OperatorMetrics().page, "127.0.0.1", port):
                pass
