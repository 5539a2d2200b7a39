"""A TCP proxy that does one mischief at one byte: what lies between a client and a server on a bad day."""

from __future__ import annotations

import socket
import struct
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import anyio
from anyio.abc import SocketAttribute

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator

    from anyio.abc import SocketStream, TaskGroup

Direction = Literal["up", "down"]
Kind = Literal["delay", "stall", "cut", "reset", "corrupt"]

_GONE = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)
_READ = 1 << 16
_DELAY = 0.002


@dataclass(frozen=True, slots=True)
class Mischief:
    """What is done, once.

    Attributes:
        kind: ``"delay"``: the byte comes a little late; ``"stall"``: it and all after it come when the session is
            over, and so what was asked may be done when nobody waits any more; ``"cut"``: the connection is closed
            in order; ``"reset"``: it is broken; ``"corrupt"``: the byte is another.
        direction: to the server, or to the client.
        at: the number of the byte, counted from when the mischief was set, over all connections.
    """

    kind: Kind
    direction: Direction
    at: int

    @classmethod
    def drawn(cls, dice: random.Random, totals: dict[Direction, int]) -> Mischief:
        """One at any byte of so many in each direction."""
        direction = dice.choice(get_args(Direction))
        return cls(dice.choice(get_args(Kind)), direction, dice.randrange(max(totals[direction], 1)))


class FaultProxy:
    """Hands on what is sent to a port, but for the mischief.

    Attributes:
        url: where it listens.
        passed: how many bytes went by in each direction since the mischief was set.
        done: whether it was done.
    """

    def __init__(self, url: str, port: int) -> None:
        self.url = url
        self.passed: dict[Direction, int] = {"up": 0, "down": 0}
        self.done = False
        self._port = port
        self._mischief: Mischief | None = None
        self._late = 0
        self._quiet = anyio.Event()
        self.released = anyio.Event()

    def set(self, mischief: Mischief | None) -> None:
        """Sets what is to be done; ``None`` for nothing."""
        self._mischief = mischief
        self.passed = {"up": 0, "down": 0}
        self.done = False
        self.released = anyio.Event()

    async def quiet(self) -> None:
        """Lets come what is late, and waits until that was dealt with."""
        self.released.set()
        while self._late:
            self._quiet = anyio.Event()
            await self._quiet.wait()

    async def connection(self, client: SocketStream) -> None:
        """Carries one connection."""
        async with client:
            with suppress(OSError):
                async with await anyio.connect_tcp("127.0.0.1", self._port) as server:
                    await _Connection(self, client, server).run()

    def take(self, direction: Direction, size: int) -> tuple[Mischief, int] | None:
        """The mischief, and its place among the next bytes, where it lies there."""
        passed, mischief = self.passed[direction], self._mischief
        self.passed[direction] += size
        if mischief is None or self.done or mischief.direction != direction or mischief.at >= passed + size:
            return None
        self.done = True
        return mischief, max(mischief.at - passed, 0)

    def begin_late(self) -> None:
        self._late += 1

    def end_late(self) -> None:
        self._late -= 1
        self._quiet.set()


class _Connection:
    def __init__(self, proxy: FaultProxy, client: SocketStream, server: SocketStream) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._is_late = False
        self._scope = anyio.CancelScope()

    async def run(self) -> None:
        try:
            with self._scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._carry, "up", self._client, self._server)
                    group.start_soon(self._carry, "down", self._server, self._client)
        finally:
            if self._is_late:
                self._proxy.end_late()

    async def _carry(self, direction: Direction, source: SocketStream, target: SocketStream) -> None:
        try:
            while True:
                data = await source.receive(_READ)
                taken = self._proxy.take(direction, len(data))
                if taken is None:
                    await target.send(data)
                else:
                    await self._misbehave(*taken, data, source, target)
        except _GONE:
            pass
        with suppress(*_GONE):
            await target.send_eof()

    async def _misbehave(
        self, mischief: Mischief, at: int, data: bytes, source: SocketStream, target: SocketStream
    ) -> None:
        match mischief.kind:
            case "corrupt":
                await target.send(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
                return
            case "delay":
                await target.send(data[:at])
                await anyio.sleep(_DELAY)
            case "stall":
                await target.send(data[:at])
                data = data[:at] + await self._held(mischief.direction, data[at:], source)
            case _:
                await target.send(data[:at])
                if mischief.kind == "reset":
                    for stream in (self._client, self._server):
                        raw: socket.socket = stream.extra(SocketAttribute.raw_socket)
                        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._scope.cancel()
                return
        await target.send(data[at:])

    async def _held(self, direction: Direction, data: bytes, source: SocketStream) -> bytes:
        """What the client sends, or would have got, until the session is over."""
        self._is_late = True
        self._proxy.begin_late()
        if direction == "up":
            with suppress(*_GONE):
                while True:
                    data += await source.receive(_READ)
        await self._proxy.released.wait()
        return data


@asynccontextmanager
async def proxied(url: str, group: TaskGroup) -> AsyncIterator[FaultProxy]:
    """A proxy before a server on this machine; its connections are tasks of the group."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    name, _, port = url.rpartition(":")
    proxy = FaultProxy(f"{name}:{listener.extra(SocketAttribute.local_port)}", int(port))
    scope, ended = anyio.CancelScope(), anyio.Event()

    async def serve() -> None:
        try:
            with scope:
                await listener.serve(proxy.connection)
        finally:
            ended.set()

    group.start_soon(serve)
    try:
        yield proxy
    finally:
        scope.cancel()
        with anyio.CancelScope(shield=True):
            await ended.wait()
            await listener.aclose()
