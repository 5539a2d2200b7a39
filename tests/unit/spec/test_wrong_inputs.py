"""Every row of the table in `wrong_inputs`."""

from __future__ import annotations

import copy
import inspect
import math
import os
import pickle
import shutil
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization

import aiomig
from aiomig import Files, Session
from aiomig._local.home import LocalHome
from aiomig._shell.check import CommandCheck
from aiomig.testing import USER, Authority, FakeGrid
from tests.clocks import anyio_backend  # noqa: F401  # the fixture
from tests.unit.spec.wrong_inputs import TABLE, Wrong, says

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = says({"object_type": "error_text", "text": "0-aiomig: You do not have any matching job IDs!"})


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of all rows; each has a copy."""
    folder = tmp_path_factory.mktemp("prepared")
    prepare(folder)
    return folder


def prepare(folder: Path) -> None:
    for name in ("a.csv", "other/a.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    (folder / "empty").mkdir()
    now = datetime.now(UTC)
    authority = Authority(folder / "authority")
    files = authority.client(USER)
    others = {
        "other": authority.client(USER, "other"),
        "expired": authority.client(USER, "e", not_before=now - timedelta(9), not_after=now - timedelta(1)),
        "early": authority.client(USER, "f", not_before=now + timedelta(1), not_after=now + timedelta(9)),
    }
    shutil.copy(files.certificate, folder / "cert.pem")
    shutil.copy(files.key, folder / "key.pem")
    shutil.copy(others["other"].key, folder / "other.pem")
    shutil.copy(others["expired"].certificate, folder / "expired.pem")
    shutil.copy(others["early"].certificate, folder / "early.pem")
    whole = files.certificate.read_bytes()
    (folder / "damaged.pem").write_bytes(whole[:80] + whole[120:])
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"right")
    (folder / "locked.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    )
    for name in ("key.pem", "other.pem", "locked.pem"):
        (folder / name).chmod(0o600)


@pytest.fixture
def work(tmp_path: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    shutil.copytree(prepared, folder)
    os.mkfifo(folder / "fifo")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AIOMIG_CONFIG", "AIOMIG_MODE", "AIOMIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


class World:
    """The objects that rows use; only those that a row names are created."""

    def __init__(self, work: Path, stack: AsyncExitStack) -> None:
        self.work = work
        self.stack = stack
        self._made: dict[str, Any] = {"work": work}

    async def get(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = await getattr(self, f"_{name}")()
        return self._made[name]

    async def _root(self) -> Path:
        root = self.work / "root"
        (root / "d").mkdir(parents=True)
        for name in ("f", "d/f", "f.zip"):
            (root / name).write_text("text")
        (root / "out").symlink_to(self.work / "a.csv")
        return root

    async def _files(self) -> Files:
        return Files(LocalHome(await self.get("root")))

    async def _grid(self) -> FakeGrid:
        grid = await self.stack.enter_async_context(FakeGrid(self.work / "grid"))
        grid.hold()
        return grid

    async def _mig(self) -> Session:
        grid: FakeGrid = await self.get("grid")
        return await self._opened(grid.transport())

    async def _local(self) -> Session:
        return await self._entered(aiomig.local(self.work / "local"))

    async def _answered(self) -> Any:
        async def answered(body: bytes, status: int = 200, **headers: str) -> Session:
            answers = [httpx.Response(200, content=NOBODY)]
            told = {name.replace("_", "-"): value for name, value in headers.items()}

            def handler(request: httpx.Request) -> httpx.Response:
                return answers.pop() if answers else httpx.Response(status, content=body, headers=told)

            return await self._opened(httpx.MockTransport(handler))

        return answered

    async def _opened(self, transport: httpx.AsyncBaseTransport) -> Session:
        session = aiomig.grid(url="https://grid.example.org", certificate="c.pem", key="k.pem", transport=transport)
        return await self._entered(session)

    async def _entered(self, session: Session) -> Session:
        # bash takes real time, and the clock of the test would jump.
        session._submitter._commands = CommandCheck(seconds=math.inf)
        return await self.stack.enter_async_context(session)


async def carry_out(row: Wrong, work: Path) -> None:
    async with AsyncExitStack() as stack:
        world = World(work, stack)
        given = {name: await world.get(name) for name in inspect.signature(row.act).parameters}
        done = row.act(**given)
        while inspect.isawaitable(done):  # a job has an id, too
            done = await done


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.what)
async def test_row(row: Wrong, work: Path) -> None:
    with pytest.raises(row.error) as caught:
        await carry_out(row, work)
    error = caught.value
    assert type(error) is row.error
    for word in row.words:
        assert word in str(error)
    assert {name: getattr(error, name) for name in row.attributes} == row.attributes
    if row.fault is not None:
        first = error.faults[0]  # type: ignore[attr-defined]
        assert first.field == row.fault
        assert first.problem
        assert first.remedy
    assert type(error).__name__ in repr(error)
    for again in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert (type(again), str(again)) == (type(error), str(error))
        assert again.__dict__.keys() == error.__dict__.keys()


def test_the_table_is_long_and_says_each_thing_once() -> None:
    assert len(TABLE) >= 120
    told = [(row.what, row.words) for row in TABLE]
    assert len(set(told)) == len(told)
    assert all(row.words for row in TABLE)
