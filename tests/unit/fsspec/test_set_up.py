"""How file systems of fsspec find their home, and how their sessions end."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import fsspec
import pytest
from anyio.from_thread import start_blocking_portal

import aiomig
from aiomig.testing import FakeGrid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiomig import Config


def test_an_unreachable_server_and_a_wrong_configuration(tmp_path: Path) -> None:
    for name in ("miguser.conf", "unused.pem"):
        (tmp_path / name).touch(mode=0o600)
    with pytest.raises(OSError, match="migserver") as wrong:
        fsspec.filesystem("mig", config=str(tmp_path / "miguser.conf"))
    assert isinstance(wrong.value.__cause__, aiomig.ConfigError)
    unused = tmp_path / "unused.pem"
    (tmp_path / "miguser.conf").write_text(f"migserver https://localhost:1\ncertfile {unused}\nkeyfile {unused}\n")
    with pytest.raises(OSError, match=r"unused\.pem"):
        fsspec.filesystem("mig", config=str(tmp_path / "miguser.conf")).ls("")


def test_protocols_are_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fsspec.get_filesystem_class("mig").protocol == "mig"
    assert fsspec.get_filesystem_class("mig+local").protocol == "mig+local"
    monkeypatch.setenv("AIOMIG_MODE", "local")
    monkeypatch.setenv("AIOMIG_HOME", str(tmp_path / "home"))
    with fsspec.open("mig://a/b.txt", "w", skip_instance_cache=True) as file:
        file.write("as connect() says")
    assert (tmp_path / "home/a/b.txt").read_text() == "as connect() says"
    with fsspec.open(f"{'mig+local'}://a/b.txt", skip_instance_cache=True) as file:
        assert file.read() == b"as connect() says"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_in_the_event_loop_of_the_program(tmp_path: Path) -> None:
    fs = fsspec.filesystem("mig+local", home=tmp_path / "home", asynchronous=True)
    await fs._pipe_file("a/b", b"x")
    assert await fs._cat_file("a/b") == b"x"
    assert await fs._find("") == ["a/b"]


@asynccontextmanager
async def served() -> AsyncIterator[Config]:
    async with FakeGrid() as grid, grid.serve() as address:
        yield address.config()


PROGRAM = """
import fsspec

files = fsspec.filesystem("mig")
files.pipe("results/out.csv", b"over TLS")
with fsspec.open("mig://results/out.csv") as file:
    print(file.read())
"""


def test_the_session_ends_with_the_program(tmp_path: Path) -> None:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(served()) as config:
        (tmp_path / "miguser.conf").write_text(
            f"migserver {config.url}\ncertfile {config.certificate}\nkeyfile {config.key}\ncacertfile {config.ca}\n"
        )
        ended = subprocess.run(
            [sys.executable, "-W", "always", "-c", PROGRAM],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "AIOMIG_CONFIG": str(tmp_path / "miguser.conf"), "AIOMIG_MODE": "grid"},
        )
    assert (ended.stdout, ended.stderr) == ("b'over TLS'\n", "")
    assert ended.returncode == 0
