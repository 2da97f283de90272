"""Lists, whole or in pages.

All pages of a list show the same version of the world: the first page leaves the list as it was then, and
the `continue` token says which and how far. The last PAGED of them are kept; a token for an older one gets
410, as a real server answers when etcd has forgotten.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from typing import Final

import msgspec

from grove_dp.testing.kubeapi.answers import bad_request, expired
from grove_dp.testing.kubeapi.kinds import Kind
from grove_dp.testing.kubeapi.paths import Call
from grove_dp.testing.kubeapi.selectors import Selector, field_selector, label_selector, selected_by
from grove_dp.testing.kubeapi.store import Key, Store, Stored

__all__ = ["Lists", "list_body", "selector_of"]

PAGED: Final = 64
TOO_OLD: Final = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new "
    "list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)
Past = tuple[tuple[str, str], str, int]  # resource, namespace, version


class _Token(msgspec.Struct):
    v: str
    rv: int
    start: Key


def selector_of(call: Call) -> Selector | None:
    """Labels and fields that a list or watch is for."""
    return selected_by(
        label_selector(call.query.get("labelSelector", "")),
        field_selector(call.query.get("fieldSelector", ""), call.kind.fields),
    )


class Lists:
    """Reads of collections."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._past: OrderedDict[Past, list[Stored]] = OrderedDict()

    def forget(self) -> None:
        """No page can be followed by another any more."""
        self._past.clear()

    def body(self, call: Call) -> bytes:
        """The list that *call* asks for."""
        selector = selector_of(call)
        token = call.query.get("continue", "")
        limit = _number(call, "limit")
        if not token and (call.query.get("resourceVersion") == "0" or not limit):
            chosen = self._chosen(call, selector)
            return list_body(call.kind, chosen, {"resourceVersion": str(self._store.version)})
        return self._page(call, selector, limit, token)

    def _chosen(self, call: Call, selector: Selector | None) -> list[Stored]:
        found = self._store.table(call.kind.resource).list(call.namespace)
        return found if selector is None else [stored for stored in found if selector(stored.document)]

    def _page(self, call: Call, selector: Selector | None, limit: int, token: str) -> bytes:
        version, everything = self._beginning(call) if not token else self._rest(call, token)
        chosen = [stored for stored in everything if selector is None or selector(stored.document)]
        page = chosen[:limit] if limit else chosen
        metadata: dict[str, str | int] = {"resourceVersion": str(version)}
        if left := len(chosen) - len(page):
            metadata["continue"] = _encoded(version, page[-1].key)
            if selector is None:
                metadata["remainingItemCount"] = left
        return list_body(call.kind, page, metadata)

    def _beginning(self, call: Call) -> tuple[int, list[Stored]]:
        version = self._store.version
        everything = self._chosen(call, None)
        self._past[call.kind.resource, call.namespace, version] = everything
        if len(self._past) > PAGED:
            self._past.popitem(last=False)
        return version, everything

    def _rest(self, call: Call, text: str) -> tuple[int, list[Stored]]:
        token = _decoded(text)
        everything = self._past.get((call.kind.resource, call.namespace, token.rv))
        if everything is None:
            raise expired(TOO_OLD)
        return token.rv, [stored for stored in everything if stored.key > token.start]


def _number(call: Call, name: str) -> int:
    text = call.query.get(name, "") or "0"
    if not text.isdecimal():
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def _encoded(version: int, key: Key) -> str:
    token = _Token("meta.k8s.io/v1", version, key)
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")


def _decoded(text: str) -> _Token:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Token)
    except (ValueError, msgspec.DecodeError):
        raise bad_request("continue key is not valid: illegal base64 data at input byte 0") from None


def list_body(kind: Kind, items: list[Stored], metadata: dict[str, str | int]) -> bytes:
    """A list document; the items are put together as they are stored, encoded already."""
    head = msgspec.json.encode({"kind": kind.list_kind, "apiVersion": kind.api_version, "metadata": metadata})
    return b'%s,"items":[%s]}' % (head[:-1], b",".join(map(kind.encode_item, items)))
