"""A real Prometheus server scrapes a frontend under load and answers PromQL: dashboard and alerts, too."""

import asyncio
import contextlib
import re
import subprocess

import pytest

from grove_dp.sim.worker import SimWorkers
from grove_dp.testing.frontend import Frontend
from tests.metering.prometheus_server import NATIVE, prometheus
from tests.metering.test_dashboards import CALL, FOLDER, expressions

pytestmark = [pytest.mark.needs("prometheus"), pytest.mark.timeout(400)]


@contextlib.asynccontextmanager
async def under_load():
    """A frontend, asked by four clients."""
    fleet = SimWorkers(2, profile="tiny-cpu", speed=50.0, enable_prompt_tokens_details=True)
    async with fleet as workers, Frontend([worker.url for worker in workers]) as frontend:
        for worker in workers:
            await frontend.worker_until(worker.url.removeprefix("http://"), 10.0, state="ready")
        enough = asyncio.Event()

        async def ask():
            while not enough.is_set():
                assert (await frontend.ask(CALL)).status == 200

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(ask())
            yield frontend
            enough.set()


@pytest.mark.parametrize(
    ("features", "name"), [(NATIVE, "{}"), ((), "{}_bucket")], ids=["native histograms", "classic histograms"]
)
async def test_a_server_tells_rates_and_quantiles_of_a_frontend(tmp_path, features, name):
    async with under_load() as frontend:
        with prometheus(frontend.admin_port, tmp_path, features) as server:

            async def asked(query):
                return (await asyncio.to_thread(server.asked, query))[1]

            for family in ("time_to_first_token", "token_gap", "request_duration"):
                waits = name.format(f"grove_dp_{family}_seconds")
                assert 0 < await asked(f"histogram_quantile(0.5, sum(rate({waits}[10s])) by (le)) > 0") < 10
            assert await asked('sum(rate(grove_dp_tokens_total{kind="output"}[10s])) > 0') > 1
            assert await asked("sum(rate(process_cpu_seconds_total[10s])) > 0") > 0
            assert await asked("sum(grove_dp_worker_up)") == 2


async def test_every_expression_of_dashboard_and_alerts_is_answered(tmp_path):
    async with under_load() as frontend:
        with prometheus(frontend.admin_port, tmp_path) as server:
            await asyncio.to_thread(server.asked, "sum(rate(grove_dp_requests_total[10s])) > 0")
            for where, expression in expressions():
                asked = re.sub(r"\$__rate_interval", "10s", expression)
                asked = re.sub(r'=~"\$[a-z_]+"', '=~".*"', asked)
                try:
                    await asyncio.to_thread(server.answer, asked)
                except ValueError as error:
                    pytest.fail(f"{where}: {asked}: {error}")


@pytest.mark.needs("promtool")
async def test_promtool_finds_nothing_to_say_of_a_frontend():
    async with under_load() as frontend:
        page = (await frontend.admin("GET", "/metrics")).body
    checking = await asyncio.create_subprocess_exec(
        "promtool", "check", "metrics", stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said = (await checking.communicate(page))[1].decode()
    assert [line for line in said.splitlines() if line.startswith("grove_dp")] == []


@pytest.mark.needs("promtool")
def test_promtool_finds_nothing_to_say_of_the_alerts():
    rules = ["promtool", "check", "rules", str(FOLDER / "alerts.yaml")]
    done = subprocess.run(rules, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
