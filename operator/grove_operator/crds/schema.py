"""Words to write a structural schema with: each field of Grove's API is one line of a table.

    record("What it is.", ["name"], name=text("Whose."), replicas=whole("How many.", least=0, default=1))

A keyword is the field's name on the wire. Nothing here changes what it is given: parts may be shared.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

__all__ = [
    "DOMAIN",
    "IMMUTABLE",
    "NAME_LENGTH",
    "Rule",
    "Schema",
    "described",
    "duration",
    "fixed",
    "flag",
    "keeps",
    "listed",
    "mapping",
    "moment",
    "number",
    "record",
    "ruled",
    "text",
    "whole",
]

Schema = dict[str, Any]

NAME_LENGTH: Final = 253  # of any Kubernetes name
DOMAIN: Final = "^[a-z][a-z0-9-]*$"
_DURATION: Final = r"^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$"
IMMUTABLE: Final = "field is immutable: create a new set to change it"


class Rule(msgspec.Struct, frozen=True):
    """A CEL rule, in the API server's own words. *at* is the field below that is at fault."""

    rule: str
    message: str
    at: str = ""
    reason: str = ""
    old_may_miss: bool = False  # is there no old value it is looked at as well: `oldSelf` is an optional then

    def document(self) -> Schema:
        """As it stands in a schema."""
        written = {"rule": self.rule, "message": self.message, "fieldPath": self.at, "reason": self.reason}
        kept: Schema = {key: value for key, value in written.items() if value}
        return kept | ({"optionalOldSelf": True} if self.old_may_miss else {})


# ------------------------------------------------------------ values


def text(
    about: str,
    *,
    of: Sequence[str] = (),
    pattern: str = "",
    least: int = 0,
    most: int = 0,
    default: str | None = None,
) -> Schema:
    """A string: one *of* some words, or of *least* to *most* characters."""
    asked = {"enum": list(of), "pattern": pattern, "minLength": least, "maxLength": most}
    return _value("string", about, {key: value for key, value in asked.items() if value}, default)


def whole(
    about: str,
    *,
    least: int | None = None,
    most: int | None = None,
    default: int | None = None,
    bits: int = 32,
) -> Schema:
    """An integer."""
    bounds = {"minimum": least, "maximum": most}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    return _value("integer", about, {"format": f"int{bits}", **given}, default)


def number(about: str) -> Schema:
    """Any number."""
    return _value("number", about, {"format": "double"})


def flag(about: str, *, default: bool | None = None) -> Schema:
    """True or false."""
    return _value("boolean", about, {}, default)


def moment(about: str) -> Schema:
    """A time as RFC 3339 writes it."""
    return _value("string", about, {"format": "date-time"})


def duration(about: str) -> Schema:
    """A span of time as Go writes it: 4h, 1m30s; more than nothing."""
    schema = text(about, pattern=_DURATION, most=64)
    return ruled(schema, Rule("duration(self) > duration('0s')", "must be greater than 0"))


def _value(kind: str, about: str, asked: Schema, default: Any = None) -> Schema:
    return {"type": kind, "description": about, **asked} | ({} if default is None else {"default": default})


# ------------------------------------------------------------ what holds values


def record(about: str, needs: Sequence[str], /, **fields: Schema) -> Schema:
    """An object with *fields*, of which it *needs* some."""
    required = {"required": sorted(needs)} if needs else {}
    return {"type": "object", "description": about, "properties": fields, **required}


def listed(
    about: str, items: Schema, *, by: Sequence[str] = (), kind: str = "", least: int = 0, most: int = 0
) -> Schema:
    """A list, of *least* to *most*; *by* are the fields that tell its items apart."""
    asked = {
        "x-kubernetes-list-type": "map" if by else kind,
        "x-kubernetes-list-map-keys": list(by),
        "minItems": least,
        "maxItems": most,
    }
    written = {key: value for key, value in asked.items() if value}
    return {"type": "array", "description": about, "items": items, **written}


def mapping(about: str) -> Schema:
    """Words by words, as labels are."""
    return {"type": "object", "description": about, "additionalProperties": {"type": "string"}}


# ------------------------------------------------------------ what is asked of them


def described(schema: Schema, about: str) -> Schema:
    """The same, in other words."""
    return schema | {"description": about}


def ruled(schema: Schema, *rules: Rule) -> Schema:
    """The same, by these rules as well."""
    before = schema.get("x-kubernetes-validations", [])
    return schema | {"x-kubernetes-validations": [*before, *(rule.document() for rule in rules)]}


def fixed(schema: Schema) -> Schema:
    """The same, and once it is set it stays. Setting it late is allowed: that is what defaulting does."""
    return ruled(schema, Rule("self == oldSelf", IMMUTABLE))


def keeps(schema: Schema, *names: str) -> Schema:
    """The same, and these fields of it neither come nor go after creation."""
    rules = (Rule(f"has(self.{name}) == has(oldSelf.{name})", IMMUTABLE, f".{name}") for name in names)
    return ruled(schema, *rules)
