"""Merge patch (RFC 7386) and JSON patch (RFC 6902).

Neither changes what it is given: stored documents are shared by watchers and histories, so only the objects
along a patched path are copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from grove_dp.testing.kubeapi.answers import Document, Refusal, bad_request

__all__ = ["json_patched", "merge_patched", "patched"]

MERGE = "application/merge-patch+json"
OPERATIONS = "application/json-patch+json"
SERVED = "application/json-patch+json, application/merge-patch+json"


def patched(document: Document, content: str, body: bytes) -> Document:
    """*document* after the patch in *body*; 415 for a kind of patch that is not understood here."""
    kind = content.partition(";")[0].strip()
    if kind not in (MERGE, OPERATIONS):
        message = f"the body of the request was in an unknown format - accepted media types include: {SERVED}"
        raise Refusal(415, "UnsupportedMediaType", message)
    try:
        change = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise bad_request(f"error decoding patch: {error}") from None
    if kind == OPERATIONS:
        if not isinstance(change, list):
            raise bad_request("error decoding patch: json: cannot unmarshal object into Go value of type []")
        return json_patched(document, change)
    if not isinstance(change, dict):
        raise bad_request("error decoding patch: a merge patch is an object")
    merged: Document = merge_patched(document, change)
    return merged


# ------------------------------------------------------------ merge


def merge_patched(value: Any, patch: Any) -> Any:
    """*value* with the fields of *patch*; null takes a field away."""
    if not isinstance(patch, dict):
        return patch
    result = dict(value) if isinstance(value, dict) else {}
    for name, wanted in patch.items():
        if wanted is None:
            result.pop(name, None)
        else:
            result[name] = merge_patched(result.get(name), wanted)
    return result


# ------------------------------------------------------------ operations


class _Missing(Exception):
    """A path that leads nowhere."""


class _Step(NamedTuple):
    operation: Document
    path: list[str]


def json_patched(document: Document, operations: Sequence[Any]) -> Document:
    """*document* after all *operations*; 422 if one cannot be done, and then none is."""
    value: Any = document
    for operation in operations:
        try:
            value = _done(value, _Step(operation, _path(operation["path"])))
        except (_Missing, KeyError, TypeError, ValueError, IndexError) as error:
            raise _impossible() from error
    if not isinstance(value, dict):
        raise bad_request("the patched document is not an object")
    return value


def _impossible() -> Refusal:
    """The real one does not say what was wrong either."""
    return Refusal(422, "Invalid", "the server rejected our request due to an error in our request", {})


def _done(value: Any, step: _Step) -> Any:
    operation, path = step
    match operation["op"]:
        case "add":
            return _added(value, path, operation["value"])
        case "remove":
            return _removed(value, path)
        case "replace":  # of a field that is not there it is an addition, as in the real one
            return _replaced(value, path, operation["value"])
        case "test":
            return _tested(value, path, operation)
        case "move":
            moved = _at(value, _path(operation["from"]))
            return _added(_removed(value, _path(operation["from"])), path, moved)
        case "copy":
            return _added(value, path, _at(value, _path(operation["from"])))
    raise _Missing(f"Unexpected kind: {operation['op']}")


def _tested(value: Any, path: list[str], operation: Document) -> Any:
    try:
        found = _at(value, path)
    except _Missing:
        found = None  # a test for null holds where nothing is
    if found != operation.get("value"):
        raise _Missing(f"testing value {operation['path']} failed")
    return value


def _path(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise _Missing(f"{text}: a path begins with a slash")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _index(part: str, length: int) -> int:
    index = length if part == "-" else int(part)
    if not 0 <= index <= length:
        raise _Missing(f"Unable to access invalid index: {part}")
    return index


def _at(value: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(value, list):
            index = _index(part, len(value))
            if index == len(value):
                raise _Missing(f"Unable to access invalid index: {part}")
            value = value[index]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            raise _Missing(f"missing path: /{'/'.join(path)}")
    return value


def _added(value: Any, path: list[str], new: Any) -> Any:
    if not path:
        return new
    part, *rest = path
    if isinstance(value, list):
        copy, index = list(value), _index(part, len(value))
        if rest:
            copy[index] = _added(copy[index], rest, new)
        else:
            copy.insert(index, new)
        return copy
    if not isinstance(value, dict) or (rest and part not in value):
        raise _Missing(f"add operation does not apply: doc is missing path: {part}: missing value")
    return {**value, part: _added(value.get(part), rest, new)}


def _replaced(value: Any, path: list[str], new: Any) -> Any:
    if not path:
        return new
    part, *rest = path
    if isinstance(value, list):
        copy = list(value)
        copy[int(part)] = _replaced(copy[int(part)], rest, new)
        return copy
    return {**value, part: _replaced(value[part] if rest else None, rest, new)}


def _removed(value: Any, path: list[str]) -> Any:
    _at(value, path)
    part, *rest = path
    if isinstance(value, list):
        copy = list(value)
        if rest:
            copy[int(part)] = _removed(copy[int(part)], rest)
        else:
            del copy[int(part)]
        return copy
    if rest:
        return {**value, part: _removed(value[part], rest)}
    return {name: kept for name, kept in value.items() if name != part}
