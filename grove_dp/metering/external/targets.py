"""What can be scaled, and which of it is known although nobody works there now.

A target is the workers of one namespace, pcs, component and role that serve one base model. Once its last
worker has gone nothing tells of it any more, and an HPA that is told nothing does nothing: it would neither
scale in nor ever come back from zero. So a target stays known, with zeros where every frontend answers and
none has seen anything, and with its share of what waits for its model:

    declared       for ever: `--target default/chat/decode=org/model`, also before a first worker came
    seen working   for a day

What is *wished* for is never made up: no wish is not a wish for nothing.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from grove_dp.clock import Clock
from grove_dp.errors import ConfigurationError

__all__ = ["REMEMBER_S", "KnownTargets", "TargetKey", "read_target"]

REMEMBER_S: Final = 86_400.0
KNOWN_MAX: Final = 4096  # a mistake in names must not fill the memory
ROLES: Final = ("aggregated", "prefill", "decode")

_TARGET = re.compile(r"([^/=\s]+)/([^/=\s]+)/([^/=\s]+)(?:/([a-z]+))?=(\S+)")


class TargetKey(NamedTuple):
    """What is scaled together."""

    namespace: str
    pcs: str
    component: str
    role: str
    model: str

    @property
    def labels(self) -> dict[str, str]:
        """Those that say something."""
        told = {"pcs": self.pcs, "component": self.component, "role": self.role, "model": self.model}
        return {name: value for name, value in told.items() if value}


def read_target(text: str) -> TargetKey:
    """The target that `NAMESPACE/PCS/COMPONENT[/ROLE]=MODEL` says. ConfigurationError."""
    found = _TARGET.fullmatch(text)
    if found is None or found[4] not in (None, *ROLES):
        raise ConfigurationError(
            f"{text!r} is no target; write NAMESPACE/PCS/COMPONENT[/ROLE]=MODEL, ROLE is one of"
            f" {', '.join(ROLES)}, such as default/chat/decode=org/model"
        )
    return TargetKey(found[1], found[2], found[3], found[4] or "aggregated", found[5])


class KnownTargets:
    """The targets that are told of."""

    def __init__(
        self, clock: Clock, declared: Iterable[TargetKey] = (), *, remember_s: float = REMEMBER_S
    ) -> None:
        self._clock = clock
        self._declared = dict.fromkeys(declared)
        self._remember_s = remember_s
        self._seen: dict[TargetKey, float] = {}  # when last, the longest ago first

    def look(self, working: Iterable[TargetKey]) -> tuple[TargetKey, ...]:
        """Those that have workers now, those that had some not long ago, those that are declared."""
        now, here = self._clock.now(), dict.fromkeys(working)
        for target in here:
            if target.model:  # a worker that has not said yet what it serves is not there for good
                self._seen.pop(target, None)
                self._seen[target] = now
        self._forget(now - self._remember_s)
        return tuple(here | self._declared | dict.fromkeys(self._seen))

    def _forget(self, begin: float) -> None:
        for target, last in list(self._seen.items()):
            if last >= begin and len(self._seen) <= KNOWN_MAX:
                return
            del self._seen[target]
