"""A workload over real TLS through a proxy that delays, cuts, resets or corrupts at a random byte of a random request.

30 rounds on each event loop; ``AIOMIG_FAULT_ROUNDS`` sets another number.
"""

from __future__ import annotations

import logging
import os
import random
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

import aiomig
from aiomig import JobSpec, JobState, MigError
from aiomig.testing import FakeGrid, Site
from tests.unit.grid.fault_proxy import Fault, proxied

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from aiomig._grid.backend import GridBackend
    from aiomig.testing import Address, GridJob
    from tests.unit.grid.fault_proxy import Direction, FaultProxy

STEPS = frozenset({"one", "many", "upload", "download", "given_up"})
ROUNDS = int(os.environ.get("AIOMIG_FAULT_ROUNDS", "30"))
SIZE = 6000


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiomig._core.http._DIAGNOSIS_SECONDS", 0.05)


class World:
    """A server and a client, and the checks after each round."""

    def __init__(self, grid: FakeGrid, address: Address, proxy: FaultProxy, folder: Path) -> None:
        self.grid = grid
        self.proxy = proxy
        self.folder = folder
        self.told: Counter[str] = Counter()
        self.totals: dict[str, dict[Direction, int]] = {}
        """Bytes of each step."""
        self.faults = 0
        self._options: dict[str, Any] = {
            "url": proxy.url,
            "certificate": address.certificate,
            "key": address.key,
            "ca": address.ca,
            "retry": aiomig.Retry(first=0.001, longest=0.01),
            "polling": aiomig.Polling(floor=0.01, ceiling=0.02, gather=0.0, requests_a_minute=100_000),
            "request_limits": aiomig.RequestLimits(
                upload_chunk=SIZE // 3, download_piece=SIZE // 3, lookups=(0.001, 0.002, 0.004), clean_up=0.3
            ),
            "journal": folder / "journal",
        }
        self._known: set[str] = set()
        self._uploaded: set[bytes | None] = {None}

    async def round(self, seed: str, dice: random.Random) -> None:
        """Run one session with all its work, and then check everything."""
        work = _Work(self, seed, dice)
        try:
            work.begin("open")
            # Short timeouts only if a connection stalls: otherwise a busy machine could exceed them.
            stalls = work.fault is not None and work.fault.kind == "stall"
            patience: Any = {"connect_timeout": 0.2, "timeout": 0.1} if stalls else {}
            async with aiomig.grid(**self._options, **patience) as mig:
                work.end("open")
                await work.run(mig)
        except MigError as error:
            self.told[type(error).__name__] += 1
        await self.proxy.quiet()
        self.faults += self.proxy.done
        self.proxy.set(None)
        async with aiomig.grid(**self._options) as mig:
            lost = await mig.unconfirmed()
            mig.confirm(*lost)
        self._check(work, {job_id for each in lost for job_id in each.job_ids})

    def _check(self, work: _Work, reported: set[str]) -> None:
        self._known |= work.jobs | reported
        for job in self.grid.jobs:
            assert job.id in self._known or job.state == "CANCELED", f"{job.id} is not known to the client"
        for commands, count in Counter(job.commands for job in self.grid.jobs).items():
            assert count == 1, f"{commands} was made {count} times"
        up = self.grid.home / "up.bin"
        self._uploaded.add(work.content)
        now = up.read_bytes() if up.exists() else None
        assert now in self._uploaded, "a file is wrong in the home"
        if work.uploaded:
            assert now == work.content
        self._uploaded = {now, work.content}
        down = self.folder / f"{work.seed}.bin"
        assert not down.exists() or down.read_bytes() == (self.grid.home / "down.bin").read_bytes()
        assert down.exists() or not work.downloaded
        down.unlink(missing_ok=True)


class _Work:
    """The work of a user: submit, watch, upload, download, cancel; each step may fail."""

    def __init__(self, world: World, seed: str, dice: random.Random) -> None:
        self.seed = seed
        self.content = dice.randbytes(SIZE)
        self.jobs: set[str] = set()
        self.uploaded = self.downloaded = False
        self._world = world
        self._dice = dice
        self._spoilt = dice.choice(["open", *sorted(STEPS)]) if world.totals else ""
        self.fault = Fault.drawn(dice, world.totals[self._spoilt]) if self._spoilt else None

    def begin(self, step: str) -> None:
        if step == self._spoilt:
            self._world.proxy.set(self.fault)
        elif not self._spoilt:
            self._world.proxy.set(None)

    def end(self, step: str) -> None:
        if not self._spoilt:
            self._world.totals[step] = self._world.proxy.passed

    async def run(self, mig: aiomig.Session) -> None:
        steps = sorted(STEPS)
        self._dice.shuffle(steps)
        for step in steps:
            self.begin(step)
            try:
                await getattr(self, f"_{step}")(mig)
            except MigError as error:
                self._world.told[type(error).__name__] += 1
            self.end(step)

    def _note(self, *jobs: aiomig.Job) -> None:
        self.jobs |= {job.id for job in jobs}

    async def _one(self, mig: aiomig.Session) -> None:
        job = await mig.submit(f"end {self.seed}", inputs=[(self.content[:500], "in.txt")])
        self._note(job)
        (given,) = self._world.grid.job(job.id).description.transfers("INPUTFILES")
        assert (self._world.grid.home / given.source).read_bytes() == self.content[:500]
        states = [status.state async for status in mig.watch(job)]
        assert states[-1] is JobState.FINISHED
        assert (await job).stdout == f"{self.seed}\n"

    async def _many(self, mig: aiomig.Session) -> None:
        specs = [JobSpec(f"wait {self.seed} {number}", project="mine" if number else None) for number in range(3)]
        try:
            jobs = await mig.submit_many(specs)
        except aiomig.SubmitErrors as error:
            self._note(*error.jobs)
            raise
        self._note(*jobs)
        outcomes = await mig.cancel(jobs)
        assert all(outcome.after is JobState.CANCELED for outcome in outcomes.values())

    async def _given_up(self, mig: aiomig.Session) -> None:
        """A submit whose task is cancelled at some moment."""
        with anyio.move_on_after(self._dice.choice([0.0, 0.001, 0.003, 0.01])):
            self._note(await mig.submit(f"wait {self.seed} given up"))

    async def _upload(self, mig: aiomig.Session) -> None:
        await mig.files.write_bytes("up.bin", self.content)
        self.uploaded = True

    async def _download(self, mig: aiomig.Session) -> None:
        await mig.files.get("down.bin", self._world.folder / f"{self.seed}.bin")
        self.downloaded = True


def script(job: GridJob) -> object:
    verb, seed, *_ = job.commands[0].split()
    return job.finish(f"{seed}\n") if verb == "end" else None


async def test_whatever_happens_to_a_connection_nothing_is_lost_doubled_or_wrong(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    anyio_backend_name: str,
) -> None:
    contexts: list[ssl.SSLContext] = []
    make = aiomig.Config.ssl_context

    def once(config: aiomig.Config) -> ssl.SSLContext:
        contexts[:] = contexts or [make(config)]
        return contexts[0]

    monkeypatch.setattr(aiomig.Config, "ssl_context", once)
    site = Site(parse_time=0, keep_alive=60)
    async with (
        FakeGrid(tmp_path / "home", site=site) as grid,
        grid.serve() as address,
        proxied(address.url, grid.tasks) as proxy,
    ):
        grid.script(script)
        (grid.home / "down.bin").write_bytes(random.Random(0).randbytes(SIZE))
        world = World(grid, address, proxy, tmp_path)
        for seed in ("calm", *range(ROUNDS)):
            dice = random.Random(f"{anyio_backend_name} {seed}")
            try:
                with anyio.fail_after(30):
                    await world.round(f"seed{seed}", dice)
            except BaseException as error:
                error.add_note(f"{anyio_backend_name}, seed {seed}")
                raise
        told = f"{ROUNDS} rounds, {world.faults} faults, {len(grid.jobs)} jobs, {dict(world.told)}"
        logging.getLogger("tests").info("%s: %s", anyio_backend_name, told)
        # A retry may have ended early, so that later bytes were never sent.
        assert world.faults > ROUNDS * 0.7


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_a_flipped_byte_ends_the_connection(tmp_path: Path, direction: Direction) -> None:
    async with (
        FakeGrid(tmp_path / "home") as grid,
        grid.serve() as address,
        proxied(address.url, grid.tasks) as proxy,
        aiomig.grid(
            url=proxy.url, certificate=address.certificate, key=address.key, ca=address.ca, journal=False
        ) as mig,
    ):
        for name in ("first", "second"):
            (grid.home / name).write_text("")
        operations = cast("GridBackend", mig._backend)._operations  # one request each
        await operations.execute("rm", [("path", "first")])
        before = grid.connections
        proxy.set(Fault("corrupt", direction, 50))
        with pytest.raises(aiomig.ConnectionFailed) as caught:
            await operations.execute("rm", [("path", "second")])
        assert caught.value.sent
        # The server never read the corrupted request.
        assert (grid.home / "second").exists() == (direction == "up")
        assert grid.count("rm") == (1 if direction == "up" else 2)
        assert await mig.files.exists("second") == (direction == "up")
        assert grid.connections == before + 1
