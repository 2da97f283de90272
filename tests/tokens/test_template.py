"""Options reach the template in the worker's order, and what the worker would refuse is refused."""

import json
from datetime import UTC, datetime

import pytest

from grove_dp.tokens.messages import ToolList
from grove_dp.tokens.template import ChatOptions, ChatTemplate
from grove_dp.tokens.unsupported import Unsupported

USER = {"role": "user", "content": "Hi"}
SHOW = (
    "{{ tools }}|{{ documents }}|{{ a }}|{{ b }}|{{ enable_thinking }}|{{ reasoning_effort }}|{{ bos_token }}"
)
TOOL = {"type": "function", "function": {"name": "f"}}
TURNS = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)


def render(source, messages=(USER,), **options):
    kept = {
        name: options.pop(name)
        for name in ("defaults", "special_tokens", "with_tools", "form")
        if name in options
    }
    kept |= {"drop_tools_when_none": options.pop("drop", False)}
    return ChatTemplate(source, **kept).render(messages, ChatOptions(**options))


def test_what_is_asked_goes_before_what_the_worker_has_by_default():
    told = render(
        SHOW,
        defaults={"a": 1, "b": 2},
        special_tokens={"bos_token": "<s>"},
        chat_template_kwargs={"b": 3},
        reasoning_effort="low",
    )
    assert told == "None|None|1|3|True|low|<s>"


def test_no_effort_means_no_thinking_unless_thinking_is_asked_for():
    assert "|False|none|" in render(SHOW, reasoning_effort="none")
    asked = {"enable_thinking": True}
    assert "|True|none|" in render(SHOW, reasoning_effort="none", chat_template_kwargs=asked)


def test_tools_have_a_template_of_their_own_where_the_model_has_one():
    assert render("plain", with_tools="tools", tools=[TOOL]) == "tools"
    assert render("plain", with_tools="tools") == "plain"
    assert render("plain", with_tools="tools", tools=[TOOL], tool_choice="none", drop=True) == "plain"
    assert render("plain", with_tools="tools", tools=[TOOL], tool_choice="none") == "tools"


def test_a_tool_has_the_fields_of_the_worker_in_its_order():
    tool = {"function": {"strict": True, "parameters": {}, "x": 1, "name": "f"}, "defer_loading": False}
    told = render("{{ tools[0] | tojson }}", tools=[tool])
    assert told == (
        '{"type": "function", "function": {"name": "f", "description": null, "parameters": {}, '
        '"strict": true, "defer_loading": false}, "defer_loading": false}'
    )


@pytest.mark.parametrize(
    ("content", "source", "told"),
    [
        ("So it", TURNS, "<user>Hi</><assistant>So it"),
        ("So it \n", TURNS.replace("m.content", "m.content | trim"), "<user>Hi</><assistant>So it"),
        ("So it \n", TURNS, "<user>Hi</><assistant>So it \n"),
        (
            [{"type": "text", "text": "So"}, {"type": "text", "text": "it"}],
            TURNS,
            "<user>Hi</><assistant>So\nit",
        ),
    ],
)
def test_a_final_message_is_continued_where_its_text_ends(content, source, told):
    messages = [USER, {"role": "assistant", "content": content}]
    options = {"continue_final_message": True, "add_generation_prompt": False}
    assert render(source, messages, **options) == told
    assert messages[1]["content"] == content


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"messages": []}, "MessageShape"),
        ({"messages": [{"content": "x"}]}, "MessageShape"),
        ({"messages": [{"role": "user", "content": 3}]}, "MessageShape"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 3}]}]}, "MessageShape"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "Multimodal"),
        ({"messages": [{"role": "assistant", "tool_calls": {}}]}, "MessageShape"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]}, "MessageShape"),
        ({"tools": {}}, "ToolShape"),
        ({"tools": [{"type": "web_search"}]}, "ToolShape"),
        ({"tools": [{"function": {}}]}, "ToolShape"),
        ({"chat_template_kwargs": {"messages": []}}, "OptionShape"),
        ({"continue_final_message": True}, "OptionShape"),
        (
            {
                "messages": [{"role": "assistant", "content": None}],
                "continue_final_message": True,
                "add_generation_prompt": False,
                "form": "openai",
            },
            "OptionShape",
        ),
        ({"source": "{{ raise_exception('no') }}"}, "TemplateRefused"),
        ({"source": "{{ messages.clear() }}"}, "TemplateRefused"),
        ({"source": "{{ 1 / 0 }}"}, "TemplateRefused"),
        ({"source": "{% if %}"}, "TemplateSyntax"),
        (
            {"source": "mute{# content #}", "continue_final_message": True, "add_generation_prompt": False},
            "TemplateRefused",
        ),
    ],
)
def test_what_the_worker_would_refuse_is_refused_with_a_word(options, why):
    with pytest.raises(Unsupported) as caught:
        render(options.pop("source", TURNS), options.pop("messages", [USER]), **options)
    assert caught.value.why == why


def test_a_template_that_knows_no_developer_gets_system_messages_joined_in_front():
    developer = {"role": "developer", "content": "B", "tools": [1]}
    messages = [USER, {"role": "system", "content": "A"}, developer, USER]
    assert render(TURNS, messages) == "<system>A\n\nB</><user>Hi</><user>Hi</><a>"
    knows = TURNS + "{% if 'developer' == x %}{% endif %}"
    assert render(knows, messages).startswith("<user>Hi</><system>A</><developer>B</>")


def test_content_comes_as_the_template_takes_it():
    parts = [
        {"type": "text", "text": "a"},
        "b",
        {"type": "refusal", "refusal": "c"},
        {"type": "text", "text": None},
    ]
    message = {"role": "user", "content": parts}
    assert render("{{ messages[0].content }}", [message]) == "a\nb\nc"
    told = render(
        "{% for p in messages[0].content %}{{ p.type }}:{{ p.text }};{% endfor %}", [message], form="openai"
    )
    assert told == "text:a;text:b;text:c;"


def test_whether_the_time_matters_is_known():
    now = datetime(2026, 11, 21, tzinfo=UTC)
    assert ChatTemplate("{{ messages }}").timeless
    dated = ChatTemplate("{{ strftime_now('%Y') }}", now=lambda: now)
    assert not dated.timeless
    assert dated.render([USER], ChatOptions()) == "2026"


def test_tools_that_come_again_are_written_once(monkeypatch):
    written = []
    dumps = json.dumps
    monkeypatch.setattr(json, "dumps", lambda *a, **k: written.append(1) or dumps(*a, **k))
    template = ChatTemplate("{% for t in tools %}{{ t | tojson }}{{ t | tojson(indent=2) }}{% endfor %}")
    tools = ToolList([TOOL, {"type": "function", "function": {"name": "g"}}])
    first, again, other = (
        template.render([USER], ChatOptions(tools=list_)) for list_ in (tools, tools, tools[:1])
    )
    assert first == again
    assert first.startswith(other)
    assert len(written) == 4 + 2
