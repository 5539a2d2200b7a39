"""Spans of OpenTelemetry from httpx's own instrumentation, without any code in aiomig."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import aiomig
from aiomig.testing import FakeGrid

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


def spans_in(text: str) -> Iterator[dict[str, Any]]:
    """The output of `ConsoleSpanExporter`: a sequence of JSON objects."""
    while text := text.strip():
        span, end = json.JSONDecoder().raw_decode(text)
        text = text[end:]
        yield span


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_program_of_the_page_on_logging(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "logging.md").read_text("utf-8")
    match = re.search(r"^```py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert match is not None
    async with FakeGrid() as grid, grid.serve() as address:
        config = tmp_path / "miguser.conf"
        config.write_text(
            f"migserver {address.url}\ncertfile {address.certificate}\nkeyfile {address.key}\ncacertfile {address.ca}\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "AIOMIG_CONFIG": str(config), "HOME": str(tmp_path)}
        command = [sys.executable, "-W", "error", "-c", match[1]]
        done = await anyio.run_process(command, env=environment, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    spans = list(spans_in(done.stdout.decode()))
    (nightly,) = [span for span in spans if span["name"] == "nightly run"]
    (listing,) = [span for span in spans if span["parent_id"] == nightly["context"]["span_id"]]
    assert listing["name"] == "POST"
    assert f"{address.url}/wsgi-bin/ls.py" in listing["attributes"].values()


async def test_a_session_that_is_open_already() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with FakeGrid() as grid, grid.serve() as address:
        files: Any = {"certificate": address.certificate, "key": address.key, "ca": address.ca}
        async with aiomig.grid(url=address.url, journal=None, **files) as mig:
            await mig.files.mkdir("before")
            HTTPXClientInstrumentor().instrument(tracer_provider=provider)
            try:
                with pytest.raises(aiomig.FileNotFound):
                    await mig.files.read_bytes("missing")
            finally:
                HTTPXClientInstrumentor().uninstrument()
            await mig.files.mkdir("after")
    (span,) = exporter.get_finished_spans()
    assert span.name == "GET"
    assert f"{address.url}/cert_redirect/missing" in (span.attributes or {}).values()
    assert not span.status.is_ok
