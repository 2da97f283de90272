"""The front proxy's CA changes in a real cluster, and the adapter goes on serving.

The API server reads its files again and writes the ConfigMap extension-apiserver-authentication; the adapter
reads that again. Kubernetes only ever adds to what stands there, so who wants an old CA out deletes the
ConfigMap: the API server makes it anew from what it trusts now.
"""

import http.client
import shutil
import ssl
import time

import pytest

from grove_dp.metering.external.credentials import CONFIG_MAP
from grove_dp.testing.controlplane import Authority
from tests.metering.external.rig import AGGREGATOR, VALUES

pytestmark = [pytest.mark.controlplane, pytest.mark.timeout(400)]
QUEUED = f"{VALUES}/default/grove_dp_queued_tokens"
BROKEN_OFF = (ssl.SSLError, ConnectionError, http.client.HTTPException)


class FrontProxy:
    """The files by which the API server knows its front proxy, and shows itself as it."""

    def __init__(self, plane, folder):
        self.plane = plane
        self.shown = plane.front_proxy  # the files that the API server reads
        self.old = self.copy(folder / "old")
        (folder / "new").mkdir()
        self.authority = Authority(folder / "new", "front-proxy-ca")
        self.new = self.authority.client("front-proxy-client")

    def copy(self, folder):
        folder.mkdir()
        kept = {name: folder / name for name in self.shown.__struct_fields__}
        for name, path in kept.items():
            shutil.copy(getattr(self.shown, name), path)
        return type(self.shown)(**kept)

    def trust(self, *credentials):
        """The API server trusts the authorities of these alone, and the ConfigMap says so."""
        pems = [credential.authority.read_text() for credential in credentials]
        self.shown.authority.write_text("".join(pems))
        gone = [
            each.authority.read_text().strip() for each in (self.old, self.new) if each not in credentials
        ]

        def says(seen):
            told = seen["data"]["requestheader-client-ca-file"]
            return all(pem.strip() in told for pem in pems) and not any(pem in told for pem in gone)

        deadline = time.monotonic() + 90
        while True:  # what the API server has not read yet it would write again
            self.plane.api.call("DELETE", CONFIG_MAP)
            try:
                self.plane.api.until(CONFIG_MAP, says, 3, "the ConfigMap names the CA")
            except AssertionError:
                assert time.monotonic() < deadline
            else:
                return

    def show(self, credential):
        """The API server calls as this one from now on."""
        shutil.copy(credential.key, self.shown.key)
        shutil.copy(credential.certificate, self.shown.certificate)


@pytest.fixture
def front_proxy(controlplane, values, tmp_path):
    made = FrontProxy(controlplane, tmp_path)
    yield made
    made.trust(made.old)
    made.show(made.old)
    values.refresh()


def believed(values, credential):
    try:
        return values.ask(QUEUED, AGGREGATOR, credential)[0] == 200
    except BROKEN_OFF:
        return False


def test_a_new_request_header_ca_is_taken_over_and_the_old_one_refused(controlplane, values, front_proxy):
    assert believed(values, front_proxy.old)
    assert not believed(values, front_proxy.new)

    front_proxy.trust(front_proxy.old, front_proxy.new)  # both, as a rotation begins
    deadline = time.monotonic() + 30
    while not believed(values, front_proxy.new):  # it looks by itself
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert believed(values, front_proxy.old)

    front_proxy.show(front_proxy.new)
    front_proxy.trust(front_proxy.new)
    values.refresh()
    assert not believed(values, front_proxy.old)
    assert believed(values, front_proxy.new)
    controlplane.api.until(QUEUED, lambda told: bool(told["items"]), 90, "values through the aggregator")
