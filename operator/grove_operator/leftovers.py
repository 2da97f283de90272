"""Webhooks that are still registered when an operator works without them: no set can be stored.

They may be another operator's, which serves them still: they are named, with the remedy, and not deleted.
"""

import logging
from typing import Any

import msgspec

from grove_dp.kube.access import Access
from grove_dp.kube.errors import ApiError, ApiUnreachable
from grove_operator.registrations import WATCHED

__all__ = ["tell_leftovers"]

_log = logging.getLogger(__name__)


class _Registered(msgspec.Struct, frozen=True):
    webhooks: list[dict[str, Any]] | None = None


async def tell_leftovers(api: Access) -> None:
    """Warn of each one, once."""
    for kind, name in WATCHED:
        try:
            held = await api.get(kind.path(name=name), into=_Registered)
        except (ApiError, ApiUnreachable):
            continue  # there is none, or we may not know
        demanded = [_address(one) for one in held.webhooks or () if one.get("failurePolicy") != "Ignore"]
        if demanded:
            _log.warning(
                "this operator serves no webhooks, but %s %s is registered: while nobody answers at %s, what"
                " it is asked about cannot be stored; unless another operator answers: kubectl delete %s %s",
                kind.kind,
                name,
                ", ".join(demanded),
                kind.kind.lower(),
                name,
            )


def _address(webhook: dict[str, Any]) -> str:
    client = webhook.get("clientConfig") or {}
    service = client.get("service") or {}
    return str(client.get("url") or f"Service {service.get('namespace')}/{service.get('name')}")
