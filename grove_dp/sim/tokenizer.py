"""Chat template and tokens: the prompt side of a worker, and the words of its answers.

The default model is a byte-level BPE of 4096 tokens that ships with the package; any folder with a
tokenizer.json (or .json.gz) and, for chats, a chat template can be used. Templates run as the router runs
them, which was compared with vLLM's own prompts (tests/sim/test_asks.py). Answers are drawn from a
vocabulary of tokens that are whole, printable words, so that any sequence of them is valid text and every
token can be turned into JSON once and reused for all events.
"""

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import Tokenizer

from grove_dp.tokens.template import ChatOptions, ChatTemplate
from grove_dp.tokens.unsupported import Unsupported

__all__ = ["DEFAULT_MODEL", "ModelTokenizer", "TemplateError"]

DEFAULT_MODEL = Path(__file__).with_name("model")

_PLAIN_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_PLAIN = ChatOptions()


class TemplateError(ValueError):
    """The conversation does not fit the chat template."""


def _bytes_of_chars() -> dict[str, int]:
    """GPT-2's table from printable stand-in characters to bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in plain}
    spare = (b for b in range(256) if b not in set(plain))
    table.update({chr(256 + n): b for n, b in enumerate(spare)})
    return table


def _read_text(folder: Path, name: str) -> str | None:
    plain, packed = folder / name, folder / f"{name}.gz"
    if plain.exists():
        return plain.read_text()
    return gzip.decompress(packed.read_bytes()).decode() if packed.exists() else None


class ModelTokenizer:
    """Tokenizer, chat template and answer vocabulary of one model."""

    def __init__(self, path: str | Path = DEFAULT_MODEL) -> None:
        folder, name = Path(path), "tokenizer.json"
        if folder.is_file():
            folder, name = folder.parent, folder.name
        source = _read_text(folder, name.removesuffix(".gz"))
        if source is None:
            raise FileNotFoundError(f"{folder / name} not found: give a folder with a tokenizer.json")
        self._tokenizer = Tokenizer.from_str(source)
        config = json.loads(_read_text(folder, "tokenizer_config.json") or "{}")
        self._folder, self._config = folder, config
        template = _read_text(folder, "chat_template.jinja") or config.get("chat_template") or _PLAIN_TEMPLATE
        self._template_text: str = template
        self._template = ChatTemplate(template, special_tokens=_special_tokens(config))
        self._byte_level = '"ByteLevel"' in source
        self._chars = _bytes_of_chars()
        self.size: int = self._tokenizer.get_vocab_size()
        eos = config.get("eos_token")
        eos = eos.get("content") if isinstance(eos, dict) else eos
        self.eos: int = (self._tokenizer.token_to_id(eos) if eos else None) or 0
        self.special = {n for n, token in self._tokenizer.get_added_tokens_decoder().items() if token.special}
        self.vocabulary: list[int] = self._words()
        self.text = lru_cache(maxsize=65_536)(self._text)
        self.json_text = lru_cache(maxsize=65_536)(self._json_text)

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=special).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    def token_strs(self, ids: Iterable[int]) -> list[str]:
        return [self._tokenizer.id_to_token(n) or "" for n in ids]

    def info(self) -> dict[str, Any]:
        """As `/tokenizer_info` tells it: what the configuration says and what vLLM adds; no vocabulary."""
        added = self._tokenizer.get_added_tokens_decoder()
        placed = ("tokenizer_class", "chat_template")
        return {
            "tokenizer_class": "TokenizerPoolCachedTokenizersBackend",
            **{name: value for name, value in self._config.items() if name not in placed},
            "chat_template": self._template_text,
            "truncation_side": "left",
            "name_or_path": str(self._folder),
            "is_local": True,
            "local_files_only": True,
            "added_tokens_decoder": {str(number): token.content for number, token in sorted(added.items())},
        }

    def chat_text(self, messages: Sequence[Any], options: ChatOptions = _PLAIN) -> str:
        """The prompt of a conversation."""
        try:
            return self._template.render(messages, options)
        except Unsupported as refused:
            raise TemplateError(str(refused)) from refused

    def chat(self, messages: Sequence[Any], options: ChatOptions = _PLAIN) -> list[int]:
        """The tokens of a conversation."""
        return self.encode(self.chat_text(messages, options), special=False)

    def _text(self, token: int) -> str:
        """Text of one token; special tokens have none."""
        name = self._tokenizer.id_to_token(token)
        if name is None or token in self.special:
            return ""
        if not self._byte_level:
            return str(name).replace("▁", " ")
        raw = bytes(self._chars.get(char, 63) for char in name)
        return raw.decode("utf-8", "replace")

    def _json_text(self, token: int) -> bytes:
        return msgspec.json.encode(self.text(token))

    def _words(self) -> list[int]:
        def is_word(token: int) -> bool:
            text = self._text(token)
            return text.isascii() and text.strip().isalpha() and len(text) < 14

        words = [n for n in range(min(self.size, 16_384)) if n not in self.special and is_word(n)]
        return words or [n for n in range(self.size) if n not in self.special]


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """What a template may call `bos_token` and the like."""
    named = {name: config.get(f"{name}_token") for name in ("bos", "eos", "unk", "pad")}
    texts = {name: token["content"] if isinstance(token, dict) else token for name, token in named.items()}
    return {f"{name}_token": text for name, text in texts.items() if text}
