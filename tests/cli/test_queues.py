"""The commands ``queue``, ``site`` and ``docs``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiomig.cli import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Done

    Cli = Callable[..., Done]


@pytest.fixture(params=["local", "grid"])
def mig(request: pytest.FixtureRequest) -> Cli:
    run: Cli = request.getfixturevalue(request.param)
    return run


def test_the_life_of_a_queue(mig: Cli) -> None:
    assert mig("queue", "create", "results").out == ""
    again = mig("queue", "create", "results")
    assert (again.code, "message_queues/results: " in again.stderr) == (ExitCode.FILE_EXISTS, True)
    assert mig("queue", "create", "--exist-ok", "results").code == 0
    assert mig("queue", "list").lines == ["default", "results"]
    first = mig("queue", "send", "results", "seed 7 is done").out.strip()
    second = mig("queue", "send", "--json", "results", stdin="æøå\n".encode()).json
    assert second["queue"] == "results"
    assert mig("queue", "list", "results").lines == [first, second["id"]]
    assert mig("queue", "receive", "--keep", "results").out == "seed 7 is done\n"
    assert mig("queue", "receive", "results").out == "seed 7 is done\n"
    assert mig("queue", "receive", "--json", "results").json == {"queue": "results", "message": "æøå"}
    empty = mig("queue", "receive", "results")
    assert (empty.code, empty.out, empty.stderr) == (ExitCode.FAILURE, "", "")
    assert mig("queue", "remove", "results").code == 0
    assert mig("queue", "remove", "results").code == ExitCode.NOT_FOUND
    assert mig("queue", "remove", "--force", "results").code == 0


def test_shared_options_are_accepted_before_the_command(call: Cli, tmp_path: Path) -> None:
    assert call("queue", "--home", tmp_path, "list").lines == ["default"]
    assert call("queue", "list", "--home", tmp_path, "--json").json == ["default"]


def test_errors(local: Cli) -> None:
    refused = local("queue", "send", "default", "a<b")
    assert (refused.code, refused.stderr.count("\n")) == (ExitCode.DESCRIPTION, 1)
    assert local("queue", "list", "a-b").code == ExitCode.DESCRIPTION
    unknown = local("queue", "empty")
    assert (unknown.code, "'empty'" in unknown.stderr) == (ExitCode.USAGE, True)
    assert local("queue").code == ExitCode.USAGE


@pytest.mark.parametrize("name", ["create", "send", "receive", "list", "remove"])
def test_each_subcommand_has_help(call: Cli, name: str) -> None:
    done = call("queue", name, "--help")
    assert (done.code, done.out.startswith(f"Usage: aiomig queue {name} [OPTIONS] ")) == (0, True)


def test_what_the_grid_offers(mig: Cli) -> None:
    lines = mig("site").lines
    assert lines[1].startswith("job types             batch, ")
    assert "CPUTIME" in lines[3]
    assert "CPUTIME" in mig("site", "--json").json["keywords"]


def test_documentation(mig: Cli) -> None:
    assert mig("docs", "cputime").lines[0] == "CPUTIME"
    assert [keyword["name"] for keyword in mig("docs", "--json", "MEMORY", "DISK").json] == ["MEMORY", "DISK"]
    assert len(mig("docs", "--json").json) == 25
    unknown = mig("docs", "MEMRY")
    assert (unknown.code, "did you mean MEMORY?" in unknown.stderr) == (ExitCode.USAGE, True)
