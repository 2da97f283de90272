"""What each setting is, read from its annotation in settings.py; how a word or a YAML value becomes one.

fields()["http.port"].variable     GROVE_DP_HTTP__PORT
fields()["http.port"].value(8000)  checked against type and bounds; ValueError tells what is wrong
fields()["http.port"].parse("80")  the same from a shell's word: "true", "32MiB", "http://a,http://b"
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from grove_dp.settings import Settings

__all__ = ["ENV_PREFIX", "Field", "fields", "nearest", "schema", "value_of"]

ENV_PREFIX = "GROVE_DP_"

_SIZE = re.compile(r"(\d+)\s*([KMGT]i?)?B?")
_POWER = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_BOOLEANS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


@dataclass(frozen=True, slots=True)
class Field:
    """One setting."""

    path: str
    type: Any  # Annotated[...], with bounds: what msgspec converts to
    base: Any  # the type without its bounds and without None
    default: Any
    description: str
    live: bool  # takes effect when the configuration is read again
    unit: str | None  # "seconds", "bytes"
    prefix: str = ENV_PREFIX  # of its variable

    @property
    def section(self) -> str:
        return self.path.partition(".")[0]

    @property
    def name(self) -> str:
        return self.path.partition(".")[2]

    @property
    def variable(self) -> str:
        return self.prefix + self.path.replace(".", "__").upper()

    @property
    def is_list(self) -> bool:
        return get_origin(self.base) is tuple

    @property
    def choices(self) -> tuple[str, ...]:
        return get_args(self.base) if get_origin(self.base) is Literal else ()

    @property
    def form(self) -> str:
        """What to write on a command line, for --help."""
        if self.choices:
            return "|".join(self.choices)
        if self.is_list:
            return "URL[,URL...]" if self.name == "urls" else "TEXT[,TEXT...]"
        units = {"seconds": "SECONDS", "bytes": "SIZE"}
        return units.get(
            self.unit or "", {bool: "true|false", int: "N", float: "NUMBER"}.get(self.base, "TEXT")
        )

    def value(self, raw: Any) -> Any:
        """*raw* as YAML gave it, in this field's type and within its bounds; else ValueError."""
        if self.unit == "bytes" and isinstance(raw, str):
            raw = _size(raw)
        if isinstance(raw, float) and not math.isfinite(raw):
            raise ValueError(f"must be a finite number, got {raw}")
        if self.choices and raw not in self.choices:
            hint = nearest(str(raw), self.choices)
            raise ValueError(f"must be one of {', '.join(self.choices)}, got {self.show(raw)}{hint}")
        try:
            return msgspec.convert(raw, self.type)
        except msgspec.ValidationError as error:
            wanted = str(error).partition(" - at")[0].partition(", got")[0].replace("`", "")
            raise ValueError(f"{wanted[:1].lower()}{wanted[1:]}, got {self.show(raw)}") from None

    def parse(self, text: str) -> Any:
        """*text* as a shell gave it, in this field's type and within its bounds; else ValueError."""
        return self.value(self._meant(text))

    def show(self, value: Any) -> str:
        """A value as one would write it."""
        if self.unit == "bytes" and isinstance(value, int):
            for suffix, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
                if value and value % (1 << shift) == 0:
                    return f"{value >> shift}{suffix}"
        if isinstance(value, float):
            return f"{value:g}"
        return (
            value if isinstance(value, str) and value else msgspec.json.encode(value, enc_hook=str).decode()
        )

    def _meant(self, text: str) -> Any:
        if self.base is bool:
            if text.lower() not in _BOOLEANS:
                raise ValueError(f"must be true or false, got {text!r}")
            return _BOOLEANS[text.lower()]
        if self.base in (int, float) and self.unit != "bytes":
            try:
                return self.base(text)
            except ValueError:
                kind = "an integer" if self.base is int else "a number"
                raise ValueError(f"must be {kind}, got {text!r}") from None
        if self.is_list:
            return [item.strip() for item in text.split(",") if item.strip()]
        return None if text == "" and self.default is None else text


@cache
def fields(kind: type[Any] = Settings, prefix: str = ENV_PREFIX) -> Mapping[str, Field]:
    """Every setting of *kind* by its path, in the order in which it stands there."""
    found = {}
    for section, of_section in get_type_hints(kind).items():
        defaults = of_section()
        for name, annotated in get_type_hints(of_section, include_extras=True).items():
            meta = annotated.__metadata__[0]
            path = f"{section}.{name}"
            found[path] = Field(
                path=path,
                type=annotated,
                base=_without_none(get_args(annotated)[0]),
                default=getattr(defaults, name),
                description=meta.description,
                live=meta.extra["live"],
                unit=meta.extra["unit"],
                prefix=prefix,
            )
    return found


def value_of(settings: Any, path: str) -> Any:
    """The value at *path*, such as "http.port"."""
    section, _, name = path.partition(".")
    return getattr(getattr(settings, section), name)


def schema() -> dict[str, Any]:
    """JSON schema of the YAML file; `x-reloadable` tells which settings take effect without a restart."""
    told = msgspec.json.schema(Settings)
    for field in fields().values():
        if field.unit == "bytes":
            entry = told["$defs"][field.section.capitalize()]["properties"][field.name]
            entry["type"] = ["integer", "string"]
            entry["pattern"] = f"^{_SIZE.pattern}$"
    return told


def nearest(name: str, names: Iterable[str]) -> str:
    """ "; did you mean X?", or nothing when no name is near."""
    found = get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""


def _size(text: str) -> int:
    """Bytes in "65536", "64KiB", "32MB": K is 1000, Ki is 1024."""
    matched = _SIZE.fullmatch(text.strip())
    if not matched:
        raise ValueError(f"must be a size such as 65536, 64KiB or 32MiB, got {text!r}")
    unit = matched[2] or ""
    factor: int = (1024 if unit.endswith("i") else 1000) ** _POWER[unit[:1]]
    return int(matched[1]) * factor


def _without_none(kind: Any) -> Any:
    if isinstance(kind, UnionType):
        return next(part for part in get_args(kind) if part is not NoneType)
    return kind
