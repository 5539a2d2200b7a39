"""A user without a home directory, as in a container with an arbitrary user id."""

from __future__ import annotations

import pwd
from typing import TYPE_CHECKING

import pytest

from aiomig.cli import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Done

    Cli = Callable[..., Done]


@pytest.fixture(autouse=True)
def no_home(work: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", missing)


@pytest.mark.parametrize(
    "arguments",
    [
        ["jobs"],
        ["--local", "run", "echo hi"],
        ["--grid", "jobs"],
        ["doctor"],
        ["--grid", "doctor"],
        ["--config", "~/miguser.conf", "jobs"],
        ["--home", "~/home", "jobs"],
        ["init", "--url", "https://localhost", "--certificate", "cert.pem", "--key", "cert.pem"],
        ["sweep", "-p", "n=1", "echo {n}"],
    ],
)
def test_commands_say_what_to_do(call: Cli, work: object, arguments: list[str]) -> None:
    with open("cert.pem", "w"):
        pass
    done = call(*arguments)
    words = done.stderr + done.out
    codes = {ExitCode.UNAVAILABLE, ExitCode.CONFIGURATION}
    others = {"doctor": ExitCode.FAILURE, "--home": ExitCode.DESCRIPTION}
    assert done.code in codes | {code for word, code in others.items() if word in arguments}
    assert "HOME" in words
    assert "bug in aiomig" not in words


def test_a_home_of_local_mode_is_enough(call: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("--home", "home", "run", "-q", "echo hi").out == "hi\n"
    monkeypatch.setenv("AIOMIG_HOME", "home")
    assert call("--local", "run", "-q", "echo hi").out == "hi\n"
    assert call("jobs", "--ids").code == 0
