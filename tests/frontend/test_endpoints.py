"""What the data port offers: routes, models, the shape of errors, headers both ways."""

import re
from typing import TYPE_CHECKING

import pytest

from grove_dp.testing.http import json_answer, post, sse_answer
from grove_dp.testing.vllm import CHAT, COMPLETIONS, chat, chat_stream, completion

if TYPE_CHECKING:
    from conftest import Rig

    from grove_dp.testing.frontend import Frontend
    from grove_dp.testing.http import Answer


def _get(target: str, method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: frontend\r\n\r\n".encode()


async def _got(frontend: "Frontend", target: str, method: str = "GET") -> "Answer":
    return await frontend.ask(_get(target, method), method=method)


# ---------------------------------------------------------------- routing by model


@pytest.mark.parametrize(
    "target",
    [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/embeddings",
        "/v1/score",
        "/v1/rerank",
        "/v1/something/new",
        "/tokenize",
        "/detokenize",
        "/inference/v1/generate",
    ],
)
async def test_the_model_chooses_the_worker(rig: "Rig", target: str) -> None:
    one, two = await rig.worker("model-one"), await rig.worker("model-two")
    frontend = await rig.serve(one, two)
    for model in ("model-one", "model-two", "model-two"):
        assert (await frontend.ask(post(target, completion(model)))).status == 200
    assert [len(one.calls), len(two.calls)] == [1, 2]
    assert one.calls[0].request.target == target
    assert one.calls[0].request.body == completion("model-one")


async def test_without_a_model_the_only_one_is_meant(rig: "Rig") -> None:
    one = await rig.worker("model-one")
    frontend = await rig.serve(one)
    assert (await frontend.ask(post(COMPLETIONS, completion(None)))).status == 200


async def test_without_a_model_among_two_it_is_400(rig: "Rig") -> None:
    one, two = await rig.worker("model-one"), await rig.worker("model-two")
    frontend = await rig.serve(one, two)
    answer = await frontend.ask(post(COMPLETIONS, completion(None)))
    assert answer.status == 400
    assert answer.error()["message"]
    assert not one.calls + two.calls


async def test_an_unknown_model_is_404_in_openais_shape(rig: "Rig") -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker)
    answer = await frontend.ask(
        post(CHAT, chat('no "such" \\ model\n'))
    )  # must not break the JSON of the answer
    assert answer.status == 404
    assert answer.header("content-type") == "application/json"
    error = answer.error()
    assert {"message", "type", "param", "code"} <= set(error)
    assert not worker.calls


@pytest.mark.parametrize("quoted", ["model-one", '"model-one"'])
async def test_a_form_is_routed_by_its_field(rig: "Rig", quoted: str) -> None:
    one, two = await rig.worker("model-one"), await rig.worker("model-two")
    frontend = await rig.serve(one, two)
    wav = bytes(range(256)) * 40 + b"\r\n--not-the-mark\r\nmodel-two"
    body = b"\r\n".join(
        [
            b"--MARK",
            b'Content-Disposition: form-data; name="file"; filename="model.wav"',
            b"Content-Type: audio/wav",
            b"",
            wav,
            b"--MARK",
            b'Content-Disposition: form-data; name="model"',
            b"",
            b"model-one",
            b"--MARK--",
            b"",
        ]
    )
    mark = '"MARK"' if quoted.startswith('"') else "MARK"
    lines = ["POST /v1/audio/transcriptions HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    lines += [f"Content-Type: multipart/form-data; boundary={mark}"]
    answer = await frontend.ask("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    assert answer.status == 200
    assert [call.request.body for call in one.calls] == [body]
    assert not two.calls


# ---------------------------------------------------------------- what the frontend answers itself


async def test_models_are_merged_over_workers(rig: "Rig") -> None:
    workers = [
        await rig.worker("base", "adapter"),
        await rig.worker("base"),
        await rig.worker("other"),
    ]
    frontend = await rig.serve(*workers)
    answer = await _got(frontend, "/v1/models")
    models = [model["id"] for model in answer.json()["data"]]  # type: ignore[index, attr-defined]
    assert sorted(models) == ["adapter", "base", "other"]
    one = await _got(frontend, "/v1/models/adapter")
    assert (one.status, one.json()["id"]) == (200, "adapter")
    assert (await _got(frontend, "/v1/models/none")).status == 404


@pytest.mark.parametrize("target", ["/health", "/ping", "/version"])
async def test_health_and_version_are_the_frontends_own(rig: "Rig", target: str) -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker)
    assert (await _got(frontend, target)).status == 200
    assert not worker.calls


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/v2/chat",
        "/metrics",
        "/v1",
        "/sleep",
        "/collective_rpc",
        "/admin",
        "/workers",
        "/debug/exchanges",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_route_is_404_in_openais_shape(rig: "Rig", target: str, method: str) -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker)
    raw = post(target, completion()) if method == "POST" else _get(target)
    answer = await frontend.ask(raw, method=method)
    assert answer.status == 404
    assert {"message", "type", "code"} <= set(answer.error())
    assert not worker.calls


@pytest.mark.parametrize(
    "target",
    ["/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/inference/v1/abort_requests"],
)
async def test_routes_that_change_a_worker_are_404(rig: "Rig", target: str) -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker)
    assert (await frontend.ask(post(target, completion()))).status == 404
    assert not worker.calls


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("GET", CHAT, "POST"),
        ("DELETE", CHAT, "POST"),
        ("PUT", COMPLETIONS, "POST"),
        ("POST", "/v1/models", "GET"),
        ("POST", "/version", "GET"),
        ("GET", "/tokenize", "POST"),
    ],
)
async def test_a_wrong_method_is_405_and_names_the_right_one(
    rig: "Rig", method: str, target: str, allowed: str
) -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker)
    raw = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
    answer = await frontend.ask(raw, method=method)
    assert answer.status == 405
    assert allowed in (answer.header("allow") or "").split(", ")
    assert answer.error()["message"]
    assert not worker.calls


# ---------------------------------------------------------------- headers


async def test_hop_by_hop_headers_stay_on_their_hop(rig: "Rig") -> None:
    worker = await rig.worker(
        default=[
            json_answer(
                b"{}", "200 OK", "connection: keep-alive, x-inner", "keep-alive: timeout=5", "x-inner: 1",
                "x-outer: 2", "proxy-authenticate: Basic", "upgrade: h2c",
            )
        ]
    )  # fmt: skip
    frontend = await rig.serve(worker)
    answer = await frontend.ask(
        post(
            COMPLETIONS, completion(), "Connection: keep-alive, X-Secret", "X-Secret: 1", "Keep-Alive: max=9",
            "TE: trailers", "Trailer: X-Sum", "Upgrade: websocket", "Proxy-Authorization: Basic eA==",
            "Proxy-Connection: keep-alive", "X-Kept: yes", "Authorization: Bearer key",
        )
    )  # fmt: skip
    sent = worker.calls[0].request
    for name in (
        "x-secret",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "proxy-authorization",
        "proxy-connection",
    ):
        assert sent.values(name) == [], name
    assert (sent.header("x-kept"), sent.header("authorization")) == ("yes", "Bearer key")
    for name in ("keep-alive", "x-inner", "proxy-authenticate", "upgrade"):
        assert answer.header(name) is None, name
    assert answer.header("x-outer") == "2"


async def test_the_worker_is_told_who_asked(rig: "Rig") -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker)
    await frontend.ask(post(COMPLETIONS, completion()))
    await frontend.ask(
        post(COMPLETIONS, completion(), "X-Forwarded-For: 10.1.2.3", "X-Forwarded-Proto: https")
    )
    first, second = (call.request for call in worker.calls)
    assert first.values("x-forwarded-for") == ["127.0.0.1"]
    assert first.values("x-forwarded-proto") == ["http"]
    assert first.values("x-forwarded-host") == ["frontend"]
    assert ", ".join(second.values("x-forwarded-for")) == "10.1.2.3, 127.0.0.1"
    assert second.values("x-forwarded-proto") == ["https"]
    assert first.values("host") == [worker.id]


async def test_a_request_id_is_minted_passed_and_echoed(rig: "Rig") -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker)
    minted = await frontend.ask(post(COMPLETIONS, completion()))
    other = await frontend.ask(post(COMPLETIONS, completion()))
    given = await frontend.ask(post(COMPLETIONS, completion(), "X-Request-Id: mine-42"))
    assert minted.header("x-request-id") == worker.calls[0].request.header("x-request-id")
    assert minted.header("x-request-id") != other.header("x-request-id")
    assert given.header("x-request-id") == worker.calls[2].request.header("x-request-id") == "mine-42"


async def test_errors_and_streams_carry_a_request_id_too(rig: "Rig") -> None:
    worker = await rig.worker(default=[sse_answer(chat_stream())])
    frontend = await rig.serve(worker)
    for body in (chat(stream=True), chat("none"), b"{"):
        answer = await frontend.ask(post(CHAT, body, "X-Request-Id: mine-43"))
        assert answer.header("x-request-id") == "mine-43"


@pytest.mark.parametrize("wrong", ["a b", "x" * 5000, "ä", ""])
async def test_an_odd_request_id_does_no_harm(rig: "Rig", wrong: str) -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker)
    answer = await frontend.ask(post(COMPLETIONS, completion(), f"X-Request-Id: {wrong}"))
    assert answer.status in (200, 400)
    assert answer.header("x-request-id")
    assert len(worker.calls) == (answer.status == 200)


async def test_a_trace_is_continued_or_begun(rig: "Rig") -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    await frontend.ask(post(COMPLETIONS, completion(), f"traceparent: 00-{trace}-00f067aa0ba902b7-01"))
    await frontend.ask(post(COMPLETIONS, completion()))
    known, begun = (call.request.header("traceparent") or "" for call in worker.calls)
    assert known.split("-")[1] == trace
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", begun)


async def test_the_chosen_worker_is_told_only_when_wished(rig: "Rig") -> None:
    worker = await rig.worker()
    for wished in (False, True):
        frontend = await rig.serve(worker, routing={"expose_headers": wished})
        answer = await frontend.ask(post(COMPLETIONS, completion()))
        assert answer.header("x-grove-worker") == (worker.id if wished else None)


# ---------------------------------------------------------------- policies


async def test_round_robin_takes_turns(rig: "Rig") -> None:
    workers = [await rig.worker() for _ in range(3)]
    frontend = await rig.serve(*workers, routing={"policy": "round_robin"})
    for _ in range(12):
        await frontend.ask(post(COMPLETIONS, completion()))
    assert [len(worker.calls) for worker in workers] == [4, 4, 4]


async def test_random_uses_all(rig: "Rig") -> None:
    workers = [await rig.worker() for _ in range(3)]
    frontend = await rig.serve(*workers, routing={"policy": "random"})
    async with await frontend.client() as client:
        for _ in range(90):
            await client.send(post(COMPLETIONS, completion()))
            await client.answer()
    assert min(len(worker.calls) for worker in workers) > 10


async def test_least_load_avoids_the_busy_worker(rig: "Rig") -> None:
    from asyncio import Event

    go = Event()
    workers = [await rig.worker(default=[go, json_answer(b"{}")]) for _ in range(2)]
    frontend = await rig.serve(*workers, routing={"policy": "least_load"})
    clients = [await frontend.client() for _ in range(6)]
    for number, client in enumerate(clients):
        await client.send(post(COMPLETIONS, completion()))
        await frontend.exchanges_until(number + 1)
    rows = await frontend.workers()
    assert [rows[worker.id]["inflight"] for worker in workers] == [3, 3]
    go.set()
    for client in clients:
        assert (await client.answer()).status == 200
        client.close()


async def test_a_session_stays_on_its_worker(rig: "Rig") -> None:
    workers = [await rig.worker() for _ in range(4)]
    frontend = await rig.serve(*workers, routing={"policy": "session", "expose_headers": True})
    homes: dict[str, set[str | None]] = {}
    for _ in range(3):
        for number in range(16):
            name = f"session-{number}"
            answer = await frontend.ask(post(COMPLETIONS, completion(), f"X-Session-Id: {name}"))
            homes.setdefault(name, set()).add(answer.header("x-grove-worker"))
    assert {len(home) for home in homes.values()} == {1}
    assert len(set.union(*homes.values())) > 1
