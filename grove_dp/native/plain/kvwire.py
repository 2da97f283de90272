"""Twin of `grove_dp.native.kv.decode`: msgpack into a tree of items first, the events out of the tree."""

import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

__all__ = ["Batch", "Event", "decode"]

STORED, REMOVED, CLEARED = range(3)
GPU, CPU, STORAGE, ELSEWHERE = range(4)
BARE, LORA, MM, SALT, EMBEDS, OTHER = range(6)
INT32_MAX, MASK = 2**31 - 1, 2**64 - 1
FULL = (b"full_attention", b"mla_attention", b"sink_full_attention")
MEDIA = {b"gpu": GPU, b"cpu": CPU, b"storage": STORAGE, b"disk": STORAGE}
KEYS = {b"lora": LORA, b"mm": MM, b"cache_salt": SALT, b"prompt_embeds": EMBEDS}
KINDS = {b"BlockStored": STORED, b"BlockRemoved": REMOVED, b"AllBlocksCleared": CLEARED}
PLACES = {
    STORED: (
        *("block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id"),
        *("medium", "lora_name", "extra_keys", "group_idx", "kv_cache_spec_kind"),
    ),
    REMOVED: ("block_hashes", "medium", "group_idx"),
    CLEARED: (),
}


class Batch(NamedTuple):
    ts: float
    rank: int
    unknown: int
    events: list["Event"]


class Event(NamedTuple):
    kind: int
    medium: int
    full: bool
    told: bool
    group: int
    lora: bytes
    lora_id: int
    block_size: int
    parent: int | None
    hashes: list[int]
    tokens: list[int]
    lookahead: int
    copies: list[int]
    extras: list[tuple[int, int, bytes, int]]


# ------------------------------------------------ msgpack -------------------------------------------------


class Item(NamedTuple):
    """What stands in the payload, and its own bytes."""

    type: str  # nil bool int float str bin ext array map
    value: Any
    raw: bytes


HEADS = {  # tag: type, and the format of what follows the tag: a number, or a length
    0xC0: ("nil", ""),
    0xC2: ("bool", ""),
    0xC3: ("bool", ""),
    0xC4: ("bin", "B"),
    0xC5: ("bin", "H"),
    0xC6: ("bin", "I"),
    0xC7: ("ext", "B"),
    0xC8: ("ext", "H"),
    0xC9: ("ext", "I"),
    0xCA: ("float", "f"),
    0xCB: ("float", "d"),
    0xCC: ("int", "B"),
    0xCD: ("int", "H"),
    0xCE: ("int", "I"),
    0xCF: ("int", "Q"),
    0xD0: ("int", "b"),
    0xD1: ("int", "h"),
    0xD2: ("int", "i"),
    0xD3: ("int", "q"),
    0xD9: ("str", "B"),
    0xDA: ("str", "H"),
    0xDB: ("str", "I"),
    0xDC: ("array", "H"),
    0xDD: ("array", "I"),
    0xDE: ("map", "H"),
    0xDF: ("map", "I"),
}


class Reader:
    """Reads items one after another; ValueError where there is none."""

    def __init__(self, payload: bytes) -> None:
        self.payload, self.at = payload, 0

    def take(self, n: int) -> bytes:
        taken = self.payload[self.at : self.at + n]
        if len(taken) < n:
            raise ValueError("CutShort")
        self.at += n
        return taken

    def item(self) -> Item:
        start = self.at
        kind, number = self.head()
        value: Any = number
        if kind in ("str", "bin"):
            value = self.take(number)
        elif kind == "ext":
            value = self.take(number + 1)
        elif kind == "array":
            value = [self.item() for _ in range(number)]
        elif kind == "map":
            value = [(self.item(), self.item()) for _ in range(number)]
        return Item(kind, value, self.payload[start : self.at])

    def head(self) -> tuple[str, Any]:
        tag = self.take(1)[0]
        if tag < 0x80 or tag >= 0xE0:
            return "int", tag - 256 * (tag >= 0xE0)
        if tag < 0xC0:
            return (
                ("map", tag & 15) if tag < 0x90 else ("array", tag & 15) if tag < 0xA0 else ("str", tag & 31)
            )
        if 0xD4 <= tag <= 0xD8:
            return "ext", 1 << (tag - 0xD4)
        if tag not in HEADS:
            raise ValueError("ReservedByte")
        kind, form = HEADS[tag]
        return kind, struct.unpack(">" + form, self.take(struct.calcsize(">" + form)))[0] if form else None


# ------------------------------------------------- fields -------------------------------------------------


def number(item: Item, most: int, default: int) -> int:
    if item.type == "nil":
        return default
    if item.type != "int" or not 0 <= item.value <= most:
        raise ValueError("BadNumber")
    return int(item.value)


def text(item: Item) -> bytes:
    if item.type not in ("nil", "str"):
        raise ValueError("NotAString")
    return item.value or b""


def array(item: Item) -> list[Item]:
    if item.type != "array":
        raise ValueError("NotAnArray")
    found: list[Item] = item.value
    return found


def one_hash(item: Item) -> int:
    if item.type == "int":
        return int(item.value) & MASK
    if item.type != "bin" or not item.value:
        raise ValueError("NotAHash")
    folded = 0
    for at in range(0, len(item.value), 16):
        folded ^= int.from_bytes(item.value[at : at + 16], "big")
    return folded


def token(item: Item) -> int:
    if item.type != "int" or not -(2**31) <= item.value < 2**32:
        raise ValueError("NotATokenId")
    return int(item.value) & 0xFFFFFFFF


def medium(item: Item) -> dict[str, Any]:
    name = text(item)
    return {"medium": MEDIA.get(name.lower(), ELSEWHERE) if name else GPU}


def lora_id(item: Item) -> dict[str, Any]:
    return {"lora_id": min(item.value, INT32_MAX)} if item.type == "int" and item.value >= 0 else {}


def spec_kind(item: Item) -> dict[str, Any]:
    kind = text(item)
    return {"told": bool(kind), "full": not kind or kind in FULL}


def copies(item: Item) -> dict[str, Any]:
    items = item.value if item.type == "array" else []
    counted = all(each.type == "int" and each.value >= 0 for each in items)
    return {"copies": [min(each.value, 2**32 - 1) for each in items] if counted else []}


def extra_keys(item: Item) -> dict[str, Any]:
    blocks = [] if item.type == "nil" else array(item)
    return {"extras": [(block, *key) for block, entry in enumerate(blocks) for key in keys_of(entry)]}


def keys_of(entry: Item) -> Iterator[tuple[int, bytes, int]]:
    if entry.type != "nil":
        for key in entry.value if entry.type == "array" else [entry]:
            yield one_key(key)


def one_key(key: Item) -> tuple[int, bytes, int]:
    if key.type in ("str", "bin"):
        return (BARE if key.type == "str" else EMBEDS), key.value, -1
    parts: list[Item] = key.value if key.type == "array" else []
    names = []
    for part in parts[:2]:
        if part.type not in ("str", "bin"):
            break
        names.append(part.value)
    last = parts[-1].value if parts and parts[-1].type == "int" else None
    at = signed(last) if last is not None and len(parts) == len(names) + 1 else -1
    if len(parts) == 2 and len(names) == 1 and last is not None:
        return MM, names[0], at
    if len(names) == 2 and names[0] in KEYS:
        return KEYS[names[0]], names[1], at
    return OTHER, key.raw, -1


def signed(value: int) -> int:
    return (value + 2**63 & MASK) - 2**63


FIELDS: dict[str, Callable[[Item], dict[str, Any]]] = {
    "block_hashes": lambda item: {"hashes": [one_hash(each) for each in array(item)]},
    "parent_block_hash": lambda item: {"parent": None if item.type == "nil" else one_hash(item)},
    "token_ids": lambda item: {"tokens": [] if item.type == "nil" else [token(each) for each in array(item)]},
    "block_size": lambda item: {"block_size": number(item, INT32_MAX, 0)},
    "lora_id": lora_id,
    "medium": medium,
    "lora_name": lambda item: {"lora": text(item)},
    "extra_keys": extra_keys,
    "group_idx": lambda item: {"group": number(item, INT32_MAX, -1)},
    "kv_cache_spec_kind": spec_kind,
    "lookahead_token_ids": lambda item: {"lookahead": len(item.value) if item.type == "array" else 0},
    "remaining_copy_counts": copies,
}


# ------------------------------------------------- events -------------------------------------------------


def decode(payload: bytes) -> Batch:
    """The events of a payload; ValueError when it is no batch of events."""
    reader = Reader(payload)
    batch = reader.item()
    if reader.at != len(payload):
        raise ValueError("TrailingBytes")
    if batch.type == "map":
        named = {text(key): value for key, value in batch.value}
        if b"events" not in named:
            raise ValueError("NoEvents")
        for key, value in batch.value:  # each of them must be right, the last of equal ones counts
            checked(key.value, value)
        return made(named.get(b"ts"), named[b"events"], named.get(b"data_parallel_rank"))
    items = array(batch)
    if len(items) < 2:
        raise ValueError("BatchTooShort")
    return made(items[0], items[1], items[2] if len(items) > 2 else None)


def checked(key: bytes | None, value: Item) -> None:
    if key == b"events":
        list(map(event, array(value)))
    elif key == b"data_parallel_rank":
        number(value, INT32_MAX, -1)


def made(ts: Item | None, events: Item, rank: Item | None) -> Batch:
    when = float(ts.value) if ts and (ts.type == "float" or (ts.type == "int" and ts.value >= 0)) else 0.0
    told = [event(each) for each in array(events)]
    known = [each for each in told if each is not None]
    return Batch(when, number(rank, INT32_MAX, -1) if rank else -1, len(told) - len(known), known)


def event(item: Item) -> Event | None:
    """What an event says; None when it is of a type that we do not know."""
    if item.type not in ("array", "map"):
        raise ValueError("NotAnEvent")
    named = item.type == "map"
    kind = text(next((v for k, v in item.value if is_name(k, b"type")), NIL)) if named else b""
    if not named and item.value:
        kind = text(item.value[0])
    if not kind:
        raise ValueError("NoEventType")
    if kind not in KINDS:
        return None
    said = mapped(item.value, KINDS[kind]) if named else listed(item.value, KINDS[kind])
    return Event(**(DEFAULTS | {"kind": KINDS[kind]} | said))


def is_name(key: Item, name: bytes) -> bool:
    return key.type == "str" and key.value == name


def mapped(pairs: list[tuple[Item, Item]], kind: int) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for key, value in pairs:
        name = key.value.decode("latin-1") if key.type == "str" else ""
        said |= FIELDS[name](value) if name in FIELDS else {}
    if kind != CLEARED and "hashes" not in said:
        raise ValueError("NoHashes")
    return said


def listed(items: list[Item], kind: int) -> dict[str, Any]:
    if len(items) < (5, 2, 1)[kind]:
        raise ValueError("EventTooShort")
    said: dict[str, Any] = {}
    for name, value in zip(PLACES[kind], items[1:], strict=False):
        said |= FIELDS[name](value)
    return said


NIL = Item("nil", None, b"")
DEFAULTS: dict[str, Any] = {
    "medium": GPU,
    "full": True,
    "told": False,
    "group": -1,
    "lora": b"",
    "lora_id": -1,
    "block_size": 0,
    "parent": None,
    "hashes": [],
    "tokens": [],
    "lookahead": 0,
    "copies": [],
    "extras": [],
}
