"""The adapter as a whole: what it needs, and what it serves while something is missing."""

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from grove_dp.errors import ConfigurationError
from grove_dp.kube.certificates import Authority
from grove_dp.kube.own_certificate import Place
from grove_dp.metering.external.adapter import Adapter, Options
from grove_dp.metering.external.board import Board
from tests.metering.external.objects import Objects
from tests.metering.external.rig import AGGREGATOR, NAME, PICTURE, VALUES, Cluster, Rig, now


class Server(Cluster, Objects):
    """Objects and reviews of one API server."""

    def __init__(self):
        Cluster.__init__(self)
        Objects.__init__(self)

    async def create(self, path, document, *, into=dict):
        side = Cluster.create if "spec" in document else Objects.create
        return await side(self, path, document, into=into)


@pytest.fixture
def files(tmp_path):
    """A serving certificate and a front proxy's CA in files."""
    rig = Rig()
    certificate = rig.server_ca.server([NAME])
    for name, pem in (
        ("tls.crt", certificate.chain_pem),
        ("tls.key", certificate.key_pem),
        ("proxy.crt", rig.proxy_ca.pem),
    ):
        (tmp_path / name).write_text(pem)
    return rig, tmp_path


async def test_files_are_enough_and_are_followed(files, clock):
    rig, folder = files
    board = Board(clock)
    board.publish(PICTURE)
    options = Options(
        port=0,
        tls_cert_file=folder / "tls.crt",
        tls_key_file=folder / "tls.key",
        requestheader_ca_file=folder / "proxy.crt",
        requestheader_allowed_names=("front-proxy-client",),
    )
    async with Adapter(board, Server(), clock, options) as adapter:
        rig.number = adapter.port
        async with rig.aggregator() as caller:
            status, told = await caller.told(f"{VALUES}/web/grove_dp_queued_tokens", AGGREGATOR)
            assert (status, len(told["items"])) == (200, 2)
            page = (await caller.get("/metrics", AGGREGATOR))[2].decode()
            told = {family.name: family for family in text_string_to_metric_families(page)}
            assert told["grove_dp_external_series"].samples[0].value == 4
            ends = told["grove_dp_external_certificate_end_timestamp_seconds"].samples[0].value
            assert ends == pytest.approx(now() + 90 * 86_400, abs=60)
        rig.server_ca = Authority("serving CA", now())
        fresh = rig.server_ca.server([NAME])
        (folder / "tls.crt").write_text(fresh.chain_pem)
        (folder / "tls.key").write_text(fresh.key_pem)
        await adapter.refresh()
        async with rig.caller() as caller:
            assert (await caller.get("/readyz"))[0] == 200
        adapter.drain()
        async with rig.caller() as caller:
            assert (await caller.get("/readyz"))[0] == 503


async def test_probes_are_answered_before_the_cluster_says_whom_to_trust(files, clock):
    rig, folder = files
    options = Options(port=0, tls_cert_file=folder / "tls.crt", tls_key_file=folder / "tls.key")
    server = Server()
    async with Adapter(Board(clock), server, clock, options) as adapter:
        rig.number = adapter.port
        async with rig.caller() as caller:
            assert (await caller.get("/livez"))[0] == 200
            assert b"front-proxy-trust" in (await caller.get("/readyz"))[2]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"tls_cert_file": "x"},
        {"place": Place("a", "b", "c"), "tls_cert_file": "x", "tls_key_file": "y"},
    ],
)
def test_one_certificate_is_needed_and_one_is_enough(wrong, clock):
    with pytest.raises(ConfigurationError, match="tls_cert_file"):
        Adapter(Board(clock), Server(), clock, msgspec.structs.replace(Options(), **wrong))
