"""Messages of the library, translated for the command line."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("click")

import aiomig
from aiomig import JobSpec, Remote, Resources, SpecError
from aiomig.cli._exit_codes import sentence
from aiomig.cli._messages import _REPLACEMENTS, translate

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"inputs": ["nope.py"]}, "--input nope.py: does not exist; check the path and the working directory, or"),
        ({"inputs": ["nope.py"]}, "write mig:PATH for a file of the MiG home"),
        ({"outputs": [("a", Remote("../x"))]}, "--output a:mig:../x: the destination leads out of the MiG home"),
        ({"outputs": ["/abs", "a*"]}, "2 faults:\n- --output /abs: is absolute"),
        (
            {"resources": lambda: Resources(wall_time=-1)},
            "--wall-time -1: is less than 0; give a whole number: --wall-time",
        ),
        ({"environment": {"1A": "x"}}, "--env 1A: is not a valid name of a variable"),
        ({"mrsl": {"FOO": "3"}}, "--mrsl FOO: unknown keyword"),
        ({"commands": ""}, "command '': is an empty command"),
    ],
)
def test_faults_name_options(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        JobSpec(
            **{"commands": "true", **{name: value() if callable(value) else value for name, value in fields.items()}}
        )
    message = sentence(caught.value)
    assert words in message
    assert "Remote(" not in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("see Remote('a b/c') and Remote(\"it's\")", "see mig:a b/c and mig:it's"),
        ("command not found: executables=[…] sends your own", "command not found: -x FILE sends your own"),
        ("await session.unconfirmed() lists them", "aiomig unconfirmed lists them"),
        ("create it with queue.create()", "create it with aiomig queue create"),
        ("the directory is not empty; use remove(recursive=True)", "the directory is not empty; use aiomig rm -r"),
        ("use remove(recursive=True), or rmdir", "use aiomig rm -r, or rmdir"),
        ("is a directory; copy it with recursive=True", "is a directory; copy it with --recursive"),
        ("remove it with recursive=True, or rmdir if empty", "remove it with --recursive"),
        ("create(exist_ok=True) accepts it", "--exist-ok accepts it"),
        ("put it there first: session.files.put(…)", "put it there first: aiomig put"),
        ("download it: session.files.get('a/b', …)", "download it: aiomig get a/b"),
        ("get it with session.files.get", "get it with aiomig get"),
        ("rename it with session.files.move first", "rename it with aiomig mv first"),
        ("use session.files.read_range and session.call", "use aiomig read and aiomig call"),
        ("use session.archives.delete(id, flavor='backup')", "use aiomig archive delete --flavor backup"),
        ("use job.cancel(), freeze() and thaw()", "use aiomig cancel, aiomig freeze and aiomig thaw"),
        ("ship it as a file: executables=['script.sh']", "ship it as a file: -x script.sh"),
        ("leave it out, or declare it: aiomig.local(vgrids=['A'])", "leave it out"),
        ("has none; open a session on a grid: aiomig.grid(), or --grid", "has none; --grid chooses a grid"),
        ("use labels={…}, or another name", "use --label NAME=VALUE, or another name"),
        ("'python session.py' exited with 1", "'python session.py' exited with 1"),
        ("algorithm='foo': is unknown", "--algorithm 'foo': is unknown"),
        ("x=1 is yours, and wall_time=60 is an option", "x=1 is yours, and --wall-time 60 is an option"),
    ],
)
def test_calls_and_arguments(text: str, words: str) -> None:
    assert translate(text) == words


def test_an_unknown_keyword_of_a_file_is_named_once() -> None:
    with pytest.raises(SpecError) as caught:
        JobSpec.from_mrsl("::EXECUTE::\ntrue\n\n::FOO::\n1\n")
    assert sentence(caught.value).startswith("line 4: FOO: unknown keyword; use one of EXECUTE")


@pytest.fixture(scope="module")
def library_texts() -> list[str]:
    """Provide every string in the source of the library."""
    package = Path(aiomig.__file__).parent
    return [text for path in package.rglob("*.py") if path.parent.name != "cli" for text in _texts(path)]


def _texts(path: Path) -> Iterator[str]:
    """Yield the strings of a module; those with values have the word "inputs" in place of each value."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else _placeholder(part) for part in node.values
            )


def _placeholder(part: ast.expr) -> str:
    return "'inputs'" if isinstance(part, ast.FormattedValue) and part.conversion == ord("r") else "inputs"


@pytest.mark.parametrize("pattern", [pattern for pattern, _ in _REPLACEMENTS], ids=lambda pattern: pattern.pattern)
def test_each_pattern_matches_a_message_of_the_library(pattern: re.Pattern[str], library_texts: list[str]) -> None:
    assert any(map(pattern.search, library_texts))
