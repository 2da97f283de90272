"""Twin of `grove_dp.native.openai`: a small recursive reader that notes where each value stands."""

import re
from typing import NamedTuple

__all__ = ["BAD", "MORE", "Body", "multipart", "response_id", "scan", "splice_usage", "unescape", "usage"]

BAD, MORE = -1, -2

BLANKS = re.compile(rb"[ \t\r\n]*")
STRING = re.compile(rb'"((?:[^"\\\x00-\x1f]|\\[^\x00-\x1f])*)"')
SCALAR = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null|NaN|-?Infinity")
WORST = 2**63 - 1
DEPTH_MAX = 255
ABSENT, NULL, OBJECT, OTHER = range(4)
TRI_ABSENT, TRI_FALSE, TRI_TRUE, TRI_OTHER = range(4)


class Bad(Exception):
    """The body is refused; the argument is the word of gdp_json_why."""


class Value(NamedTuple):
    start: int
    end: int
    text: bytes  # as written


class Body(NamedTuple):
    why: str
    model: bytes | None = None  # between the quotes, escapes as they came
    model_escaped: bool = False
    stream: bool = False
    options: int = ABSENT
    options_empty: bool = False
    include_usage: int = TRI_ABSENT
    continuous_usage: int = TRI_ABSENT
    many: bool = False
    n: int = 1
    max_tokens: int = -1
    priority: int | None = None
    cache_salt: bytes = b""
    previous_id: bytes = b""
    kv_transfer: bytes = b""
    messages: bytes = b""
    prompt: bytes = b""
    tools: bytes = b""


# ---------------------------------------------------- reading


def blanks(data: bytes, at: int) -> int:
    found = BLANKS.match(data, at)
    assert found
    return found.end()


def skip(data: bytes, at: int) -> int:
    """Past the value at *at*; brackets of nested ones are counted, and must match in kind."""
    if data[at : at + 1] not in (b"{", b"["):
        found = STRING.match(data, at) or SCALAR.match(data, at)
        if not found:
            raise Bad("SYNTAX")
        digits = re.match(rb"-?[0-9]+(?:\.(?![0-9])|(?:\.[0-9]+)?[eE](?![+-]?[0-9]))?", data[at:])
        if digits and len(digits[0]) > len(found[0]):
            raise Bad("SYNTAX")
        return found.end()
    open_brackets = b""
    while True:
        here = re.compile(rb'["{}\[\]]').search(data, at)
        if not here:
            raise Bad("SYNTAX")
        at = here.start()
        if here[0] == b'"':
            string = STRING.match(data, at)
            if not string:
                raise Bad("SYNTAX")
            at = string.end()
        elif here[0] in b"{[":
            if len(open_brackets) == DEPTH_MAX:
                raise Bad("TOO_DEEP")
            open_brackets += here[0]
            at += 1
        else:
            if open_brackets[-1:] + here[0] not in (b"{}", b"[]"):
                raise Bad("SYNTAX")
            open_brackets = open_brackets[:-1]
            at += 1
            if not open_brackets:
                return at


def members(data: bytes, at: int, nested: tuple[bytes, ...] = ()) -> tuple[list[tuple[bytes, Value]], int]:
    """Keys and values of the object at *at*, and where it ends.

    Values of keys in *nested* are read as objects, so that what is wrong in them is found.
    """
    found: list[tuple[bytes, Value]] = []
    at = blanks(data, at + 1)
    if data[at : at + 1] == b"}":
        return found, at + 1
    while True:
        at = blanks(data, at)
        name = STRING.match(data, at)
        if not name:
            raise Bad("SYNTAX")
        at = blanks(data, name.end())
        if data[at : at + 1] != b":":
            raise Bad("SYNTAX")
        at = blanks(data, at + 1)
        key = plain_key(name[1])
        end = members(data, at)[1] if key in nested and data[at : at + 1] == b"{" else skip(data, at)
        found.append((key, Value(at, end, data[at:end])))
        at = blanks(data, end)
        if data[at : at + 1] == b"}":
            return found, at + 1
        if data[at : at + 1] != b",":
            raise Bad("SYNTAX")
        at += 1


def plain_key(text: bytes) -> bytes:
    if b"\\" not in text:
        return text
    plain = unescape(text, 32)
    return plain if isinstance(plain, bytes) else b""


# ---------------------------------------------------- what the fields mean


def scan(data: bytes) -> Body:
    try:
        return read_body(data)
    except Bad as bad:
        return Body(str(bad))


def read_body(data: bytes) -> Body:
    at = blanks(data, 0)
    if at == len(data):
        raise Bad("EMPTY")
    if data[at : at + 1] != b"{":
        raise Bad("NOT_OBJECT")
    pairs, end = members(data, at, nested=(b"stream_options",))
    if blanks(data, end) != len(data):
        raise Bad("SYNTAX")
    fields = {key: value.text for key, value in pairs}  # the last one counts
    model, stream = fields.get(b"model", b"null"), fields.get(b"stream", b"null")
    if model[:1] not in (b'"', b"n"):
        raise Bad("BAD_MODEL")
    if stream not in (b"true", b"false", b"null"):
        raise Bad("BAD_STREAM")
    options, empty, include, continuous = read_options(fields.get(b"stream_options"))
    limits = [limit(fields.get(name)) for name in LIMITS]
    return Body(
        why="OK",
        model=inside(model) if model != b"null" else None,
        model_escaped=b"\\" in model,
        stream=stream == b"true",
        options=options,
        options_empty=empty,
        include_usage=include,
        continuous_usage=continuous,
        many=many(fields.get(b"n")) or many(fields.get(b"best_of")) or batch(fields.get(b"prompt")),
        n=count(fields.get(b"n")),
        max_tokens=next((n for n in limits if n >= 0), -1),
        priority=integer(fields.get(b"priority")),
        cache_salt=inside(fields.get(b"cache_salt")),
        previous_id=inside(fields.get(b"previous_response_id")),
        kv_transfer=fields.get(b"kv_transfer_params", b""),
        messages=fields.get(b"messages", b""),
        prompt=fields.get(b"prompt", b""),
        tools=fields.get(b"tools", b""),
    )


LIMITS = (b"max_completion_tokens", b"max_tokens", b"max_output_tokens")


def read_options(text: bytes | None) -> tuple[int, bool, int, int]:
    if text is None:
        return ABSENT, False, TRI_ABSENT, TRI_ABSENT
    if not text.startswith(b"{"):
        return (NULL if text == b"null" else OTHER), False, TRI_ABSENT, TRI_ABSENT
    pairs, _ = members(text, 0)
    inner = {key: value.text for key, value in pairs}
    return OBJECT, not pairs, tri(inner.get(b"include_usage")), tri(inner.get(b"continuous_usage_stats"))


def tri(text: bytes | None) -> int:
    if text is None:
        return TRI_ABSENT
    return {b"true": TRI_TRUE, b"false": TRI_FALSE, b"null": TRI_FALSE}.get(text, TRI_OTHER)


def integer(text: bytes | None) -> int | None:
    if text is None or not re.fullmatch(rb"-?[0-9]+", text):
        return None
    return max(-WORST, min(WORST, int(text)))


def count(text: bytes | None) -> int:
    whole = integer(text)
    return 1 if whole is None else max(-(2**31), min(2**31 - 1, whole))


def limit(text: bytes | None) -> int:
    return max(-1, -1 if (whole := integer(text)) is None else whole)


def many(text: bytes | None) -> bool:
    """What is no integer may be one for the worker ("2", 2.0), so it may mean many."""
    if text is None or text == b"null":
        return False
    return (whole := integer(text)) is None or whole > 1


def batch(text: bytes | None) -> bool:
    return bool(text and re.match(rb'\[[ \t\r\n]*["\[]', text))


def inside(text: bytes | None) -> bytes:
    return text[1:-1] if text and text.startswith(b'"') else b""


def splice_usage(data: bytes) -> bytes | None:
    """The body with include_usage switched on, or None when it must stay as it is."""
    body = scan(data)
    if body.why != "OK" or not body.stream or body.continuous_usage > TRI_FALSE or body.options == OTHER:
        return None
    start = blanks(data, 0)
    asked = b'"include_usage":true'
    pairs, _ = members(data, start)
    values = [value for key, value in pairs if key == b"stream_options"]
    if not values:
        return data[: start + 1] + b'"stream_options":{' + asked + b"}," + data[start + 1 :]
    begin, end, text = values[-1]
    if body.options == NULL:
        return data[:begin] + b"{" + asked + b"}" + data[end:]
    if body.include_usage == TRI_ABSENT:
        return data[: begin + 1] + asked + (b"" if body.options_empty else b",") + data[begin + 1 :]
    if body.include_usage != TRI_FALSE:
        return None
    inner, _ = members(text, 0)
    value = [value for key, value in inner if key == b"include_usage"][-1]
    return data[: begin + value.start] + b"true" + data[begin + value.end :]


# ---------------------------------------------------- strings


def unescape(text: bytes, room: int) -> bytes | int:
    """The string's inside as UTF-8, BAD, or MORE when it does not fit into *room* bytes."""
    plain = b""
    for part in re.finditer(rb"\\u(....)|\\(.)|([^\\]+)|(\\)", pair_surrogates(text), re.DOTALL):
        piece = unescape_part(part)
        if piece is None:
            return BAD
        plain += piece
        if len(plain) > room:
            return MORE
    return plain


def pair_surrogates(text: bytes) -> bytes:
    """Each pair of \\ud8xx\\udcxx that is not behind a backslash becomes UTF-8 at once."""
    pattern = rb"((?:^|[^\\])(?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
    while found := re.search(pattern, text):
        code = 0x10000 + ((int(found[2], 16) & 0x3FF) << 10) + (int(found[3], 16) & 0x3FF)
        text = text[: found.end(1)] + chr(code).encode() + text[found.end() :]
    return text


def unescape_part(part: re.Match[bytes]) -> bytes | None:
    code, letter, run, _ = part.groups()
    if run is not None:
        return None if re.search(rb'["\x00-\x1f]', run) else run
    if letter is not None:
        simple = dict(zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True))
        return bytes([simple[letter[0]]]) if letter[0] in simple else None
    if code is None or not re.fullmatch(rb"[0-9a-fA-F]{4}", code):
        return None
    value = int(code, 16)
    return None if value == 0 or 0xD800 <= value < 0xE000 else chr(value).encode()


# ---------------------------------------------------- answers


def usage(data: bytes) -> tuple[int, int, int, int]:
    """(0 or MORE, prompt, output, cached) of the last usage object."""
    begins = [m.end() - 1 for m in re.finditer(rb'(?<!\\)"usage"[ \t\r\n]*:[ \t\r\n]*\{', data)]
    text = balanced(data[begins[-1] :]) if begins else None
    if text is None:
        return MORE, -1, -1, -1
    counts = {"prompt": -1, "output": -1, "cached": -1}
    depth, details = 0, 0
    at = 0
    while here := re.compile(rb'["{}\[\]]').search(text, at):
        at = here.end()
        if here[0] != b'"':
            depth += 1 if here[0] in b"{[" else -1
            details = 0 if depth < details else details
            continue
        string = STRING.match(text, here.start())
        assert string
        at = string.end()
        colon = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*").match(text, at)
        if not colon:
            at = blanks(text, at)
            continue
        at = colon.end()
        if depth == 1 and text[at : at + 1] == b"{" and string[1] in DETAILS:
            details = 2
        slot = SLOTS.get(string[1]) if depth == 1 else INNER.get(string[1]) if depth == details else None
        number = re.compile(rb"[0-9]{1,18}(?![0-9.eE])").match(text, at)
        if slot and number:
            counts[slot] = int(number[0])
    return 0, counts["prompt"], counts["output"], counts["cached"]


DETAILS = (b"prompt_tokens_details", b"input_tokens_details")
INNER = {b"cached_tokens": "cached"}
SLOTS = {
    b"prompt_tokens": "prompt",
    b"input_tokens": "prompt",
    b"completion_tokens": "output",
    b"output_tokens": "output",
    b"cache_read_input_tokens": "cached",
}


def balanced(data: bytes) -> bytes | None:
    depth = at = 0
    while here := re.compile(rb'["{}\[\]]').search(data, at):
        at = here.end()
        if here[0] == b'"':
            string = STRING.match(data, here.start())
            if not string:
                return None
            at = string.end()
        else:
            depth += 1 if here[0] in b"{[" else -1
            if depth == 0:
                return data[:at]
    return None


def response_id(data: bytes) -> bytes:
    for found in re.finditer(rb'(?<!\\)"id"[ \t\r\n]*:[ \t\r\n]*(?="resp_)', data):
        string = STRING.match(data, found.end())
        return string[1] if string else b""
    return b""


# ---------------------------------------------------- forms


def multipart(kind: bytes, data: bytes) -> tuple[int, bytes, bool]:
    """(0, model, stream) of a form; (MORE, b"", stream) without a model; (BAD, ...) when it is malformed."""
    try:
        fields = form(kind, data)
    except Bad:
        return BAD, b"", False
    stream = fields.get(b"stream", b"").lower() == b"true"
    return (0 if b"model" in fields else MORE), fields.get(b"model", b""), stream


def form(kind: bytes, data: bytes) -> dict[bytes, bytes]:
    pairs, _ = parameters(kind, b"multipart/form-data")
    boundary = next((value for name, value in pairs if name == b"boundary"), b"")
    if not 1 <= len(boundary) <= 70:
        raise Bad("boundary")
    data = data if data.startswith(b"\r\n") else b"\r\n" + data
    head, *parts = data.split(b"\r\n--" + boundary)
    if head:
        raise Bad("preamble")
    fields: dict[bytes, bytes] = {}
    for part in parts:
        if part.startswith(b"--"):
            return fields
        opened = re.match(rb"[ \t]*\r\n", part)
        if not opened:
            raise Bad("boundary line")
        name, value = form_part(part[opened.end() :])
        fields[name] = value
    raise Bad("no end")


def form_part(part: bytes) -> tuple[bytes, bytes]:
    lines, blank, value = (b"\r\n" + part).partition(b"\r\n\r\n")
    if not blank:
        if part and not part.endswith(b"\r\n"):
            raise Bad("part")
        lines, value = (b"\r\n" + part).removesuffix(b"\r\n"), b""  # the empty line's CR LF is the boundary's
    name = b""
    for line in lines.split(b"\r\n")[1:]:
        header, colon, text = line.partition(b":")
        if not colon:
            raise Bad("header")
        if header.lower() == b"content-disposition":
            pairs, whole = parameters(text, b"form-data")
            if not whole:
                raise Bad("parameters")
            found = [v for k, v in pairs if k == b"name"]
            if any(k == b"filename" for k, _ in pairs):
                name = b""
            elif found:
                name = found[-1]
    return name, value


def parameters(text: bytes, kind: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
    """The parameters of a header value of type *kind*, names in lower case, and whether all was read."""
    found = re.match(rb"[ \t]*(?i:" + re.escape(kind) + rb")(?=$|[; \t])", text)
    if not found:
        raise Bad("type")
    pairs: list[tuple[bytes, bytes]] = []
    at = found.end()
    one = re.compile(rb'[ \t]*;[ \t]*([^=;]*)=(?:"((?:\\.|[^"\\]|\\$)*)"|(?!")([^; \t]*))', re.DOTALL)
    while part := one.match(text, at):
        pairs.append((part[1].lower(), part[2] if part[2] is not None else part[3]))
        at = part.end()
    return pairs, re.fullmatch(rb"[ \t]*(;[ \t]*)?", text[at:]) is not None
