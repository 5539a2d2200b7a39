"""The command ``serve``: the page and the HTTP API of `aiomig.web`, for the user of this machine."""

from __future__ import annotations

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
"""Seconds that requests have to end after a signal. Event streams end at once, and pages connect again."""

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8642, show_default=True, help="0 chooses a free one.")
@click.option("--token", help="The token. Default: $AIOMIG_TOKEN, else a new one.")
@click.option("--name", "names", multiple=True, help="A host name that requests may use; may be repeated.")
@click.option(
    "--upload-limit", type=click.IntRange(1), metavar="MB", default=1000, show_default=True, help="Of one request."
)
def serve(*, host: str, port: int, token: str | None, names: tuple[str, ...], upload_limit: int) -> None:
    """Show jobs and files on a page in the browser, and offer them as an HTTP API.

    Whoever has the token may run programs as you. The page is for this machine only unless --host names another
    address; then put a proxy with TLS in front, and name it with --name. Ctrl-C and SIGTERM end the service and leave
    the jobs running; the next one goes on with them.
    """
    from ..web import create_app

    token = token or os.environ.get("AIOMIG_TOKEN") or None
    hosts = [*_LOOPBACK, *names, *([] if host in ("0.0.0.0", "::") else [host])]
    session = current().session(shared_slots=True)
    app = create_app(session, token=token, hosts=hosts, upload_limit=upload_limit * 1_000_000)
    listener = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listener.getsockname()[1]}/?token={quote(app.state.token, safe='')}"

    async def run() -> int:
        await _server(app, url).serve([listener])
        return 0

    with listener:
        run_async(run, current())


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise click.ClickException(
            f"cannot listen at {host} port {port}: {error.strerror or error}; choose another one by --port"
        ) from error


def _server(app: FastAPI, url: str) -> Any:
    import uvicorn

    class Server(uvicorn.Server):
        """Says where it is, and ends the event streams when it is to end."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.should_exit:
                return
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
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE,
        ws="none",
        lifespan="on",
    )
    return Server(config)
