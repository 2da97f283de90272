"""Times as the API writes them: UTC, from seconds since 1970."""

from datetime import UTC, datetime

__all__ = ["micro_time", "second_time"]


def micro_time(wall: float) -> str:
    """A MicroTime: exactly six digits, or the API server refuses it."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def second_time(wall: float) -> str:
    """A Time: whole seconds."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
