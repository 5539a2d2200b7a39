"""The table of mistakes and faults of users, files, servers and jobs, and the errors that report them.

Each row has an action, the exact class of its error, the parts of the message that the user needs (field, value,
remedy), and attributes that programs need. ``act`` takes these objects by name:

- ``work``: a `Path`, the working directory, with the files that `test_wrong_inputs.prepare` makes;
- ``files``: the `Files` of a local home; ``root`` is its folder;
- ``grid``: a `FakeGrid` whose jobs wait for the test, and ``mig``, a session on it;
- ``local``: a session in local mode;
- ``answered``: opens a session on a server that then responds to everything with the given bytes.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiomig
from aiomig import (
    ActionRefused,
    AuthenticationFailed,
    CommandFailed,
    Config,
    ConfigError,
    ConnectionFailed,
    FileExists,
    FileNotFound,
    JobCanceled,
    JobExpired,
    JobFailed,
    JobNotFound,
    JobSpec,
    LocalError,
    MigError,
    NoSession,
    PathRefused,
    Polling,
    ProtocolError,
    Remote,
    Resources,
    ResultsMissing,
    Retry,
    ServerError,
    SpecError,
    SubmitErrors,
    SubmitRejected,
    SubmitUnknown,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiomig import Session
    from aiomig.testing import FakeGrid


@dataclass(frozen=True)
class Wrong:
    """One row.

    Attributes:
        what: a description of the mistake.
        act: makes the mistake; may be a coroutine function.
        error: the exact class of the error.
        words: parts of the message.
        attributes: attributes of the error and their values.
        fault: the field of the first of its faults, or ``None``.
    """

    what: str
    act: Callable[..., Any]
    error: type[MigError]
    words: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    fault: str | None = None


def spec(what: str, fault: str, *words: str, **fields: Any) -> Wrong:
    """A job description that is wrong."""
    return Wrong(what, lambda work: JobSpec(**{"commands": "true", **fields}), SpecError, (fault, *words), fault=fault)


def needs(what: str, fault: str, *words: str, **fields: Any) -> Wrong:
    """Resources that are wrong."""
    return spec(what, f"resources.{fault}", *words, resources=Resources(**fields))


def mrsl(what: str, fault: str, line: int | None, text: str, *words: str) -> Wrong:
    """A hand-written description that is wrong."""
    at = (f"line {line}:",) if line is not None else ()
    return Wrong(what, lambda: JobSpec.from_mrsl(text), SpecError, (*at, fault, *words), fault=fault)


USUAL = "migserver https://grid.example.org\ncertfile cert.pem\nkeyfile key.pem\n"


def conf(what: str, text: str | bytes, line: int | None, name: str | None, *words: str) -> Wrong:
    """A configuration file that is wrong."""

    def act(work: Path) -> Config:
        (work / "miguser.conf").write_bytes(text.encode() if isinstance(text, str) else text)
        return Config.load(work / "miguser.conf")

    where = "miguser.conf" if line is None else f"miguser.conf:{line}: "
    return Wrong(what, act, ConfigError, (where, *words), {"line": line, "field": name})


def config(what: str, name: str, *words: str, **fields: Any) -> Wrong:
    """A field of `Config` that is wrong."""
    usual = {"url": "https://grid.example.org", "certificate": "cert.pem", "key": "key.pem"}
    return Wrong(what, lambda: Config(**{**usual, **fields}), ConfigError, (f"{name}: ", *words), {"field": name})


def files_of(what: str, error: type[MigError], name: str, *words: str, **fields: Any) -> Wrong:
    """A certificate, a key or an authority that cannot be used."""

    def act(work: Path) -> Any:
        usual = {"url": "https://grid.example.org", "certificate": "cert.pem", "key": "key.pem"}
        return Config(**{**usual, **fields}).ssl_context()

    return Wrong(what, act, error, (f"{name}: ", *words), {"field": name} if error is ConfigError else {})


def home(what: str, act: Callable[..., Any], error: type[MigError], *words: str, path: str | None = None) -> Wrong:
    """A use of the home that is wrong."""
    return Wrong(what, act, error, words, {} if path is None else {"path": path})


def unreadable(what: str, at: int, *words: str, commands: list[str]) -> Wrong:
    """Commands that bash cannot read."""
    fault = f"commands[{at}]" if len(commands) > 1 else "commands"
    words = (f"{fault}={commands[at]!r}", "bash says: ", *words, "no command of the job runs")
    return Wrong(what, lambda mig: mig.submit(commands), SpecError, words, fault=fault)


def option(what: str, fault: str, act: Callable[..., Any], *words: str) -> Wrong:
    """An option that is out of its range."""
    return Wrong(what, act, SpecError, (fault, *words), fault=fault)


def says(*objects: dict[str, Any]) -> bytes:
    """A response of a server."""
    return json.dumps(objects).encode()


def answer(what: str, body: bytes, error: type[MigError], *words: str, status: int = 200, **headers: str) -> Wrong:
    """A nonsensical response about a job, or one that reports a problem."""

    async def act(answered: Callable[..., Any]) -> Any:
        session: Session = await answered(body, status, **headers)
        return await session.job("7_1").status()

    return Wrong(what, act, error, words)


def fault(what: str, operation: str, kind: Any, error: type[MigError], *words: str, **more: Any) -> Wrong:
    """A fault of the server while the home is listed or a job is submitted."""

    async def act(grid: FakeGrid, mig: Session) -> Any:
        grid.faults.add(operation, kind, times=None, **more)
        return await (mig.submit("echo x") if operation == "submitfields" else mig.files.ls())

    return Wrong(what, act, error, words)


def command(code: int, *words: str, **attributes: Any) -> Wrong:
    """A command that exits with a code."""

    async def act(grid: FakeGrid, mig: Session) -> Any:
        grid.script(lambda job: job.executing(after=1).finish(stderr="it broke\n", status=[0, code], after=1))
        return await mig.submit(["true", "./fit --fast"])

    words = ("'./fit --fast'", f"exited with {code}", "it broke", *words)
    return Wrong(
        f"a command exits with {code}",
        act,
        CommandFailed,
        words,
        {"command": "./fit --fast", "exit_code": code, **attributes},
    )


def ended(
    what: str, script: Callable[..., Any], error: type[MigError], *words: str, fields: Any = None, **attributes: Any
) -> Wrong:
    """A job that does not end well."""

    async def act(grid: FakeGrid, mig: Session) -> Any:
        grid.script(script)
        return await mig.submit(**{"commands": "./fit", **(fields or {})})

    return Wrong(what, act, error, ("job ", *words), attributes)


# -- job descriptions


def from_nowhere(work: Path) -> Session:
    """A working directory that does not exist any more."""
    os.chdir(work / "empty")
    (work / "empty").rmdir()
    return aiomig.local("h")


async def swept_text(mig: Session) -> None:
    async for _ in mig.sweep(lambda row: f"echo {row}", "rows.csv"):
        pass


async def swept_none(mig: Session) -> None:
    async for _ in mig.sweep("echo $SEED", [{"SEED": None}]):
        pass


async def swept(mig: Session) -> Any:
    return [job async for job in mig.sweep(lambda text: JobSpec(f"echo {text}"), ["("], on_failure="raise")]


async def hashed(work: Path, mig: Session) -> Any:
    (work / "job.mrsl").write_text("::EXECUTE::\necho ${#HOME}\n")
    return await mig.submit_mrsl(work / "job.mrsl")


SPECS = [
    spec("no command", "commands", "no command", "at least one", commands=[]),
    spec("an empty command", "commands[1]", "empty command", "leave it out", commands=["true", " "]),
    spec("a command that is a number", "commands[0]", "7", "int, not a string", commands=[7]),
    spec("commands as bytes", "commands", "bytes", "a list of command lines", commands=b"true"),
    spec("a script for a command", "commands", "several lines", "executables=['script.sh']", commands="cd x\n./fit"),
    spec("a command that is not UTF-8", "commands", "not UTF-8", "executables=['script.sh']", commands="echo \udcff"),
    spec("NUL in a command", "commands", "NUL", "printf", commands="printf '\0'"),
    spec("a whole object for a command", "commands", "object", "give a command line", commands=object()),
    spec("inputs that are one text", "inputs", "'a.csv'", "inputs=[", inputs="a.csv"),
    spec("an input that is not there", "inputs[0]", "'nosuch.csv' does not exist", "Remote(", inputs=["nosuch.csv"]),
    spec("an input glob without a match", "inputs[0]", "*.nosuch", "check the pattern", inputs=["*.nosuch"]),
    spec("an empty input folder", "inputs[0]", "without files", "mkdir in a command", inputs=["empty"]),
    spec("a pipe as input", "inputs[0]", "'fifo' is neither", "copy its content", inputs=["fifo"]),
    spec("two inputs of one name", "inputs[1]", "'a.csv' is taken by inputs[0]", inputs=["a.csv", "other/a.csv"]),
    spec("an input above the job's folder", "inputs[0]", "../x", "remove the '..'", inputs=[("a.csv", "../x")]),
    spec("an absolute name in the job", "inputs[0]", "/etc/x", "relative", inputs=[("a.csv", "/etc/x")]),
    spec("content without a name", "inputs[0]", "(b'content', name)", inputs=[b"text"]),
    spec("a URL without a file", "inputs[0]", "https://host/", "(url, name)", inputs=["https://host/"]),
    spec("a home path with a blank", "inputs[0]", "contains ' '", "files.move", inputs=[Remote("two words")]),
    spec("a home path that leaves the home", "inputs[0]", "leads out", "'..'", inputs=[Remote("../x")]),
    spec("the home itself as input", "inputs[0]", "home itself", "name a file", inputs=[Remote(".")]),
    spec("an executable twice", "executables[0]", "taken by inputs[0]", inputs=["a.csv"], executables=["a.csv"]),
    spec("outputs that are one text", "outputs", "outputs=[", outputs="out.txt"),
    spec("a folder as output", "outputs[0]", "'results/'", "lose without an error", "tar", outputs=["results/"]),
    spec("a glob as output", "outputs[0]", "'*.txt'", "name each file", outputs=["*.txt"]),
    spec("an absolute output", "outputs[0]", "/tmp/x", "relative", outputs=["/tmp/x"]),
    spec("'..' in a destination", "outputs[0]", "../x", "remove the '..'", outputs=[("a", "../x")]),
    spec("two outputs in one place", "outputs[1]", "taken by outputs[0]", outputs=["a", ("b", "a")]),
    spec("an output in a .status", "outputs[0]", "'.status'", "'.state'", outputs=[("a", Remote("a.status"))]),
    spec("an output above the home", "outputs[0]", "leads out", "'..'", outputs=[("a", Remote("../x"))]),
    spec("an output with a blank in the home", "outputs[0]", "contains ' '", outputs=[("a", Remote("two words"))]),
    spec("the job's folder as output", "outputs[0]", "'.'", "name of a file", outputs=["."]),
    spec("a folder as destination", "outputs[0]", "directory", "the file itself", outputs=[("a", "plots/")]),
    spec("the whole home as input", "inputs[0]", "the MiG home itself", "a file in it", inputs=[Remote("/")]),
    spec("a folder in a raw keyword", "mrsl['OUTPUTFILES']", "'d/ x'", "a folder", "tar", mrsl={"OUTPUTFILES": "d/ x"}),
    spec("'..' in a raw keyword", "mrsl['INPUTFILES']", "leads out", "'..'", mrsl={"INPUTFILES": "a ../x"}),
    spec("an output that MiG hides", "outputs[0]", ".htaccess", "another", outputs=[("a", Remote("d/.htaccess"))]),
    spec("a number as destination", "outputs[0]", "type int", "(name, destination)", outputs=[("a", 5)]),
    spec("a variable without a good name", "environment['2X']", "letters, digits and _", environment={"2X": "a"}),
    spec("a variable that bash owns", "environment['UID']", "read-only", "another", environment={"UID": "0"}),
    spec("a variable that is a number", "environment['N']", "7", "{'N': '7'}", environment={"N": 7}),
    spec("variables as a list", "environment", "a dict", environment=["A=1"]),
    spec("a variable for labels", "environment['AIOMIG_LABELS']", "labels={…}", environment={"AIOMIG_LABELS": "a:b"}),
    spec("labels as a list", "labels", "a dict", "labels={'owner': 'ada'}", labels=["owner"]),
    spec(
        "a label without a good name", "labels", "'my owner'", "letters, digits, _ . and -", labels={"my owner": "ada"}
    ),
    spec("a label that is a number", "labels['n']", "7", "not a string", "{'n': '…'}", labels={"n": 7}),
    spec("a label of two lines", "labels['n']", "not printable", "200 printable characters", labels={"n": "a\nb"}),
    spec("a long label", "labels['n']", "too long", "at most 200", labels={"n": "a" * 201}),
    spec("many labels", "labels", "too many labels", "at most 32", labels={f"n{number}": "" for number in range(33)}),
    spec("a job name with a blank", "name", "'my job'", "255", name="my job"),
    spec("negative retries", "retries", "-1", "less than 0", "retries=2", retries=-1),
    spec("a project with a dash", "project", "'my-project'", "letters and digits", project="my-project"),
    spec("a kind of two words", "kind", "'turbo mode'", "letters and digits", kind="turbo mode"),
    spec("a vgrid list that is a text", "vgrids", "vgrids=[", vgrids="Generic"),
    spec("a file to verify by nothing", "verify", "'expected'", ".stdout", verify=["expected"]),
    spec("an unknown keyword", "mrsl['CPUTIM']", "did you mean CPUTIME", mrsl={"CPUTIM": 60}),
    spec("a keyword given twice", "mrsl['RETRIES']", "leave one of the two", retries=1, mrsl={"RETRIES": 2}),
    spec("a keyword of the wrong type", "mrsl['CPUTIME']", "'an hour'", "digits", mrsl={"CPUTIME": "an hour"}),
    spec("several things wrong", "commands", "2 faults", "retries", commands=[], retries="no"),
]

COMMANDS = [
    unreadable("a parenthesis too many", 1, "near unexpected token `)'", "correct it", commands=["true", "echo a )"]),
    unreadable("a parenthesis too few", 1, "syntax error", commands=["true", "( true", "true"]),
    unreadable("a brace too many", 0, "near unexpected token `}'", commands=["echo b; }"]),
    unreadable("a brace too few", 1, "unexpected end of file", commands=["true", "{ echo", "echo $x"]),
    unreadable("a dollar and a brace", 1, "looking for matching", commands=["true", "echo ${", "true"]),
    unreadable("a backtick too many", 0, "matching ``'", commands=["echo `"]),
    unreadable("a line that begins with a semicolon", 0, "near unexpected token `;'", commands=["; true"]),
    unreadable("Python's %(x)s", 0, "near unexpected token `('", commands=["echo %(x)s"]),
    unreadable("a loop over several commands", 0, "stand on one line", commands=["for i in 1 2", "do", "./fit", "done"]),
    unreadable("a here-document", 0, "here-document", "inputs=[(b'…', 'name')]", commands=["cat <<E", "text", "E"]),
    Wrong("a wrong command of many", lambda mig: mig.submit_many(["true", "echo ("]), SubmitErrors, ("2 of 2 jobs", "[1] commands='echo ('", "bash says")),
    Wrong("a wrong command in a sweep", swept, SpecError, ("commands='echo ('", "bash says"), fault="commands"),
    Wrong("one command for many", lambda mig: mig.submit_many("true"), SpecError, ("specs='true'", "give a list"), fault="specs"),
    Wrong("no job to wait for", lambda mig: mig.wait([None]), SpecError, ("jobs=None", "a Job, its id as a string"), fault="jobs"),
    Wrong("a number for a job", lambda mig: mig.statuses(7), SpecError, ("jobs=7", "a Job, its id as a string"), fault="jobs"),
    Wrong("no job in a scope", lambda mig: mig.scope().add(None), SpecError, ("jobs=None", "session.job"), fault="jobs"),
    Wrong("no pattern of ids", lambda mig: mig.jobs(None), SpecError, ("pattern=None", "give a string"), fault="pattern"),
    Wrong("a text of parameters", swept_text, SpecError, ("parameters='rows.csv'", "such as a list"), fault="parameters"),
    Wrong("a parameter without a value", swept_none, SpecError, ("environment['SEED']=None", "not a string")),
    Wrong("a hash that ends a command", hashed, SpecError, ("commands='echo ${'", "bash says"), fault="commands"),
]  # fmt: skip

RESOURCES = [
    needs("memory with a unit", "memory_mb", "'4 GB'", "memory_mb=4096", memory_mb="4 GB"),
    needs("half a megabyte", "memory_mb", "0.5", "whole number", memory_mb=0.5),
    needs("an hour as text", "wall_time", "'1h'", "wall_time=3600 (seconds)", wall_time="1h"),
    needs("negative wall time", "wall_time", "-5", "less than 0", wall_time=-5),
    needs("a truth for a disk", "disk_gb", "True", "gigabytes", disk_gb=True),
    needs("a disk beyond all bounds", "disk_gb", "too large", disk_gb=10**30),
    needs("a number of too many digits", "wall_time", "<int>", "too large", wall_time=10**5000),
    needs("no cores", "cores", "0", "at least 1", cores=0),
    needs("no nodes", "nodes", "0", "nodes=2", nodes=0),
    needs("an unknown fill", "fill[0]", "'DISKS'", "MEMORY, DISK", fill=("DISKS",)),
    needs("a host with a blank", "hosts[0]", "'a b'", "'*' and '?'", hosts=("a b",)),
    needs("a sandbox that is a text", "sandbox", "'yes'", "True, False or None", sandbox="yes"),
    needs("an architecture with a slash", "architecture", "'x86/64'", "letters, digits", architecture="x86/64"),
    spec("resources as a dict", "resources", "type dict", "aiomig.Resources(", resources={"cores": 1}),
]

MRSL = [
    mrsl("no commands", "EXECUTE", None, "::JOBNAME::\nx\n", "missing", "::EXECUTE::"),
    mrsl("an unknown keyword in a file", "EXECUT", 4, "::EXECUTE::\na\n\n::EXECUT::\nb\n", "did you mean EXECUTE or"),
    mrsl("a number in words", "CPUTIME", 5, "::EXECUTE::\ntrue\n\n::CPUTIME::\nten\n", "'ten'", "digits"),
    mrsl("a keyword again", "CPUTIME", 7, "::EXECUTE::\na\n\n::CPUTIME::\n1\n\n::CPUTIME::\n2\n", "keep one"),
    mrsl("three words for a file", "INPUTFILES", 5, "::EXECUTE::\na\n\n::INPUTFILES::\na b c\n", "SOURCE DESTINATION"),
    mrsl(
        "a number without a value", "MEMORY", 4, "::EXECUTE::\na\n\n::MEMORY::\n", "no value", "leave the keyword out"
    ),
    mrsl("two lines for one", "JOBNAME", 6, "::EXECUTE::\na\n\n::JOBNAME::\nx\ny\n", "one line", "keep one"),
    mrsl("a variable without '='", "ENVIRONMENT", 5, "::EXECUTE::\na\n\n::ENVIRONMENT::\nX\n", "NAME=VALUE"),
    mrsl("a file name with a '?'", "INPUTFILES", 5, "::EXECUTE::\na\n\n::INPUTFILES::\na?\n", "'?'", "rename"),
    mrsl("no text at all", "EXECUTE", None, "", "missing", "at least one command line"),
    mrsl("a folder in a file", "OUTPUTFILES", None, "::EXECUTE::\na\n\n::OUTPUTFILES::\nout/\n", "'out/'", "tar"),
    mrsl(
        "'..' in a destination of a file",
        "outputs[0]",
        None,
        "::EXECUTE::\na\n\n::OUTPUTFILES::\nx ../y\n",
        "leads out",
    ),
    Wrong("bytes for mRSL", lambda: JobSpec.from_mrsl(b"x"), SpecError, ("text", "decode"), fault="text"),  # type: ignore[arg-type]
]

# -- configuration

CONFIGURATION = [
    conf("no server", USUAL.replace("migserver", "#"), None, "migserver", "is missing", "migserver https://host:port"),
    conf("no line for a certificate", USUAL.replace("certfile", "#"), None, "certfile", "certfile ~/.mig/cert.pem"),
    conf(
        "a key with a sign",
        USUAL.replace("migserver ", "migserver="),
        1,
        "migserver",
        "is missing",
        "migserver https://host:port",
    ),
    conf(
        "a key in capitals",
        USUAL.replace("certfile", "CertFile"),
        2,
        "certfile",
        "is missing",
        "certfile ~/.mig/cert.pem",
    ),
    conf("no line for a key", USUAL.replace("keyfile", "#"), None, "keyfile", "is missing", "keyfile ~/.mig/key.pem"),
    conf("a key that is not there", USUAL.replace("key.pem", "no.pem"), 3, "keyfile", "'no.pem'", "correct the path"),
    conf("a comment in a path", USUAL.replace("key.pem", "key.pem # mine"), 3, "keyfile", "a line of its own"),
    conf("a home of nobody", USUAL.replace("cert.pem", "~nobody-x/c"), 2, "certfile", "~nobody-x", "an absolute path"),
    conf("a server without TLS", USUAL.replace("https", "http"), 1, "migserver", "'http://grid", "https://host[:port]"),
    conf("a time in words", USUAL + "connect_timeout soon\n", 4, "connect_timeout", "'soon'", "seconds, such as 20"),
    conf("no time at all", USUAL + "max_time 0\n", 4, "max_time", "0.0", "more than 0"),
    conf("endless time", USUAL + "max_time 1e999\n", 4, "max_time", "inf", "more than 0"),
    conf("access by password", USUAL + "auth_redir user_redirect\n", 4, "auth_redir", "'user_redirect'", "remove"),
    conf("an authority that is not there", USUAL + "cacertfile no.pem\n", 4, "cacertfile", "'no.pem'", "correct"),
    conf("not UTF-8", USUAL.encode() + b"username \xff\n", 4, None, "is not UTF-8", "save it as UTF-8"),
    conf("an OpenID cookie", "migserver https://x\nauthcookiefile c\n", 2, "authcookiefile", "OpenID", "X.509"),
    conf("a file beyond all bounds", b"#" * (2 << 20), None, None, "more than 1048576 bytes"),
    Wrong(
        "no such file",
        lambda work: Config.load(work / "no.conf"),
        ConfigError,
        ("no.conf", "no such file", "AIOMIG_CONFIG"),
    ),
    Wrong("no configuration", lambda work: Config.load(), ConfigError, ("~/.mig/miguser.conf", "Config(url=", "local")),
    Wrong("a folder for a file", lambda work: Config.load(work), ConfigError, ("cannot be read", "give the path")),
    config(
        "a URL with a path", "url", "'https://host/wsgi-bin'", "knows the paths of MiG", url="https://host/wsgi-bin"
    ),
    config("a URL without a host", "url", "'https://'", "names no host", url="https://"),
    config("a port that is none", "url", "https://host[:port]", url="https://host:99999"),
    config("a password in the URL", "url", "holds a user name or password", url="https://me:secret@host"),
    config("a URL that is none", "url", "None", "not text", url=None),
    config("an empty path for a key", "key", "''", "path of a PEM file", key=""),
    config("a path with NUL", "certificate", "NUL", "another path", certificate="a\0b"),
    config("a password that is a number", "password", "int", "text, or a callable", password=1234),
    config("a time before now", "timeout", "-1", "more than 0", timeout=-1),
    config("a time beyond all bounds", "connect_timeout", "more than 0", connect_timeout=10**400),
    Wrong(
        "an unknown field",
        lambda: Config("https://x", certificate="c", key="k").replace(certfile="c"),  # type: ignore[arg-type]
        ConfigError,
        ("certfile", "not a field", "certificate, key"),
        {"field": "certfile"},
    ),
]

CERTIFICATES = [
    files_of("an expired certificate", AuthenticationFailed, "certificate", "expired.pem", "CN=Test User", "expired at", "renew", certificate="expired.pem"),
    files_of("an early certificate", AuthenticationFailed, "certificate", "early.pem", "not valid before", "clock", certificate="early.pem"),
    files_of("a key of another", ConfigError, "key", "other.pem is not the key of cert.pem", "matching pair", key="other.pem"),
    files_of("a locked key", AuthenticationFailed, "key", "locked.pem is encrypted", "set password", "openssl pkey", key="locked.pem"),
    files_of("a wrong password", AuthenticationFailed, "key", "does not open locked.pem", key="locked.pem", password="wrong"),
    files_of("a password that is too long", AuthenticationFailed, "password", "1023 bytes", key="locked.pem", password="x" * 2000),
    files_of("half a character in a password", AuthenticationFailed, "password", "UTF-8", key="locked.pem", password="\ud800"),
    files_of("a password that nobody knows", AuthenticationFailed, "key", "no password was given", key="locked.pem", password=lambda: ""),
    files_of("a key for a certificate", ConfigError, "certificate", "holds no certificate", "openssl pkcs12", certificate="key.pem"),
    files_of("a certificate for a key", ConfigError, "key", "holds no private key", "-nocerts", key="cert.pem"),
    files_of("a damaged certificate", ConfigError, "certificate", "damaged.pem holds a damaged", "-clcerts", certificate="damaged.pem"),
    files_of("no certificate", ConfigError, "certificate", "no.pem cannot be read", "No such file", "correct the path", certificate="no.pem"),
    files_of("no key", ConfigError, "key", "no.pem cannot be read", "correct the path", key="no.pem"),
    files_of("no authority", ConfigError, "ca", "no.pem cannot be read", "correct the path", ca="no.pem"),
    files_of("an authority that is none", ConfigError, "ca", "a.csv holds no certificate", "cacert.pem", ca="a.csv"),
    files_of("a device for a certificate", ConfigError, "certificate", "/dev/zero", "neither a file nor a directory", certificate="/dev/zero"),
]  # fmt: skip

# -- the home

HOME = [
    home("a path out of the home", lambda files: files.stat("../x"), PathRefused, "'../x'", "inside it", path="../x"),
    home("a path far out", lambda files: files.read_bytes("a/../../etc/passwd"), PathRefused, "leads out"),
    home("an empty path", lambda files: files.ls(""), PathRefused, "''", "use '.' for the home"),
    home("a line break in a path", lambda files: files.stat("a\nb"), PathRefused, "U+000A", "without it"),
    home("half a character", lambda files: files.stat("\ud800"), PathRefused, "surrogate", "another name"),
    home("a path that is too long", lambda files: files.stat("x/" * 3000), PathRefused, "6000", "at most 4096"),
    home("a hidden name", lambda files: files.write_text("d/.htaccess", "x"), PathRefused, ".htaccess", "another"),
    home("aiomig's own folder", lambda files: files.remove(".aiomig", recursive=True), PathRefused, "local mode"),
    home("a pattern to remove", lambda files: files.remove("*"), PathRefused, "pattern", "get, put, ls and find"),
    home("a pattern for a folder", lambda files: files.ls("*/x"), PathRefused, "last component"),
    home("a name that MiG cannot carry", lambda files: files.mkdir("a#b"), PathRefused, "'#'", "U+0023", "use letters"),
    home("a file that is not there", lambda files: files.read_text("no"), FileNotFound, "no such file", path="no"),
    home("a folder that is not there", lambda files: files.ls("no"), FileNotFound, "no: no such", path="no"),
    home("a folder read as a file", lambda files: files.read_bytes("d"), PathRefused, "'d'", "is a directory"),
    home("a folder written as a file", lambda files: files.write_text("d", "x"), PathRefused, "is a directory"),
    home("a file used as a folder", lambda files: files.write_text("f/x", "x"), FileExists, "f: is a file", path="f"),
    home("a folder removed as a file", lambda files: files.remove("d"), PathRefused, "recursive=True", path="d"),
    home("the home removed", lambda files: files.remove("/", recursive=True), PathRefused, "the home itself"),
    home("a full folder removed", lambda files: files.rmdir("d"), FileExists, "not empty", "recursive=True"),
    home("a folder that is there", lambda files: files.mkdir("d", exist_ok=False), FileExists, "d: already", path="d"),
    home(
        "a folder without its parent",
        lambda files: files.mkdir("x/y", parents=False),
        FileNotFound,
        "x: no such",
        path="x",
    ),
    home("a folder copied as a file", lambda files: files.copy("d", "e"), PathRefused, "recursive=True"),
    home("a folder into itself", lambda files: files.move("d", "d/sub"), PathRefused, "inside it"),
    home("a file of this machine not there", lambda files: files.put("no.csv", "x"), FileNotFound, "on this machine"),
    home("a pattern without a match", lambda files: files.get("*.no", "here"), FileNotFound, "*.no: matches nothing"),
    home("two files into one", lambda files: files.put(["a.csv", "other/a.csv"], "t/"), FileExists, "rename one"),
    home("a local name that is too long", lambda files: files.get("f", "x" * 300), PathRefused, "shorter name"),
    home("an archive of no kind", lambda files: files.pack("d", "d.rar"), PathRefused, "d.rar", ".zip .tar"),
    home("an archive in its source", lambda files: files.pack("d", "d/d.zip"), PathRefused, "choose another place"),
    home("an archive that is none", lambda files: files.unpack("f.zip"), LocalError, "f.zip: cannot", path="f.zip"),
    home("a link out of the home", lambda files: files.read_bytes("out"), PathRefused, "symbolic link leads out"),
    home(
        "a home that is a file",
        lambda work: aiomig.local(work / "a.csv").__aenter__(),
        LocalError,
        "a.csv",
        "aiomig.local(home=",
    ),
]

# -- sessions, jobs, options


async def closed(work: Path) -> Session:
    async with aiomig.local(work / "home") as session:
        pass
    return session


async def use_closed(work: Path) -> Any:
    return await (await closed(work)).submit("true")


async def watch_closed(work: Path) -> Any:
    return (await closed(work)).watch("7_1")


async def reopen(work: Path) -> Any:
    return await (await closed(work)).__aenter__()


async def files_of_closed(grid: FakeGrid) -> Any:
    session = aiomig.grid(url="https://x", certificate="c", key="k", transport=grid.transport())
    async with session:
        files = session.files
    return await files.ls()


async def freeze_canceled(mig: Session) -> Any:
    job = await mig.submit("true")
    await job.cancel()
    return await job.freeze()


async def thaw_queued(mig: Session) -> Any:
    return await (await mig.submit("true")).thaw()


async def unknown_output(mig: Session) -> Any:
    return (await mig.submit("true", outputs=["a.txt"])).output("b.txt")


async def unknown_in_watch(mig: Session) -> Any:
    return [status async for status in mig.watch("9_nosuch")]


async def many_with_one_wrong(mig: Session) -> Any:
    return await mig.submit_many([JobSpec("true"), ""])


async def refused_by_server(mig: Session) -> Any:
    return await mig.submit("true", vgrids=["NoSuchVGrid"])


async def mixed_sessions(mig: Session, local: Session) -> Any:
    return await aiomig.wait([mig.job("1_a"), local.job("1_b")])


async def written_by_hand(work: Path, mig: Session) -> Any:
    (work / "job.mrsl").write_bytes(b"::EXECUTE::\necho \xff\n")
    return await mig.submit_mrsl(work / "job.mrsl")


SESSIONS = [
    Wrong("no session", lambda: aiomig.current_session(), NoSession, ("no session is open", "aiomig.connect()")),
    Wrong("a submit without one", lambda: aiomig.submit("true"), NoSession, ("async with",)),
    Wrong("a watch without one", lambda: aiomig.watch("7_1"), NoSession, ("async with",)),
    Wrong("a session not open yet", lambda work: aiomig.local(work / "h").submit("true"), NoSession, ("not open yet",)),
    Wrong("a session that is closed", use_closed, NoSession, ("closed",)),
    Wrong("a watch in a closed one", watch_closed, NoSession, ("closed",)),
    Wrong("a session opened again", reopen, MigError, ("closed already", "make a new one")),
    Wrong("the files of a closed one", files_of_closed, NoSession, ("is closed", "open another")),
    Wrong("jobs of two sessions", mixed_sessions, MigError, ("several sessions", "one session at a time")),
    option("a mode that there is not", "mode", lambda: aiomig.connect("cloud"), "'cloud'", "'grid' or 'local'"),  # type: ignore[arg-type]
    home("a queue that there is not", lambda mig: mig.queue("q").send("x"), FileNotFound, "message_queues/q: ", "create it with queue.create()", path="message_queues/q"),
    home("a local queue that there is not", lambda local: local.queue("q").receive(), FileNotFound, "message_queues/q: ", "create it with", path="message_queues/q"),
    home("a queue twice", lambda mig: mig.queue("default").create(), FileExists, "message_queues/default: ", "exist_ok=True", path="message_queues/default"),
    option("a job id that is none", "job_id", lambda mig: mig.job(" "), "Job.id"),
    option("a spec and fields", "commands", lambda mig: mig.submit(JobSpec("true"), name="x"), "either a JobSpec or fields"),
    option("mRSL that is not UTF-8", "mrsl", written_by_hand, "byte 17", "save the file as UTF-8"),
    Wrong("a job that there is not", lambda mig: mig.job("9_nosuch").status(), JobNotFound, ("9_nosuch",), {"job_id": "9_nosuch"}),
    Wrong("a job id with a path", lambda mig: mig.job("../../etc").plan(), JobNotFound, ("../../etc",)),
    Wrong("a pattern for a job id", lambda mig: mig.job("*").cancel(), JobNotFound, ("job *",), {"job_id": "*"}),
    Wrong("canceling no job", lambda mig: mig.job("9_nosuch").cancel(), JobNotFound, ("9_nosuch", "matching job IDs")),
    Wrong("watching no job", unknown_in_watch, JobNotFound, ("9_nosuch",), {"job_id": "9_nosuch"}),
    Wrong("a local job that there is not", lambda local: local.job("9_nosuch").result(), JobNotFound, ("9_nosuch",)),
    Wrong("freezing what is canceled", freeze_canceled, ActionRefused, ("can only freeze", "QUEUED")),
    Wrong("thawing what is queued", thaw_queued, ActionRefused, ("can only thaw", "FROZEN")),
    Wrong("an output that there is not", unknown_output, MigError, ("no output 'b.txt'", "'a.txt'")),
    Wrong("outputs of an unknown job", lambda mig: mig.job("7_1").output("a"), MigError, ("await job.plan() first",)),
    Wrong("one of many is wrong", many_with_one_wrong, SubmitErrors, ("2 of 2 jobs could not be submitted", "empty command")),
    Wrong("a vgrid that there is not", refused_by_server, SubmitRejected, ("'NoSuchVGrid' vgrid", "owner or member")),
]  # fmt: skip

OPTIONS = [
    option("polling without a pause", "floor", lambda: Polling(floor=0), "0", "above 0"),
    option("a floor above the ceiling", "floor", lambda: Polling(floor=60), "at most 30"),
    option("half a job a request", "jobs_a_request", lambda: Polling(jobs_a_request=0.5), "at least 1"),  # type: ignore[arg-type]
    option("no request a minute", "requests_a_minute", lambda: Polling(requests_a_minute=0), "at least 1"),
    option("a jitter of all", "jitter", lambda: Polling(jitter=1), "below 1"),
    option("pauses in words", "ceiling", lambda: Polling(ceiling="long"), "'long'", "above 0"),  # type: ignore[arg-type]
    option("no try at all", "tries", lambda: Retry(tries=0), "0", "at least 1"),
    option("a pause in words", "first", lambda: Retry(first="long"), "'long'", "at least 0"),  # type: ignore[arg-type]
    option("nothing in flight", "in_flight", lambda mig: mig.sweep("true", [], in_flight=0), "0", "positive"),
    option("an order of its own", "order", lambda mig: mig.sweep("true", [], order="any"), "'any'", "'submission'"),
    option("a failure ignored", "on_failure", lambda mig: mig.sweep("true", [], on_failure="ok"), "'ok'", "'raise'"),
    option("half a retry", "retries", lambda mig: mig.sweep("true", [], retries=0.5), "0.5", "a count"),
    option("a journal without a name", "journal", lambda mig: mig.sweep("true", [], journal=""), "a path, or None"),
    option("a journal that is another file", "journal", lambda work, mig: mig.sweep("true", [], journal="a.csv"), "not the journal of a sweep"),
    option("newest of none", "newest", lambda mig: mig.jobs(newest=0), "0", "a count, or None"),
    option("a relative home of nowhere", "home", from_nowhere, "working directory", "whole path"),
    option("no slots", "slots", lambda: aiomig.local("h", slots=0), "0", "positive whole number"),
    option("a queue with a dash", "name", lambda mig: mig.queue("my-queue"), "'my-queue'", "letters and digits"),
    option("a message in HTML", "message", lambda mig: mig.queue().send("<b>"), "'<'", "base64"),
    option("a message in bytes", "message", lambda local: local.queue().send(b"x"), "b'x'", "not a string", "decode it"),
    option("an empty message", "message", lambda local: local.queue().send(""), "empty", "at least one character"),
    option("negative grace", "kill_grace", lambda: aiomig.local("h", kill_grace=-1), "-1", "at least 0"),
    option("half a retry by default", "default_retries", lambda: aiomig.local("h", default_retries=1.5), "1.5", "whole number"),  # type: ignore[arg-type]
    option("retries in words", "default_retries", lambda: aiomig.local("h", default_retries="two"), "'two'"),  # type: ignore[arg-type]
    option("a truth for a time", "expire_after", lambda: aiomig.local("h", expire_after=True), "True", "seconds"),
    option("an exit of its own", "on_exit", lambda: aiomig.local("h", on_exit="run"), "'run'", "'leave'"),  # type: ignore[arg-type]
]  # fmt: skip

# -- what a server does

PAGE = b"<html><head><title>It works!</title></head></html>"

SERVER = [
    answer("a page", PAGE, ProtocolError, "jobstatus", "text/html", "It works!", content_type="text/html"),
    answer("nothing", b"", ProtocolError, "the server answered nothing"),
    answer("half an answer", b'[{"object_type": "job_l', ProtocolError, "not the JSON", "job_l"),
    answer("something else in JSON", b'{"jobs": []}', ProtocolError, "not a list of objects", "jobs"),
    answer("another answer", says({"object_type": "stats"}), ProtocolError, "the response has no job_list", "stats"),
    answer("no list of jobs", says({"object_type": "job_list", "jobs": 7}), ProtocolError, "jobs is not a list", "7"),
    answer("a job without an id", says({"object_type": "job_list", "jobs": [{}]}), ProtocolError, "job id", "None"),
    answer("an id with a path", says({"object_type": "job_list", "jobs": [{"job_id": "../x"}]}), ProtocolError, "../x"),
    answer("a nest", says({"object_type": "x", "y": json.loads("[" * 60 + "]" * 60)}), ProtocolError, "too deeply"),
    answer("an error", says({"object_type": "error_text", "text": "disk on fire"}), ServerError, "jobstatus", "on fire"),
    answer("no account", says({"object_type": "error_text", "text": "No such user x"}), AuthenticationFailed, "sign up"),
    answer("a bad gateway", b"<title>Bad Gateway</title>", ServerError, "jobstatus: Bad Gateway", status=502),
    answer("forbidden", b"<title>403 Forbidden</title>", AuthenticationFailed, "403 Forbidden", status=403),
    answer("a redirect", b"", AuthenticationFailed, "login.example.org", "certificate host", status=302, location="https://login.example.org/x?y=z"),
    fault("a crash while listing", "ls", "crash", ServerError, "ls: ", "critical internal error"),
    fault("a busy server", "ls", "unavailable", ServerError, "ls: ", "503"),
    fault("a connection cut", "ls", "drop", ConnectionFailed, "grid.example.org", "broke"),
    fault("an answer cut", "ls", "truncate", ConnectionFailed, "broke", "complete"),
    fault("a token refused", "submitfields", "csrf", ServerError, "submitfields", "CSRF"),
    fault("a submit without an answer", "submitfields", "drop", SubmitUnknown, "was lost", "find_submitted", "PROJECT"),
    fault("a submit that crashed", "submitfields", "crash", ServerError, "submitfields", "critical internal error"),
]  # fmt: skip

# -- what becomes of jobs

STAGED = "get_special_input_files 0\nget_input_files 22\nget_executables 22\noutput_files_missing 1\nsend_io_files 0\n"

JOBS = [
    command(1, signal=None),
    command(126, "found, but not executable"),
    command(127, "command not found"),
    command(137, "signal 9, SIGKILL", "memory_mb", signal="SIGKILL"),
    command(139, "signal 11, SIGSEGV: segmentation fault", signal="SIGSEGV"),
    command(152, "signal 24, SIGXCPU", "CPU time", signal="SIGXCPU"),
    command(153, "signal 25, SIGXFSZ", "file size", signal="SIGXFSZ"),
    command(255, "unbalanced quotes", signal=None),
    ended("no codes", lambda job: job.finish(stdout="x", status=b"", after=1), ResultsMissing, "did not arrive", ".status; these did: ", ".stdout", "resubmit()"),
    ended("inputs missing", lambda job: job.finish(status=b"", io_status=STAGED, after=1), ResultsMissing, "get_input_files failed with 22", "get_executables", "1 of the outputs"),
    ended("a fault without retries", lambda job: job.fail("RESOURCE DIED", after=9), JobFailed, "the only attempt", "RESOURCE DIED", "set -e", "syntax error"),
    ended("a shell that ended itself", lambda job: job.fail("RESOURCE DIED", after=9), JobFailed, "may be the cause: 'cd x || exit 3'", fields={"commands": ["cd x || exit 3", "echo exit 4"]}),
    ended("two timeouts", lambda job: job.requeue(after=5).fail(after=20), JobFailed, "2 attempts", "- JOB TIMEOUT", "queued 20", "failed 20", "raise resources.wall_time"),
    ended("a job expired", lambda job: job.expire(after=5), JobExpired, "longer than the grid allows"),
    ended("a job canceled", lambda job: job._later(3, lambda: job._jobs.set(job._job, "CANCELED")), JobCanceled, "canceled at 20", "UTC"),
]  # fmt: skip

TABLE = [
    *SPECS,
    *COMMANDS,
    *RESOURCES,
    *MRSL,
    *CONFIGURATION,
    *CERTIFICATES,
    *HOME,
    *SESSIONS,
    *OPTIONS,
    *SERVER,
    *JOBS,
]
