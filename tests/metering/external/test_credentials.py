"""Certificate and trust follow their sources; what cannot be read changes nothing."""

import asyncio
import logging

import pytest

from grove_dp.errors import GroveError
from grove_dp.kube.certificates import Authority
from grove_dp.kube.tls import BadCertificate, CertificateFiles, Face
from grove_dp.metering.external.credentials import (
    CONFIG_MAP,
    ClusterTrust,
    Credentials,
    TrustFile,
)
from grove_dp.metering.external.identity import TrustUnknown
from tests.metering.external.objects import Objects
from tests.metering.external.rig import NAME, WALL_S


class Folder:
    """Files as a mounted Secret shows them."""

    def __init__(self, path):
        self.chain, self.key, self.ca = path / "tls.crt", path / "tls.key", path / "ca.crt"

    def write(self, certificate, ca=None):
        self.chain.write_text(certificate.chain_pem)
        self.key.write_text(certificate.key_pem)
        if ca is not None:
            self.ca.write_text(ca.pem)


@pytest.fixture
def authority():
    return Authority("CA", WALL_S)


@pytest.fixture
def folder(tmp_path, authority):
    made = Folder(tmp_path)
    made.write(authority.server([NAME]), authority)
    return made


@pytest.fixture
def face():
    return Face()


@pytest.fixture
def changes():
    return []


@pytest.fixture
def credentials(folder, face, changes, clock):
    trust = TrustFile(folder.ca, ("front-proxy-client",))
    return Credentials(
        face, CertificateFiles(folder.chain, folder.key), trust, clock, lambda: changes.append(1)
    )


async def test_nothing_changes_while_the_files_do_not(credentials, face, changes):
    for _ in range(3):
        await credentials.refresh()
    assert (face.renewed, len(changes)) == (1, 1)
    assert credentials.trust().allows("front-proxy-client")
    assert not credentials.trust().allows("kubelet")


async def test_a_new_certificate_or_ca_is_taken(credentials, folder, face, authority):
    await credentials.refresh()
    folder.write(authority.server([NAME]))
    await credentials.refresh()
    other = Authority("CA", WALL_S)
    folder.ca.write_text(other.pem)
    await credentials.refresh()
    assert face.renewed == 3
    assert credentials.trust().ca_pem == other.pem


async def test_a_pair_caught_between_two_writes_leaves_what_held_and_is_said_once(
    credentials, folder, face, authority, caplog
):
    await credentials.refresh()
    fresh = authority.server([NAME])
    folder.chain.write_text(fresh.chain_pem)
    for _ in range(3):
        await credentials.refresh()
    assert face.renewed == 1
    assert caplog.text.count("do not fit together") == 1
    folder.key.write_text(fresh.key_pem)
    caplog.set_level(logging.INFO)
    await credentials.refresh()
    assert face.renewed == 2


async def test_what_cannot_be_read_leaves_what_held(credentials, folder, face, caplog):
    await credentials.refresh()
    for file in (folder.chain, folder.ca):
        text = file.read_text()
        file.unlink()
        for _ in range(2):
            await credentials.refresh()
        file.write_text(text)
        await credentials.refresh()
    assert face.renewed == 1
    assert credentials.trust() is not None
    assert caplog.text.count("stays as it is") == 2


async def test_without_trust_the_port_is_open_for_tokens_and_probes(credentials, folder, face):
    folder.ca.unlink()
    await credentials.refresh()
    assert face.ready
    assert credentials.trust() is None


async def test_the_sources_are_read_every_ten_seconds(credentials, folder, face, authority, clock):
    running = asyncio.create_task(credentials.run())
    await clock.advance(0)
    assert face.renewed == 1
    folder.write(authority.server([NAME]))
    await clock.advance(9.9)
    assert face.renewed == 1
    await clock.advance(0.1)
    assert face.renewed == 2
    running.cancel()


async def test_the_cluster_says_whom_to_trust(authority):
    objects = Objects()
    with pytest.raises(GroveError, match="404"):
        await ClusterTrust(objects).read()
    objects.put(CONFIG_MAP, {"data": {"requestheader-client-ca-file": authority.pem}})
    assert (await ClusterTrust(objects).read()).ca_pem == authority.pem
    objects.put(CONFIG_MAP, {"metadata": {}})
    with pytest.raises(TrustUnknown, match="aggregation layer"):
        await ClusterTrust(objects).read()


async def test_files_say_which_of_them_is_wrong(tmp_path):
    with pytest.raises(BadCertificate, match=r"tls\.crt"):
        await CertificateFiles(tmp_path / "tls.crt", tmp_path / "tls.key").read()
    with pytest.raises(TrustUnknown, match=r"ca\.crt"):
        await TrustFile(tmp_path / "ca.crt", ()).read()
    (tmp_path / "ca.crt").write_text("nothing")
    with pytest.raises(TrustUnknown, match="no certificate in it"):
        await TrustFile(tmp_path / "ca.crt", ()).read()


async def test_a_shared_ca_without_names_is_said_loudly(face, folder, clock, authority, caplog):
    objects = Objects()
    data = {"requestheader-client-ca-file": authority.pem, "client-ca-file": authority.pem}
    objects.put(CONFIG_MAP, {"data": data})
    files = CertificateFiles(folder.chain, folder.key)
    credentials = Credentials(face, files, ClusterTrust(objects), clock, lambda: None)
    for _ in range(2):
        await credentials.refresh()
    assert caplog.text.count("nobody can be trusted") == 1
