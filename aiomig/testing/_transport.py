"""A transport of httpx that reaches a `FakeGrid` in memory. The only module of this package that imports httpx."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx

from ._faults import Dropped
from ._wire import Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ._server import Server
    from ._wire import Response


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: Response, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._response.pieces():
            yield piece
            await anyio.lowlevel.checkpoint()
        cut, size = self._response.cut, len(self._response.body)
        if cut is not None and cut < size:
            raise httpx.RemoteProtocolError(
                f"peer closed connection without sending complete message body (received {cut} bytes, expected {size})",
                request=self._request,
            )


class FakeTransport(httpx.AsyncBaseTransport):
    """Carries requests to a `FakeGrid` and the responses back, with the errors of a network.

    Args:
        server: the server.
        client: the distinguished name of the user, or nothing.
    """

    def __init__(self, server: Server, client: str) -> None:
        self._server = server
        self._client = client

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the response of the server.

        Raises:
            httpx.ReadTimeout: the response takes longer than the timeout of the request.
            httpx.RemoteProtocolError: the server closes the connection.
        """
        url = request.url
        asked = Request(
            method=request.method,
            path=url.raw_path.partition(b"?")[0].decode("ascii"),
            query=url.query.decode("ascii"),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=await request.aread(),
            client=self._client,
            host=f"{url.scheme}://{url.netloc.decode('ascii')}",
        )
        limit = request.extensions.get("timeout", {}).get("read")
        try:
            with anyio.fail_after(limit):
                response = await self._server.handle(asked)
        except TimeoutError as error:
            raise httpx.ReadTimeout("", request=request) from error
        except Dropped as error:
            message = "Server disconnected without sending a response."
            raise httpx.RemoteProtocolError(message, request=request) from error
        headers = [
            (name.encode("ascii"), value.encode("latin-1")) for name, value in response.all_headers(self._server.now)
        ]
        if request.method == "HEAD" or response.status == 304:
            return httpx.Response(response.status, headers=headers, stream=httpx.ByteStream(b""))
        return httpx.Response(response.status, headers=headers, stream=_Body(response, request))
