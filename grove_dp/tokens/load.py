"""A model's folder as what its prompts are made with: the tokenizer and the chat template.

    tokenizer.json             must be there (or tokenizer.json.gz, as the simulator's model has it)
    tokenizer_config.json      special tokens; whether BOS and EOS are added; older models: the template
    chat_template.jinja        the template, before that of the config
    additional_chat_templates/ tool_use.jinja, for requests with tools

As transformers loads it, which is what the worker does. Models whose prompts a program of the worker makes
(Mistral's, DeepSeek's from V3.2 on, gpt-oss) have files that say nothing of it: ask the worker (probe.py).
"""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from grove_dp.errors import ConfigurationError
from grove_dp.tokens.content import ContentFormat
from grove_dp.tokens.template import ChatTemplate
from grove_dp.tokens.tokenizer import Tokenizer

__all__ = ["Model", "WorkerFlags", "load_model"]

_SPECIAL = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))


class Model(NamedTuple):
    """What a model's prompts are made with."""

    tokenizer: Tokenizer
    template: ChatTemplate | None


class WorkerFlags(msgspec.Struct, frozen=True, kw_only=True):
    """Flags that the model's workers were started with, as far as they change prompts."""

    chat_template: str | None = None  # --chat-template: the template itself, not its path
    content_format: ContentFormat | None = None  # --chat-template-content-format, None is auto
    template_defaults: Mapping[str, Any] = {}  # --default-chat-template-kwargs
    drop_tools_when_none: bool = False  # --exclude-tools-when-tool-choice-none


def load_model(folder: str | Path, flags: WorkerFlags | None = None, *, fast: bool = True) -> Model:
    """The model in *folder*. *fast* False keeps to the reference tokenizer. Raises `ConfigurationError`,
    and `Unsupported` for a template that is none."""
    folder, flags = Path(folder), flags or WorkerFlags()
    told = _object(folder, "tokenizer.json")
    if told is None:
        raise ConfigurationError(f"{folder / 'tokenizer.json'} not found: give a model's folder")
    config = _object(folder, "tokenizer_config.json") or {}
    special = {name: text for name in _SPECIAL if (text := _content(config.get(name))) is not None}
    _add_tokens(told, config)
    if {"add_bos_token", "add_eos_token"} & set(config) or told.get("post_processor") is None:
        told["post_processor"] = _bos_and_eos(told, config, special)
    return Model(Tokenizer(json.dumps(told), fast=fast), _template(folder, config, special, flags))


def _template(
    folder: Path, config: Mapping[str, Any], special: Mapping[str, str], flags: WorkerFlags
) -> ChatTemplate | None:
    named = _templates(folder, config) if flags.chat_template is None else {"default": flags.chat_template}
    if "default" not in named:
        return None
    return ChatTemplate(
        named["default"],
        special_tokens=special,
        with_tools=named.get("tool_use"),
        form=flags.content_format,
        defaults=flags.template_defaults,
        drop_tools_when_none=flags.drop_tools_when_none,
    )


def _templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Templates by name; files hide all of the config's."""
    files = {"default": folder / "chat_template.jinja"} | {
        path.stem: path for path in sorted((folder / "additional_chat_templates").glob("*.jinja"))
    }
    found = {name: text for name, path in files.items() if (text := _text(path)) is not None}
    if found:
        return found
    told = config.get("chat_template")
    if isinstance(told, str):
        return {"default": told}
    return {one["name"]: one["template"] for one in told or ()}


def _add_tokens(told: dict[str, Any], config: Mapping[str, Any]) -> None:
    """The added tokens that only the config has."""
    added = told.setdefault("added_tokens", [])
    known = {token["content"] for token in added}
    shape = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    for number, token in (config.get("added_tokens_decoder") or {}).items():
        if token["content"] not in known:
            added.append({"id": int(number), "content": token["content"]} | shape | _flags(token, shape))
    added.sort(key=lambda token: token["id"])


def _flags(token: Mapping[str, Any], shape: Mapping[str, bool]) -> dict[str, bool]:
    return {name: bool(token[name]) for name in shape if name in token}


def _bos_and_eos(
    told: Mapping[str, Any], config: Mapping[str, Any], special: Mapping[str, str]
) -> dict[str, Any]:
    """The post-processor that the config's add_bos_token and add_eos_token ask for."""
    bos, eos = (
        special.get(f"{name}_token") if config.get(f"add_{name}_token") else None for name in ("bos", "eos")
    )
    numbers = told.get("model", {}).get("vocab", {}) | {t["content"]: t["id"] for t in told["added_tokens"]}

    def single(kind: int) -> list[dict[str, Any]]:
        text: dict[str, Any] = {"Sequence": {"id": "AB"[kind], "type_id": kind}}
        ends = [token and {"SpecialToken": {"id": token, "type_id": kind}} for token in (bos, eos)]
        return [part for part in (ends[0], text, ends[1]) if part]

    return {
        "type": "TemplateProcessing",
        "single": single(0),
        "pair": [*single(0), *single(1)],
        "special_tokens": {
            token: {"id": token, "ids": [numbers[token]], "tokens": [token]} for token in (bos, eos) if token
        },
    }


def _content(token: Any) -> str | None:
    """A special token, which is written as text or as an object."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else None


def _object(folder: Path, name: str) -> dict[str, Any] | None:
    text = _text(folder / name)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{folder / name} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigurationError(f"{folder / name} holds no object")
    return found


def _text(path: Path) -> str | None:
    packed = path.with_name(f"{path.name}.gz")
    if path.exists():
        return path.read_text(encoding="utf-8")
    return gzip.decompress(packed.read_bytes()).decode() if packed.exists() else None
