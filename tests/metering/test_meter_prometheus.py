"""A real Prometheus server scrapes a meter, by protobuf and by text, and answers PromQL as the meter does."""

import http.server
import math
import statistics
import subprocess
import threading
import urllib.request

import pytest

from grove_dp.metering.meter import Meter, rungs
from tests.metering.prometheus_server import NATIVE, prometheus

MODEL = 'a\\b"c\nd'
VALUES = [math.exp(-1 + statistics.NormalDist().inv_cdf((k + 0.5) / 500)) for k in range(500)]
pytestmark = [pytest.mark.needs("prometheus"), pytest.mark.timeout(400)]


@pytest.fixture
def meter():
    """Scraped: a histogram that grows with every page, so that its rate has something to tell."""
    return Meter(page_age_s=0)


@pytest.fixture
def app(meter):
    waits = meter.histogram(
        "app_wait_seconds", 'A "b" \\ c\nd', unit="seconds", labels=("model",), rungs=rungs(2**-6, 16, 4)
    ).series(MODEL)
    meter.gauge("app_load", "Load").series().set(2.5)

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            for value in VALUES:
                waits.observe(value)
            body, content_type = meter.scrape(self.headers.get("Accept", ""))
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def server(app, tmp_path, request):
    """With these features."""
    with prometheus(app, tmp_path, request.param) as running:
        yield running


@pytest.mark.parametrize(
    ("server", "waits", "off"),
    [(NATIVE, "app_wait_seconds", 0.044), ((), "app_wait_seconds_bucket", 0.1)],
    ids=["protobuf, native buckets", "text, classic buckets"],
    indirect=["server"],
)
def test_a_server_answers_as_the_meter_would(server, waits, off):
    assert server.asked('up{job="app"} == 1')[1] == 1
    labels, median = server.asked(f"histogram_quantile(0.5, rate({waits}[10s])) > 0")
    assert labels["model"] == MODEL
    assert median == pytest.approx(VALUES[249], rel=off)
    most = server.asked(f"histogram_quantile(0.9, rate({waits}[10s]))")[1]
    assert most == pytest.approx(VALUES[449], rel=off)
    assert server.asked("app_load")[1] == 2.5


@pytest.mark.needs("promtool")
def test_promtool_finds_nothing_to_say(app):
    with urllib.request.urlopen(f"http://127.0.0.1:{app}/metrics") as answer:
        text = answer.read()
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
