"""The command ``call``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiomig.cli import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Done

    Cli = Callable[..., Done]


def test_any_operation_prints_its_objects(grid: Cli) -> None:
    lines = grid("call", "userstats", "stats=jobs", "stats=disk").lines
    assert [sorted(json.loads(line)) for line in lines] == [["disk", "jobs", "object_type"]]
    assert [item["object_type"] for item in grid("call", "--json", "userstats").json] == ["user_stats"]


def test_errors(grid: Cli, local: Cli) -> None:
    refused = grid("call", "ls", "colour=red")
    assert (refused.code, "unexpected field: colour" in refused.stderr) == (ExitCode.UNAVAILABLE, True)
    missing = grid("call", "ls", "path=nothing")
    assert missing.code == ExitCode.NOT_FOUND
    assert grid("call", "ls", "path").code == ExitCode.USAGE
    assert grid("call", "ls", "path=").code == ExitCode.DESCRIPTION
    nowhere = local("call", "ls")
    assert (nowhere.code, "use aiomig ls" in nowhere.stderr) == (ExitCode.UNAVAILABLE, True)
