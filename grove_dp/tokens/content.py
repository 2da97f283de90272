"""Does a chat template want a message's content as a string, or as a list of parts?

The worker reads the template's syntax tree: a template that loops over `message.content` takes parts, any
other takes a string. The same question is asked here in the same way, with its blind spots, because the
answer must be equal, not better: a loop over a variable that merely happens to be called `content` counts,
and a template whose loops unpack tuples counts as one that takes strings.
"""

from collections.abc import Iterator
from typing import Literal

from jinja2 import Environment, TemplateSyntaxError, nodes

__all__ = ["ContentFormat", "content_format"]

ContentFormat = Literal["string", "openai"]


class _Unread(Exception):
    """The tree has a shape that the worker's reading gives up on."""


def content_format(source: str, environment: Environment) -> ContentFormat:
    """How the template *source* takes content; "string" where that cannot be told."""
    try:
        loop = next(_content_loops(environment.parse(source)), None)
    except (TemplateSyntaxError, _Unread):
        return "string"
    return "string" if loop is None else "openai"


def _content_loops(root: nodes.Template) -> Iterator[nodes.For]:
    messages = set(_names_of_messages(root))
    parameters, inside_macros = _macro_parameters(root, messages)
    for loop in root.find_all(nodes.For):
        direct = any(_reads(loop.iter, name, "content") for name in messages)
        by_name = isinstance(loop.iter, nodes.Name) and (
            loop.iter.name in parameters.get(id(loop), ())
            or (loop.iter.name == "content" and id(loop) not in inside_macros)
        )
        if direct or by_name:
            _name(loop.target)
            yield loop


def _names_of_messages(root: nodes.Template) -> Iterator[str]:
    """The loop variables that stand for one message."""
    lists = _names_of(root, "messages")
    for loop in root.find_all(nodes.For):
        if any(_reads(loop.iter, name) for name in lists):
            yield _name(loop.target)


def _names_of(root: nodes.Template, name: str) -> list[str]:
    """*name* and every variable that it, or a slice or filter of it, is assigned to."""
    found, waiting = [name], [name]
    while waiting:
        name = waiting.pop(0)
        for assigned in root.find_all(nodes.Assign):
            if _reads(assigned.node, name):
                target = _name(assigned.target)
                if target not in found:
                    waiting.append(target)
                    found.append(target)
    return found


def _macro_parameters(root: nodes.Template, messages: set[str]) -> tuple[dict[int, set[str]], set[int]]:
    """For each loop inside a macro, the parameters that some call fills with a message's content."""
    parameters: dict[int, set[str]] = {}
    inside: set[int] = set()
    for macro in root.find_all(nodes.Macro):
        names = [argument.name for argument in macro.args]
        filled: set[str] = set()
        for call in root.find_all(nodes.Call):
            if isinstance(call.node, nodes.Name) and call.node.name == macro.name:
                given = [*zip(names, call.args, strict=False)]
                given += [(pair.key, pair.value) for pair in call.kwargs if pair.key in names]
                filled |= {
                    name for name, value in given if any(_reads(value, m, "content") for m in messages)
                }
        for loop in macro.find_all(nodes.For):
            inside.add(id(loop))
            if filled:
                parameters[id(loop)] = filled
    return parameters, inside


def _name(target: nodes.Node) -> str:
    if not isinstance(target, nodes.Name):
        raise _Unread
    return target.name


def _reads(node: nodes.Node | None, name: str, key: str | None = None) -> bool:
    """Whether *node* is the variable *name* (or its *key*), maybe filtered, tested or sliced."""
    while isinstance(node, nodes.Filter | nodes.Test) or (
        isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice)
    ):
        node = node.node
    if key is None:
        return isinstance(node, nodes.Name) and node.ctx == "load" and node.name == name
    if isinstance(node, nodes.Getitem):
        return isinstance(node.arg, nodes.Const) and node.arg.value == key and _reads_plainly(node.node, name)
    return isinstance(node, nodes.Getattr) and node.attr == key and _reads_plainly(node.node, name)


def _reads_plainly(node: nodes.Node, name: str) -> bool:
    return isinstance(node, nodes.Name) and node.ctx == "load" and node.name == name
