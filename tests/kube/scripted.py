"""An API server of one collection whose every answer the test writes down."""

import asyncio
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl, urlsplit

import msgspec

from grove_dp.kube.access import Access
from grove_dp.kube.transport import Answer


class ScriptedStream:
    def __init__(self, status=200, body=b""):
        self.status, self.headers, self._body = status, {}, body
        self._pieces = asyncio.Queue()

    def send(self, *events):
        self._pieces.put_nowait(b"".join(msgspec.json.encode(event) + b"\n" for event in events))

    def send_raw(self, piece):
        self._pieces.put_nowait(piece)

    def end(self, error=None):
        self._pieces.put_nowait(error)

    async def chunks(self):
        while piece := await self._pieces.get():
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def read(self):
        return self._body


class Scripted:
    """`answers` to lists and `streams` to watches are taken in turn; `asked` tells what came."""

    host = "scripted"
    namespace = "web"

    def __init__(self):
        self.asked = []
        self.answers = []
        self.streams = asyncio.Queue()
        self.opened = asyncio.Queue()

    async def exchange(self, method, target, headers, body):
        self.asked.append(query_of(target))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @asynccontextmanager
    async def stream(self, target, headers):
        self.asked.append(query_of(target))
        stream = await self.streams.get()
        if isinstance(stream, Exception):
            raise stream
        self.opened.put_nowait(stream)
        yield stream

    async def close(self):
        pass

    # ------------------------------------------------------------ what the test says

    def lists(self, *items, version="10", more=""):
        metadata = {"resourceVersion": version, "continue": more}
        body = msgspec.json.encode({"kind": "PodList", "metadata": metadata, "items": items})
        self.answers.append(Answer(200, {}, body))

    def refuses(self, code, reason, headers=None):
        self.answers.append(Answer(code, headers or {}, status(code, reason)))

    def watches(self, code=200, reason=""):
        stream = ScriptedStream(code, status(code, reason))
        self.streams.put_nowait(stream)
        return stream

    def api(self):
        return Access(self)


def status(code, reason):
    return msgspec.json.encode(
        {"kind": "Status", "code": code, "reason": reason, "message": "as the test said"}
    )


def query_of(target):
    return dict(parse_qsl(urlsplit(target).query))


def pod(name, version, uid=None, node="", labels=None, **more):
    metadata = {
        "name": name,
        "namespace": "web",
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(version),
    }
    if labels:
        metadata["labels"] = labels
    return {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": node}, **more}


def event(kind, document):
    return {"type": kind, "object": document}


def bookmark(version):
    return event("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": str(version)}})


def error(code, reason):
    return event(
        "ERROR", {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "metadata": {}}
    )
