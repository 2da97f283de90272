"""Label selectors, as the API server reads them: `app=web,env in (a,b),!canary`.

    selector    = [ requirement { "," requirement } ]          all must hold; the empty one takes everything
    requirement = key | "!" key | key op value | key set "(" values ")"
    op          = "=" | "==" | "!=" | ">" | "<"
    set         = "in" | "notin"

The words are those of Kubernetes' own parser, odd ends included: `in` may be a key or a value, a missing
value is the empty one (`a=` and `a in ()`), `a in (,b)` has it too, `!=` and `notin` take what lacks the key.
There is no quoting. Its messages are kept as well, since people search for them.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, NoReturn

from grove_dp.errors import ClientFault

__all__ = ["BadSelector", "Requirement", "Selector", "is_label_value", "parse"]

LENGTH_MAX: Final = 4096
_TOKEN = re.compile(r"[ \t\r\n]*(?:([=!]=|[=!<>(),])|([^=!<>(), \t\r\n]+))")
_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_END: Final = ""
_SYMBOLS: Final = frozenset(["=", "==", "!=", "!", "<", ">", "(", ")", ","])
_OPERATORS: Final = ("in", "notin", "=", "==", "!=", "gt", "lt")


class BadSelector(ClientFault):
    """Not a label selector."""


class Requirement(NamedTuple):
    """One condition on one label; *operator* is in, notin, exists, !, gt or lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        return _HOLDS[self.operator](labels.get(self.key), self.values)


class Selector(tuple[Requirement, ...]):
    """Requirements that must all hold."""

    __slots__ = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.holds(labels) for requirement in self)


def parse(text: str) -> Selector:
    """The selector that *text* says. BadSelector says where it does not."""
    if len(text) > LENGTH_MAX:
        raise BadSelector(f"a label selector may have {LENGTH_MAX} characters, this one has {len(text)}")
    return _Parser(text).selector()


def is_label_value(text: str) -> bool:
    """Whether a selector can name *text* as a value."""
    return text == "" or _NAME.fullmatch(text) is not None


# ---------------------------------------------------------------- what holds


def _compared(value: str | None, values: frozenset[str], sign: int) -> bool:
    if value is None or not _INTEGER.fullmatch(value):
        return False
    return (int(value) - int(next(iter(values)))) * sign > 0


_HOLDS: Final[Mapping[str, Callable[[str | None, frozenset[str]], bool]]] = {
    "in": lambda value, values: value in values,
    "notin": lambda value, values: value not in values,
    "exists": lambda value, _: value is not None,
    "!": lambda value, _: value is None,
    "gt": lambda value, values: _compared(value, values, 1),
    "lt": lambda value, values: _compared(value, values, -1),
}
_MEANING: Final = {"=": "in", "==": "in", "!=": "notin", ">": "gt", "<": "lt", "in": "in", "notin": "notin"}


# ---------------------------------------------------------------- parsing


class _Parser:
    """One pass over the tokens, each method a rule of the grammar above."""

    def __init__(self, text: str) -> None:
        # The pattern takes any character, so that what it skips between two tokens is white space at the end.
        self._tokens = [symbol or word for symbol, word in _TOKEN.findall(text)]
        self._at = 0

    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else _END

    def _take(self) -> str:
        token = self._next()
        self._at += 1
        return token

    def selector(self) -> Selector:
        found: list[Requirement] = []
        while (token := self._next()) != _END:
            if token in _SYMBOLS and token != "!":
                raise BadSelector(f"found '{token}', expected: !, identifier, or 'end of string'")
            found.append(self._requirement())
            end = self._take()
            if end == _END:
                break
            if end != ",":
                raise BadSelector(f"found '{end}', expected: ',' or 'end of string'")
            if (after := self._next()) == _END or (after in _SYMBOLS and after != "!"):
                raise BadSelector(f"found '{after}', expected: identifier after ','")
        return Selector(found)

    def _requirement(self) -> Requirement:
        absent = self._next() == "!"
        if absent:
            self._take()
        key = self._take()
        if key == _END or key in _SYMBOLS:
            _unparsed(f"found '{key}', expected: identifier")
        _check_key(key)
        if absent:
            return Requirement(key, "!")
        if self._next() in (_END, ","):
            return Requirement(key, "exists")
        operator = self._take()
        if operator not in _MEANING:
            _unparsed(f"found '{operator}', expected: {', '.join(_OPERATORS)}")
        values = self._values() if operator in ("in", "notin") else self._value()
        for value in values:
            _check_value(key, value, _MEANING[operator])
        return Requirement(key, _MEANING[operator], frozenset(values))

    def _value(self) -> set[str]:
        if self._next() in (_END, ","):
            return {""}
        value = self._take()
        if value in _SYMBOLS:
            _unparsed(f"found '{value}', expected: identifier")
        return {value}

    def _values(self) -> set[str]:
        if (opening := self._take()) != "(":
            _unparsed(f"found '{opening}' expected: '('")
        if (first := self._next()) == ")":
            self._take()
            return {""}
        if first == _END or (first in _SYMBOLS and first != ","):
            _unparsed(f"found '{first}', expected: ',', ')' or identifier")
        values: set[str] = set()
        while True:
            token = self._take()
            if token == ",":
                if not values:
                    values.add("")  # (,a
                if self._next() == ")":
                    values.add("")  # a,)
                    break
                if self._next() == ",":
                    self._take()
                    values.add("")  # a,,b
            elif token == _END or token in _SYMBOLS:
                _unparsed(f"found '{token}', expected: ',', or identifier")
            else:
                values.add(token)
                if (after := self._next()) == ")":
                    break
                if after != ",":
                    _unparsed(f"found '{after}', expected: ',' or ')'")
        self._take()
        return values


def _unparsed(why: str) -> NoReturn:
    raise BadSelector(f"unable to parse requirement: {why}")


def _check_key(key: str) -> None:
    prefix, slash, name = key.rpartition("/")
    if not _NAME.fullmatch(name) or (slash and not _PREFIX.fullmatch(prefix)):
        _unparsed(
            f"<nil>: Invalid value: {key!r}: a label's name has at most 63 letters, digits, '-', '_' or '.',"
            " begins and ends with a letter or digit, and may follow a DNS subdomain and '/'"
        )


def _check_value(key: str, value: str, operator: str) -> None:
    if not is_label_value(value):
        _unparsed(
            f"values[0][{key}]: Invalid value: {value!r}: a valid label must be an empty string or consist of"
            " at most 63 alphanumeric characters, '-', '_' or '.', beginning and ending with one of the first"
        )
    if operator in ("gt", "lt") and not _INTEGER.fullmatch(value):
        _unparsed(
            f"values[0]: Invalid value: {value!r}: for 'Gt', 'Lt' operators, the value must be an integer"
        )
