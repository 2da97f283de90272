"""How a setting is declared: its meaning, its bounds and its unit, as an annotation of a Struct's field.

    port: Annotated[int, count("port to listen on", ge=0, le=65_535)] = 8000

`fields.py` reads it back. *live*: it takes effect when the configuration is read again.
"""

from typing import Any

from msgspec import Meta

__all__ = ["count", "field", "seconds", "size", "text"]


def field(description: str, *, live: bool = False, unit: str | None = None, **bounds: Any) -> Meta:
    """Of any type."""
    schema: dict[str, Any] = {"x-reloadable": live}
    if unit:
        schema["x-unit"] = unit
    return Meta(
        description=description, extra_json_schema=schema, extra={"live": live, "unit": unit}, **bounds
    )


def text(description: str, *, live: bool = False, **bounds: Any) -> Meta:
    """A word, or one of several."""
    return field(description, live=live, **bounds)


def seconds(description: str, *, ge: float = 0, le: float = 86_400, live: bool = True) -> Meta:
    """A duration."""
    return field(description, live=live, unit="seconds", ge=ge, le=le)


def size(description: str, *, ge: int, le: int, live: bool = False) -> Meta:
    """A number of bytes; a source may write "32MiB"."""
    return field(description, live=live, unit="bytes", ge=ge, le=le)


def count(description: str, *, ge: int, le: int, live: bool = False) -> Meta:
    """A whole number."""
    return field(description, live=live, ge=ge, le=le)
