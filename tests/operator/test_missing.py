"""An operator that cannot begin: what it waits for, what is to be done, and that it goes on by itself."""

import asyncio

import pytest
from grove_operator.admission.registration import Service, mutating, validating
from grove_operator.api import CLIQUES, SETS
from grove_operator.crds import definitions
from grove_operator.leftovers import tell_leftovers
from grove_operator.missing import missing, troubled
from grove_operator.process import serve
from grove_operator.settings import Health, Leader, OperatorSettings, Webhooks
from msgspec import json

from grove_dp.kube.access import Access
from grove_dp.kube.errors import ApiUnreachable, refused
from grove_dp.kube.informer import Informer
from grove_dp.kube.objects import NODES, PODS, Object
from grove_dp.kube.transport import Answer
from grove_dp.testing.kubeapi import InProcess, Server
from grove_dp.testing.loopclock import LoopClock

pytestmark = pytest.mark.looptime

CUSTOM = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SETTINGS = OperatorSettings(
    webhooks=Webhooks(enabled=False), leader=Leader(enabled=False), health=Health(port=0)
)
APPLY = "grove-dp manifests operator --image IMAGE | kubectl apply --server-side -f -"


def informer(kind, trouble=None):
    made = Informer(Access(InProcess(Server())), kind, Object)
    made.trouble = trouble
    return made


def forbidden(kind):
    said = f'{kind.plural} is forbidden: User "bob" cannot list resource "{kind.plural}"'
    return refused(
        f"GET {kind.path()}",
        403,
        b'{"reason":"Forbidden","message":"%s"}' % said.replace('"', '\\"').encode(),
    )


async def test_an_operator_without_definitions_says_so_once_and_begins_when_they_come(caplog):
    caplog.set_level("INFO")
    api = Access(InProcess(Server()))
    working = asyncio.create_task(serve(api, SETTINGS, "me", LoopClock()))
    await asyncio.sleep(300)

    told = [one.getMessage() for one in caplog.records if one.name == "grove_operator.process"]
    assert len([line for line in told if "cannot work yet" in line]) == 1
    assert "podcliquesets.grove.io" in told[-1]
    assert told[-1].endswith(APPLY)
    warnings = [one for one in caplog.records if one.name == "grove_dp.kube.informer"]
    assert len(warnings) == 5  # one for each kind, however often it was tried

    for definition in definitions():
        await api.create(CUSTOM, definition)
    await asyncio.sleep(60)

    assert "everything has been seen" in caplog.text
    working.cancel()


class Registered(InProcess):
    """Webhook configurations, which the embedded server does not know."""

    def __init__(self, *documents):
        super().__init__(Server())
        self.documents = {document["metadata"]["name"]: document for document in documents}

    async def exchange(self, method, target, headers, body):
        document = self.documents.get(target.rpartition("/")[2])
        return Answer(404, {}, b"") if document is None else Answer(200, {}, json.encode(document))


async def test_registrations_that_nobody_serves_any_more_are_named_with_the_remedy(caplog):
    at = Service("ml", "grove-operator")
    await tell_leftovers(Access(Registered(mutating(at, "", "Fail"), validating(at, "", "Ignore")[0])))

    told = [one.getMessage() for one in caplog.records]
    assert len(told) == 1
    assert "while nobody answers at Service ml/grove-operator" in told[0]
    assert told[0].endswith("kubectl delete mutatingwebhookconfiguration podcliqueset-defaulting-webhook")


def test_kinds_that_lack_the_same_are_told_together_with_who_may_not():
    there = [informer(NODES, forbidden(NODES)), informer(PODS, forbidden(PODS)), informer(SETS)]

    assert troubled(there)
    assert missing(there) == (
        f"nodes, pods: bob may not list and watch this kind; apply the rights and work under them: {APPLY};"
        " podcliquesets.grove.io: not listed yet"
    )


def test_an_api_server_that_is_away_is_named_once():
    away = [
        informer(kind, ApiUnreachable(f"GET {kind.path()}: https://a cannot be reached: refused"))
        for kind in (SETS, CLIQUES)
    ]

    assert (
        missing(away) == "podcliquesets.grove.io, podcliques.grove.io: https://a cannot be reached: refused"
    )


def test_what_is_only_slow_is_nobodys_fault():
    assert not troubled([informer(PODS)])
    assert missing([informer(PODS)]) == "pods: not listed yet"
    assert missing([]) == ""
