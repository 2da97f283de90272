"""Which schedulers' APIs the cluster serves: looked at when the operator starts, and each minute after.

    GET /apis ─► groups ─► GET /apis/<group>/<version> ─► kinds ─► their fields, where an older one lacks some

A scheduler that is not there is no fault, one that comes later is used from then on. An API whose PodGroups
lack what we write is *older*, and told less: the API server would drop those fields without a word. One that
makes no sense without them counts as not there. When nobody answers, what was known stays known.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from grove_dp.clock import Clock
from grove_dp.kube.access import Access
from grove_dp.kube.errors import ApiError, ApiUnreachable, Forbidden, NotFound
from grove_dp.kube.objects import Resource
from grove_operator.api import KAI_GROUPS, POD_GROUPS, VOLCANO_GROUPS

__all__ = ["Discovery"]

log = logging.getLogger(__name__)

LOOK_S: Final = 60.0
RETRY_S: Final = 2.0
# The newest field that we write, and the first version that has it.
NEEDED: Final[Mapping[Resource, tuple[str, str]]] = {
    KAI_GROUPS: ("minSubGroup", "KAI 0.15"),
    VOLCANO_GROUPS: ("subGroupPolicy", "Volcano 1.14"),
}
ENOUGH: Final = frozenset([VOLCANO_GROUPS])  # a minimum of all cliques together is still a gang


class Discovery:
    """What is *served* of the kinds *wanted*; *changed* is called whenever that is something new."""

    def __init__(
        self,
        api: Access,
        clock: Clock,
        changed: Callable[[frozenset[Resource]], None] = lambda _: None,
        wanted: Iterable[Resource] = POD_GROUPS,
    ) -> None:
        self._api = api
        self._clock = clock
        self._changed = changed
        self._wanted = tuple(wanted)
        self._told: set[Resource] = set()
        self.served: frozenset[Resource] = frozenset()
        self.older: frozenset[Resource] = frozenset()  # of these
        self.there: frozenset[Resource] = frozenset()  # served, and those that lack too much to be used

    async def first(self) -> None:
        """Return when the API server has answered once; where nothing is wanted it is not asked."""
        while self._wanted and not await self._looked():
            await self._clock.sleep(RETRY_S)

    async def run(self) -> None:
        """Look again until cancelled."""
        while self._wanted:
            await self._clock.sleep(LOOK_S)
            while not await self._looked():
                await self._clock.sleep(RETRY_S)

    async def _looked(self) -> bool:
        """Whether there was an answer."""
        try:
            there = [kind for kind in await self._candidates() if await self._there(kind)]
            older = frozenset([kind for kind in there if not await self._full(kind)])
        except (ApiError, ApiUnreachable) as error:
            log.warning("which schedulers there are cannot be seen: %s", error)
            return isinstance(error, Forbidden)
        served = _newest(kind for kind in there if kind in ENOUGH or kind not in older)
        if (served, older & served, frozenset(there)) != (self.served, self.older, self.there):
            self.served, self.older, self.there = served, older & served, frozenset(there)
            names = sorted(f"{kind.group}/{kind.version}" for kind in served)
            log.info("PodGroups are served by: %s", ", ".join(names) or "nobody")
            self._changed(served)
        return True

    async def _candidates(self) -> list[Resource]:
        groups = (await self._api.get("/apis")).get("groups") or ()
        there = {version["groupVersion"] for group in groups for version in group["versions"]}
        return [kind for kind in self._wanted if kind.api_version in there]

    async def _there(self, kind: Resource) -> bool:
        found = await self._get(f"/apis/{kind.api_version}")
        return any(one["name"] == kind.plural for one in found.get("resources") or ())

    async def _full(self, kind: Resource) -> bool:
        """Whether its PodGroups have all that we write."""
        field, since = NEEDED.get(kind, ("", ""))
        schema = await self._get(f"/openapi/v3/apis/{kind.api_version}") if field else {}
        fits = not schema or _has(schema, field)
        if not fits and kind not in self._told:
            self._told.add(kind)
            less = "are told the sum of minimums alone" if kind in ENOUGH else "are not used"
            log.warning("PodGroups of %s lack %s and %s: %s has it", kind.group, field, less, since)
        return fits

    async def _get(self, path: str) -> dict[str, Any]:
        """An empty document where there is none."""
        try:
            return await self._api.get(path)
        except NotFound:
            return {}


def _newest(served: Iterable[Resource]) -> frozenset[Resource]:
    """One version of each group, the first wanted: the others show the same objects."""
    groups: dict[str, Resource] = {}
    for kind in served:
        groups.setdefault(kind.group, kind)
    return frozenset(groups.values())


def _has(schema: object, field: str) -> bool:
    """Whether a property of this name is anywhere in it."""
    if isinstance(schema, Mapping):
        properties = schema.get("properties")
        if isinstance(properties, Mapping) and field in properties:
            return True
        return any(_has(part, field) for part in schema.values())
    return isinstance(schema, list) and any(_has(part, field) for part in schema)
