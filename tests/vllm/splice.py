"""In the way of a socket file: what a broken network and a slow subscriber do to a stream of KV events."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Splice"]

READ_BYTES = 1 << 16


class Splice:
    """Takes the place of a listening socket file and passes everything on to it, until told otherwise.

    `cut` ends every connection and lets no new one in. `swallowing` drops what the worker says, with the
    connection open: set it while the worker is silent, so that what is lost are whole messages. That is what
    a publisher does to a subscriber whose queue is full.
    """

    def __init__(self, path: Path) -> None:
        self.swallowing = False
        self.swallowed = 0  # bytes
        self._path = path
        self._behind = path.with_name(f"{path.name}.worker")
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._path.rename(self._behind)
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        await asyncio.gather(*self._tasks)
        self._behind.rename(self._path)

    async def listen(self) -> None:
        """Let connections in, again."""
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    def cut(self) -> None:
        """No connection is left, and none comes."""
        if self._server:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        answers, worker = await asyncio.open_unix_connection(self._behind)
        ends = {writer, worker}
        self._writers |= ends
        try:
            await asyncio.gather(
                self._pass(reader, worker, from_worker=False), self._pass(answers, writer, from_worker=True)
            )
        finally:
            for end in ends:
                end.close()
            self._writers -= ends
            self._tasks.discard(task)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_worker: bool
    ) -> None:
        try:
            while data := await reader.read(READ_BYTES):
                if from_worker and self.swallowing:
                    self.swallowed += len(data)
                    continue
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # cut
        writer.transport.abort()
