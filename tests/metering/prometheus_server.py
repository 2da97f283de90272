"""A real Prometheus server that scrapes one page five times a second."""

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager

from grove_dp.testing.frontend import free_port

CONFIG = """
global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}
scrape_configs:
- job_name: app
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
NATIVE = ("--enable-feature=native-histograms",)


class Prometheus:
    """One that is running."""

    def __init__(self, url):
        self.url = url

    def answer(self, query):
        """All samples of a query. OSError while it is not up, ValueError for what is no query."""
        asked = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        try:
            with urllib.request.urlopen(asked) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(error.read().decode()) from None
        return [(sample["metric"], float(sample["value"][1])) for sample in told["data"]["result"]]

    def asked(self, query, patience_s=60):
        """The one sample of a query, once it can be answered."""
        end = time.monotonic() + patience_s
        while True:
            try:
                [sample] = self.answer(query)
            except (OSError, ValueError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
            else:
                return sample


@contextmanager
def prometheus(page_port, folder, features=()):
    """Scrapes `/metrics` of *page_port*."""
    (folder / "prometheus.yml").write_text(CONFIG.format(port=page_port))
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        *features,
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        server.terminate()
        server.wait()
