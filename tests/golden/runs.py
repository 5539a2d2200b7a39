"""The recorded runs of a real grid, in a form that can be compared with local runs."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiomig

FOLDER = Path(__file__).parent
LARGE = 1_000_000
"""From this size on, the recordings hold a hash of the content."""

_KEYWORDS = ("ENVIRONMENT", "EXECUTE", "JOBTYPE", "MAXFILL", "OUTPUTFILES", "RETRIES")
_REFUSED_WITHOUT_A_KEYWORD = {"runtime environment": "RUNTIMEENVIRONMENT", "vgrid": "VGRID"}

_NOT_COMPARABLE = (
    (re.compile(r"\d+(?:_\d+){3}__\d+_\d+_\d+_\w+\.0\b"), "JOBID"),
    (re.compile(r"(?<!\d)\d{6}-\d{6}\.\d+"), "LOCALJOBNAME"),
    (re.compile(r"(LOCALJOBNAME\.job: line) \d+:(?: +\d+ (?=[A-Z]))?"), r"\1 N:"),
)
"""Text that differs between runs: job ids, names of attempts, bash's line numbers and process ids."""

_OWN_NAMES = re.compile(r"(?m)(?:^(?:\./)?(?:LOCALJOBNAME|JOBID)\.\S+\n){2,}")
"""A part of a sorted list of files. Its order depends on the numbers in the names."""


@dataclass(frozen=True)
class Ending:
    """Everything about a run that is compared."""

    state: str
    reasons: tuple[str, ...]
    verified: str | None
    status: str | bytes | None
    stdout: str | bytes | None
    stderr: str | bytes | None
    io_status: str | bytes | None
    home: Mapping[str, str | bytes]


@dataclass(frozen=True)
class Run:
    """A recorded run."""

    name: str
    mrsl: str
    before: Mapping[str, Any]
    answer: Mapping[str, Any]
    final: Mapping[str, Any]
    output: Mapping[str, Any] | None
    after: Mapping[str, Any]
    actions: tuple[Mapping[str, Any], ...]

    @property
    def job_id(self) -> str | None:
        """Return the job's id on the grid, or ``None`` if it was refused."""
        return self.answer.get("job_id")

    @property
    def refused_keyword(self) -> str:
        """Return the keyword that the server refused."""
        message = " ".join(self.answer["message"].split())
        named = [keyword for keyword in _KEYWORDS if keyword in message.partition("You supplied")[0]]
        return (
            named[0] if named else next(name for words, name in _REFUSED_WITHOUT_A_KEYWORD.items() if words in message)
        )

    def ending(self) -> Ending:
        """Return how the run ended on the grid."""
        files = {path.rpartition(".")[2]: _content(file) for path, file in (self.output or {}).items()}
        histories = (each["execution_history"] for each in self.final["execution_histories"])
        return Ending(
            state=self.final["status"],
            reasons=tuple(each["failed_message"] for each in histories),
            verified=self.final.get("verified"),
            status=files.get("status"),
            stdout=files.get("stdout"),
            stderr=files.get("stderr"),
            io_status=files.get("io-status"),
            home={
                path: f"{file['mode'].removeprefix('0o')} {_content(file)!r}"
                for path, file in self.after.items()
                if not path.endswith("/")
            },
        )


def recordings() -> dict[str, str]:
    """Return all recordings as JSON text, by the name of the run."""
    lines = [line for path in sorted(FOLDER.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]
    lines += [path.read_text("utf-8") for path in sorted(FOLDER.glob("*.json"))]
    return {json.loads(line)["name"]: line for line in lines}


def run_of(recording: str, substitutions: Mapping[str, str]) -> Run:
    """Return a run, with texts replaced in its description and its results."""
    for old, new in substitutions.items():
        assert old in recording, f"nothing to replace: {old}"
        recording = recording.replace(old, new)
    data = json.loads(recording)
    return Run(
        name=data["name"],
        mrsl=data["mrsl"],
        before=data["home_files_before"],
        answer=data["submit"],
        final=data["final"],
        output=data["job_output"],
        after=data["home_files_after"],
        actions=tuple(each for each in data["actions"] if "action" in each or "home" in each),
    )


def _content(file: Mapping[str, Any]) -> str | bytes:
    if "sha256" in file:
        return f"sha256 {file['sha256']}"
    return comparable(base64.b64decode(file["base64"]) if "base64" in file else file["text"].encode())


def comparable(data: bytes) -> str | bytes:
    """Return a content without text that differs between runs; bytes if it is not text, and a hash if it is large."""
    if len(data) >= LARGE:
        return f"sha256 {hashlib.sha256(data).hexdigest()}"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return data
    for pattern, replacement in _NOT_COMPARABLE:
        text = pattern.sub(replacement, text)
    return _OWN_NAMES.sub(lambda match: "".join(sorted(match[0].splitlines(keepends=True))), text)


def put_before(run: Run, home: Path) -> None:
    """Write the files of a run's home as they were before it."""
    for path, file in run.before.items():
        target = home / path
        target.parent.mkdir(parents=True, exist_ok=True)
        content = base64.b64decode(file["base64"]) if "base64" in file else file["text"].encode()
        target.write_bytes(content)
        target.chmod(int(file["mode"], 8))


def snapshot(home: Path) -> dict[str, str]:
    """Return the files of a home with their permissions, without aiomig's own files and the results of jobs."""
    found: dict[str, str] = {}
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home).as_posix()
        if path.is_file() and not re.match(r"\.aiomig/|job_output/[\d_]+_local\.0/", name):
            mode = stat.S_IMODE(path.stat().st_mode)
            found[name] = f"{mode:o} {comparable(path.read_bytes())!r}"
    return found


def local_ending(status: aiomig.JobStatus, home: Path, before: Mapping[str, str]) -> Ending:
    """Return how a run ended in local mode."""
    folder = home / "job_output" / status.job_id
    files = {
        path.rpartition(".")[2]: comparable((folder / path).read_bytes())
        for path in (sorted(each.name for each in folder.iterdir()) if folder.exists() else ())
    }
    return Ending(
        state=status.state,
        reasons=tuple(attempt.reason for attempt in status.attempts),
        verified=status.verified,
        status=files.get("status"),
        stdout=files.get("stdout"),
        stderr=files.get("stderr"),
        io_status=files.get("io-status"),
        home={path: content for path, content in snapshot(home).items() if before.get(path) != content},
    )
