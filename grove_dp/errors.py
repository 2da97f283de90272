"""Expected trouble, sorted by whose fault it is.

Every class has a `reason`: one CamelCase word, stable, that also stands in the API's error body, in
conditions and in metric labels. The fault decides who should act: the client (4xx), a worker (502, 503), or
us (500). A message names the place and the remedy. What is not a GroveError is a bug and keeps its traceback.
"""

from collections.abc import Sequence
from typing import ClassVar

__all__ = ["ClientFault", "ConfigurationError", "GroveError", "NoReadyWorker", "WorkerFault"]


class GroveError(Exception):
    """Ours, unless a subclass says otherwise."""

    reason: ClassVar[str] = "InternalError"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retry_after_s: float | None = None


class ClientFault(GroveError):
    """The request cannot be served as it is; sending it again will not help."""

    reason = "BadRequest"
    status = 400


class WorkerFault(GroveError):
    """A worker did not do its part; another one, or a later try, may."""

    reason = "WorkerFailed"
    status = 502


class NoReadyWorker(WorkerFault):
    """No worker can take the request now."""

    reason = "NoReadyWorker"
    status = 503
    retry_after_s = 1


class ConfigurationError(GroveError):
    """Settings or usage are wrong: everything found, each message with its path and origin."""

    reason = "InvalidConfiguration"
    exit_code = 2

    def __init__(self, messages: Sequence[str] | str) -> None:
        self.messages: tuple[str, ...] = (messages,) if isinstance(messages, str) else tuple(messages)
        super().__init__("\n".join(self.messages))
