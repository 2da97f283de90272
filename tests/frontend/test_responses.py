"""A response id of /v1/responses leads back to the worker that made it."""

import json
from typing import TYPE_CHECKING

from grove_dp.testing.http import json_answer, post, sse_answer

if TYPE_CHECKING:
    from conftest import Rig

RESPONSES = "/v1/responses"
ID = "resp_0123456789abcdef"
ASK = b'{"model":"tiny-llama","input":"hi"}'
MADE = json_answer(
    b'{"id":"%s","object":"response","usage":{"input_tokens":1,"output_tokens":1}}' % ID.encode()
)
CREATED = (
    b'event: response.created\ndata: {"response":{"id":"%s"},"type":"response.created"}\n\n' % ID.encode()
)
COMPLETED = b'event: response.completed\ndata: {"type":"response.completed"}\n\n'
ROUND_ROBIN = {"policy": "round_robin"}  # alone, it would give every other request to the other worker


def _get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: frontend\r\n\r\n".encode()


async def _follow_ups(rig: "Rig", made: bytes, ask: bytes) -> None:
    one, two = await rig.worker(default=[made]), await rig.worker(default=[made])
    frontend = await rig.serve(one, two, routing=ROUND_ROBIN)
    assert (await frontend.ask(post(RESPONSES, ask))).status == 200
    owner, other = (one, two) if one.calls else (two, one)
    follow_up = json.dumps({"model": "tiny-llama", "input": "and?", "previous_response_id": ID}).encode()
    for _ in range(3):
        assert (await frontend.ask(_get(f"{RESPONSES}/{ID}"), method="GET")).status == 200
        assert (await frontend.ask(post(f"{RESPONSES}/{ID}/cancel", b""))).status == 200
        assert (await frontend.ask(post(RESPONSES, follow_up))).status == 200
    assert [call.request.method for call in owner.calls] == ["POST", *["GET", "POST", "POST"] * 3]
    assert not other.calls


async def test_what_follows_an_answer_goes_to_its_worker(rig: "Rig") -> None:
    await _follow_ups(rig, MADE, ASK)


async def test_what_follows_a_stream_goes_to_its_worker(rig: "Rig") -> None:
    ask = ASK.replace(b"}", b',"stream":true}')
    await _follow_ups(rig, sse_answer([CREATED, COMPLETED]), ask)


async def test_an_unknown_id_goes_to_any_worker_which_then_says_so(rig: "Rig") -> None:
    missing = json_answer(b'{"error":{"message":"no such response"}}', "404 Not Found")
    worker = await rig.worker(default=[missing])
    frontend = await rig.serve(worker)
    answer = await frontend.ask(_get(f"{RESPONSES}/resp_unknown"), method="GET")
    assert answer.status == 404
    assert worker.calls[0].request.target == f"{RESPONSES}/resp_unknown"


async def test_among_two_models_a_known_id_is_enough_and_an_unknown_one_is_404(rig: "Rig") -> None:
    one, two = await rig.worker("model-one", default=[MADE]), await rig.worker("model-two", default=[MADE])
    frontend = await rig.serve(one, two)
    assert (await frontend.ask(post(RESPONSES, ASK.replace(b"tiny-llama", b"model-two")))).status == 200
    assert (await frontend.ask(_get(f"{RESPONSES}/{ID}"), method="GET")).status == 200
    assert [len(one.calls), len(two.calls)] == [0, 2]
    assert (await frontend.ask(_get(f"{RESPONSES}/resp_unknown"), method="GET")).status == 404


async def test_other_paths_below_are_none(rig: "Rig") -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker)
    for target in (f"{RESPONSES}/", f"{RESPONSES}/{ID}/other"):
        assert (await frontend.ask(post(target, ASK))).status in (404, 405), target
    assert (await frontend.ask(post(f"{RESPONSES}/{ID}", ASK))).status == 405
    assert not worker.calls
