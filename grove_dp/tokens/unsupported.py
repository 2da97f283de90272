"""The answer "this cannot be computed exactly here", which is not an error of the request."""

from typing import ClassVar

from grove_dp.errors import GroveError

__all__ = ["Unsupported"]


class Unsupported(GroveError):
    """No exact tokens for this prompt or this model; route approximately. `why` is one word, for metrics."""

    reason: ClassVar[str] = "TokensUnsupported"

    def __init__(self, why: str, detail: str = "") -> None:
        self.why = why
        super().__init__(f"{why}: {detail}" if detail else why)
