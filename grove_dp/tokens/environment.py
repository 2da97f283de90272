"""The jinja environment of chat templates: what Hugging Face's transformers gives them, no more and no less.

Sandboxed and immutable (a template comes with a model and is not trusted), trim_blocks, lstrip_blocks,
`break` and `continue`, `{% generation %}` (marks the assistant's words for training; here it passes them through),
`tojson` without HTML escapes, `raise_exception`, `strftime_now`.

PERF: templates read `message.role` far more often than `message['role']`. The sandbox answers the first by
failing to find an attribute of dict before it looks for the key; asking dicts for the key at once, when no
attribute has that name, is the same answer at a third of the price (bench/tokens.py: 40 messages through
Qwen3's template).
"""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, nodes, pass_eval_context
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import EvalContext
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["template_environment"]

_DICT_ATTRIBUTES = frozenset(dir(dict))


class _Environment(ImmutableSandboxedEnvironment):
    def getattr(self, obj: Any, attribute: str) -> Any:
        if type(obj) is dict and attribute not in _DICT_ATTRIBUTES:
            try:
                return obj[attribute]
            except KeyError:
                return self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)


class _Generation(Extension):
    tags = {"generation"}  # noqa: RUF012 -- jinja's own declaration

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_pass"), [], [], body).set_lineno(line)

    @pass_eval_context
    def _pass(self, _context: EvalContext, caller: Callable[[], str]) -> str:
        return caller()


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def template_environment(
    now: Callable[[], datetime], extensions: Sequence[type[Extension]] = ()
) -> ImmutableSandboxedEnvironment:
    """A fresh environment; *now* is what `strftime_now` tells."""
    made = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols, *extensions]
    )
    made.filters["tojson"] = _to_json
    made.globals["raise_exception"] = _raise_exception
    made.globals["strftime_now"] = lambda form: now().strftime(form)
    return made
