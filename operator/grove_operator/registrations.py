"""The webhooks' registrations in the cluster, kept as they should be.

    certificate ─── trust(authorities) ──► caBundle of what is registered      every operator, additions only
    the leader ──── keep() ──────────────► all three configurations            made, and mended when changed

Only the leader says how a configuration is to be: in a rolling update of the operator two versions of it
would go on correcting each other. What others have put there stays as far as nothing here speaks of it
(selectors, labels, authorities that have not ended). A configuration that leads elsewhere and does not bear
our label is somebody else's: Grove's own operator has the same names.

With annotation `cert-manager.io/inject-ca-from` the caBundle is cert-manager's, and left alone.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import msgspec

from grove_dp.clock import Clock
from grove_dp.errors import GroveError
from grove_dp.kube.access import Access
from grove_dp.kube.backoff import Backoff
from grove_dp.kube.certificates import widened
from grove_dp.kube.errors import AlreadyExists, ApiError, Conflict
from grove_dp.kube.informer import Informer
from grove_dp.kube.objects import Meta, Resource
from grove_dp.kube.own_certificate import Contended
from grove_operator.admission.registration import (
    DEFAULTING,
    VALIDATING,
    VALIDATING_TOPOLOGY,
    Address,
    Service,
    mutating,
    validating,
)
from grove_operator.settings import OperatorSettings

__all__ = ["ForeignWebhooks", "Registrations", "address"]

_log = logging.getLogger(__name__)

GROUP: Final = "admissionregistration.k8s.io"
MUTATING_KIND: Final = Resource(
    GROUP, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False
)
VALIDATING_KIND: Final = Resource(
    GROUP, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False
)
WATCHED: Final = (
    (MUTATING_KIND, DEFAULTING),
    (VALIDATING_KIND, VALIDATING),
    (VALIDATING_KIND, VALIDATING_TOPOLOGY),
)
INJECTED: Final = "cert-manager.io/inject-ca-from"
PART_OF: Final = "app.kubernetes.io/part-of"
OURS: Final = "grove-dp"
TRIES: Final = 5
PACE_S: Final = 1.0  # between two rounds: whoever else writes there must not make us spin

Document = dict[str, Any]
Counted = Callable[[str, str, str], None]


class ForeignWebhooks(GroveError):
    """The webhooks of these names are somebody else's."""

    reason = "ForeignWebhooks"


class _Configuration(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    metadata: Meta = Meta()
    webhooks: list[Document] | None = None

    @property
    def injected(self) -> bool:
        """Somebody else writes the caBundle."""
        return self.metadata.annotation(INJECTED) is not None


def address(settings: OperatorSettings, namespace: str) -> Service | Address:
    """How the API server finds us; *namespace*: where we are."""
    webhooks = settings.webhooks
    if webhooks.url is not None:
        return Address(webhooks.url)
    return Service(webhooks.namespace or namespace, webhooks.service)


class Registrations:
    """The three configurations. `run` looks at them, `keep` writes them."""

    def __init__(
        self,
        api: Access,
        settings: OperatorSettings,
        clock: Clock,
        counted: Counted = lambda kind, verb, outcome: None,
        rng: Random | None = None,
    ) -> None:
        self._api = api
        self._settings = settings
        self._clock = clock
        self._counted = counted
        self._rng = rng or Random()
        self._at = address(settings, api.namespace)
        self._bundle: str | None = None  # None: not known yet; empty: not ours to say
        self._changed = asyncio.Event()
        self._told = ""
        self._seen = {
            name: Informer(api, kind, _Configuration, fields=f"metadata.name={name}", clock=clock)
            for kind, name in WATCHED
        }
        for informer in self._seen.values():
            informer.listen(lambda change: self._changed.set())

    async def run(self) -> None:
        """Watch them until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in self._seen.values():
                group.create_task(informer.run())

    # ------------------------------------------------------------ trust

    async def trust(self, bundle: str) -> bool:
        """See that what is registered knows the authorities of *bundle*; whether any was new to it."""
        if bundle != self._bundle:
            self._bundle = bundle
            self._changed.set()
        if not bundle:
            return False
        return any([await self._widen(kind, name, bundle) for kind, name in WATCHED])

    async def _widen(self, kind: Resource, name: str, bundle: str) -> bool:
        seen = self._seen[name]
        if seen.is_synced and not self._lacks(seen.get("", name), bundle):
            return False
        for _ in range(TRIES):
            try:
                held = await self._api.get(kind.path(name=name), into=_Configuration)
            except ApiError as error:
                if error.code == 404:
                    return False  # the leader will register us, with this bundle
                raise
            if not self._lacks(held, bundle):
                return False
            patch = {"webhooks": [self._trusting(each, bundle) for each in held.webhooks or ()]}
            if await self._patched(kind, held, patch):
                return True
        raise Contended(f"{kind.kind} {name}: others keep writing it; who else does?")

    def _lacks(self, held: _Configuration | None, bundle: str) -> bool:
        if held is None or held.injected or self._is_foreign(held):
            return False
        wall = self._clock.wall()
        return any(widened(_bundle_of(each), bundle, wall) is not None for each in held.webhooks or ())

    def _trusting(self, webhook: Document, bundle: str) -> Document:
        wider = widened(_bundle_of(webhook), bundle, self._clock.wall())
        if wider is None:
            return webhook
        return {**webhook, "clientConfig": {**webhook.get("clientConfig", {}), "caBundle": wider}}

    # ------------------------------------------------------------ keeping

    async def keep(self) -> NoReturn:
        """Make them, and mend them when somebody changes them, until cancelled. For the leader alone."""
        for informer in self._seen.values():
            await informer.synced()
        backoff = Backoff(self._rng)
        while True:
            self._changed.clear()
            try:
                await self._mend_all()
            except GroveError as error:
                self._trouble(error)
                await self._clock.sleep(max(backoff.next_s(), PACE_S))
                continue
            self._trouble(None)
            backoff.reset()
            await self._clock.sleep(PACE_S)
            await self._changed.wait()

    async def _mend_all(self) -> None:
        if self._bundle is None:
            return
        wanted = self._wanted(self._bundle)
        for (kind, name), document in zip(WATCHED, wanted, strict=True):
            await self._mend(kind, name, document)

    async def _mend(self, kind: Resource, name: str, wanted: Document) -> None:
        held = self._seen[name].get("", name)
        if held is None:
            await self._create(kind, wanted)
            return
        if self._is_foreign(held):
            raise ForeignWebhooks(
                f"{kind.kind} {name} leads to another operator: remove that one with its webhooks, or run"
                " this one with --webhooks false"
            )
        patch = self._difference(held, wanted)
        if patch and await self._patched(kind, held, patch):
            _log.info("%s %s is registered as it should be again", kind.kind, name)

    async def _create(self, kind: Resource, wanted: Document) -> None:
        try:
            await self._api.create(kind.path(), wanted)
        except AlreadyExists:
            self._counted(kind.kind, "create", "AlreadyExists")  # the watch is about to tell of it
            return
        self._counted(kind.kind, "create", "ok")
        _log.info("%s %s is registered", kind.kind, wanted["metadata"]["name"])

    async def _patched(self, kind: Resource, held: _Configuration, patch: Document) -> bool:
        """Whether it could be written; not, if somebody else has meanwhile."""
        meta = {**patch.get("metadata", {}), "resourceVersion": held.metadata.resource_version}
        try:
            answer = await self._api.merge(
                kind.path(name=held.metadata.name), {**patch, "metadata": meta}, into=_Configuration
            )
        except Conflict:
            self._counted(kind.kind, "patch", "Conflict")
            self._changed.set()
            return False
        self._counted(kind.kind, "patch", "ok")
        self._seen[held.metadata.name].wrote(answer)
        return True

    def _difference(self, held: _Configuration, wanted: Document) -> Document:
        """What has to be written so that *held* is as *wanted*; empty if it is."""
        own = bool(self._bundle) and not held.injected
        there = {each.get("name"): each for each in held.webhooks or ()}
        webhooks = [self._overlaid(there.get(each["name"], {}), each, own=own) for each in wanted["webhooks"]]
        patch: Document = {} if webhooks == held.webhooks else {"webhooks": webhooks}
        for what, ours in wanted["metadata"].items():
            if what in ("labels", "annotations") and not _holds(getattr(held.metadata, what), ours):
                patch.setdefault("metadata", {})[what] = ours
        return patch

    def _overlaid(self, held: Document, wanted: Document, *, own: bool) -> Document:
        """*held* with every field as *wanted*; its caBundle widened, or left alone if it is not our *own*."""
        known = _bundle_of(held)
        client = {key: value for key, value in wanted["clientConfig"].items() if key != "caBundle"}
        bundle = (widened(known, self._bundle or "", self._clock.wall()) or known) if own else known
        if bundle:
            client["caBundle"] = bundle
        return {**held, **wanted, "clientConfig": client}

    def _wanted(self, bundle: str) -> list[Document]:
        settings = self._settings
        policy = settings.webhooks.policy
        documents = [mutating(self._at, bundle, policy), *validating(self._at, bundle, policy)]
        for document in documents:
            document["metadata"]["labels"] = {PART_OF: OURS}
            if settings.webhooks.inject_ca_from:
                document["metadata"]["annotations"] = {INJECTED: settings.webhooks.inject_ca_from}
            for webhook in document["webhooks"]:
                self._bound(webhook)
        return documents

    def _bound(self, webhook: Document) -> None:
        """Say of *webhook* what only this operator's settings say."""
        if not self._bundle or self._settings.webhooks.inject_ca_from:
            del webhook["clientConfig"]["caBundle"]
        namespace = self._settings.cluster.namespace
        if namespace and webhook["rules"][0]["scope"] == "Namespaced":
            labels = {"kubernetes.io/metadata.name": namespace}
            webhook["namespaceSelector"] = {"matchLabels": labels}

    # ------------------------------------------------------------ whose it is

    def _is_foreign(self, held: _Configuration) -> bool:
        if held.metadata.label(PART_OF) == OURS:
            return False
        return not any(self._leads_to_us(each.get("clientConfig") or {}) for each in held.webhooks or ())

    def _leads_to_us(self, client: Mapping[str, Any]) -> bool:
        if isinstance(self._at, Address):
            ours, theirs = urlsplit(self._at.url), urlsplit(str(client.get("url") or ""))
            return ours.netloc == theirs.netloc
        service = client.get("service") or {}
        return (service.get("namespace"), service.get("name")) == (self._at.namespace, self._at.name)

    def _trouble(self, error: GroveError | None) -> None:
        """Log what is new."""
        told = "" if error is None else str(error)
        if error is not None and told != self._told:
            _log.error("webhooks are not registered as they should be: %s [%s]", error, error.reason)
        self._told = told


def _bundle_of(webhook: Mapping[str, Any]) -> str | None:
    client: Mapping[str, Any] = webhook.get("clientConfig") or {}
    return client.get("caBundle")


def _holds(held: Mapping[str, str] | None, ours: Mapping[str, str]) -> bool:
    there: Iterable[tuple[str, str]] = (held or {}).items()
    return set(ours.items()) <= set(there)
