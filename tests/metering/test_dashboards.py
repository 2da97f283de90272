"""Dashboards and alerts use only metrics that a live frontend shows."""

import json
import re
from pathlib import Path

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from grove_dp.metering.dashboard import dashboard
from grove_dp.sim.publisher import EventSettings
from grove_dp.sim.worker import SimWorkers
from grove_dp.testing.frontend import Frontend

FOLDER = Path(__file__).parents[2] / "dashboards"
BODY = json.dumps(
    {
        "model": "tiny-llama",
        "stream": True,
        "max_tokens": 4,
        "messages": [{"role": "user", "content": "Hi " * 60}],
    }
).encode()
CALL = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


def expressions():
    for panel in json.loads((FOLDER / "grove-dp.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for group in msgspec.yaml.decode((FOLDER / "alerts.yaml").read_bytes())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def used(expression):
    """Names of metrics, and the labels that are asked of them."""
    for name, _, inner in re.findall(r"(grove_dp_[a-z_]+)(\{([^}]*)\})?", expression):
        yield name, set(re.findall(r"([a-z_]+)\s*(?:=~|!=|!~|=)", inner))


def test_the_dashboard_is_what_the_code_makes():
    assert json.loads((FOLDER / "grove-dp.json").read_text()) == dashboard(), (
        "run: python -m grove_dp.metering.dashboard > dashboards/grove-dp.json"
    )


def test_panels_stand_beside_each_other():
    taken = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


async def test_every_expression_names_metrics_and_labels_of_a_live_page():
    events = EventSettings(endpoint="tcp://127.0.0.1:0", replay_endpoint="tcp://127.0.0.1:0")
    fleet = SimWorkers(
        1, profile="tiny-cpu", speed=500.0, enable_prompt_tokens_details=True, kv_events=events
    )
    async with fleet as workers, Frontend([workers[0].url]) as frontend:
        await frontend.worker_until(workers[0].url.removeprefix("http://"), 10.0, state="ready")
        for _ in range(3):
            assert (await frontend.ask(CALL)).status == 200
        page = (await frontend.admin("GET", "/metrics")).body.decode()
    shown = {}
    for family in text_string_to_metric_families(page):
        shown.setdefault(family.name, set())
        for sample in family.samples:
            shown.setdefault(sample.name, set()).update(sample.labels)
        if family.type == "counter":
            shown.setdefault(f"{family.name}_total", set())
    for where, expression in expressions():
        names = list(used(expression))
        assert names, where
        for name, labels in names:
            assert name in shown, f"{where}: {name} is not on the page"
            assert not shown[name] or labels <= shown[name], f"{where}: {name} has no {labels - shown[name]}"
