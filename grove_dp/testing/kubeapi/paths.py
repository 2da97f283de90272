"""What a request is about: kind, namespace, name and sub-resource out of its path.

/api/v1[/namespaces/NS]/PLURAL[/NAME[/SUB]]
/apis/GROUP/VERSION[/namespaces/NS]/PLURAL[/NAME[/SUB]]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from grove_dp.testing.kubeapi.kinds import Kind

__all__ = ["Call", "Kinds"]


class Call(msgspec.Struct, frozen=True):
    """One request for objects of a kind."""

    method: str
    kind: Kind
    namespace: str
    name: str
    sub: str
    query: Mapping[str, str]

    @property
    def key(self) -> tuple[str, str]:
        return (self.namespace, self.name)

    def flag(self, name: str) -> bool:
        """Whether the query says yes to it."""
        return self.query.get(name, "") in ("1", "true", "True")


def split(target: str) -> tuple[str, dict[str, str]]:
    """Path and query of a request."""
    parts = urlsplit(target)
    return parts.path, dict(parse_qsl(parts.query, keep_blank_values=True))


class Kinds:
    """What is served."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._kinds: dict[tuple[str, str, str], Kind] = {}
        self._of_table: dict[tuple[str, str], Kind] = {}
        for kind in kinds:
            self.add(kind)

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._kinds.values())

    def add(self, kind: Kind) -> None:
        """Serve it, in place of what was served there."""
        self._kinds[kind.group, kind.version, kind.plural] = kind
        if kind.resource == (kind.group, kind.plural):
            self._of_table[kind.resource] = kind

    def remove(self, group: str, plural: str) -> None:
        """Serve no version of it any more."""
        self._kinds = {at: kind for at, kind in self._kinds.items() if (at[0], at[2]) != (group, plural)}
        self._of_table.pop((group, plural), None)

    def of_table(self, resource: tuple[str, str]) -> Kind | None:
        """The kind as which the server itself handles the objects of a table."""
        return self._of_table.get(resource)

    def knows_version_of(self, path: str) -> bool:
        """The path is below a group and version in which something is served."""
        return any(path.startswith(f"{kind.path}/") for kind in self._kinds.values())

    def call(self, method: str, path: str, query: Mapping[str, str]) -> Call | None:
        """What the request is about; None if it is about no kind that is served."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        match parts:
            case ["api", version, *rest]:
                group = ""
            case ["apis", group, version, *rest]:
                pass
            case _:
                return None
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces" and (group, version, rest[2]) in self._kinds:
            namespace, rest = rest[1], rest[2:]
        if not 1 <= len(rest) <= 3:
            return None
        plural, name, sub = (*rest, "", "")[:3]
        kind = self._kinds.get((group, version, plural))
        if kind is None or (name and kind.namespaced != bool(namespace)):
            return None
        return Call(method, kind, namespace, name, sub, query)
