"""A prompt put together from parts is the prompt made in one go, whatever was read before."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grove_dp.tokens.blocks import Scope
from grove_dp.tokens.step import PromptReader
from grove_dp.tokens.unsupported import Unsupported
from tests.tokens.plain_chain import PlainChain

PIECES = [
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|im_",
    "user\n",
    "\n",
    " ",
    "\u0301",
    "é",
    "漢字",
    "👩‍👧",
]
TEXTS = st.lists(st.sampled_from([*PIECES, "def f(x):\n    return x", "The quick brown fox "]), max_size=12)
CONTENTS = st.builds(lambda parts, times: "".join(parts) * times, TEXTS, st.sampled_from([1, 1, 7, 40]))
ROLES = st.sampled_from(["user", "assistant", "system", "tool"])
MESSAGES = st.fixed_dictionaries(
    {"role": ROLES, "content": CONTENTS},
    optional={"reasoning_content": st.sampled_from(["", "hm\n", "x" * 600])},
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "add_generation_prompt": st.booleans(),
        "tools": st.just([{"type": "function", "function": {"name": "f", "parameters": {"é": 1}}}]),
        "cache_salt": st.sampled_from(["a", "b"]),
        "add_special_tokens": st.booleans(),
    },
)


def chat(messages, **options):
    return json.dumps({"model": "m", "messages": messages} | options).encode()


@st.composite
def conversations(draw):
    """Requests such as clients send: conversations that go on, are told anew, or forked; and strangers."""
    asked, past = [], [draw(st.lists(MESSAGES, min_size=1, max_size=4))]
    for _ in range(draw(st.integers(1, 8))):
        messages = list(draw(st.sampled_from(past)))
        kept = draw(st.integers(0, len(messages)))
        messages = messages[:kept] + draw(st.lists(MESSAGES, min_size=kept == 0, max_size=3))
        past.append(messages)
        asked.append((messages, draw(OPTIONS)))
    return asked


def check(reader, endpoint, body, salt="", block_size=16):
    chain = PlainChain()
    ids = reader.ids(endpoint, body)
    wanted = chain(chain.root(Scope("m", "", salt, block_size)), ids, block_size)
    found = reader.read(endpoint, body)
    assert found.tokens == len(ids)
    assert np.array_equal(found.chain, wanted)


@given(
    conversations(),
    st.sampled_from(["plain", "agent"]),
    st.sampled_from([8, 16, 64]),
    st.sampled_from([900, 1 << 20]),
)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_what_was_read_before_changes_nothing(reader_of, asked, name, block_size, memo_bytes):
    reader = reader_of(name, block_size=block_size, memo_bytes=memo_bytes)
    for messages, options in asked:
        check(reader, "chat", chat(messages, **options), options.get("cache_salt", ""), block_size)
        assert reader.memo.bytes <= memo_bytes


@given(st.lists(CONTENTS, min_size=1, max_size=5))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_completion_that_goes_on_is_encoded_as_a_whole_would_be(reader_of, parts):
    reader = reader_of()
    for end in range(1, len(parts) + 1):
        text = "<|im_start|>".join(parts[:end])
        if text:
            check(reader, "completions", json.dumps({"prompt": text}).encode())


LONG = [{"role": ("user", "assistant")[n % 2], "content": f"{n} " + "lorem ipsum " * 90} for n in range(11)]


def test_only_the_new_turns_of_a_known_conversation_are_encoded(reader_of, monkeypatch):
    reader, encoded = reader_of(), []
    pieces = reader._tokenizer.pieces
    monkeypatch.setattr(reader._tokenizer, "pieces", lambda texts: encoded.extend(texts) or pieces(texts))
    reader.read("chat", chat(LONG[:9]))
    encoded.clear()
    reader.read("chat", chat(LONG))
    assert sum(map(len, encoded)) < 4 * len(LONG[0]["content"])
    assert "lorem" in "".join(encoded)


def test_the_same_tools_mean_what_each_endpoint_makes_of_them(reader_of):
    reader = reader_of()
    named = {"type": "function", "function": {"name": "f"}, "name": "f", "input_schema": {}}
    bodies = {
        "chat": {"messages": LONG[:1], "tools": [named]},
        "messages": {"messages": LONG[:1], "tools": [named], "max_tokens": 1},
    }
    for _ in range(2):
        for endpoint, body in bodies.items():
            ids = reader.ids(endpoint, json.dumps(body).encode())
            fresh = reader_of().ids(endpoint, json.dumps(body).encode())
            assert ids.tolist() == fresh.tolist()


def test_conversations_of_other_scopes_share_no_block(reader_of):
    reader = reader_of()
    told = [
        reader.read("chat", chat(LONG)),
        reader.read("chat", chat(LONG), lora="tuned"),
        reader.read("chat", chat(LONG, cache_salt="tenant")),
        reader_of(model="other").read("chat", chat(LONG)),
    ]
    assert len({prompt.tokens for prompt in told}) == 1
    for one, other in pairwise(told):
        assert not set(one.chain.tolist()) & set(other.chain.tolist())


def test_the_blocks_of_a_beginning_are_the_beginning_of_the_blocks(reader_of):
    reader = reader_of()
    short, long = reader.read("chat", chat(LONG[:5])), reader.read("chat", chat(LONG))
    common = len(short.chain) - 1  # the last holds the generation prompt
    assert np.array_equal(short.chain[:common], long.chain[:common])
    assert long.chain.dtype == np.uint64
    assert len(long.chain) == long.tokens // 16


def test_a_list_of_prompts_is_known_by_its_first(reader_of):
    reader = reader_of()
    ids = list(range(100))
    for prompt in (ids, [ids, [1, 2]]):
        found = reader.read("completions", json.dumps({"prompt": prompt}).encode())
        assert (found.tokens, len(found.chain)) == (100, 6)
    one, several = (json.dumps({"prompt": p}).encode() for p in ("a b c", ["a b c", "d"]))
    assert reader.read("completions", one).tokens == reader.read("completions", several).tokens


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "BodyShape"),
        (b"[]", "BodyShape"),
        (b'{"messages":[{"role":"user","content":"a"}],"m\\u006fdel":"m"}', "BodyShape"),
        (b'{"messages":{}}', "BodyShape"),
        (b'{"messages":[]}', "MessageShape"),
        (b'{"messages":[1]}', "MessageShape"),
        (b'{"messages":[{"role":"user","content":"\\ud800"}]}', "BodyShape"),
        (b'{"messages":[{"role":"user","content":"a"}],"cache_salt":""}', "BodyShape"),
        (b'{"messages":[{"role":"user","content":"a"}],"chat_template":"x"}', "Field"),
        (b'{"messages":[{"role":"user","content":"a"}],"truncate_prompt_tokens":3}', "Field"),
        (
            b'{"messages":[{"role":"user","content":"a"}],"chat_template_kwargs":{"tokenize":1}}',
            "OptionShape",
        ),
        (b'{"messages":[{"role":"user","content":"a"}],"continue_final_message":true}', "OptionShape"),
        (
            b'{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}',
            "Multimodal",
        ),
        (
            b'{"messages":[{"role":"user","content":"a"}],"kv_transfer_params":{"prompt_token_ids":[1]}}',
            "Field",
        ),
        (b'{"messages":' + b"[" * 5000 + b"]" * 5000 + b"}", "BodyShape"),
    ],
)
def test_what_is_not_understood_is_refused_with_a_word(reader_of, body, why):
    with pytest.raises(Unsupported) as caught:
        reader_of().read("chat", body)
    assert caught.value.why == why


def test_a_prompt_too_long_for_the_tokenizer_is_refused(reader_of):
    with pytest.raises(Unsupported, match="PromptTooLong"):
        reader_of().read("completions", json.dumps({"prompt": "a" * 600_000}).encode())


def test_an_endpoint_without_prompts_is_refused(reader_of):
    with pytest.raises(Unsupported, match="embeddings"):
        reader_of().read("embeddings", b"{}")


def test_a_model_without_a_template_has_completions_only(models):
    reader = PromptReader(None, models["plain"].tokenizer, PlainChain(), model="m", block_size=16)
    assert reader.read("completions", b'{"prompt":"a b"}').tokens == 2
    with pytest.raises(Unsupported, match="NoTemplate"):
        reader.read("chat", chat(LONG))


@pytest.mark.parametrize(
    ("feature", "body"),
    [
        ("tools", {"tools": [{"type": "function", "function": {"name": "f"}}]}),
        ("continued", {"continue_final_message": True, "add_generation_prompt": False}),
        ("template_kwargs", {"chat_template_kwargs": {"a": 1}}),
        ("no_generation_prompt", {"add_generation_prompt": False}),
        ("reasoning", {"messages": [{"role": "assistant", "content": "a", "reasoning": "b"}]}),
        ("developer", {"messages": [{"role": "developer", "content": "a"}]}),
        ("tool_calls", {"messages": [{"role": "tool", "content": "a", "tool_call_id": "1"}]}),
    ],
)
def test_a_corner_in_which_the_worker_differs_is_refused_alone(reader_of, feature, body):
    reader, written = reader_of(), json.dumps({"messages": LONG} | body).encode()
    reader.read("chat", written)
    reader.without = frozenset({feature})
    with pytest.raises(Unsupported, match=feature):
        reader.read("chat", written)
    reader.read("chat", chat(LONG, tools=None, continue_final_message=False))
