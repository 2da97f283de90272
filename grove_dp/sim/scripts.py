"""Answers that must have a form: tool calls and JSON, made from their schema instead of drawn."""

import json
from collections.abc import Mapping
from typing import Any

from grove_dp.sim.refusals import semantic

__all__ = ["sample_of", "script_of"]

_SAMPLES: dict[str, Any] = {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "null": None}


def sample_of(schema: Mapping[str, Any]) -> Any:
    """The smallest value that fits a JSON schema."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf"):
        if schema.get(choice):
            return sample_of(schema[choice][0])
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: sample_of(part) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [sample_of(schema["items"])] if schema.get("minItems") else []
    return _SAMPLES.get(kind, "text")


def script_of(given: Mapping[str, Any], *, auto: bool) -> tuple[str | None, str | None]:
    """(tool to call, exact text of the answer), where the request dictates them."""
    tools, choice = given.get("tools"), given.get("tool_choice")
    if tools and choice is None:
        choice = "auto"
    if tools and choice == "auto" and not auto:
        raise semantic(
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
        )
    if tools and (choice == "required" or isinstance(choice, dict)):
        function = _chosen(tools, choice)
        return function["name"], json.dumps(sample_of(function.get("parameters") or {"type": "object"}))
    wanted = given.get("response_format") or {}
    if wanted.get("type") == "json_object":
        return None, "{}"
    if wanted.get("type") == "json_schema":
        return None, json.dumps(sample_of((wanted.get("json_schema") or {}).get("schema") or {}))
    return None, None


def _chosen(tools: list[Any], choice: Any) -> dict[str, Any]:
    functions: list[dict[str, Any]] = [tool["function"] for tool in tools]
    if not isinstance(choice, dict):
        return functions[0]
    name = (choice.get("function") or {}).get("name")
    for function in functions:
        if function["name"] == name:
            return function
    raise semantic(f"The tool specified in `tool_choice` does not match any of the specified `tools`: {name}")
