"""The fast backend is used only where it is the same; cutters cut; special tokens are known beforehand."""

import gzip
import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Reference

from grove_dp.tokens import tokenizer as module
from grove_dp.tokens.corpus import probe_corpus
from grove_dp.tokens.tokenizer import Tokenizer
from grove_dp.tokens.unsupported import Unsupported
from tests.tokens.conftest import FIXTURES

SOURCE = gzip.decompress((FIXTURES / "tokenizer" / "tokenizer.json.gz").read_bytes()).decode()
TOLD = json.loads(SOURCE)
PLAIN, FAST, REFERENCE = Tokenizer(SOURCE, fast=False), Tokenizer(SOURCE), Reference.from_str(SOURCE)
TEXTS = st.lists(
    st.text(max_size=20) | st.sampled_from(["<|im_start|>", "<|im_end|>", "<|im_", "  ", "\n", "the quick"]),
    max_size=8,
).map("".join)


def changed(**parts):
    return json.dumps(TOLD | parts)


def added(content, number, **flags):
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": content} | plain | flags


@given(TEXTS.filter(str.isascii) | TEXTS)
@settings(max_examples=200, deadline=None)
def test_both_backends_give_the_ids_of_the_reference(text):
    wanted = REFERENCE.encode(text).ids
    assert FAST.backend == "fastokens"
    assert PLAIN.backend == "tokenizers"
    assert FAST.ids(text).tolist() == PLAIN.ids(text).tolist() == wanted


@given(st.lists(TEXTS, min_size=1, max_size=5))
@settings(deadline=None)
def test_pieces_are_encoded_each_on_its_own(texts):
    for one in (FAST, PLAIN):
        assert [ids.tolist() for ids in one.pieces(texts)] == [one.ids(text).tolist() for text in texts]


@given(TEXTS, TEXTS, st.sampled_from(sorted(FAST.cutters)))
@settings(max_examples=200, deadline=None)
def test_a_text_cut_before_a_cutter_has_the_ids_of_its_parts(before, behind, cutter):
    whole = FAST.ids(before + cutter + behind)
    assert np.array_equal(whole, np.concatenate(FAST.pieces([before, cutter + behind])))


def test_without_a_pre_tokenizer_the_reference_is_used():
    made = Tokenizer(changed(pre_tokenizer=None))
    assert (made.backend, made.why_not_fast) == ("tokenizers", "the tokenizer has no pre_tokenizer")


def test_without_the_fast_library_the_reference_is_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastokens", None)
    made = Tokenizer(SOURCE)
    assert (made.backend, made.why_not_fast) == ("tokenizers", "fastokens is not installed")


def test_a_tokenizer_that_the_fast_library_refuses_goes_to_the_reference():
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
    made = Tokenizer(changed(pre_tokenizer=metaspace))
    assert made.backend == "tokenizers"
    assert made.why_not_fast.startswith("fastokens refuses")


def test_a_fast_backend_that_differs_once_is_not_used(monkeypatch):
    encode = module._Fast.encode

    def wrong(self, texts, special):
        ids, ends = encode(self, texts, special)
        ids = ids.copy()
        ids[ends[40]] += 1
        return ids, ends

    monkeypatch.setattr(module._Fast, "encode", wrong)
    made = Tokenizer(SOURCE)
    assert made.backend == "tokenizers"
    assert made.why_not_fast.startswith("other ids for")


def test_the_corpus_is_the_same_everywhere_and_small():
    one = probe_corpus(["<|b|>", "<|a|>"])
    assert one == probe_corpus(iter(["<|a|>", "<|b|>"]))
    assert sum(map(len, one)) < 60_000
    assert any("<|a|><|a|>" in text for text in one)


@pytest.mark.parametrize(
    ("tokens", "cutters"),
    [
        ([added("<a>", 4090)], {"<a>"}),
        ([added("<a>", 4090, lstrip=True)], set()),
        ([added("<a>", 4090, single_word=True)], set()),
        ([added(" a", 4090)], set()),
        ([added("<a>", 4090), added("x<a", 4091)], {"x<a"}),
        ([added("aa", 4090)], set()),
        ([added("<a>", 4090, normalized=True)], {"<a>"}),
        ([added("<a>", 4090, normalized=True), added("a>b", 4091)], set()),
        ([added("<a>", 4090), added("a>b", 4091)], {"<a>"}),
    ],
)
def test_only_tokens_that_nothing_can_reach_into_are_cutters(tokens, cutters):
    assert Tokenizer(changed(added_tokens=tokens), fast=False).cutters == cutters


def test_tokens_matched_in_normalised_text_are_no_cutters_where_text_is_normalised():
    tokens = [added("<a>", 4090, normalized=True), added("<b>", 4091)]
    made = Tokenizer(changed(added_tokens=tokens, normalizer={"type": "NFC"}), fast=False)
    assert made.cutters == {"<b>"}


def brute_overlaps(tokens):
    def inside(one, other):
        return any(other.startswith(one[n:]) or one[n:].startswith(other) for n in range(1, len(one)))

    reached = {token for token in tokens if any(inside(one, token) for one in tokens)}
    return reached, {token for token in tokens if any(inside(token, one) for one in tokens)}


@given(st.sets(st.text("ab<", min_size=1, max_size=5), max_size=6))
def test_overlaps_are_found_as_by_trying_all_pairs(tokens):
    assert module._overlaps(tokens) == brute_overlaps(tokens)


def template(*parts):
    known = {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}}
    shapes = {"A": {"Sequence": {"id": "A", "type_id": 0}}}
    single = [shapes.get(part) or {"SpecialToken": {"id": part, "type_id": 0}} for part in parts]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}]
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": known}


LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
BOS = "<|im_start|>"


@pytest.mark.parametrize(
    ("processor", "first"),
    [
        (None, []),
        (LEVEL, []),
        (template("A"), []),
        (template(BOS, "A"), [1]),
        ({"type": "Sequence", "processors": [LEVEL, template(BOS, "A")]}, [1]),
        (template("A", BOS), None),
        (template(BOS, "A", BOS), None),
    ],
)
def test_what_special_tokens_stand_first_is_known_or_not(processor, first):
    made = Tokenizer(changed(post_processor=processor), fast=False)
    assert (None if made.first_ids is None else made.first_ids.tolist()) == first
    if first is not None:
        assert made.ids("a b", add_special_tokens=True).tolist() == first + made.ids("a b").tolist()


def test_length_is_bounded_over_all_pieces():
    made = Tokenizer(SOURCE, length_max=10)
    assert len(made.pieces(["abcde", "fghij"])) == 2
    with pytest.raises(Unsupported, match="PromptTooLong"):
        made.pieces(["abcde", "fghijk"])


@pytest.mark.parametrize("fast", [True, False])
def test_a_lone_surrogate_is_refused(fast):
    with pytest.raises(Unsupported, match="LoneSurrogate"):
        Tokenizer(SOURCE, fast=fast).ids("\ud800")
