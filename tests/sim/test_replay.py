"""Replays against simulated workers and scripted servers, and the command around them."""

import asyncio
import signal
import sys

import msgspec
import pytest

from grove_dp.clock import SystemClock
from grove_dp.errors import ConfigurationError
from grove_dp.sim.client import Endpoint, LoadClient, Outcome
from grove_dp.sim.prompts import Prompts
from grove_dp.sim.replay import Ask, NoModel, Replay, served_model
from grove_dp.sim.report import SLOTS, Report
from grove_dp.sim.trace import TraceRequest
from grove_dp.sim.worker import SimWorkers
from tests.sim.streams import STREAM_HEAD, answer, server, token, whole_stream


async def play(
    url: str, requests: list[TraceRequest], *, prompts: Prompts | None = None, **ask: object
) -> Report:
    report, clock = Report(), SystemClock()
    client = LoadClient(Endpoint.of(url), clock=clock, gaps=report.gaps, timeout_s=20.0)
    ask.setdefault("model", "m")
    try:
        await Replay(
            client, requests, ask=Ask(**ask), prompts=prompts or Prompts(), clock=clock, report=report
        ).run()
    finally:
        client.close()
    return report


# -- real answers ----------------------------------------------------------------------------------------


async def test_a_simulated_worker_gets_the_lengths_and_prefixes_of_the_trace():
    requests = [
        TraceRequest(0.00, 1100, 8, (1, 2, 3)),
        TraceRequest(0.15, 1300, 9, (1, 2, 4)),
        TraceRequest(0.15, 40, 7),
    ]
    async with SimWorkers(speed=20, enable_prompt_tokens_details=True) as workers:
        url = workers[0].url
        report = await play(url, requests, model=workers[0].settings.models[0], endpoint="completions")
    assert (report.ok, report.failed, report.cut) == (3, 0, 0)
    assert (report.prompt_tokens, report.output_tokens) == (2440, 24)
    assert report.cached_tokens == 1024  # the two blocks in common, and nothing by chance
    assert report.ttft.count == 3


@pytest.mark.parametrize(
    ("ask", "form"),
    [
        ({"endpoint": "chat"}, "text"),
        ({"endpoint": "chat", "stream": False}, "text"),
        ({"endpoint": "completions"}, "ids"),
        ({"endpoint": "completions", "stream": False}, "ids"),
    ],
)
async def test_every_way_of_asking_is_answered(ask, form):
    async with SimWorkers(speed=50) as workers:
        report = await play(
            workers[0].url,
            [TraceRequest(0.0, 600, 5, (1, 2))] * 3,
            prompts=Prompts(form=form, template_tokens=7 if ask["endpoint"] == "chat" else 0),
            model=workers[0].settings.models[0],
            **ask,
        )
    assert (report.ok, report.prompt_tokens, report.output_tokens) == (3, 1800, 15)


async def test_the_model_is_asked_for_when_there_is_one_and_demanded_when_there_are_several():
    cards = [[], ["a"], ["b", "a", "b"]]

    async def script(_body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("200 OK", msgspec.json.encode({"data": [{"id": name} for name in cards[0]]})))

    async with server(script) as url:
        client = LoadClient(Endpoint.of(url), clock=SystemClock())
        with pytest.raises(NoModel):
            await served_model(client)
        cards.pop(0)
        assert await served_model(client) == "a"
        cards.pop(0)
        with pytest.raises(ConfigurationError, match="--model: a, b"):
            await served_model(client)
        client.close()


# -- the open loop ---------------------------------------------------------------------------------------


async def test_a_slow_server_does_not_hold_back_later_requests():
    arrived, all_in = [], asyncio.Event()

    async def script(_body: bytes, writer: asyncio.StreamWriter) -> None:
        arrived.append(asyncio.get_running_loop().time())
        if len(arrived) == 20:
            all_in.set()
        await all_in.wait()  # nobody is answered before everybody has asked
        writer.write(whole_stream())

    async with server(script) as url:
        report = await play(url, [TraceRequest(place * 0.01, 5, 3) for place in range(20)])
    assert report.ok == 20
    assert arrived[-1] - arrived[0] >= 0.15


async def test_cut_and_failed_are_counted_apart_and_by_worker():
    error = b'data: {"error": {"type": "WorkerFailed"}}\n\n'
    head = STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nx-grove-worker: w-%d\r\n\r\n")
    end = b"%x\r\n%s\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n" % (len(error), error)
    answers = [
        whole_stream().replace(STREAM_HEAD, head % 1),
        head % 2 + token() + end,
        head % 2 + token() + b"0\r\n\r\n",
        answer("503 No", b'{"error":{"type":"NoReadyWorker"}}'),
    ]

    async def script(_body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answers.pop(0))

    async with server(script) as url:
        report = await play(url, [TraceRequest(place * 0.05, 5, 3) for place in range(4)])
    assert (report.ok, report.cut, report.failed, report.in_flight) == (1, 1, 2, 0)
    assert report.reasons == {"StreamError:WorkerFailed": 1, "CutMidStream": 1, "Status503:NoReadyWorker": 1}
    found = report.as_dict(1.0)
    assert {name: (share["ok"], share["not_ok"]) for name, share in found["workers"].items()} == {
        "w-1": (1, 0),
        "w-2": (0, 2),
    }


async def test_a_late_client_says_so():
    report = Report()
    for _ in range(100):
        report.record_sent(0.0, 0.2)
    assert "the client was the bottleneck" in report.warnings()[0]
    assert report.as_dict(1.0)["client"]["lateness_s"]["p99"] == pytest.approx(0.2, rel=0.01)
    assert Report().warnings() == []


async def test_what_is_under_way_when_interrupted_is_neither_ok_nor_failed():
    asked = asyncio.Event()

    async def script(_body: bytes, _writer: asyncio.StreamWriter) -> None:
        asked.set()

    async with server(script) as url:
        report, clock = Report(), SystemClock()
        client = LoadClient(Endpoint.of(url), clock=clock)
        replay = Replay(
            client, [TraceRequest(0.0, 5, 3)], ask=Ask("m"), prompts=Prompts(), clock=clock, report=report
        )
        task = asyncio.create_task(replay.run())
        await asked.wait()
        task.cancel()
        await asyncio.wait([task])
        client.close()
    assert (report.sent, report.interrupted, report.failed, report.in_flight) == (1, 1, 0, 0)


def test_a_long_replay_keeps_a_short_timeline():
    report = Report()
    for second in range(5 * SLOTS):
        report.record_sent(float(second), 0.0)
        report.record_outcome(float(second), Outcome(e2e_s=0.1, ttft_s=0.05, output_tokens=2))
    assert len(report.slots) <= SLOTS
    assert report.slot_s == 8.0
    assert sum(slot.sent for slot in report.slots) == sum(slot.ok for slot in report.slots) == 5 * SLOTS
    assert sum(slot.output_tokens for slot in report.slots) == 10 * SLOTS


# -- the command -----------------------------------------------------------------------------------------


async def command(*words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "grove_dp", "replay", *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "trace"
    rows = [{"timestamp": 20 * place, "input_length": 30, "output_length": 3} for place in range(10)]
    path.write_bytes(b"\n".join(msgspec.json.encode(row) for row in rows))
    return path


async def test_the_command_writes_its_report_and_a_plot(trace, tmp_path):
    out, plot = tmp_path / "report.json", tmp_path / "plot.svg"
    async with SimWorkers(speed=50) as workers:
        process = await command(
            str(trace), "--url", workers[0].url, "--out", str(out), "--plot", str(plot), "--limit", "8"
        )
        said, errors = await process.communicate()
    # A machine that is busy with other tests may make the client late, which it says.
    complaints = [line for line in errors.splitlines() if b"the client was the bottleneck" not in line]
    assert (process.returncode, said, complaints) == (0, b"", [])
    found = msgspec.json.decode(out.read_bytes())
    assert found["requests"]["ok"] == found["ttft_s"]["count"] == 8
    assert found["tokens"]["output"] == 24
    assert found["errors"] == {}
    assert "<svg" in plot.read_text()


async def test_an_interrupt_ends_it_with_the_report_so_far(trace):
    asked = asyncio.Event()

    async def script(_body: bytes, _writer: asyncio.StreamWriter) -> None:
        asked.set()

    async with server(script) as url:
        process = await command(str(trace), "--url", url, "--model", "m")
        await asked.wait()
        process.send_signal(signal.SIGINT)
        said, _ = await process.communicate()
    assert process.returncode == 130
    assert msgspec.json.decode(said)["requests"]["interrupted"] >= 1


@pytest.mark.parametrize(
    ("words", "code", "remedy"),
    [
        (["/nowhere"], 2, b"cannot be read"),
        (["TRACE", "--speed", "0"], 2, b"above 0"),
        (["TRACE", "--for", "soon"], 2, b"expected a time"),
        (["TRACE", "--url", "http://127.0.0.1:1"], 1, b"is a server there"),
    ],
)
async def test_wrong_usage_ends_with_its_code_and_a_remedy(trace, words, code, remedy):
    process = await command(*(str(trace) if word == "TRACE" else word for word in words))
    _, errors = await process.communicate()
    assert process.returncode == code
    assert remedy in errors
    assert b"Traceback" not in errors
