"""One model's prompts: from the bytes of a request to the names of its blocks.

    reader = PromptReader(template, tokenizer, chain, model="qwen3", block_size=16)
    prompt = reader.read("chat", body)            # Prompt(tokens=1034, chain=array([...], dtype=uint64))

Equal to what the worker makes of it, or `Unsupported`. The text is always rendered as a whole, because a
template is a program and may do anything (drop the thoughts of earlier turns, say). Only its encoding is put
together from parts, cut before the first token of each turn: an added token that splits a text for the
tokenizer too (Tokenizer.cutters), so that the ids of the parts are the ids of the whole.

128 KiB of code in 16 turns take 1.2 ms when nothing of it is known, 0.25 ms when all but a new turn of 2 KiB
is, 0.05 ms when it comes again; 4 KiB take 0.11 ms (bench/micro, the simulator's vocabulary).

Not for several threads at once: one reader, one token thread.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from secrets import randbits
from typing import Any, NamedTuple

import numpy as np

from grove_dp.native import spans
from grove_dp.tokens.blocks import Chain, Prompt, Scope
from grove_dp.tokens.dialects import chat_of_messages, chat_of_responses
from grove_dp.tokens.memo import Memo, Node
from grove_dp.tokens.parsed import ParsedMessages
from grove_dp.tokens.requests import Body, completion_prompt
from grove_dp.tokens.template import ChatOptions, ChatTemplate
from grove_dp.tokens.tokenizer import NO_IDS, Ids, Tokenizer
from grove_dp.tokens.unsupported import Unsupported

__all__ = ["PromptReader"]

_TURN_CHARACTERS = 2048  # turns shorter than this are taken together: encoding so many takes 15 us, a node 10


class _Source(NamedTuple):
    """What there is to encode."""

    prompt: str | Ids
    special: bool = False  # add the tokenizer's special tokens


class PromptReader:
    """Reads the requests for one model."""

    def __init__(
        self,
        template: ChatTemplate | None,
        tokenizer: Tokenizer,
        chain: Chain,
        *,
        model: str,
        block_size: int,
        memo_bytes: int = 64 << 20,
        parsed_bytes: int = 64 << 20,
    ) -> None:
        """*template* None: the model has none, chats are unsupported. *model* is what enters the scope.
        *memo_bytes* hold 32 M tokens or so, *parsed_bytes* as many bytes of messages."""
        self.memo = Memo(memo_bytes)
        self.without: frozenset[str] = frozenset()  # features to refuse, by a probe's verdict
        self._parsed = ParsedMessages(parsed_bytes)
        self._template, self._tokenizer, self._chain = template, tokenizer, chain
        self._model, self._block_size = model, block_size
        self._mark = _first_token_of_turns(template, tokenizer)
        self._secret = randbits(64)
        self._roots: dict[str, int] = {}
        self.timeless = template is None or template.timeless  # a body's prompt is always the same
        self._sources: dict[str, Callable[[Body], _Source]] = {
            "chat": self._chat,
            "completions": self._completion,
            "responses": self._responses,
            "messages": self._messages,
            "tokenize": self._tokenize,
        }

    def read(self, endpoint: str, body: bytes, lora: str = "") -> Prompt:
        """The first prompt of a request. *endpoint* as in the records of the plane: chat, completions,
        responses, messages, tokenize. *lora* is the adapter's name. Raises `Unsupported`."""
        source, given = self._source_of(endpoint), Body(body, self._secret)
        if self.without:
            given.refuse_features(self.without)
        return self._encoded(source(given), self._root(lora, given.salt()))

    def ids(self, endpoint: str, body: bytes) -> Ids:
        """The token ids of the same prompt, made in one go and not remembered."""
        prompt, special = self._source_of(endpoint)(Body(body))
        return self._tokenizer.ids(prompt, add_special_tokens=special) if isinstance(prompt, str) else prompt

    # ---- what there is to encode, per endpoint ----------------------------------------------------------

    def _source_of(self, endpoint: str) -> Callable[[Body], _Source]:
        found = self._sources.get(endpoint)
        if found is None:
            raise Unsupported("Endpoint", f"{endpoint} has no prompt that is read here")
        return found

    def _chat(self, body: Body) -> _Source:
        text = self._rendered(body.messages(self._parsed), body.options(self._parsed))
        return _Source(text, body.flag(b"add_special_tokens", default=False))

    def _completion(self, body: Body) -> _Source:
        return _Source(completion_prompt(body), body.flag(b"add_special_tokens", default=True))

    def _responses(self, body: Body) -> _Source:
        # The worker adds special tokens here, to the template's own.
        return _Source(self._rendered(*chat_of_responses(body)), special=True)

    def _messages(self, body: Body) -> _Source:
        return _Source(self._rendered(*chat_of_messages(body, self._parsed)))

    def _tokenize(self, body: Body) -> _Source:
        return self._chat(body) if body.has(b"messages") else self._completion(body)

    def _rendered(self, messages: Sequence[Any], options: ChatOptions) -> str:
        if self._template is None:
            raise Unsupported("NoTemplate", "the model has no chat template")
        return self._template.render(messages, options)

    def _root(self, lora: str, salt: str) -> int:
        """The state before the first block. A model has few adapters, and salts are many."""
        if salt or (found := self._roots.get(lora)) is None:
            found = self._chain.root(Scope(self._model, lora, salt, self._block_size))
            if not salt:
                self._roots[lora] = found
        return found

    # ---- encoding ----------------------------------------------------------------------------------------

    def _encoded(self, source: _Source, root: int) -> Prompt:
        """A whole prompt. What was encoded before is taken from the memo."""
        prompt, special = source
        if not isinstance(prompt, str):
            return self._named(root, prompt)
        first = self._tokenizer.first_ids if special else NO_IDS
        if first is None or self._mark is None or len(prompt) <= _TURN_CHARACTERS:
            return self._named(root, self._tokenizer.ids(prompt, add_special_tokens=special))
        ends, keys = spans.cuts(prompt, self._mark, _TURN_CHARACTERS, root ^ self._secret ^ len(first))
        if not keys:
            return self._named(root, self._tokenizer.ids(prompt, add_special_tokens=special))
        count, node = self.memo.deepest(keys)
        starts = [ends[count - 1] if count else 0, *ends[count:], len(prompt)]
        parts = self._tokenizer.pieces([prompt[a:b] for a, b in pairwise(starts)])
        node = self._grown(node or Node.start(root, first), keys[count:], parts)
        self.memo.touch(node)
        return node.prompt()

    def _named(self, root: int, ids: Ids) -> Prompt:
        return Prompt(len(ids), self._chain(root, ids, self._block_size))

    def _grown(self, node: Node, keys: Sequence[int], parts: Sequence[Ids]) -> Node:
        """The node of *node*'s tokens and all *parts*. Between parts stand nodes with *keys*, memoised."""
        size, state = self._block_size, node.state
        ids = np.concatenate((node.tail, *parts)) if len(node.tail) or len(parts) > 1 else parts[0]
        names = self._chain(state, ids, size)
        before, end, done = node.tokens - len(node.tail), len(node.tail), 0
        for key, part in zip((*keys, 0), parts, strict=True):
            end += len(part)
            blocks = end // size
            if blocks:
                state = int(names[blocks - 1])
            made, tail = names[done:blocks].tobytes(), ids[blocks * size : end]
            node = Node(key, node, state, made, tail, before + end)
            done = blocks
            if key:
                self.memo.put(node)
        return node


def _first_token_of_turns(template: ChatTemplate | None, tokenizer: Tokenizer) -> str | None:
    """The added token that a rendered conversation is best cut before, if there is one that splits texts.

    Any of the tokenizer's cutters would give the same ids; the best stands at the beginning of each turn."""
    if template is None:
        return None
    turns = [{"role": role, "content": "1"} for role in ("user", "assistant", "user")]
    try:
        text = template.render(turns, ChatOptions())
    except Unsupported:
        return None
    seen = [token for token in tokenizer.cutters if token in text]
    return max(seen, key=lambda token: (text.count(token), -text.index(token)), default=None)
