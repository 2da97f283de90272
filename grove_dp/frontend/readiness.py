"""The rules behind /readyz: small functions of what is, each with a word to say for itself.

Ready means "send clients here". It is judged by the published table, not by the registry, so that a request
which follows a 200 finds on the data port what the answer promised.
"""

from collections.abc import Callable
from typing import NamedTuple

from grove_dp.routing.workers import Table

__all__ = ["Check", "Condition", "State", "conditions"]


class State(NamedTuple):
    """What is judged."""

    listening: bool
    draining: bool
    config_error: str  # of the last reload, "" when it was fine
    table: Table | None


class Condition(NamedTuple):
    """One rule's verdict."""

    name: str
    ok: bool
    message: str


Check = Callable[[State], Condition]


def _config(state: State) -> Condition:
    # A broken reload leaves the old settings at work: told, but no reason to send clients away.
    return Condition("config", True, state.config_error or "loaded")


def _listening(state: State) -> Condition:
    return Condition("listening", state.listening, "accepting" if state.listening else "not accepting")


def _has_worker(state: State) -> Condition:
    if state.table is None:
        return Condition("workers", False, "no table yet")
    known, ready, awaited = len(state.table.workers), state.table.ready, state.table.awaited
    told = f"{ready} of {known} ready with a model"
    if not ready and awaited:  # nothing scales from zero whose requests come nowhere
        return Condition("workers", True, f"{told}; requests for {awaited} models wait for one")
    return Condition("workers", ready > 0, told)


def _not_draining(state: State) -> Condition:
    return Condition("draining", not state.draining, "shutting down" if state.draining else "no")


CHECKS: tuple[Check, ...] = (_config, _listening, _has_worker, _not_draining)


def conditions(state: State) -> list[Condition]:
    """Every rule's verdict, in order."""
    return [check(state) for check in CHECKS]
