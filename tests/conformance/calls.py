"""Calls as they travel, and a transcript of what was answered.

Cases speak HTTP, not our client's words: what is to be equal is what goes over the wire. The transcript
keeps each answer without what must differ between two servers (versions, times, uids, the namespace's name),
so that two of them can be held against each other field by field.
"""

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import msgspec

JSON = "application/json"
MERGE = "application/merge-patch+json"
OPERATIONS = "application/json-patch+json"
WITHIN_S = 15.0
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
VERSIONS = re.compile(r"(too old resource version: |ResourceVersion in (?:the precondition|record) \()(\d+)")


@dataclass
class Told:
    """One answer."""

    status: int
    document: Any

    @property
    def why(self):
        return self.status, self.document.get("reason")

    @property
    def causes(self):
        """(type, field) of every fault."""
        causes = self.document.get("details", {}).get("causes", [])
        return sorted({(cause["reason"], cause["field"]) for cause in causes})

    @property
    def messages(self):
        return sorted(cause["message"] for cause in self.document["details"]["causes"])


@dataclass
class Calls:
    """To one server, in one namespace."""

    transport: Any
    namespace: str
    transcript: list = field(default_factory=list)

    # ------------------------------------------------------------ paths

    def path(self, plural, name="", sub="", group="", namespace=None):
        """Of objects in the case's namespace."""
        start = f"/apis/{group}" if group else "/api/v1"
        parts = [start, "namespaces", namespace or self.namespace, plural, name, sub]
        return "/".join(part for part in parts if part)

    def pods(self, name="", sub=""):
        return self.path("pods", name, sub)

    def maps(self, name=""):
        return self.path("configmaps", name)

    # ------------------------------------------------------------ calls

    async def call(self, method, path, document=None, content=JSON, keep=True, **query):
        headers = {"Accept": JSON, "Content-Type": content}
        body = None if document is None else msgspec.json.encode(document)
        target = f"{path}?{urlencode(query)}" if query else path
        answer = await self.transport.exchange(method, target, headers, body)
        try:
            told = Told(answer.status, msgspec.json.decode(answer.body))
        except msgspec.DecodeError:
            told = Told(answer.status, {"text": answer.body.decode()})
        if keep:
            self.transcript.append((method, self.masked(path), told.status, self.masked(told.document)))
        return told

    async def get(self, path, **query):
        return await self.call("GET", path, **query)

    async def post(self, path, document, **query):
        return await self.call("POST", path, document, **query)

    async def put(self, path, document, **query):
        return await self.call("PUT", path, document, **query)

    async def merge(self, path, patch, **query):
        return await self.call("PATCH", path, patch, MERGE, **query)

    async def operate(self, path, *operations, **query):
        return await self.call("PATCH", path, operations, OPERATIONS, **query)

    async def delete(self, path, options=None, **query):
        return await self.call("DELETE", path, options, **query)

    # ------------------------------------------------------------ what must succeed

    async def made(self, path, document, **query):
        told = await self.post(path, document, **query)
        assert told.status == 201, told
        return told.document

    async def read(self, path, **query):
        told = await self.get(path, **query)
        assert told.status == 200, told
        return told.document

    async def names(self, path, **query):
        return [item["metadata"]["name"] for item in (await self.read(path, **query))["items"]]

    async def until(self, path, good, what):
        """Poll without a word in the transcript: how long things take is nobody's contract."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                told = await self.call("GET", path, keep=False)
                if good(told):
                    return told
                await asyncio.sleep(0.02)
        raise AssertionError(what)

    async def gone(self, path):
        await self.until(path, lambda told: told.status == 404, f"{path} is gone")

    # ------------------------------------------------------------ watches

    @asynccontextmanager
    async def watch(self, path, **query):
        target = f"{path}?{urlencode({'watch': '1', **query})}"
        async with self.transport.stream(target, {"Accept": JSON}) as stream:
            yield Events(self, stream)

    # ------------------------------------------------------------ transcript

    def masked(self, value):
        """*value* without what differs between two servers that behave alike."""
        return _ordered(self._masked(value))

    def _masked(self, value):
        if isinstance(value, dict):
            return {
                self._text(name): "VERSION" if name == "resourceVersion" else self._masked(of)
                for name, of in value.items()
                if name not in ("managedFields", "continue")
            }
        if isinstance(value, list):
            return [self._masked(item) for item in value if not _is_token(item)]
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text):
        text = text.replace(self.namespace, "NAMESPACE")
        text = VERSIONS.sub(r"\1VERSION", TIME.sub("TIME", UID.sub("UID", text)))
        return re.sub(r"VERSION \(\d+\)", "VERSION (VERSION)", text)


def _is_token(item):
    """Every pod of a real cluster has a volume for its service account's token."""
    return isinstance(item, dict) and str(item.get("name", "")).startswith("kube-api-access-")


def _ordered(value):
    """Faults come in any order."""
    if not isinstance(value, dict):
        return [_ordered(item) for item in value] if isinstance(value, list) else value
    value = {name: _ordered(of) for name, of in value.items()}
    for name in ("volumes", "volumeMounts"):
        if value.get(name) == []:
            del value[name]
    causes = value.get("details", {}).get("causes") if isinstance(value.get("details"), dict) else None
    if causes and len(causes) > 1:
        told = {(cause.get("field", ""), cause["message"]): cause for cause in causes}
        value["details"]["causes"] = [told[key] for key in sorted(told)]  # some it finds twice
        if len(told) > 1:
            value["message"] = "(several)"
    if isinstance(value.get("conditions"), list):
        value["conditions"].sort(key=lambda condition: condition["type"])
    return value


class Events:
    """Of one watch."""

    def __init__(self, calls, stream):
        self.status = stream.status
        self._calls = calls
        self._stream = stream
        self._chunks = stream.chunks()
        self._rest = b""

    async def next(self, keep=True):
        """(type, object); None at the end."""
        while b"\n" not in self._rest:
            try:
                async with asyncio.timeout(WITHIN_S):
                    self._rest += await anext(self._chunks)
            except StopAsyncIteration:
                return None
        line, _, self._rest = self._rest.partition(b"\n")
        event = msgspec.json.decode(line)
        if keep:
            self._calls.transcript.append(("EVENT", event["type"], self._calls.masked(event["object"])))
        return event["type"], event["object"]

    async def brief(self, count):
        """The next events, as (type, name)."""
        events = [await self.next() for _ in range(count)]
        return [event and (event[0], event[1]["metadata"].get("name")) for event in events]

    async def refusal(self):
        return Told(self.status, msgspec.json.decode(await self._stream.read()))
