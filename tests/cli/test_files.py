"""The file commands give the same results in local mode and on a grid over TLS."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aiomig.cli import ExitCode

from .conftest import PROGRAM
from .screens import Screen

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Done

    Cli = Callable[..., Done]

TEXT = "one 1\ntwo 2\nthree 3\n"


@pytest.fixture(params=["local", "grid"])
def mig(request: pytest.FixtureRequest) -> Cli:
    run: Cli = request.getfixturevalue(request.param)
    return run


def test_a_tour_of_the_home(mig: Cli, work: Path) -> None:
    (work / "up" / "deep").mkdir(parents=True)
    (work / "up" / "deep" / "a.txt").write_text(TEXT)
    (work / "b.bin").write_bytes(bytes(range(256)))
    assert mig("put", "up", "b.bin", "tour/").lines == ["tour/up/deep/a.txt", "tour/b.bin"]
    assert mig("ls", "tour").lines == ["tour/b.bin", "tour/up/"]
    assert mig("ls", "-R", "tour/*").lines == ["tour/b.bin", "tour/up/", "tour/up/deep/", "tour/up/deep/a.txt"]
    assert [file["size"] for file in mig("ls", "--json", "tour/b.bin").json] == [256]
    assert mig("ls", "-l", "tour").lines[1].split()[:2] == ["256", "B"]
    assert mig("cat", "tour/b.bin").stdout == bytes(range(256))
    assert mig("read", "--start", 10, "--end", 13, "tour/b.bin").stdout == b"\x0a\x0b\x0c"
    path = "tour/up/deep/a.txt"
    assert mig("head", "-n", 1, path).out == "one 1\n"
    assert mig("tail", "-n", 1, path).out == "three 3\n"
    assert mig("grep", "^t", path).lines == ["two 2", "three 3"]
    assert mig("grep", "nothing", path).code == ExitCode.FAILURE
    assert mig("wc", path).lines[1].split() == ["3", "6", "20", path]
    assert mig("checksum", path).out == f"{hashlib.sha256(TEXT.encode()).hexdigest()}  {path}\n"
    assert mig("find", "*.txt", "tour").lines == [path]
    assert mig("find", "*.png", "tour").code == ExitCode.FAILURE
    assert mig("stat", path).lines[1].split()[0] == "20"
    assert mig("du", "-b", "tour").out == "276  tour\n"
    assert mig("du", "--json", "tour").json == {"path": "tour", "bytes": 276}
    assert mig("get", "tour/up", "tour/*.bin", "down/").lines == ["down/up/deep/a.txt", "down/b.bin"]
    assert Path("down/b.bin").read_bytes() == bytes(range(256))


def test_changing_the_home(mig: Cli, work: Path) -> None:
    assert mig("write", "c/x", stdin=b"0123456789").code == 0
    assert mig("write", "c/x", "--start", 4, stdin=b"ab").code == 0
    assert mig("cat", "c/x").out == "0123ab6789"
    assert mig("cp", "c/x", "c/y").code == 0
    assert mig("mkdir", "c/d").code == 0
    assert mig("mv", "c/x", "c/y", "c/d").code == 0
    assert mig("ls", "c/d").lines == ["c/d/x", "c/d/y"]
    assert mig("truncate", "-s", 3, "c/d/x").code == 0
    assert mig("touch", "c/d/x", "c/new").code == 0
    assert mig("cat", "c/d/x", "c/new").out == "012"
    assert mig("pack", "c/d", "c/d.zip").code == 0
    assert mig("unpack", "c/d.zip", "c/again").code == 0
    assert mig("ls", "-R", "c/again").lines == ["c/again/d/", "c/again/d/x", "c/again/d/y"]
    busy = mig("rmdir", "c/d")
    assert busy.code == ExitCode.FILE_EXISTS
    assert mig("rm", "c/d/x", "c/d/y").code == 0
    assert mig("rmdir", "c/d").code == 0
    assert mig("rm", "c").code == ExitCode.REFUSED
    assert mig("rm", "-r", "c").code == 0
    gone = mig("ls", "c")
    assert (gone.code, gone.stderr) == (ExitCode.NOT_FOUND, "aiomig: c: no such file or directory in the MiG home\n")
    assert mig("rm", "-f", "c").code == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["cat", "../x"], ExitCode.REFUSED),
        (["cat", "nowhere"], ExitCode.NOT_FOUND),
        (["get", "nowhere", "x"], ExitCode.NOT_FOUND),
        (["put", "nowhere", "x"], ExitCode.NOT_FOUND),
        (["checksum", "-a", "crc", "x"], ExitCode.USAGE),
        (["read", "--start", "5", "--end", "3", "x"], ExitCode.USAGE),
        (["tail", "-f", "x"], ExitCode.USAGE),
    ],
)
def test_errors_are_one_sentence(local: Cli, arguments: list[str], code: ExitCode) -> None:
    done = local(*arguments)
    assert done.code == code
    assert done.stderr.startswith("aiomig: ")
    assert done.out == ""


def test_names_cannot_control_the_terminal(local: Cli, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert local("ls").code == 0
    (home / "a\x1b[31mb").write_text("x")
    assert local("find", "a*").out == "a\x1b[31mb\n", "a program gets the name as it is"
    with Screen([*PROGRAM, "--home", str(home), "find", "a*"], os.environ, str(tmp_path)) as screen:
        assert screen.end() == 0
        assert screen.text == r"a\x1b[31mb"
