"""Connections given up while they are made, over TLS and uvloop: nothing in the log, all else as ever."""

import asyncio
import ssl
import time

import pytest
import uvloop

from grove_dp.kube import certificates
from grove_dp.kube.abandoned import forgive_abandoned
from grove_dp.kube.tls import Face


class Connecting(asyncio.Protocol):
    """Its making is cancelled in the moment in which its handshake is done."""

    def __init__(self):
        self.cancelled = asyncio.Event()

    def connection_made(self, transport):
        with pytest.raises(asyncio.CancelledError):
            self.making.throw(asyncio.CancelledError())
        self.cancelled.set()


async def abandon():
    """A connection cancelled where uvloop waits for TCP, when the TLS above it is ready already."""
    face = Face()
    face.renew(certificates.serving(["localhost"], time.time())[0])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=face.context)
    port = server.sockets[0].getsockname()[1]
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    connecting = Connecting()
    made = loop.create_connection(lambda: connecting, "127.0.0.1", port, ssl=trusting)
    connecting.making = made.__await__()
    next(connecting.making)  # its first step and no further, as in a loop that is too busy for more
    async with asyncio.timeout(30):
        await connecting.cancelled.wait()
    await asyncio.sleep(0.01)  # the first read comes a turn later
    server.close()


def run(work):
    with asyncio.Runner(loop_factory=uvloop.Loop) as runner:
        runner.run(work())


def test_uvloop_complains_of_a_connection_that_was_given_up_while_it_was_made(caplog):
    run(abandon)

    assert "Fatal error on SSL protocol" in caplog.text, "uvloop no longer does: kube.abandoned may go"


def test_that_complaint_is_left_out(caplog):
    async def work():
        forgive_abandoned(asyncio.get_running_loop())
        await abandon()

    run(work)

    assert caplog.text == ""


def test_whatever_else_goes_wrong_in_a_loop_is_told_to_the_handler_that_was_there(caplog):
    told = []
    other = {"message": "Fatal error on SSL protocol", "exception": ssl.SSLError("bad record mac")}

    async def work():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: told.append(context))
        forgive_abandoned(loop)
        forgive_abandoned(loop)
        loop.call_exception_handler(other)
        await abandon()

    run(work)

    assert told == [other]


def test_without_such_a_handler_it_is_logged(caplog):
    async def work():
        loop = asyncio.get_running_loop()
        forgive_abandoned(loop)
        loop.call_exception_handler({"message": "something broke", "exception": OSError("torn")})

    run(work)

    assert "something broke" in caplog.text
