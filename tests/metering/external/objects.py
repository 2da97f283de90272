"""Objects as an API server keeps them, invented: versions, conflicts, merge patches, nothing else."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from grove_dp.kube.errors import ApiError


class Objects:
    """By path. `before` is called with method and path ahead of each write."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.writes: list[tuple[str, str]] = []
        self.before: Any = None
        self._version = 0

    def put(self, path: str, document: Mapping[str, Any]) -> None:
        """Somebody else writes."""
        self._version += 1
        kept = deepcopy(dict(document))
        kept["metadata"] = {**kept.get("metadata", {}), "resourceVersion": str(self._version)}
        self.kept[path] = kept

    async def get(self, path: str, **_: Any) -> dict[str, Any]:
        if path not in self.kept:
            raise ApiError(f"GET {path}", 404, "NotFound", "not found")
        return deepcopy(self.kept[path])

    async def create(self, path: str, document: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        target = f"{path}/{document['metadata']['name']}"
        self._writing("POST", target)
        if target in self.kept:
            raise ApiError(f"POST {target}", 409, "AlreadyExists", "already exists")
        self.put(target, document)
        return await self.get(target)

    async def merge(self, path: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        self._writing("PATCH", path)
        kept = await self.get(path)
        wanted = patch.get("metadata", {}).get("resourceVersion")
        if wanted not in (None, kept["metadata"]["resourceVersion"]):
            raise ApiError(f"PATCH {path}", 409, "Conflict", "the object has been modified")
        self.put(path, merged(kept, patch))
        return await self.get(path)

    async def apply(self, path: str, document: Mapping[str, Any], manager: str, **_: Any) -> dict[str, Any]:
        self._writing("APPLY", path)
        self.put(path, merged(self.kept.get(path, {}), document))
        return await self.get(path)

    def _writing(self, method: str, path: str) -> None:
        before, self.before = self.before, None  # once
        if before is not None:
            before(method, path)
        self.writes.append((method, path))


def merged(document: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON merge patch."""
    result = dict(document)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = merged(result.get(key) or {}, value)
        else:
            result[key] = value
    return result
