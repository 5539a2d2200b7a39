"""The live mode of this suite, on a `FakeGrid` in another process: it leaves the account unchanged."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from aiomig.testing import FakeGrid, Site

from .live import CONFIG

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiomig.testing import Authority

pytestmark = pytest.mark.skipif(CONFIG is not None, reason="this run is no rehearsal")

SOME = "test_bytes_and_text or test_exit_code or test_cancel_twice or test_old_jobs or test_all_names or test_clean"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The backend of the server; the suite run chooses its own."""
    return "asyncio"


class Account:
    """A served grid, and a configuration for it."""

    def __init__(self, grid: FakeGrid, config: Path) -> None:
        self.grid = grid
        self._config = config

    async def rehearse(self, some: str) -> str:
        """Run a part of the suite, in which no test may fail; return its output."""
        environment = {**os.environ, "AIOMIG_LIVE_CONFIG": str(self._config)}
        folder = Path(__file__).parent
        command = [sys.executable, "-m", "pytest", str(folder), "-q", "-p", "no:cacheprovider", "-k", some]
        done = await anyio.run_process(command, env=environment, cwd=folder.parents[1], check=False)
        said = done.stdout.decode()
        assert done.returncode == 0, said
        return said

    def files(self) -> set[str]:
        """The files of the home, without the server's own records."""
        paths = (path.relative_to(self.grid.home) for path in self.grid.home.rglob("*") if path.is_file())
        return {str(path) for path in paths if path.parts[0] != ".aiomig"}


@pytest.fixture(params=[{}])
async def account(
    request: pytest.FixtureRequest, tmp_path: Path, authority: Authority, anyio_backend: str
) -> AsyncIterator[Account]:
    async with FakeGrid(tmp_path / "home", site=Site(**request.param)) as grid:
        (grid.home / "mine.txt").write_text("mine")
        async with grid.serve(authority=authority) as address:
            lines = {
                "migserver": address.url,
                "certfile": address.certificate,
                "keyfile": address.key,
                "cacertfile": address.ca,
            }
            config = tmp_path / "miguser.conf"
            config.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
            config.chmod(0o600)
            yield Account(grid, config)


async def test_nothing_is_left(account: Account) -> None:
    said = await account.rehearse(SOME)
    assert "test_exit_codes covers it on a real server" in said
    assert account.files() == {"mine.txt"}
    assert {job.state for job in account.grid.jobs} <= {"FINISHED", "CANCELED"}
    assert account.grid.count("textarea") == 1, "declared jobs go in one request"


@pytest.mark.parametrize("account", [{"jobs_enabled": False}], indirect=True)
async def test_a_site_without_jobs_is_skipped_by_name(account: Account) -> None:
    said = await account.rehearse("test_bytes_and_text or test_old_jobs or test_exit_codes")
    assert "the site says: " in said
    assert "Job execution is not enabled on this system" in said
    assert "1 passed, 2 skipped" in said
    assert account.files() == {"mine.txt"}


@pytest.mark.parametrize("account", [{"empty_results": True}], indirect=True)
async def test_a_site_that_loses_results_is_skipped_by_name(account: Account) -> None:
    said = await account.rehearse("test_exit_codes")
    assert "the site loses results" in said
    assert account.files() == {"mine.txt"}
