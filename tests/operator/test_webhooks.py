"""The webhooks as a real API server sees them: registered, trusted, renewed, and mended."""

import asyncio
import contextlib
import time
from base64 import b64decode, b64encode

import pytest
from grove_operator.admission.defaults import defaulted
from grove_operator.admission.registration import (
    DEFAULTING,
    VALIDATING,
    VALIDATING_TOPOLOGY,
    Address,
    Service,
)
from grove_operator.admission.subject import World
from grove_operator.api import SETS
from grove_operator.crds.__main__ import CRDS
from grove_operator.health import CannotListen
from grove_operator.metrics import OperatorMetrics
from grove_operator.registrations import INJECTED, address
from grove_operator.settings import Cluster, OperatorSettings
from grove_operator.settings import Webhooks as WebhookSettings
from grove_operator.webhooks import Webhooks

from grove_dp.clock import SystemClock
from grove_dp.kube.access import connect
from grove_dp.kube.certificates import Authority
from grove_dp.kube.errors import ApiError, Invalid, NotFound
from tests.operator.admission_documents import changed, good_set

API = "/apis/admissionregistration.k8s.io/v1"
PATHS = {
    DEFAULTING: f"{API}/mutatingwebhookconfigurations/{DEFAULTING}",
    VALIDATING: f"{API}/validatingwebhookconfigurations/{VALIDATING}",
    VALIDATING_TOPOLOGY: f"{API}/validatingwebhookconfigurations/{VALIDATING_TOPOLOGY}",
}
DAY_S = 86_400
C = "spec.template.cliques"


class Wall(SystemClock):
    """The machine's clock, some days off."""

    days = 0.0

    def wall(self):
        return time.time() + self.days * DAY_S


async def until(ask, good, what, seconds=20):
    """What *ask* gives once it is *good*."""
    found = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = await ask()
                if good(found):
                    return found
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}; last {found}") from None


class Place:
    """A namespace of the cluster, and the webhooks for it."""

    def __init__(self, api, namespace, folder):
        self.api, self.namespace, self.folder = api, namespace, folder
        self.sets = f"{SETS.path(namespace)}?dryRun=All"
        self.secret = f"/api/v1/namespaces/{namespace}/secrets/webhooks"
        self.clock = Wall()
        self.port = 0

    def settings(self, **given):
        webhooks = {"port": self.port, "url": f"https://127.0.0.1:{self.port}", "secret": "webhooks"}
        return OperatorSettings(
            cluster=Cluster(namespace=self.namespace),
            webhooks=WebhookSettings(**webhooks | {"namespace": self.namespace} | given),
        )

    @contextlib.asynccontextmanager
    async def operator(self, *, leads=True, **given):
        """One that serves; and that registers, if it *leads*."""
        self.metrics = OperatorMetrics()
        webhooks = Webhooks(self.api, self.settings(**given), World, self.metrics, self.clock, every_s=0.1)
        tasks = [asyncio.create_task(webhooks.run())]
        tasks += [asyncio.create_task(webhooks.register())] if leads else []
        try:
            yield webhooks
        finally:
            ended = [task.exception() for task in tasks if task.done()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert ended == []

    async def registered(self, name=DEFAULTING):
        try:
            return await self.api.get(PATHS[name])
        except NotFound:
            return None

    async def bundle(self, name=DEFAULTING):
        held = await self.registered(name)
        return b64decode(
            (held or {"webhooks": [{}]})["webhooks"][0].get("clientConfig", {}).get("caBundle", "")
        )

    async def stored(self, document):
        """What the API server would store, or the error."""
        try:
            return await self.api.create(self.sets, document | self.named)
        except ApiError as error:
            return error

    @property
    def named(self):
        return {"metadata": {"name": "serve", "namespace": self.namespace}}

    async def works(self):
        """Return when sets come back filled in, and wrong ones do not come back."""
        await until(lambda: self.stored(good_set()), self.is_filled, "a set is filled in")
        await until(lambda: self.stored(wrong_set()), is_refused, "a wrong set is refused")

    def is_filled(self, found):
        return isinstance(found, dict) and found["spec"] == defaulted(good_set() | self.named)["spec"]


def wrong_set():
    return changed(good_set(), f"{C}[1].labels", {"a b": "c"})


def is_refused(found):
    return isinstance(found, Invalid) and "pcs.validating.webhooks.grove.io" in str(found)


@pytest.fixture(scope="module")
def kinds(controlplane):
    controlplane.kubectl("apply", "--server-side", "-f", str(CRDS))


@pytest.fixture
async def place(kinds, controlplane, kube_namespace, tmp_path, unused_tcp_port):
    async with await connect(controlplane.admin.kubeconfig) as api:
        made = Place(api, kube_namespace, tmp_path)
        made.port = unused_tcp_port
        await until(lambda: made.stored(good_set()), lambda found: isinstance(found, dict), "sets are served")
        try:
            yield made
        finally:
            for path in PATHS.values():
                with contextlib.suppress(NotFound):
                    await api.delete(path)
            await until(
                lambda: made.stored(wrong_set()),
                lambda found: isinstance(found, dict),
                "webhooks are forgotten",
            )


async def test_a_set_is_filled_in_and_a_wrong_one_refused(place):
    async with place.operator() as webhooks:
        await place.works()
        assert webhooks.missing() == ""
    counted = place.metrics.page("")[0].decode()
    assert 'writes_total{kind="MutatingWebhookConfiguration",outcome="ok",verb="create"} 1.0' in counted
    assert "grove_dp_operator_certificate_end_timestamp_seconds" in counted


async def test_only_the_namespace_that_is_kept_is_asked_about(place, controlplane):
    async with place.operator():
        await place.works()
        other = await place.api.create(
            f"{SETS.path('default')}?dryRun=All",
            wrong_set() | {"metadata": {"name": "serve", "namespace": "default"}},
        )
        assert "terminationDelay" not in other["spec"]["template"]


async def test_a_certificate_is_renewed_while_sets_come_in(place):
    place.clock.days = -61
    async with place.operator():
        await place.works()
        first = await place.api.get(place.secret)
        assert (await place.bundle()).count(b"BEGIN") == 1
        place.clock.days = 0

        async def renewed():
            assert place.is_filled(await place.stored(good_set()))  # never one that is not
            return await place.api.get(place.secret)

        await until(renewed, lambda held: held["data"]["tls.crt"] != first["data"]["tls.crt"], "another one")
        for name in PATHS:
            assert (await place.bundle(name)).count(b"BEGIN") == 2  # replicas may still show the first
        for _ in range(20):
            assert place.is_filled(await place.stored(good_set()))
    assert "grove_dp_operator_certificate_end" in place.metrics.page("")[0].decode()


async def test_operators_share_a_certificate_and_a_standby_writes_no_registration(place):
    port = place.port
    place.port = 0
    async with place.operator(leads=False, url="https://127.0.0.1:1") as standby:
        await until(ready(standby), bool, "the standby is ready")
        made = await place.api.get(place.secret)
        assert await place.registered() is None
        place.port = port
        async with place.operator():
            await place.works()
        assert await place.api.get(place.secret) == made


def ready(webhooks):
    async def ask():
        return webhooks.ready

    return ask


@pytest.mark.parametrize("bundle", [b"", b"garbage"])
async def test_a_bundle_that_somebody_broke_is_mended(place, bundle):
    async with place.operator():
        await place.works()
        for name, path in PATHS.items():
            held = await place.registered(name)
            held["webhooks"][0]["clientConfig"]["caBundle"] = b64encode(bundle).decode()
            with contextlib.suppress(Invalid):  # newer API servers look at what is in it
                await place.api.update(path, held)
        await until(place.bundle, lambda found: found.count(b"BEGIN") == 1, "it is mended", 5)
        await place.works()


async def test_what_somebody_changed_or_deleted_comes_back(place):
    async with place.operator():
        await place.works()
        held = await place.registered()
        rules, policy = held["webhooks"][0]["rules"], held["webhooks"][0]["failurePolicy"]
        held["webhooks"][0] |= {"failurePolicy": "Ignore", "rules": []}
        held["metadata"]["labels"]["who"] = "me"
        await place.api.update(PATHS[DEFAULTING], held)
        await place.api.delete(PATHS[VALIDATING])
        mended = await until(
            place.registered, lambda found: found["webhooks"][0]["failurePolicy"] == policy, "it is mended", 5
        )
        assert mended["webhooks"][0]["rules"] == rules
        assert mended["metadata"]["labels"]["who"] == "me"
        await until(lambda: place.registered(VALIDATING), bool, "it is made again", 5)
        await place.works()


async def test_what_is_as_it_should_be_is_not_written(place):
    async with place.operator():
        await place.works()
        before = [(await place.registered(name))["metadata"]["resourceVersion"] for name in PATHS]
    async with place.operator() as again:
        await until(ready(again), bool, "it is ready")
        await place.works()
        await asyncio.sleep(1.5)
    assert [(await place.registered(name))["metadata"]["resourceVersion"] for name in PATHS] == before


async def test_another_operators_registration_is_left_alone(place, caplog):
    theirs = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": DEFAULTING},
        "webhooks": [],
    }
    await place.api.create(f"{API}/mutatingwebhookconfigurations", theirs)
    before = (await place.registered())["metadata"]["resourceVersion"]
    async with place.operator() as webhooks:
        await until(ready(webhooks), bool, "it is ready")
        await until(logged(caplog), lambda text: "leads to another operator" in text, "it is told")
    assert (await place.registered())["metadata"]["resourceVersion"] == before
    assert "ForeignWebhooks" in caplog.text


def logged(caplog):
    async def ask():
        return caplog.text

    return ask


async def test_a_folder_of_others_is_served_and_its_authority_registered(place):
    authority = filled(place.folder)
    async with place.operator(cert_dir=str(place.folder)):
        await place.works()
        assert (await place.bundle()).decode() == authority.pem
        second = filled(place.folder)
        await until(place.bundle, lambda found: second.pem in found.decode(), "the new authority is known")
        await place.works()
    with pytest.raises(NotFound):
        await place.api.get(place.secret)


def filled(folder):
    """Put another certificate and its authority there, as a mounted Secret would."""
    authority = Authority("others", time.time())
    issued = authority.server(["127.0.0.1"])
    for name, text in (("tls.crt", issued.chain_pem), ("tls.key", issued.key_pem), ("ca.crt", authority.pem)):
        (folder / name).write_text(text)
    return authority


async def test_a_bundle_that_cert_manager_writes_is_its_own(place):
    authority = filled(place.folder)
    async with place.operator(cert_dir=str(place.folder), inject_ca_from="ns/webhooks"):
        held = await until(place.registered, bool, "it is registered")
        assert held["metadata"]["annotations"][INJECTED] == "ns/webhooks"
        await until(lambda: place.registered(VALIDATING_TOPOLOGY), bool, "all are registered")
        assert await place.bundle() == b""
        for name, path in PATHS.items():
            held = await place.registered(name)
            held["webhooks"][0]["clientConfig"]["caBundle"] = b64encode(authority.pem.encode()).decode()
            await place.api.update(path, held)
        await place.works()
        assert (await place.bundle()).decode() == authority.pem


async def test_a_port_that_is_taken_is_named_with_the_remedy(place):
    async with place.operator(leads=False) as first:
        await until(ready(first), bool, "it serves")
        second = Webhooks(place.api, place.settings(), World, OperatorMetrics(), place.clock)
        with pytest.raises(CannotListen, match="--webhook-port"):
            await second.run()


def test_we_are_found_by_our_service_unless_there_is_a_url():
    def found(**given):
        return address(OperatorSettings(webhooks=WebhookSettings(**given)), "grove")

    assert found() == Service("grove", "grove-operator")
    assert found(namespace="elsewhere", service="x") == Service("elsewhere", "x")
    assert found(url="https://10.0.0.1:9443") == Address("https://10.0.0.1:9443")
