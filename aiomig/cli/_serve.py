"""The command ``serve``: serves the page and the HTTP API of `aiomig.web` on this machine."""

from __future__ import annotations

import errno
import gc
import logging
import os
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from ._command import command
from ._output import write, write_json
from ._running import run_async
from ._settings import current

if TYPE_CHECKING:
    from fastapi import FastAPI

_GRACE = 2
"""Seconds that open requests have left after a signal. Event streams end at once, and pages reconnect."""

_PORT = 8642
_PORTS = 20
"""The number of ports to try, starting at the default port."""

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Default: 8642 or the next free port; 0: any free port.")
@click.option("--token", help="The access token. Default: $AIOMIG_TOKEN, else a random one.")
@click.option("--name", "names", multiple=True, help="A host name that requests may use; repeatable.")
@click.option(
    "--upload-limit",
    type=click.IntRange(1),
    metavar="MB",
    default=1000,
    show_default=True,
    help="Maximum size of a request.",
)
def serve(*, host: str, port: int | None, token: str | None, names: tuple[str, ...], upload_limit: int) -> None:
    """Show jobs and files on a web page, and serve an HTTP API.

    Anyone with the token can run programs as you. Only this machine can reach the page, unless --host gives another
    address; then put a proxy with TLS in front, and give its name by --name. Ctrl-C and SIGTERM stop the service, but
    not the jobs; the next service continues with them.
    """
    from ..web import create_app

    token = token or os.environ.get("AIOMIG_TOKEN") or None
    hosts = [*_LOOPBACK, *names, *([] if host in ("0.0.0.0", "::") else [host])]
    session = current().session(shared_slots=True)
    app = create_app(session, token=token, hosts=hosts, upload_limit=upload_limit * 1_000_000)
    listener = _listen(host, port)
    url_host = f"[{host}]" if ":" in host else host
    url = f"http://{url_host}:{listener.getsockname()[1]}/?token={quote(app.state.token, safe='')}"

    async def run() -> int:
        await _server(app, url).serve([listener])
        return 0

    with listener:
        run_async(run, current())


def _listen(host: str, port: int | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    ports = range(_PORT, _PORT + _PORTS) if port is None else [port]
    for number in ports:
        try:
            return socket.create_server((host, number), family=family)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or number == ports[-1]:
                problem = f"cannot listen on {host} port {number}: {error.strerror or error}"
                raise click.ClickException(f"{problem}; choose another address by --host and --port") from error
    raise AssertionError


def _server(app: FastAPI, url: str) -> Any:
    import uvicorn

    class Server(uvicorn.Server):
        """A server that prints its URL at startup and ends the event streams at shutdown."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.should_exit:
                return
            gc.collect()
            gc.freeze()  # modules and routes are permanent; collecting them again would pause all streams
            if current().json:
                write_json({"url": url})
            elif not current().quiet:
                write(f"aiomig serves the page at {url}")

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.streams.close()
            await super().shutdown(sockets)

    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=True,  # a proxy on this machine reports whether it serves https
        timeout_graceful_shutdown=_GRACE,
        ws="none",
        lifespan="on",
    )
    return Server(config)
