"""What is refused of /v1/responses and /v1/messages; what is read of them was recorded (test_recorded.py)."""

import json

import pytest

from grove_dp.tokens.unsupported import Unsupported

USER = {"role": "user", "content": "Hi"}


def item(**fields):
    return {"input": [USER, {"type": "message", "role": "assistant", "content": "a"} | fields]}


def blocks(role, *given):
    return {"max_tokens": 1, "messages": [USER, {"role": role, "content": list(given)}]}


@pytest.mark.parametrize(
    ("endpoint", "body", "why"),
    [
        ("responses", {}, "BodyShape"),
        ("responses", {"input": []}, "MessageShape"),
        ("responses", {"input": "a", "previous_response_id": "resp_1"}, "Field"),
        ("responses", {"input": "a", "prompt": {"id": "p"}}, "Field"),
        ("responses", {"input": "a", "tools": [{"type": "function", "name": "f"}]}, "Field"),
        ("responses", {"input": "a", "truncation": "auto"}, "Field"),
        ("responses", item(type="reasoning"), "Field"),
        ("responses", item(status="incomplete"), "Field"),
        ("responses", item(content=[{"type": "refusal", "refusal": "no"}]), "MessageShape"),
        ("responses", item(content=[{"text": "a"}, {"text": "b"}]), "MessageShape"),
        ("responses", item(role="user", content=[{"type": "input_image", "image_url": "x"}]), "Multimodal"),
        ("responses", {"input": [{"type": "function_call_output", "output": "a"}]}, "BodyShape"),
        ("messages", {"messages": []}, "MessageShape"),
        ("messages", {"messages": [USER, {"role": "system", "content": "a"}]}, "MessageShape"),
        ("messages", {"messages": [USER], "thinking": {"type": "disabled"}}, "Field"),
        ("messages", {"messages": [USER], "tools": [{"name": "f"}]}, "BodyShape"),
        ("messages", {"messages": [USER], "system": 3}, "BodyShape"),
        ("messages", blocks("user", {"type": "image", "source": {}}), "Multimodal"),
        ("messages", blocks("assistant", {"type": "tool_result", "content": "a"}), "Multimodal"),
        ("messages", blocks("assistant", {"type": "tool_use", "name": "f", "input": {}}), "MessageShape"),
        (
            "messages",
            blocks("user", {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "image"}]}),
            "Multimodal",
        ),
    ],
)
def test_what_only_the_worker_can_make_is_refused(reader_of, endpoint, body, why):
    with pytest.raises(Unsupported) as caught:
        reader_of().read(endpoint, json.dumps({"model": "m"} | body).encode())
    assert caught.value.why == why


def test_an_empty_list_of_tools_of_responses_is_none(reader_of):
    reader = reader_of()
    plain, empty = ({"input": "Hi"} | more for more in ({}, {"tools": [], "truncation": None}))
    assert reader.read("responses", json.dumps(plain).encode()).tokens == (
        reader.read("responses", json.dumps(empty).encode()).tokens
    )


def test_a_user_who_only_answers_tools_has_no_message_of_their_own(reader_of):
    reader = reader_of()
    result = {"type": "tool_result", "tool_use_id": "1", "content": "12"}
    alone = reader.ids("messages", json.dumps(blocks("user", result)).encode())
    spoken = reader.ids(
        "messages", json.dumps(blocks("user", result, {"type": "text", "text": "ok"})).encode()
    )
    assert len(spoken) > len(alone) + 2
