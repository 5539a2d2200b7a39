"""The commands ``share``, ``archive``, ``transfer``, ``crontab``, ``trigger`` and ``account``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiomig.cli import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Done

    Cli = Callable[..., Done]


def test_the_life_of_a_share_link(grid: Cli) -> None:
    grid("mkdir", "shared")
    url = grid("share", "create", "--until", "2099-12-31", "shared").out.strip()
    share_id = url.rpartition("/")[2]
    assert grid("share", "list").lines[1].split()[:2] == [share_id, "read"]
    changed = grid("--json", "share", "change", "--write", "--no-read", "--for-ever", share_id).json
    assert (changed["id"], changed["read"], changed["write"], changed["expires_at"]) == (share_id, False, True, None)
    both = grid("share", "change", "--for-ever", "--until", "2099-12-31", share_id)
    assert both.code == ExitCode.USAGE
    assert grid("share", "delete", share_id).code == 0
    assert grid("share", "list").out == ""
    assert grid("share", "delete", share_id).code == ExitCode.UNAVAILABLE
    assert grid("share", "create", "--no-read", "shared").code == ExitCode.DESCRIPTION


def test_the_life_of_an_archive(grid: Cli, work: Path) -> None:
    grid("write", "a.txt", stdin=b"")
    grid("touch", "a.txt")
    archive_id = grid("archive", "create", "fit of 2026", "a.txt").out.strip()
    assert grid("archive", "list").lines[1].split()[0] == archive_id
    assert grid("archive", "show", archive_id).lines == ["a.txt"]
    assert grid("archive", "show", "--json", archive_id).json["name"] == "fit of 2026"
    assert grid("archive", "download", archive_id, "back").lines == ["FILE", "back/a.txt"]
    assert (work / "back" / "a.txt").is_file()
    assert grid("archive", "delete", archive_id).code == 0
    assert grid("archive", "list", "--json").json == []


def test_the_life_of_a_transfer(grid: Cli) -> None:
    grid("mkdir", "in")
    started = grid("--json", "transfer", "import", "https://missing.example.org/a.csv", "in").json
    assert (started["action"], started["destination"]) == ("import", "in")
    ended = grid("transfer", "wait", started["id"])
    assert (ended.code, ended.out) == (ExitCode.FAILURE, f"{started['id']}  FAILED\n")
    grid("touch", "a.txt")
    sent = grid("transfer", "export", "--wait", "a.txt", "sftp://example.org/up")
    assert (sent.code, sent.out.split()[1]) == (0, "DONE")
    assert [line.split()[1] for line in grid("transfer", "list").lines] == ["ACTION", "import", "export"]
    assert grid("transfer", "delete", started["id"], sent.out.split()[0]).code == 0


def test_the_life_of_a_crontab(grid: Cli) -> None:
    assert grid("crontab", "add", "30 3 * * * submit nightly.mRSL").code == 0
    assert grid("crontab", "list").out == "30 3 * * * submit nightly.mRSL\n"
    assert grid("crontab", "list", "--json").json[0]["hour"] == 3
    assert grid("crontab", "add", "*/5 * * * * ls").code == ExitCode.DESCRIPTION
    assert grid("crontab", "remove", "30 3 * * * submit nightly.mRSL").code == 0
    assert grid("crontab", "list").out == ""


def test_the_life_of_a_trigger(grid: Cli) -> None:
    rule_id = grid("trigger", "add", "Generic", "in/*.csv", "fit.mRSL").out.strip()
    assert grid("trigger", "list", "Generic").lines[1].split() == [rule_id, "in/*.csv", "created", "submit", "fit.mRSL"]
    assert grid("trigger", "remove", "Generic", rule_id).code == 0
    assert grid("trigger", "list", "Generic").out == ""


def test_account(grid: Cli) -> None:
    assert grid("account").lines[-2] == "vgrids: Generic"
    assert set(grid("account", "--json").json) == {"statistics", "vgrids", "resources"}


@pytest.mark.parametrize("name", ["share", "archive", "transfer", "crontab"])
def test_local_mode_has_no_services(local: Cli, name: str) -> None:
    done = local(name, "list")
    assert (done.code, "local mode has none" in done.stderr) == (ExitCode.UNAVAILABLE, True)
