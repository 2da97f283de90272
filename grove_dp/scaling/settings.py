"""The file of `grove-dp autoscale`: whom to ask, where to look, and autoscalers beside those of the cluster.

    namespace: ml                          # "*": everywhere; unset: our own
    frontends: [grove-dp-admin.ml:9090]    # for autoscalers that name none
    tickSeconds: 5
    autoscalers:
    - name: chat
      namespace: ml
      spec: {podCliqueSet: chat, components: [{name: decode, role: decode}]}

A `spec` is that of a TokenAutoscaler, field by field.
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta as Told

from grove_dp.errors import ConfigurationError
from grove_dp.scaling.kinds import Autoscaler
from grove_dp.scaling.spec import Frontend, Name, Spec

__all__ = ["Namespaces", "Settings", "read"]

Namespaces = Annotated[str, Told(max_length=63, pattern=r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$")]


class Listed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An autoscaler of the file."""

    name: Name
    namespace: Name
    spec: Spec


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """All of the file."""

    namespace: Namespaces | None = None
    frontends: tuple[Frontend, ...] = ()
    tick_seconds: Annotated[float, Told(ge=0.1, le=3600)] = 5.0
    window_seconds: Annotated[float, Told(ge=5, le=900)] = 30.0
    watch: bool = True  # TokenAutoscalers of the cluster, too
    autoscalers: tuple[Listed, ...] = ()

    @property
    def listed(self) -> tuple[Autoscaler, ...]:
        """Those of the file."""
        return tuple(
            Autoscaler(namespace=one.namespace, name=one.name, spec=one.spec) for one in self.autoscalers
        )


def read(file: Path) -> Settings:
    """What *file* says. ConfigurationError names the place."""
    import yaml  # 15 ms that a start without a file saves

    try:
        found: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{file}: is no YAML: {' '.join(str(error).split())}") from None
    try:
        settings = msgspec.convert(found or {}, Settings)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{file}: {error}") from None
    _check(file, settings)
    return settings


def _check(file: Path, settings: Settings) -> None:
    """What one field alone cannot tell."""
    seen: dict[tuple[str, str], str] = {}
    for at, one in enumerate(settings.listed):
        place = f"{file}: autoscalers[{at}].spec"
        key = (one.namespace, one.spec.pod_clique_set)
        if key in seen:
            raise ConfigurationError(f"{place}: {seen[key]} scales the set {one.spec.pod_clique_set} already")
        seen[key] = one.name
        if problem := objection(one.spec):
            raise ConfigurationError(f"{place}.{problem}")


def objection(spec: Spec) -> str:
    """What is wrong with it as a whole, with its path; empty: nothing. The API server has the same rules."""
    names = [component.name for component in spec.components]
    if len(set(names)) < len(names):
        return "components: a name stands twice"
    for at, component in enumerate(spec.components):
        least, most = component.min_replicas, component.max_replicas
        if least is not None and most is not None and least > most:
            return f"components[{at}]: minReplicas must not be greater than maxReplicas"
        if least == 0 and not component.scale_to_zero:
            return f"components[{at}]: minReplicas 0 needs scaleToZero"
    span = spec.set_replicas
    return "setReplicas: min must not be greater than max" if span and span.min > span.max else ""
