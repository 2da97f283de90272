"""What carries a call to the API server and back; `cluster` has the one over the network.

    Access (paths, documents, errors)  ──►  Transport (bytes)  ──►  API server
    Informer (lists, watches)          ──►

It stands between so that tests and the demo can put an API server into the same process, without sockets and
in virtual time. A transport that gets no answer raises OSError or TimeoutError; one that gets an answer
returns it, whatever its status.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

__all__ = ["Answer", "Stream", "Transport"]


class Answer(msgspec.Struct, frozen=True):
    """A whole answer; the names of *headers* are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Stream(Protocol):
    """An answer whose body comes piece by piece."""

    status: int
    headers: Mapping[str, str]

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, split anywhere; ends when the server ends it."""
        ...

    async def read(self) -> bytes:
        """All that is left of the body: an error's document."""
        ...


class Transport(Protocol):
    """The way to one API server, as one user."""

    host: str
    namespace: str  # that its configuration names: a pod's own, a context's, else "default"

    async def exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        """One request and its whole answer; *target* is path and query."""
        ...

    def stream(self, target: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Stream]:
        """A GET whose answer has no end of its own."""
        ...

    async def close(self) -> None:
        """Give back what it holds."""
        ...
