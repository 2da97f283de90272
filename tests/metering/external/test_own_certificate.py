"""The certificate that the adapters keep in a Secret: made once, renewed in time, trusted before shown."""

from base64 import b64decode, b64encode

import pytest

from grove_dp.clock import ManualClock
from grove_dp.kube.certificates import fits, serving
from grove_dp.kube.own_certificate import SETTLE_S, OwnCertificate, Place
from grove_dp.metering.external.documents import Conflict
from grove_dp.metering.external.registration import APISERVICE_PATH, RegisteredTrust
from tests.metering.external.objects import Objects
from tests.metering.external.rig import WALL_S

PLACE = Place("grove-dp", "metrics", "metrics-tls")
SECRET = "/api/v1/namespaces/grove-dp/secrets/metrics-tls"
DAY_S = 86_400


class Ticking(ManualClock):
    """Sleeping passes the time by itself."""

    slept = 0.0

    async def sleep(self, seconds):
        self.slept += seconds


@pytest.fixture
def clock():
    return Ticking(wall=WALL_S)


@pytest.fixture
def objects():
    made = Objects()
    made.put(APISERVICE_PATH, registration())
    return made


def own(objects, clock):
    return OwnCertificate(objects, PLACE, clock, RegisteredTrust(objects, PLACE, clock))


def registration(namespace="grove-dp", name="metrics", **spec):
    return {"metadata": {}, "spec": {"service": {"namespace": namespace, "name": name}, **spec}}


def bundle(objects):
    return b64decode(objects.kept[APISERVICE_PATH]["spec"].get("caBundle", "")).decode()


def secret(objects, key):
    return b64decode(objects.kept[SECRET]["data"][key]).decode()


async def test_the_first_replica_makes_it_and_the_others_find_it(objects, clock):
    first = await own(objects, clock).read()
    writes = list(objects.writes)
    second = await own(objects, clock).read()
    assert first == second
    assert fits(first, PLACE.names, WALL_S)
    assert "metrics.grove-dp.svc" in PLACE.names
    assert objects.kept[SECRET]["type"] == "kubernetes.io/tls"
    assert (secret(objects, "tls.crt"), secret(objects, "tls.key")) == (first.chain_pem, first.key_pem)
    assert bundle(objects) == secret(objects, "ca.crt")
    assert writes == objects.writes == [("PATCH", APISERVICE_PATH), ("POST", SECRET)]


async def test_it_is_renewed_in_time_and_trusted_before_it_is_shown(objects, clock):
    source = own(objects, clock)
    first, authority = await source.read(), bundle(objects)
    await clock.advance(61 * DAY_S)
    second = await source.read()
    assert second != first
    assert fits(second, PLACE.names, clock.wall())
    assert bundle(objects).count("BEGIN") == 2
    assert authority in bundle(objects)  # replicas that have not read the Secret again show the first
    assert [path for _, path in objects.writes[-2:]] == [APISERVICE_PATH, SECRET]
    assert clock.slept == SETTLE_S
    await clock.advance(61 * DAY_S)
    await source.read()
    assert bundle(objects).count("BEGIN") == 2  # the first authority has ended


async def test_who_loses_the_race_shows_what_won(objects, clock):
    other = []

    def overtake(method, path):
        objects.before = lambda method, path: other.append(objects.put(SECRET, theirs))

    certificate, authority = serving(PLACE.names, WALL_S)
    theirs = kept(certificate, authority)
    objects.before = overtake
    assert await own(objects, clock).read() == certificate
    assert authority in bundle(objects)
    assert len(other) == 1


def kept(certificate, authority):
    data = {"tls.crt": certificate.chain_pem, "tls.key": certificate.key_pem, "ca.crt": authority}
    return {"metadata": {}, "data": {key: b64encode(value.encode()).decode() for key, value in data.items()}}


async def test_a_secret_that_makes_no_sense_is_replaced(objects, clock):
    objects.put(SECRET, {"metadata": {}, "data": {"tls.crt": "%%%", "tls.key": "", "ca.crt": "AAAA"}})
    made = await own(objects, clock).read()
    assert secret(objects, "tls.crt") == made.chain_pem


async def test_a_bundle_that_somebody_emptied_is_filled_again(objects, clock):
    source = own(objects, clock)
    await source.read()
    objects.put(APISERVICE_PATH, registration(insecureSkipTLSVerify=True))
    await source.read()
    assert bundle(objects) == secret(objects, "ca.crt")
    assert "insecureSkipTLSVerify" not in objects.kept[APISERVICE_PATH]["spec"]  # both at once are refused


async def test_a_registration_that_moved_meanwhile_is_read_again(objects, clock):
    objects.before = lambda method, path: objects.put(APISERVICE_PATH, registration(versionPriority=7))
    await own(objects, clock).read()
    assert objects.kept[APISERVICE_PATH]["spec"]["versionPriority"] == 7
    assert bundle(objects) == secret(objects, "ca.crt")


async def test_somebody_elses_registration_is_not_touched_but_keda_is_served(objects, clock, caplog):
    objects.put(APISERVICE_PATH, registration("keda", "keda-operator-metrics-apiserver"))
    before = dict(objects.kept[APISERVICE_PATH])
    source = own(objects, clock)
    assert await source.read() == await source.read()
    assert objects.kept[APISERVICE_PATH] == before
    assert caplog.text.count("leads to keda/keda-operator-metrics-apiserver") == 1  # said once


async def test_without_a_registration_the_certificate_is_made_all_the_same(objects, clock):
    del objects.kept[APISERVICE_PATH]
    source = own(objects, clock)
    await source.read()
    objects.put(APISERVICE_PATH, registration())
    await source.read()
    assert bundle(objects) == secret(objects, "ca.crt")


async def test_who_always_loses_gives_up_with_a_reason(objects, clock):
    def again(method, path):
        objects.put(APISERVICE_PATH, registration())
        objects.before = again

    objects.before = again
    with pytest.raises(Conflict, match="others keep writing it"):
        await own(objects, clock).read()
