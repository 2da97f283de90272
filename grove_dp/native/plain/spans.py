"""Twin of `grove_dp.native.spans`: a regular expression finds strings, brackets are counted."""

import re
import struct
from collections.abc import Callable

__all__ = ["cuts", "fields", "hash64", "items", "key64", "prompt_key"]

_KEYS = (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F, 0xE7037ED1A0B428DB)
_MASK = 2**64 - 1
_STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\[^\x00-\x1f])*"')
_WORD = re.compile(rb'[^,\]} \t\r\n":\[{]+')
_BLANKS = re.compile(rb"[ \t\r\n]*")

_PROMPT_FIELDS_MAX = 64
_PROMPT = frozenset(
    b"add_generation_prompt add_special_tokens cache_salt chat_template_kwargs continue_final_message"
    b" documents input instructions messages output_config prompt reasoning reasoning_effort system thinking"
    b" tool_choice tools".split()
)
_REFUSED = frozenset(
    b"chat_template kv_transfer_params mm_processor_kwargs prompt_embeds suffix"
    b" truncate_prompt_tokens".split()
)
_FIELDS_MAX, _ITEMS_MAX, _CUTS_MAX = 256, 65536, 4096


class _Bad(Exception):
    pass


def hash64(data: bytes, seed: int = 0) -> int:
    """The core's multiply-fold hash."""
    h = seed ^ _fold(len(data) ^ _KEYS[0], _KEYS[1])
    whole = len(data) // 8 * 8
    for at in range(0, whole, 8):
        h = (_fold(h ^ int.from_bytes(data[at : at + 8], "little"), _KEYS[0]) + _KEYS[1]) & _MASK
    return _fold(h ^ int.from_bytes(data[whole:], "little") ^ _KEYS[1], _KEYS[0] ^ h >> 29)


def key64(data: bytes, seed: int) -> int:
    """Four lanes of multiply and fold, their factors made of the seed."""
    secret = [_fold(seed ^ k, _KEYS[(i + 1) % 4]) for i, k in enumerate(_KEYS)]
    lanes = [s ^ len(data) for s in secret]
    padded = data + bytes(-len(data) % 64)
    for words in struct.iter_unpack("<8Q", padded):
        lanes = [_fold(words[2 * i] ^ secret[i], words[2 * i + 1] ^ lanes[i]) for i in range(4)]
    a = _fold(lanes[0] ^ secret[1], lanes[1] ^ secret[2])
    b = _fold(lanes[2] ^ secret[3], lanes[3] ^ secret[0])
    return _fold(a ^ secret[2], b ^ secret[3])


def prompt_key(data: bytes, seed: int) -> int:
    """Fields that say what the prompt is, each behind its name; 0 where one says it by other means."""
    found = _fields(data)
    if (
        not found
        or len(found) > _PROMPT_FIELDS_MAX
        or any(name in _REFUSED or b"\\" in name for name, _ in found)
    ):
        return 0
    key = seed
    for name, (start, end) in found:
        if name in _PROMPT:
            key = key64(data[start:end], key64(name, key))
    return key


def _fold(a: int, b: int) -> int:
    product = a * b
    return (product ^ product >> 64) & _MASK


def fields(data: bytes) -> dict[bytes, tuple[int, int]] | None:
    """{key: (start, end) of its value}, or None."""
    found = _fields(data)
    return None if found is None or len(found) > _FIELDS_MAX else dict(found)


def _fields(data: bytes) -> list[tuple[bytes, tuple[int, int]]] | None:
    found: list[tuple[bytes, tuple[int, int]]] = []

    def field(at: int) -> int:
        key = _STRING.match(data, _blanks(data, at))
        if key is None:
            raise _Bad
        start = _blanks(data, _expect(data, key.end(), b":"))
        end = _value(data, start)
        found.append((key[0][1:-1], (start, end)))
        return end

    return found if _split(data, b"{}", field) else None


def items(data: bytes, start: int, end: int, key: int) -> tuple[list[tuple[int, int]], list[int]] | None:
    """Spans of the items and the keys that chain over them, or None."""
    part = data[start:end]
    spans: list[tuple[int, int]] = []

    def item(at: int) -> int:
        at = _blanks(part, at)
        stop = _value(part, at)
        spans.append((start + at, start + stop))
        return stop

    if not _split(part, b"[]", item) or len(spans) > _ITEMS_MAX:
        return None
    keys = [key := key64(data[a:b], key) for a, b in spans]
    return spans, keys


def cuts(text: str, mark: str, least: int, key: int) -> tuple[list[int], list[int]]:
    """Where the text may be cut, and the keys that chain over its turns."""
    ends: list[int] = []
    at = 0
    while len(ends) < _CUTS_MAX and (at := text.find(mark, at + least)) >= 0:
        ends.append(at)
    widest = max(map(ord, text), default=0)
    unit, coding = (
        (1, "latin-1") if widest < 0x100 else (2, "utf-16-le") if widest < 0x1_0000 else (4, "utf-32-le")
    )
    key ^= unit << 32
    turns = [text[a:b].encode(coding, "surrogatepass") for a, b in zip([0, *ends], ends, strict=False)]
    return ends, [key := key64(turn, key) for turn in turns]


def _split(data: bytes, brackets: bytes, take: Callable[[int], int]) -> bool:
    opened, closed = brackets[:1], brackets[1:]
    try:
        at = _expect(data, 0, opened)
        if data[_blanks(data, at) :][:1] == closed:
            at = _expect(data, at, closed)
        else:
            at = take(at)
            while data[_blanks(data, at) :][:1] == b",":
                at = take(_expect(data, at, b","))
            at = _expect(data, at, closed)
    except _Bad:
        return False
    return _blanks(data, at) == len(data)


def _blanks(data: bytes, at: int) -> int:
    found = _BLANKS.match(data, at)
    return found.end() if found else at


def _expect(data: bytes, at: int, wanted: bytes) -> int:
    at = _blanks(data, at)
    if data[at : at + 1] != wanted:
        raise _Bad
    return at + 1


def _value(data: bytes, at: int) -> int:
    """Where the value that starts at *at* ends."""
    first = data[at : at + 1]
    if first not in (b"{", b"["):
        found = (_STRING if first == b'"' else _WORD).match(data, at)
        if found is None:
            raise _Bad
        return found.end()
    depth = 0
    while at < len(data):
        first = data[at : at + 1]
        if first == b'"':
            found = _STRING.match(data, at)
            if found is None:
                raise _Bad
            at = found.end()
            continue
        depth += (first in (b"{", b"[")) - (first in (b"}", b"]"))
        at += 1
        if depth == 0:
            return at
    raise _Bad
