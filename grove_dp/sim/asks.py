"""What a request asks for: bodies of every endpoint become one value, `Ask`, or a `Refusal`.

Checks come in vLLM's order: media type, JSON, shape, model, template and tokens, then limits.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from grove_dp.sim.digests import Adapter, Scope
from grove_dp.sim.http import Request
from grove_dp.sim.refusals import Refusal, invalid, missing, semantic
from grove_dp.sim.scripts import script_of
from grove_dp.sim.sequences import CacheUse
from grove_dp.sim.tokenizer import ModelTokenizer, TemplateError
from grove_dp.tokens.template import ChatOptions

__all__ = ["Ask", "Reader", "body_of"]

_PLAIN = ChatOptions()
_TOKENIZE_OPTIONS = ("tools", "chat_template_kwargs", "add_generation_prompt", "continue_final_message")

Kind = Literal["chat", "completion", "responses", "messages"]


class Ask(msgspec.Struct):
    """One request, understood: `n` answers to each prompt."""

    kind: Kind
    model: str
    prompts: list[list[int]]
    texts: list[str]
    max_tokens: int
    given: dict[str, Any]
    n: int = 1
    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    seed: int | None = None
    cache: CacheUse = CacheUse()
    rank: int | None = None
    token_ids: bool = False
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    echo: bool = False
    request_id: str | None = None
    tool: str | None = None
    script: str | None = None
    answer_ids: list[int] | None = None  # vllm_xargs.sim_answer_ids: what the model would have said


def body_of(request: Request) -> dict[str, Any]:
    """The JSON object of a request."""
    media = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if not request.body:
        raise missing("body", None)
    if media != "application/json":
        raise Refusal(
            400,
            "Bad Request",
            "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed",
        )
    try:
        found = msgspec.json.decode(request.body)
    except msgspec.DecodeError:
        found = _slow_json(request.body)
    if not isinstance(found, dict):
        raise invalid(
            "model_attributes_type",
            "body",
            "Input should be a valid dictionary or object to extract fields from",
            found,
        )
    return found


def _slow_json(body: bytes) -> Any:
    """Python's own decoder: it takes what the fast one refuses (NaN), and words its errors as vLLM does."""
    try:
        return json.loads(body)
    except UnicodeDecodeError:
        raise Refusal(400, "Bad Request", "There was an error parsing the body") from None
    except json.JSONDecodeError as error:
        where = f"body.{error.pos}"
        raise invalid("json_invalid", where, "JSON decode error", {}, error=error.msg) from None


class Reader:
    """Reads bodies for one served model."""

    def __init__(
        self,
        tokenizer: ModelTokenizer,
        served: tuple[str, ...],
        max_model_len: int,
        *,
        auto_tools: bool = False,
        adapters: tuple[Adapter, ...] = (),
        ranks: int = 1,
    ) -> None:
        self._tokenizer = tokenizer
        self._served = served
        self._max_len = max_model_len
        self._auto_tools = auto_tools
        self._adapters = {adapter.name: adapter for adapter in adapters}
        self._ranks = ranks

    def chat(self, given: dict[str, Any], headers: Mapping[str, str]) -> Ask:
        messages = _messages_in(given)
        model, common = self._model(given), self._common(given, headers)
        tool, script = script_of(given, auto=self._auto_tools)
        ids = self._chat_tokens(messages, _options(given))
        limit = _first(given, "max_completion_tokens", "max_tokens")
        logprobs = int(given.get("top_logprobs") or 0) if given.get("logprobs") else None
        return Ask(
            "chat",
            model,
            [ids],
            [""],
            self._allowed(ids, limit, None),
            given,
            logprobs=logprobs,
            prompt_logprobs=given.get("prompt_logprobs"),
            tool=tool,
            script=script,
            **common,
        )

    def chat_batch(self, given: dict[str, Any], headers: Mapping[str, str]) -> Ask:
        """Several conversations, one choice each."""
        conversations = _messages_in(given)
        model, common = self._model(given), self._common(given, headers)
        prompts = [
            self._chat_tokens(messages, _options({**given, "tools": None})) for messages in conversations
        ]
        limit = _first(given, "max_completion_tokens", "max_tokens")
        allowed = min(self._allowed(ids, limit, None) for ids in prompts)
        return Ask("chat", model, prompts, [""] * len(prompts), allowed, given, **common)

    def completion(self, given: dict[str, Any], headers: Mapping[str, str]) -> Ask:
        model, common = self._model(given), self._common(given, headers)
        prompts, texts = self._prompts_in(given.get("prompt"))
        limit = given.get("max_tokens", 16)
        allowed = min(self._allowed(ids, limit, 16) for ids in prompts)
        return Ask(
            "completion",
            model,
            prompts,
            texts,
            allowed,
            given,
            logprobs=given.get("logprobs"),
            echo=bool(given.get("echo")),
            **common,
        )

    def responses(self, given: dict[str, Any], headers: Mapping[str, str]) -> Ask:
        if "input" not in given:
            raise missing("body.input", given)
        model, common = self._model(given), self._common(given, headers)
        asked = given["input"]
        turns = [{"role": "user", "content": asked}] if isinstance(asked, str) else [_turn(t) for t in asked]
        if given.get("instructions"):
            turns.insert(0, {"role": "system", "content": given["instructions"]})
        ids = self._chat_tokens(turns)
        allowed = self._allowed(ids, given.get("max_output_tokens"), None)
        return Ask("responses", model, [ids], [""], allowed, given, **common)

    def messages(self, given: dict[str, Any], headers: Mapping[str, str]) -> Ask:
        ids = self.message_tokens(given)
        if "max_tokens" not in given:
            raise missing("body.max_tokens", given)
        model, common = self._model(given), self._common(given, headers)
        stop = tuple(given.get("stop_sequences") or ())
        common["stop"] = stop
        return Ask(
            "messages", model, [ids], [""], self._allowed(ids, given["max_tokens"], None), given, **common
        )

    def message_tokens(self, given: dict[str, Any]) -> list[int]:
        """Tokens of a `/v1/messages` conversation."""
        turns = [_turn(turn) for turn in _messages_in(given)]
        system = given.get("system")
        if system:
            turns.insert(0, _turn({"role": "system", "content": system}))
        return self._chat_tokens(turns)

    def tokenize(self, given: dict[str, Any]) -> list[int]:
        """Tokens for `/tokenize`: of a prompt or of a conversation."""
        self._model(given)
        if "messages" in given:
            known = {name: given[name] for name in _TOKENIZE_OPTIONS if name in given}
            return self._chat_tokens(_messages_in(given), _options(known))
        if "prompt" not in given:
            raise missing("body.prompt", given)
        return self._tokenizer.encode(
            str(given["prompt"]), special=bool(given.get("add_special_tokens", True))
        )

    def _model(self, given: Mapping[str, Any]) -> str:
        model = given.get("model") or self._served[0]
        if not isinstance(model, str):
            raise invalid("string_type", "body.model", "Input should be a valid string", model)
        if model not in self._served and model not in self._adapters:
            aliases = ", ".join(self._served)
            raise Refusal(
                404,
                "NotFoundError",
                f"The model `{model}` does not exist. Valid aliases: {aliases}.",
                "model",
            )
        return model

    def _common(self, given: dict[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        """Fields that every generating endpoint knows."""
        stream, options = bool(given.get("stream")), given.get("stream_options")
        if options is not None and not stream:
            raise semantic("Stream options can only be defined when `stream=True`.", "stream_options")
        salt = given.get("cache_salt")
        if salt is not None and (not isinstance(salt, str) or not salt):
            raise semantic("Parameter 'cache_salt' must be a non-empty string if provided.", "cache_salt")
        temperature = given.get("temperature")
        if isinstance(temperature, int | float) and temperature < 0:
            raise semantic(
                f"temperature must be non-negative, got {float(temperature)}.",
                "temperature",
                float(temperature),
            )
        n = given.get("n") or 1
        if not isinstance(n, int) or n < 1:
            raise semantic(f"n must be at least 1, got {n}.", "n", n)
        rank = self._rank_in(headers.get("x-data-parallel-rank"))
        xargs = given.get("vllm_xargs") or {}
        session = given.get("session_id") or headers.get("x-session-id") or xargs.get("session_id")
        cache = CacheUse(
            Scope(salt or "", self._adapters.get(str(given.get("model")))),
            session_id=session if isinstance(session, str) else None,
            report_hits=xargs.get("kv_cache_report_mode") == "full",
            read=given.get("prompt_logprobs") is None,
        )
        stop = given.get("stop") or ()
        options = options or {}
        return {
            "n": n,
            "stream": stream,
            "include_usage": bool(options.get("include_usage")),
            "continuous_usage": bool(options.get("include_usage") and options.get("continuous_usage_stats")),
            "stop": (stop,) if isinstance(stop, str) else tuple(stop),
            "ignore_eos": bool(given.get("ignore_eos")),
            "seed": given.get("seed"),
            "cache": cache,
            "rank": rank,
            "answer_ids": xargs.get("sim_answer_ids"),
            "token_ids": bool(given.get("return_token_ids")),
            "request_id": headers.get("x-request-id") or given.get("request_id"),
        }

    def _rank_in(self, header: str | None) -> int | None:
        """The rank that a request must go to; vLLM ignores what is no number."""
        if header is None or not header.removeprefix("-").isdigit():
            return None
        if not 0 <= int(header) < self._ranks:
            raise semantic(f"data_parallel_rank {int(header)} is out of range [0, {self._ranks}).")
        return int(header)

    def _chat_tokens(self, messages: list[Any], options: ChatOptions = _PLAIN) -> list[int]:
        if not messages:
            raise Refusal(
                400,
                "BadRequestError",
                "Cannot apply chat template to an empty conversation. Provide at least one message.",
            )
        for message in messages:
            self._check_parts(message)
        try:
            return self._tokenizer.chat(messages, options)
        except TemplateError as error:
            raise semantic(str(error)) from None

    def _check_parts(self, message: Any) -> None:
        if not isinstance(message, dict):
            raise invalid("dict_type", "body.messages.0", "Input should be a valid dictionary", message)
        content = message.get("content")
        if isinstance(content, list) and any(
            isinstance(part, dict) and part.get("type", "text").endswith(("_url", "_audio", "image", "video"))
            for part in content
        ):
            raise semantic(f"{self._served[0]} is not a multimodal model")

    def _prompts_in(self, prompt: Any) -> tuple[list[list[int]], list[str]]:
        if prompt is None or prompt in ("", []):
            raise semantic("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
        many = isinstance(prompt, list) and not isinstance(prompt[0], int)
        prompts: list[list[int]] = []
        texts: list[str] = []
        for one in prompt if many else [prompt]:
            if isinstance(one, str):
                prompts.append(self._tokenizer.encode(one))
                texts.append(one)
            else:
                prompts.append(self._known_ids(one))
                texts.append("")
        return prompts, texts

    def _known_ids(self, ids: Any) -> list[int]:
        if not isinstance(ids, list) or not all(isinstance(n, int) for n in ids):
            raise invalid("list_type", "body.prompt", "Input should be a valid list", ids)
        worst = max(ids)
        if worst >= self._tokenizer.size or min(ids) < 0:
            raise semantic(f"Token id {worst} is out of vocabulary")
        return ids

    def _allowed(self, ids: list[int], wanted: Any, default: int | None) -> int:
        """How many tokens may be generated after this prompt."""
        room = self._max_len - len(ids)
        if room <= 0:
            raise _too_long(self._max_len)
        if wanted is None:
            return room if default is None else min(default, room)
        if not isinstance(wanted, int):
            raise invalid("int_type", "body.max_tokens", "Input should be a valid integer", wanted)
        if wanted < 1:
            raise semantic(f"max_tokens must be at least 1, got {wanted}.", "max_tokens", wanted)
        if wanted > self._max_len:
            raise semantic(
                f"max_tokens={wanted} cannot be greater than max_model_len={self._max_len}. "
                "Please request fewer output tokens.",
                "max_tokens",
                wanted,
            )
        if wanted > room:
            raise _no_room(self._max_len, wanted)
        return wanted


def _options(given: Mapping[str, Any]) -> ChatOptions:
    """What of a request, besides its messages, makes its prompt."""
    names = ("tools", "tool_choice", "documents", "reasoning_effort", "chat_template_kwargs")
    return ChatOptions(
        **{name: given.get(name) for name in names},
        add_generation_prompt=bool(given.get("add_generation_prompt", True)),
        continue_final_message=bool(given.get("continue_final_message")),
    )


def _first(given: Mapping[str, Any], *names: str) -> Any:
    return next((given[name] for name in names if given.get(name) is not None), None)


def _messages_in(given: dict[str, Any]) -> list[Any]:
    if "messages" not in given:
        raise missing("body.messages", given)
    messages = given["messages"]
    if not isinstance(messages, list):
        raise invalid("list_type", "body.messages", "Input should be a valid list", messages)
    return messages


def _turn(turn: Any) -> dict[str, Any]:
    """A turn of the responses or messages dialect as a chat message."""
    if not isinstance(turn, dict):
        raise invalid("dict_type", "body.messages.0", "Input should be a valid dictionary", turn)
    content = turn.get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return {"role": turn.get("role", "user"), "content": content}


def _too_long(limit: int) -> Refusal:
    return semantic(
        f"This model's maximum context length is {limit} tokens. However, your prompt contains at least "
        f"{limit + 1} input tokens, which exceeds this limit even without any output tokens. "
        "Please reduce the length of the input prompt.",
        "input_tokens",
        limit + 1,
    )


def _no_room(limit: int, wanted: int) -> Refusal:
    least = limit - wanted + 1
    return semantic(
        f"This model's maximum context length is {limit} tokens. However, you requested {wanted} output "
        f"tokens and your prompt contains at least {least} input tokens, for a total of at least "
        f"{limit + 1} tokens. Please reduce the length of the input prompt or the number of requested "
        "output tokens.",
        "input_tokens",
        least,
    )
