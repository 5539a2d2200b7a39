"""A server and many clients use the application of the example web service."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx

from aiomig.testing import FakeGrid

if TYPE_CHECKING:
    from types import ModuleType

EXAMPLE = Path(__file__).parents[1] / "examples" / "web_service.py"


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("web_service", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_serves_many_clients_from_its_start_to_its_end() -> None:
    async with FakeGrid() as grid, anyio.create_task_group() as tasks:
        grid.script(
            lambda job: job.executing().finish(stdout="\n".join(sorted(job.inputs["numbers"].decode().split())))
        )
        mig = grid.session()
        app = example().Sorter(mig)
        to_app, of_server = anyio.create_memory_object_stream[dict[str, Any]](1)
        of_app, to_server = anyio.create_memory_object_stream[dict[str, Any]](1)
        tasks.start_soon(app, {"type": "lifespan"}, of_server.receive, of_app.send)
        await to_app.send({"type": "lifespan.startup"})
        assert await to_server.receive() == {"type": "lifespan.startup.complete"}

        found: dict[str, object] = {}

        async def client(letters: str) -> None:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://sorter") as http:
                made = await http.post("/", content=letters.encode())
                assert made.status_code == 202
                found[letters] = (await http.get(f"/{made.json()['id']}")).json()
                assert (await http.get("/no-such-job")).status_code == 404

        async with anyio.create_task_group() as clients:
            for letters in ("b a", "d c", "e"):
                clients.start_soon(client, letters)
        assert found == {"b a": ["a", "b"], "d c": ["c", "d"], "e": ["e"]}

        assert mig.is_open
        await to_app.send({"type": "lifespan.shutdown"})
        assert await to_server.receive() == {"type": "lifespan.shutdown.complete"}
        assert not mig.is_open
        for stream in (to_app, of_server, of_app, to_server):
            stream.close()
