"""The package as a whole: its names, their documentation, its imports, its errors."""

from __future__ import annotations

import ast
import copy
import dataclasses
import importlib.metadata
import inspect
import pickle
import re
import subprocess
import sys
import types
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiomig
from aiomig import JobResult, JobState, JobStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PUBLIC = {name: getattr(aiomig, name) for name in aiomig.__all__}
CLASSES = {name: each for name, each in PUBLIC.items() if inspect.isclass(each)}

STATUS = JobStatus("7", JobState.FINISHED, "FINISHED", finished_at=datetime(2026, 1, 2, tzinfo=UTC))
RESULT = JobResult(STATUS, stderr_bytes=b"no\n", reported=True)
ERRORS: list[aiomig.MigError] = [
    aiomig.MigError("said"),
    aiomig.ConfigError("wrong", path="miguser.conf", line=3, field="migserver"),
    aiomig.SpecError([aiomig.Fault("name", "a b", "bad", "use a-b"), aiomig.Fault("CPUTIME", "x", "no", "1", 3)]),
    aiomig.NoSession("none"),
    aiomig.EventsLost(3),
    aiomig.LocalError("full", path="/home", remedy="make room"),
    aiomig.GridError("said"),
    aiomig.ConnectionFailed("said"),
    aiomig.SubmitUnknown("aiomig0123", "timed out"),
    aiomig.AuthenticationFailed("said"),
    aiomig.ServerError("mkdir", ["one", "two"]),
    aiomig.ProtocolError("odd", excerpt="<html>"),
    aiomig.SubmitRejected(["bad CPUTIME"], [aiomig.Fault("CPUTIME", "x", "no number", "give seconds")]),
    aiomig.SubmitErrors([aiomig.SubmitRejected(["full"]), aiomig.NoSession("none")]),
    aiomig.FileNotFound("a/b"),
    aiomig.FileExists("a/b"),
    aiomig.PathRefused("../a", "leaves the home"),
    aiomig.JobError("7", "said", status=STATUS, result=RESULT),
    aiomig.JobNotFound("7"),
    aiomig.CommandFailed("7", command="false", exit_code=1, status=STATUS, result=RESULT),
    aiomig.JobFailed("7", "gave up", status=STATUS),
    aiomig.JobCanceled("7", "canceled"),
    aiomig.JobExpired("7", "waited"),
    aiomig.ResultsMissing("7", ["out.txt"], status=STATUS, result=RESULT),
    aiomig.ActionRefused(aiomig.Outcome("7", JobState.FINISHED, None, "it has ended")),
]


# -- names


def test_all_is_true_and_sorted() -> None:
    tree = ast.parse((ROOT / "aiomig" / "__init__.py").read_text("utf-8"))
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    imported = {alias.asname or alias.name for node in imports for alias in node.names}
    assert aiomig.__all__ == sorted(name for name in imported if not name.startswith("_"))


def test_nothing_else_is_visible() -> None:
    # Modules that some test has imported are attributes, too. Only these four have a public name.
    # pytest rewrites the asserts of packages with a plugin, and adds names that begin with @.
    seen = {name for name in vars(aiomig) if not name.startswith(("_", "@"))} - {"testing", "cli", "notebook", "web"}
    assert seen == set(aiomig.__all__)


def test_version_is_that_of_the_project() -> None:
    try:
        installed = importlib.metadata.version("aiomig")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("aiomig is not installed here, but used from the checkout")
    assert aiomig.__version__ == installed


def test_is_typed() -> None:
    assert (Path(aiomig.__file__).parent / "py.typed").is_file()


# -- documentation


def documented_things() -> Iterator[tuple[str, Any]]:
    """Yield all public functions, classes, methods and properties of aiomig."""
    for name, each in PUBLIC.items():
        yield name, each
        bases = [base for base in each.__mro__ if base.__module__.startswith("aiomig")] if inspect.isclass(each) else ()
        for attribute, value in (item for base in bases for item in vars(base).items()):
            if isinstance(value, (classmethod, staticmethod)):
                value = value.__func__
            if not attribute.startswith("_") and isinstance(value, (types.FunctionType, property)):
                yield f"{name}.{attribute}", value


def test_everything_public_has_a_docstring() -> None:
    assert [name for name, each in documented_things() if not (each.__doc__ or "").strip()] == []


def test_the_docstring_of_the_package_names_everything_public() -> None:
    named = set(re.findall(r"`(\w+)`", aiomig.__doc__ or ""))
    assert [name for name in aiomig.__all__ if name not in named] == []


def test_help_of_submit_names_its_fields() -> None:
    named = set(re.findall(r"``(\w+)``", aiomig.submit.__doc__ or ""))
    assert {field.name for field in dataclasses.fields(aiomig.JobSpec)} - {"commands"} <= named


def test_every_module_has_a_docstring() -> None:
    modules = sorted((ROOT / "aiomig").rglob("*.py"))
    assert [path.name for path in modules if not ast.get_docstring(ast.parse(path.read_text("utf-8")))] == []


def test_no_public_function_takes_a_timeout() -> None:
    functions = {name: each for name, each in documented_things() if inspect.isfunction(each) and "Config" not in name}
    assert [name for name, each in functions.items() if "timeout" in inspect.signature(each).parameters] == []


def attributes_section(each: type) -> str:
    return (inspect.getdoc(each) or "").partition("Attributes:")[2]


def test_the_fields_of_values_are_explained() -> None:
    unexplained = [
        f"{name}.{field}"
        for name, each in CLASSES.items()
        for field in getattr(each, "__dataclass_fields__", getattr(each, "_fields", ()))
        if not field.startswith("_") and f"{field}:" not in attributes_section(each)
    ]
    assert unexplained == []


# -- weight


def imported_by(statement: str) -> set[str]:
    command = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_is_light() -> None:
    heavy = {"httpx", "ssl", "sqlite3", "asyncio", "trio", "email", "cryptography", "tarfile", "zipfile"}
    assert imported_by("import aiomig") & heavy <= imported_by("import anyio") & heavy


def rooms(modules: set[str]) -> set[str]:
    """Return the names right below that of the package."""
    return {name.split(".")[1] for name in modules if name.startswith("aiomig.")}


def test_importing_loads_neither_mode_and_nothing_that_is_rarely_needed() -> None:
    modules = imported_by("import aiomig")
    assert not rooms(modules) & {"_grid", "_local", "cli", "testing", "web", "notebook"}
    rarely_needed = {"difflib", "html", "pickle", "platformdirs"}
    assert modules & rarely_needed <= imported_by("import anyio")


def test_a_name_that_is_imported_late_is_as_any_other() -> None:
    program = """
import aiomig
assert "Config" in dir(aiomig) and "Config" not in vars(aiomig)
from aiomig import Config, Shares
assert aiomig.Config is Config and Shares.__module__ == "aiomig"
assert not hasattr(aiomig, "Nonsense")
from aiomig import *
assert Trigger is aiomig.Trigger"""
    assert "_grid" in rooms(imported_by(program))


def test_pydoc_shows_every_public_name() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "pydoc", "aiomig"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert [
        name for name in aiomig.__all__ if not re.search(rf"^    (class |async )?{name}\b", shown, re.MULTILINE)
    ] == []


def test_local_mode_needs_no_network_library() -> None:
    program = """
import tempfile, anyio, aiomig
async def main():
    with tempfile.TemporaryDirectory() as home:
        async with aiomig.local(home) as mig:
            assert (await (await mig.submit("true"))).ok
anyio.run(main)"""
    modules = imported_by(program)
    assert not modules & {"httpx", "httpcore", "trio"}
    assert "_grid" not in rooms(modules)


# -- errors


def test_every_error_is_listed_here() -> None:
    errors = {each for each in CLASSES.values() if issubclass(each, BaseException)}
    assert {type(error) for error in ERRORS} == errors
    assert all(issubclass(each, aiomig.MigError) for each in errors)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "way", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy], ids=["pickle", "copy", "deep"]
)
def test_errors_survive(error: aiomig.MigError, way: Any) -> None:
    again = way(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.args == error.args
    assert repr(vars(again)) == repr(vars(error))  # errors inside errors are equal only to themselves


def test_the_family_is_the_documented_one() -> None:
    bases = {
        "SpecError": ValueError,
        "NoSession": RuntimeError,
        "FileNotFound": FileNotFoundError,
        "FileExists": FileExistsError,
        "PathRefused": PermissionError,
        "JobNotFound": LookupError,
    }
    assert all(issubclass(PUBLIC[name], base) for name, base in bases.items())
    assert issubclass(aiomig.PathRefused, ValueError)
    grid = ("ConnectionFailed", "AuthenticationFailed", "ServerError", "ProtocolError")
    assert all(issubclass(PUBLIC[name], aiomig.GridError) for name in grid)
    job = ("JobNotFound", "CommandFailed", "JobFailed", "JobCanceled", "JobExpired", "ResultsMissing")
    assert all(issubclass(PUBLIC[name], aiomig.JobError) for name in job)
