"""Names for prefixes: the core against its plain twin, and what the token threads rely on."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grove_dp.native import kv
from grove_dp.native.plain import chain as plain
from grove_dp.tokens.blocks import Chain, Scope

SECRET = b"a secret of any length"
KEY, TWIN = kv.ChainKey(SECRET), plain.ChainKey(SECRET)
WORDS = st.integers(0, 2**64 - 1)
TOKENS = st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 200_000), max_size=150)


def ids(tokens):
    return np.array(tokens, np.uint32)


@given(
    secret=st.binary(max_size=40),
    texts=st.tuples(*[st.binary(max_size=40)] * 3),
    size=st.integers(1, 2**32 - 1),
)
def test_roots_are_those_of_the_twin(secret, texts, size):
    model, lora, salt = texts
    expected = plain.root(plain.ChainKey(secret), model, lora, salt, size)
    assert kv.root(kv.ChainKey(secret), model, lora, salt, size) == expected


@given(parent=WORDS, tokens=TOKENS, size=st.integers(1, 70) | st.sampled_from([16, 32, 64]), data=st.data())
@settings(max_examples=300, deadline=None)
def test_names_are_those_of_the_twin(parent, tokens, size, data):
    blocks = len(tokens) // size
    extras = data.draw(st.none() | st.lists(st.just(0) | WORDS, min_size=blocks, max_size=blocks))
    told = None if extras is None or blocks == 0 else np.array(extras, np.uint64)
    expected = plain.chain(TWIN, parent, tokens, size, extras)
    assert kv.chain(KEY, parent, ids(tokens), size, told).tolist() == expected


@given(parent=WORDS, tokens=TOKENS, extra=st.just(0) | WORDS)
@settings(deadline=None)
def test_names_of_less_than_a_block_are_those_of_the_twin(parent, tokens, extra):
    assert kv.partial(KEY, parent, ids(tokens), extra) == plain.partial(TWIN, parent, tokens, extra)


@given(
    before=WORDS, kind=st.integers(1, 4), name=st.binary(max_size=40), offset=st.integers(-(2**63), 2**63 - 1)
)
def test_keys_of_blocks_are_those_of_the_twin(before, kind, name, offset):
    assert kv.extra(KEY, before, kind, name, offset) == plain.extra(TWIN, before, kind, name, offset)


def test_a_chain_goes_on_from_any_of_its_names():
    chain: Chain = KEY  # what the token threads ask for
    tokens, scope = ids(range(1000)), Scope("model", lora="ad", salt="tenant", block_size=16)
    whole = chain(chain.root(scope), tokens, 16)
    assert whole.dtype == np.uint64
    assert len(whole) == 62
    for block in (0, 1, 30, 61):
        assert (
            chain(int(whole[block]), tokens[(block + 1) * 16 :], 16).tolist() == whole[block + 1 :].tolist()
        )


def test_prompts_of_another_scope_or_secret_share_nothing():
    tokens = ids(range(64))
    scopes = [
        *(Scope("m"), Scope("n"), Scope("m", lora="a"), Scope("m", salt="a"), Scope("m", lora="a", salt="a")),
        *(Scope("m", block_size=32), Scope("m", lora="aa"), Scope("", lora="m"), Scope("mä")),
    ]
    names = [KEY(KEY.root(scope), tokens, scope.block_size).tolist() for scope in scopes]
    other = kv.ChainKey(b"another")
    names.append(other(other.root(scopes[0]), tokens, 16).tolist())
    assert len({name for chain in names for name in chain}) == sum(map(len, names))


def test_a_block_has_at_least_one_token():
    with pytest.raises(ValueError, match="at least 1"):
        KEY(1, ids([1]), 0)
    with pytest.raises(ValueError, match="2 extras for 1 blocks"):
        kv.chain(KEY, 1, ids(range(16)), 16, np.zeros(2, np.uint64))
    assert len(KEY(1, ids([]), 16)) == len(KEY(1, ids([1]), 16)) == 0


def test_long_prompts_are_hashed_beside_other_threads():
    tokens = ids(range(1 << 20))
    expected = KEY(7, tokens, 16).tobytes()
    results = [b""] * 4

    def hashed(i):
        results[i] = KEY(7, tokens, 16).tobytes()

    threads = [threading.Thread(target=hashed, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4
