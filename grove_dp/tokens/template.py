"""A conversation as the text that the worker will tokenize.

`ChatTemplate` is one model's template with the special tokens that it may name; `render` is vLLM's way from a
request's messages and options to a prompt: shape the messages (messages.py), put the options together in
vLLM's order of precedence, run the template, and cut for `continue_final_message`.

Options, later ones win: the worker's own defaults, tools, the request's `chat_template_kwargs`, then the
fields of the request itself that are set (`add_generation_prompt`, `continue_final_message`, `documents`,
`reasoning_effort`, and `enable_thinking` that follows from it).

A template is a program of its own and may fail in any way on a conversation that it was not written for. Then
the worker refuses the request, and here it is `Unsupported`.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from typing import Any

import msgspec
from jinja2 import TemplateSyntaxError

from grove_dp.tokens.content import ContentFormat, content_format
from grove_dp.tokens.environment import template_environment
from grove_dp.tokens.messages import conversation, developer_as_system, tool_dicts
from grove_dp.tokens.unsupported import Unsupported

__all__ = ["ChatOptions", "ChatTemplate"]

# What apply_chat_template takes for itself: as a template variable each would be an error or a surprise.
_RESERVED = frozenset(
    "chat_template conversation conversations max_length messages padding return_assistant_tokens_mask "
    "return_dict return_tensors tokenize tokenizer_kwargs truncation".split()
)
_TAG = "CONTINUE_FINAL_MESSAGE_TAG "


class ChatOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What else than messages a request can say about its prompt."""

    tools: Any = None
    tool_choice: Any = None
    documents: Any = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False


class ChatTemplate:
    """One model's chat template, compiled."""

    def __init__(
        self,
        source: str,
        *,
        special_tokens: Mapping[str, str] | None = None,
        with_tools: str | None = None,
        form: ContentFormat | None = None,
        defaults: Mapping[str, Any] | None = None,
        drop_tools_when_none: bool = False,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        """*with_tools* is the template of requests with tools, where a model has one. *form*, *defaults* and
        *drop_tools_when_none* are what the worker was started with (--chat-template-content-format,
        --default-chat-template-kwargs, --exclude-tools-when-tool-choice-none)."""
        environment = template_environment(now)
        sources = (source, with_tools if with_tools is not None else source)
        try:
            self._compiled = [environment.from_string(text) for text in sources]
        except TemplateSyntaxError as error:
            raise Unsupported("TemplateSyntax", f"line {error.lineno}: {error.message}") from error
        for compiled in self._compiled:  # jinja would flatten its chain of maps at every rendering, 20 us
            compiled.globals = dict(compiled.globals)
        self._sources = sources
        self._forms = [form or content_format(text, environment) for text in sources]
        self._special = dict(special_tokens or {})
        self._defaults = dict(defaults or {})
        self._drop_tools = drop_tools_when_none
        self._knows_developer = [_names(text, "developer") for text in sources]
        self.timeless = not any("strftime_now" in text for text in sources)

    def render(self, messages: Sequence[Any], options: ChatOptions) -> str:
        """The prompt. Raises `Unsupported` for what the worker would refuse or only the worker can do."""
        if not messages:
            raise Unsupported("MessageShape", "no messages")
        variables = self._variables(options)
        tools = variables["tools"]
        which = int(tools is not None)
        shaped = conversation(messages, self._forms[which])
        if not self._knows_developer[which] and any(m["role"] == "developer" for m in shaped):
            shaped = developer_as_system(shaped)
        if not variables.pop("continue_final_message", False):
            return self._run(which, shaped, variables)
        if variables["add_generation_prompt"]:
            raise Unsupported("OptionShape", "continue_final_message and add_generation_prompt")
        return self._continued(which, deepcopy(shaped), variables)

    def _variables(self, options: ChatOptions) -> dict[str, Any]:
        """Everything that the template is given besides the messages."""
        asked = options.chat_template_kwargs or {}
        if not _RESERVED.isdisjoint(asked):
            raise Unsupported("OptionShape", "chat_template_kwargs name what is not the template's")
        fields: dict[str, Any] = {
            "add_generation_prompt": options.add_generation_prompt,
            "continue_final_message": options.continue_final_message,
            "documents": options.documents,
            "reasoning_effort": options.reasoning_effort,
        }
        if options.reasoning_effort is not None and "enable_thinking" not in asked:
            fields["enable_thinking"] = options.reasoning_effort != "none"
        tools = tool_dicts(options.tools)
        if self._drop_tools and options.tool_choice == "none":
            tools = None
        base: dict[str, Any] = {"tools": None, "documents": None, **self._special, **self._defaults}
        given = {name: value for name, value in fields.items() if value is not None and value != "auto"}
        return base | ({} if tools is None else {"tools": tools}) | asked | given

    def _run(self, which: int, messages: list[dict[str, Any]], variables: dict[str, Any]) -> str:
        try:
            return self._compiled[which].render(messages=messages, **variables)
        except Exception as error:
            raise Unsupported("TemplateRefused", str(error)) from error

    def _continued(self, which: int, messages: list[dict[str, Any]], variables: dict[str, Any]) -> str:
        """The prompt up to the end of the last message's text: a tag is put behind the text, and the rendered
        prompt is cut there."""
        last = messages[-1]
        final = last.get("content")
        if isinstance(final, list):
            block = next((part for part in reversed(final) if "text" in part), None)
            if block is None:
                raise Unsupported("OptionShape", "no text to continue")
            final = block["text"]
            block["text"] += _TAG
        elif isinstance(final, str) and "content" in self._sources[which]:
            last["content"] = final + _TAG
        else:
            raise Unsupported("OptionShape", "no text to continue")
        text = self._run(which, messages, variables)
        if final.strip() not in text or _TAG.strip() not in text:
            raise Unsupported("TemplateRefused", "the template does not show the last message")
        at = text.rindex(_TAG.strip())
        whole = text[at : at + len(_TAG)] == _TAG  # else the template trims the message, so the cut must too
        return text[:at] if whole else text[:at].rstrip()


def _names(source: str, word: str) -> bool:
    return f'"{word}"' in source or f"'{word}'" in source
