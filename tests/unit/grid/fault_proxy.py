"""A TCP proxy between client and server that causes one fault at one byte."""

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
class Fault:
    """A fault, which happens once.

    Attributes:
        kind: ``"delay"``: the byte arrives a little late; ``"stall"``: it and all later bytes arrive after the end of
            the session, so the server may act when no client waits any more; ``"cut"``: the connection is closed
            normally; ``"reset"``: the connection is reset; ``"corrupt"``: the byte is replaced by another one.
        direction: ``"up"`` to the server, or ``"down"`` to the client.
        at: the number of the byte, counted over all connections since the fault was set.
    """

    kind: Kind
    direction: Direction
    at: int

    @classmethod
    def drawn(cls, dice: random.Random, totals: dict[Direction, int]) -> Fault:
        """Return a random fault, at one of so many bytes in each direction."""
        direction = dice.choice(get_args(Direction))
        return cls(dice.choice(get_args(Kind)), direction, dice.randrange(max(totals[direction], 1)))


class FaultProxy:
    """Forwards connections to a port, with one fault.

    Attributes:
        url: the address of the proxy.
        passed: the number of bytes in each direction since the fault was set.
        done: whether the fault has happened.
    """

    def __init__(self, url: str, port: int) -> None:
        self.url = url
        self.passed: dict[Direction, int] = {"up": 0, "down": 0}
        self.done = False
        self._port = port
        self._fault: Fault | None = None
        self._late = 0
        self._quiet = anyio.Event()
        self.released = anyio.Event()

    def set(self, fault: Fault | None) -> None:
        """Set the next fault; ``None`` for no fault."""
        self._fault = fault
        self.passed = {"up": 0, "down": 0}
        self.done = False
        self.released = anyio.Event()

    async def quiet(self) -> None:
        """Release the held bytes, and wait until they have been forwarded."""
        self.released.set()
        while self._late:
            self._quiet = anyio.Event()
            await self._quiet.wait()

    async def connection(self, client: SocketStream) -> None:
        """Forward one connection."""
        async with client:
            with suppress(OSError):
                async with await anyio.connect_tcp("127.0.0.1", self._port) as server:
                    await _Connection(self, client, server).run()

    def take(self, direction: Direction, size: int) -> tuple[Fault, int] | None:
        """Return the fault and its position in the next bytes; ``None`` if it is not in them."""
        passed, fault = self.passed[direction], self._fault
        self.passed[direction] += size
        if fault is None or self.done or fault.direction != direction or fault.at >= passed + size:
            return None
        self.done = True
        return fault, max(fault.at - passed, 0)

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
                    group.start_soon(self._forward, "up", self._client, self._server)
                    group.start_soon(self._forward, "down", self._server, self._client)
        finally:
            if self._is_late:
                self._proxy.end_late()

    async def _forward(self, direction: Direction, source: SocketStream, target: SocketStream) -> None:
        try:
            while True:
                data = await source.receive(_READ)
                taken = self._proxy.take(direction, len(data))
                if taken is None:
                    await target.send(data)
                else:
                    await self._cause(*taken, data, source, target)
        except _GONE:
            pass
        with suppress(*_GONE):
            await target.send_eof()

    async def _cause(self, fault: Fault, at: int, data: bytes, source: SocketStream, target: SocketStream) -> None:
        match fault.kind:
            case "corrupt":
                await target.send(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
                return
            case "delay":
                await target.send(data[:at])
                await anyio.sleep(_DELAY)
            case "stall":
                await target.send(data[:at])
                data = data[:at] + await self._held(fault.direction, data[at:], source)
            case _:
                await target.send(data[:at])
                if fault.kind == "reset":
                    for stream in (self._client, self._server):
                        raw: socket.socket = stream.extra(SocketAttribute.raw_socket)
                        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._scope.cancel()
                return
        await target.send(data[at:])

    async def _held(self, direction: Direction, data: bytes, source: SocketStream) -> bytes:
        """Hold bytes back until the end of the session; return them with those that follow."""
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
    """Run a proxy in front of a server on this machine, with its connections as tasks of the group."""
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
