"""No key and no password appears in a session, its configuration, its errors and its log."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization

import aiomig
from aiomig.testing import USER, Authority, FakeGrid
from tests.secrecy import LOGGERS, SECRETS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "Brillig-and-the-slithy-toves-4711"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def fields(tmp_path: Path, authority: Authority) -> dict[str, Any]:
    files = authority.client(USER, "mine")
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    secret = serialization.BestAvailableEncryption(PASSWORD.encode())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)
    plain = files.key.read_text("ascii").splitlines()
    files.key.write_bytes(pem)
    SECRETS.words |= {line for line in plain if "-" not in line and len(line) > 20}
    return {"certificate": files.certificate, "key": files.key, "ca": authority.file, "password": PASSWORD}


def reached(start: object) -> Iterator[object]:
    """All objects of aiomig that can be reached from an object."""
    seen: set[int] = set()
    left = [start]
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if type(each).__module__.startswith("aiomig"):
            yield each
            slots = (name for kind in type(each).__mro__ for name in getattr(kind, "__slots__", ()))
            left += [getattr(each, name) for name in slots if hasattr(each, name)]
            left += vars(each).values() if hasattr(each, "__dict__") else ()
        elif isinstance(each, dict):
            left += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple | set | frozenset):
            left += each


def search(what: object) -> None:
    SECRETS.search(type(what).__name__, what, repr(what), getattr(what, "__dict__", ""))


async def test_nothing_of_an_open_session_shows_them(
    tmp_path: Path, authority: Authority, fields: dict[str, Any]
) -> None:
    async with (
        FakeGrid(tmp_path / "home") as grid,
        grid.serve(authority=authority) as address,
        aiomig.grid(url=address.url, journal=tmp_path / "journal", **fields) as mig,
    ):
        before = SECRETS.searched
        job = await mig.submit("echo hello", inputs=[(b"data", "in.txt")])
        await job.result(check=False)
        assert SECRETS.searched > before + 5  # the log at DEBUG
        kinds = set()
        for each in (*reached(mig), *reached(job)):
            kinds.add(type(each).__name__)
            SECRETS.search(type(each).__name__, repr(each))
        assert kinds >= {"Session", "GridBackend", "HttpClient", "Config", "OperationClient", "Job"}
    assert PASSWORD in SECRETS.words
    assert SECRETS.leaks == []


@pytest.mark.parametrize("wrong", ["password", "key", "certificate", "broken", "missing", "server", "field"])
async def test_nothing_that_goes_wrong_shows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], wrong: str
) -> None:
    url = "https://localhost:1"
    fields |= {
        "password": {"password": PASSWORD + "x"},
        "key": {"key": fields["certificate"]},
        "certificate": {"certificate": fields["key"]},
        "missing": {"key": tmp_path / "none"},
    }.get(wrong, {})
    if wrong == "broken":
        text = fields["key"].read_text("ascii")
        fields["key"].write_text(text[:80] + "****" + text[84:])
    if wrong == "field":
        with pytest.raises(aiomig.ConfigError) as refused:
            aiomig.grid(url=f"https://me:{PASSWORD}@localhost", **fields)
        error: aiomig.MigError = refused.value
    else:
        with pytest.raises(aiomig.MigError) as failed:
            async with aiomig.grid(url=url, journal=False, **fields):
                pass
        error = failed.value
    for each in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):
        search(each)
    shown = "".join(traceback.format_exception(error))
    SECRETS.search("the traceback", shown)
    assert SECRETS.leaks == []


def test_a_configuration_of_a_file_does_not_show_them(tmp_path: Path, fields: dict[str, Any]) -> None:
    path = tmp_path / "miguser.conf"
    path.touch(mode=0o600)
    lines = {
        "migserver": "https://localhost:1",
        "certfile": fields["certificate"],
        "keyfile": fields["key"],
        "cacertfile": fields["ca"],
        "password": PASSWORD,
    }
    path.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
    config = aiomig.Config.load(path)
    assert config.password == PASSWORD
    SECRETS.learn(config)
    for each in (config, config.replace(timeout=1.0), config.credential()):
        SECRETS.search(type(each).__name__, repr(each), str(each))
    path.write_text(path.read_text() + "max_time never\n")
    with pytest.raises(aiomig.ConfigError) as caught:
        aiomig.Config.load(path)
    search(caught.value)
    assert SECRETS.leaks == []


# -- the search itself finds what it is to find


def leaked() -> int:
    found, SECRETS.leaks = len(SECRETS.leaks), []
    return found


def test_whatever_tells_a_secret_is_found(tmp_path: Path, fields: dict[str, Any]) -> None:
    config = aiomig.Config(url="https://localhost:1", **fields)
    config.ssl_context()
    body = fields["key"].read_text("ascii").splitlines()[1]
    for name in LOGGERS:
        logging.getLogger(name).debug("connecting %s", "now", extra={"detail": {"password": PASSWORD}})
    assert leaked() == len(LOGGERS)
    aiomig.MigError(f"the key {body} is wrong")
    assert leaked() >= 1
    subprocess.run([sys.executable, "-c", "", PASSWORD], check=True)
    assert leaked() >= 1
    subprocess.run([sys.executable, "-c", ""], check=True, env={"SECRET": body})
    assert leaked() >= 1
    subprocess.run([sys.executable, "-c", ""], check=True)
    assert leaked() == 0
