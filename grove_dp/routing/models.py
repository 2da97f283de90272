"""What a worker's /v1/models says about whose blocks are whose. Pure.

A worker has one base model, which may go by several names, and adapters on it. Blocks of a prompt can be used
again only for the same base and adapter, so both enter the root of the names of blocks (`ModelScope`). The
base goes by the first name that its worker lists, whatever name a request used.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec
from msgspec import Struct

__all__ = ["ModelScope", "base_of", "folder_of", "same_models", "scope_of"]


class ModelScope(NamedTuple):
    """Whose blocks a served name uses."""

    base: str
    lora: str = ""  # "": none


class _Card(Struct):
    id: str
    root: str | None = None
    parent: str | None = None
    max_model_len: int | None = None


@lru_cache(maxsize=8_192)  # PERF: asked of every worker for every table
def _card(name: str, body: bytes) -> _Card:
    try:
        return msgspec.json.decode(body, type=_Card)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Card(name)


def same_models(some: Mapping[str, bytes], others: Mapping[str, bytes]) -> bool:
    """Whether two lists say the same; when they were made (`created`) is no difference."""
    return list(some) == list(others) and all(
        _card(name, some[name]) == _card(name, others[name]) for name in some
    )


def base_of(models: Mapping[str, bytes]) -> str | None:
    """The name under which blocks of this worker's base model are known; None: it lists no model."""
    named = (name for name, body in models.items() if _card(name, body).parent is None)
    return next(named, next(iter(models), None))


def scope_of(models: Mapping[str, bytes], name: str) -> ModelScope:
    """Whose blocks a request for *name* uses on a worker with these models."""
    base = base_of(models) or name
    return ModelScope(base, name if _card(name, models[name]).parent is not None else "")


def folder_of(models: Mapping[str, bytes]) -> str | None:
    """Where the worker says that it read its base model from: a path on its machine, or a name of a hub."""
    base = base_of(models)
    return _card(base, models[base]).root if base is not None else None
