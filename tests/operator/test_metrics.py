"""The operator's figures as Prometheus reads them."""

import asyncio
import re
from pathlib import Path

from grove_operator.metrics import OperatorMetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as classic

from grove_dp.clock import ManualClock
from grove_dp.errors import GroveError
from grove_dp.kube.controller import Controller


def values(metrics):
    """Every sample by its name and labels."""
    body, _ = metrics.page("")
    return {
        (sample.name.removeprefix("grove_dp_operator_"), *sorted(sample.labels.items())): sample.value
        for family in classic(body.decode())
        for sample in family.samples
    }


def test_writes_are_counted_by_kind_verb_and_outcome():
    metrics = OperatorMetrics()
    for outcome in ("ok", "ok", "Conflict"):
        metrics.wrote("Pod", "create", outcome)
    shown = values(metrics)
    assert shown["writes_total", ("kind", "Pod"), ("outcome", "ok"), ("verb", "create")] == 2
    assert shown["writes_total", ("kind", "Pod"), ("outcome", "Conflict"), ("verb", "create")] == 1


def test_gangs_are_those_of_now():
    metrics = OperatorMetrics()
    metrics.gangs({"waiting": 3, "running": 1})
    metrics.gangs({"running": 4})
    shown = values(metrics)
    assert shown["gangs", ("state", "running")] == 4
    assert ("gangs", ("state", "waiting")) not in shown


def test_a_wait_falls_into_its_bucket():
    metrics = OperatorMetrics()
    metrics.gang_waited(0.2)
    shown = values(metrics)
    assert shown["gang_wait_seconds_bucket", ("le", "0.1")] == 0
    assert shown["gang_wait_seconds_bucket", ("le", "0.25")] == 1
    assert shown[("gang_wait_seconds_sum",)] == 0.2


def test_who_leads_says_so():
    metrics = OperatorMetrics()
    assert values(metrics)[("leader",)] == 0
    metrics.leading = True
    assert values(metrics)[("leader",)] == 1


def test_the_certificate_shows_once_there_is_one():
    metrics = OperatorMetrics()
    assert ("certificate_end_timestamp_seconds",) not in values(metrics)
    metrics.certificate_ends_s = 7.0
    assert values(metrics)[("certificate_end_timestamp_seconds",)] == 7


async def test_a_controllers_figures_are_read_when_they_are_asked_for():
    async def reconcile(key):
        (good if key == "good" else bad).set()
        if key == "bad":
            raise GroveError("no")

    good, bad = asyncio.Event(), asyncio.Event()
    controller = Controller("replicas", reconcile, clock=ManualClock())
    metrics = OperatorMetrics()
    metrics.follow(controller.reading)
    mine = ("controller", "replicas")
    assert values(metrics)["queue_keys", mine, ("state", "ready")] == 0
    running = asyncio.create_task(controller.run())
    for key in ("good", "bad"):
        controller.queue.add(key)
    await asyncio.gather(good.wait(), bad.wait())
    await controller.queue.idle()
    shown = values(metrics)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert shown["reconcile_seconds_count", mine] == 2
    assert shown["reconcile_seconds_bucket", mine, ("le", "+Inf")] == 2
    assert shown["reconcile_errors_total", mine, ("reason", "InternalError")] == 1
    assert shown["queue_keys", mine, ("state", "delayed")] == 1


def test_the_page_is_openmetrics_for_those_who_ask_for_it():
    metrics = OperatorMetrics()
    metrics.wrote("Pod", "create", "ok")
    body, kind = metrics.page("application/openmetrics-text;version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    names = {family.name for family in openmetrics(body.decode())}
    assert {"grove_dp_operator_writes", "grove_dp_operator_leader", "process_cpu_seconds"} <= names


def test_the_documentation_names_every_figure_and_no_other():
    metrics = OperatorMetrics()
    metrics.certificate_ends_s = 1.0
    metrics.wrote("Pod", "create", "ok")
    metrics.gangs({"Running": 1})
    metrics.follow(Controller("sets", None, clock=ManualClock()).reading)
    shown = re.findall(r"^# TYPE (grove_dp_operator\w+) (\w+)$", metrics.page("")[0].decode(), re.MULTILINE)
    text = (Path(__file__).parents[2] / "docs" / "operator.md").read_text()
    told = re.findall(r"^\| `(grove_dp_operator\w+)` \| (\w+) \|", text, re.MULTILINE)
    created = {(name, kind) for name, kind in shown if name.endswith("_created")}
    assert set(shown) - created == set(told)
