"""Questions to workers: what counts as an answer, whatever way it comes in."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from grove_dp.frontend.asking import BODY_MAX, HEAD_MAX, Asker, NoAnswer
from grove_dp.routing.specs import worker_spec
from grove_dp.routing.workers import Registry
from grove_dp.testing.frontend import PATIENCE_S, free_port
from grove_dp.testing.http import chunk

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"hel") + chunk(b"lo") + chunk(b"")


class Worker:
    """Answers every connection with the same pieces; keeps the questions."""

    def __init__(self, *pieces, ends=True):
        self.pieces, self.ends = pieces, ends
        self.questions = []
        self.asked, self.closed = asyncio.Event(), asyncio.Event()

    async def serve(self, reader, writer):
        question = await reader.readuntil(b"\r\n\r\n")
        if b"Content-Length: " in question:
            length = int(question.split(b"Content-Length: ")[1].split(b"\r\n")[0])
            question += await reader.readexactly(length)
        self.questions.append(question)
        self.asked.set()
        try:
            for piece in self.pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if not self.ends:
                await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.closed.set()


@asynccontextmanager
async def asking(worker, host="127.0.0.1"):
    """Ask it GET /x, and POST /x where a body is given."""
    server = await asyncio.start_server(worker.serve, host, 0)
    port = server.sockets[0].getsockname()[1]
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    asked = Registry(1).add(worker_spec(f"http://{authority}", "config"))
    async with server, Asker() as asker:

        async def ask(body=None, timeout_s=PATIENCE_S):
            if body is not None:
                return await asker.post(asked, "/x", body, timeout_s)
            return await asker.get(asked, "/x", timeout_s, urgent=True)

        yield ask


def bytewise(answer):
    return [answer[at : at + 1] for at in range(len(answer))]


@pytest.mark.parametrize(
    "pieces",
    [
        [PLAIN],
        bytewise(PLAIN),
        [PLAIN + b"more than was promised"],
        [CHUNKED],
        bytewise(CHUNKED),
        [b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo"],
        [b"HTTP/1.0 200 OK\r\n\r\n", b"hello"],
        [b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + PLAIN],
        [*bytewise(b"HTTP/1.1 100 Continue\r\n\r\n"), CHUNKED],
    ],
)
async def test_a_body_is_read_however_it_is_framed_and_cut(pieces):
    async with asking(Worker(*pieces)) as ask:
        assert await ask() == b"hello"


@pytest.mark.parametrize("answer", [PLAIN, CHUNKED])
async def test_a_whole_answer_is_enough_and_ends_the_connection(answer):
    worker = Worker(answer, ends=False)
    async with asking(worker) as ask:
        assert await ask() == b"hello"
        async with asyncio.timeout(PATIENCE_S):
            await worker.closed.wait()


async def test_a_long_chunked_body_comes_whole():
    parts = [bytes([at % 251]) * at for at in range(1, 600)]
    body = b"".join(map(chunk, parts)) + chunk(b"")
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with asking(Worker(head + body)) as ask:
        assert await ask() == b"".join(parts)


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"], "ProbeStatus503"),
        ([b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}"], "ProbeStatus404"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], "ProbeStatus204"),
        ([], "ProbeBroken"),
        ([b"HTTP/1.1 200 OK\r\nContent-Len"], "ProbeBroken"),
        ([PLAIN[:-1]], "ProbeBroken"),
        ([CHUNKED[:-1]], "ProbeBroken"),
        ([b"SSH-2.0-OpenSSH_9.6\r\n"], "ProbeBroken"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"], "ProbeBroken"),
        ([CHUNKED.replace(b"3\r\n", b"g\r\n")], "ProbeBroken"),
        ([b"HTTP/1.1 200 OK\r\nX: ", b"x" * HEAD_MAX], "ProbeBroken"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (BODY_MAX + 1)], "ProbeTooLarge"),
        ([b"HTTP/1.1 200 OK\r\n\r\n", b"x" * (BODY_MAX + 1)], "ProbeTooLarge"),
    ],
)
async def test_what_is_no_answer_says_why(pieces, reason):
    async with asking(Worker(*pieces)) as ask:
        with pytest.raises(NoAnswer, match=f"^{reason}$"):
            await ask()


async def test_nobody_there_is_refused():
    asked = Registry(1).add(worker_spec(f"http://127.0.0.1:{free_port()}", "config"))
    async with Asker() as asker:
        with pytest.raises(NoAnswer, match=r"^ProbeRefused$"):
            await asker.get(asked, "/x", 5.0, urgent=True)


@pytest.mark.parametrize("pieces", [[], [PLAIN[:20]], [PLAIN[:-1]]])
async def test_a_worker_that_hangs_is_given_up_in_time_and_its_connection_closed(pieces):
    worker = Worker(*pieces, ends=False)
    async with asking(worker) as ask:
        with pytest.raises(NoAnswer, match=r"^ProbeTimeout$"):
            await ask(timeout_s=0.05)
        async with asyncio.timeout(PATIENCE_S):
            await worker.closed.wait()


async def test_a_question_that_is_cancelled_closes_its_connection():
    worker = Worker(PLAIN[:-1], ends=False)
    async with asking(worker) as ask:
        question = asyncio.create_task(ask())
        async with asyncio.timeout(PATIENCE_S):
            await worker.asked.wait()
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question
        async with asyncio.timeout(PATIENCE_S):
            await worker.closed.wait()


async def test_questions_are_whole_requests():
    worker = Worker(PLAIN)
    async with asking(worker) as ask:
        await ask()
        await ask(b'{"prompt":"a"}')
    got, posted = worker.questions
    assert got.startswith(b"GET /x HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nConnection: close\r\n" in got
    assert posted.startswith(b"POST /x HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nContent-Type: application/json\r\nContent-Length: 14\r\n" in posted
    assert posted.endswith(b'\r\n\r\n{"prompt":"a"}')


async def test_a_worker_with_an_address_of_ipv6_is_asked():
    worker = Worker(PLAIN)
    async with asking(worker, "::1") as ask:
        assert await ask() == b"hello"
    assert worker.questions[0].startswith(b"GET /x HTTP/1.1\r\nHost: [::1]:")
