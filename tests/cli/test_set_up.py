"""The commands ``init``, ``doctor`` and ``completion``, help and exit codes."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aiomig import Config
from aiomig.cli import ExitCode

from .conftest import LONGEST, PROGRAM, ROOT
from .screens import Screen

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Done, Server

    Cli = Callable[..., Done]

PASSWORD = "correct horse"


@pytest.fixture
def p12(work: Path, server: Server) -> Path:
    """The user's certificate as browsers save it."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12

    key = load_pem_private_key(server.key.read_bytes(), None)
    certificate = x509.load_pem_x509_certificate(server.certificate.read_bytes())
    lock = BestAvailableEncryption(PASSWORD.encode())
    path = work / "me.p12"
    path.write_bytes(pkcs12.serialize_key_and_certificates(b"me", key, certificate, None, lock))  # type: ignore[arg-type]
    (work / "password").write_text(f"{PASSWORD}\nanother line\n")
    return path


# -- init


def modes(folder: Path) -> dict[str, str]:
    return {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in folder.iterdir()}


def test_init_with_a_pkcs12_file(call: Cli, server: Server, p12: Path) -> None:
    os.umask(0o022)
    command = ("init", "--url", server.url, "--p12", p12, "--ca", server.ca, "--folder", "new/mig")
    done = call(*command, "--password-file", "password")
    assert done.code == 0, done.stderr
    assert re.fullmatch(r"new/mig/miguser\.conf: /C=DK/.*, valid until .*\n", done.out)
    assert "next: aiomig doctor --config new/mig/miguser.conf" in done.stderr
    folder = Path("new/mig")
    assert modes(folder) == dict.fromkeys(["cert.pem", "key.pem", "cacert.pem", "miguser.conf"], "0o600")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    config = Config.load(folder / "miguser.conf")
    assert (config.url, config.ca) == (server.url, folder.absolute() / "cacert.pem")
    assert not config.credential().key_encrypted
    before = (folder / "key.pem").read_bytes()
    again = call(*command, "--password-file", "password")
    assert again.code == ExitCode.FILE_EXISTS
    assert "nothing was changed; use --force" in again.stderr
    assert (folder / "key.pem").read_bytes() == before
    assert call(*command, "--password-file", "-", "--force", stdin=PASSWORD.encode()).code == 0
    assert call("--config", folder / "miguser.conf", "ls").code == 0


def test_init_with_pem_files(call: Cli, server: Server, work: Path) -> None:
    done = call("init", "--url", server.url, "--certificate", server.certificate, "--key", server.key, "--json")
    assert done.code == 0, done.stderr
    folder = Path.home() / ".mig"
    assert done.json["config"] == str(folder / "miguser.conf")
    assert Config.find() == folder / "miguser.conf"
    assert Config.load().ca is None


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--p12", "me.p12"], ExitCode.CONFIGURATION, "the password does not open it"),
        (["--p12", "password"], ExitCode.CONFIGURATION, "is not a PKCS#12 file"),
        (["--p12", "me.p12", "--key", "me.p12"], ExitCode.USAGE, "leave out --certificate and --key"),
        (["--certificate", "me.p12", "--key", "me.p12", "--password-file", "x"], ExitCode.USAGE, "is for --p12"),
        (["--p12", "gone"], ExitCode.USAGE, "does not exist"),
        (["--p12", "me.p12", "--password-file", "gone"], ExitCode.NOT_FOUND, "gone: No such file"),
        (["--p12", "me.p12", "--password-file", "password", "--url", "http://x"], ExitCode.CONFIGURATION, "https://"),
    ],
)
def test_a_failed_init_writes_nothing(call: Cli, p12: Path, arguments: list[str], code: ExitCode, words: str) -> None:
    done = call("init", "--url", "https://host", "--folder", "new", *arguments)
    assert done.code == code
    assert words in done.stderr
    assert not Path("new/miguser.conf").exists()
    assert not list(Path().glob("new/*"))


def test_the_passphrase_of_a_key_is_asked_for_on_a_terminal(server: Server, p12: Path, call: Cli, work: Path) -> None:
    command = [*PROGRAM, "init", "--url", server.url, "--p12", "me.p12", "--ca", str(server.ca), "--folder", "mig"]
    with Screen([*command, "--encrypt-key"], os.environ, str(work)) as screen:
        screen.until(lambda text: "Password of the PKCS#12 file:" in text)
        screen.type(PASSWORD + "\n")
        assert screen.end() == 0, screen.text
        assert PASSWORD not in screen.text
    assert Config.load("mig/miguser.conf").credential().key_encrypted
    with Screen([*PROGRAM, "--config", "mig/miguser.conf", "du", "-b"], os.environ, str(work)) as screen:
        screen.until(lambda text: "Passphrase of the key:" in text)
        screen.type(PASSWORD + "\n")
        assert screen.end() == 0, screen.text
        assert PASSWORD not in screen.text
    done = call("--config", "mig/miguser.conf", "ls")
    assert done.code == ExitCode.REFUSED
    assert "is encrypted and no password was given" in done.stderr


# -- doctor


def findings(done: Done) -> dict[str, str]:
    return {line.split()[1]: line.split()[0] for line in done.lines}


def test_doctor_on_a_working_grid(call: Cli, server: Server) -> None:
    done = call("--config", server.config, "doctor")
    assert done.code == 0, done.out
    found = findings(done)
    names = [
        "python",
        "configuration",
        "certificate",
        "key",
        "network",
        "TLS",
        "session",
        "jobs",
        "site",
        "home",
        "clock",
    ]
    assert list(found) == [*names, "job"]
    assert {name for name, outcome in found.items() if outcome != "ok"} <= {"key"}
    assert "said hello" in done.lines[-1]


def test_doctor_in_local_mode(local: Cli) -> None:
    done = local("doctor", "--json")
    assert done.code == 0
    outcomes = [json.loads(line) for line in done.lines]
    assert [finding["check"] for finding in outcomes] == ["python", "session", "jobs", "site", "home", "disk", "job"]
    assert {finding["outcome"] for finding in outcomes} <= {"ok", "warning"}  # the disk may be nearly full
    done = local("--slots", "3", "doctor", "--no-job")
    assert list(findings(done))[-2:] == ["home", "disk"]
    assert re.search(r"disk +/\S+/home: .* used, .* free; 3 jobs run at once$", done.lines[-1])


def test_doctor_without_a_configuration(call: Cli, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(work / "state"))
    done = call("doctor", "--no-job")
    assert done.code == 0
    assert done.stderr.count("jobs run on this machine") == 1
    assert "open in local mode" in done.out


def changed(server: Server, work: Path, key: str, value: str) -> Path:
    config = work / "miguser.conf"
    config.write_text(re.sub(rf"^{key} .*", f"{key} {value}", server.config.read_text(), flags=re.MULTILINE))
    config.chmod(0o600)
    return config


@pytest.mark.parametrize(
    ("key", "value", "check", "words"),
    [
        ("migserver", "https://localhost:1", "network", "check migserver, the network and firewalls"),
        ("cacertfile", "AUTO", "TLS", "set cacertfile to the CA certificate of the site"),
        ("keyfile", "gone.pem", "configuration", "there is no file 'gone.pem'"),
        ("certfile", "nothing.pem", "certificate", "holds no certificate in PEM format"),
    ],
)
def test_doctor_names_problems(
    call: Cli, server: Server, work: Path, key: str, value: str, check: str, words: str
) -> None:
    (work / "nothing.pem").write_text("nothing\n")
    done = call("--config", changed(server, work, key, value), "doctor")
    assert done.code == ExitCode.FAILURE
    assert list(findings(done).items())[-1] == (check, "FAILED")
    assert words in done.lines[-1]


def test_doctor_warns_of_a_key_that_others_can_read(call: Cli, server: Server, work: Path) -> None:
    key = work / "key.pem"
    shutil.copy(server.key, key)
    key.chmod(0o644)
    done = call("--config", changed(server, work, "keyfile", str(key)), "doctor", "--no-job")
    assert findings(done)["key"] == "warning"
    assert f"chmod 600 {key}" in done.out


# -- help, completion


def test_without_a_command_the_usage_is_shown(call: Cli) -> None:
    done = call()
    assert (done.code, done.stderr.startswith("Usage: aiomig")) == (ExitCode.USAGE, True)


def test_version(call: Cli) -> None:
    from aiomig import __version__

    assert call("--version").out == f"aiomig, version {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(call: Cli, shell: str) -> None:
    assert "_AIOMIG_COMPLETE" in call("completion", shell).out


@pytest.mark.parametrize(("words", "wanted"), [("aiomig sub", "submit"), ("aiomig run --wall", "--wall-time")])
def test_completions(work: Path, words: str, wanted: str) -> None:
    environment = {
        **os.environ,
        "_AIOMIG_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run([*PROGRAM], env=environment, capture_output=True, text=True, timeout=LONGEST, check=False)
    assert f"plain,{wanted}" in done.stdout.split()


def test_the_installed_script(work: Path) -> None:
    try:
        (script,) = importlib.metadata.entry_points(group="console_scripts", name="aiomig")
    except (ValueError, importlib.metadata.PackageNotFoundError):
        pytest.skip("aiomig is not installed here, but used from the checkout")
    assert script.value == "aiomig.cli:main"
    program = Path(sys.executable).parent / "aiomig"
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=LONGEST, check=True)
    assert done.stdout.startswith("aiomig, version ")


def test_the_script_is_declared() -> None:
    assert 'aiomig = "aiomig.cli:main"' in (ROOT / "pyproject.toml").read_text()
