"""What the command line makes of messages that speak of Python."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("click")

from aiomig import JobSpec, Remote, Resources, SpecError
from aiomig.cli._exit_codes import sentence
from aiomig.cli._words import own_words


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"inputs": ["nope.py"]}, "--input nope.py: does not exist; check the path (the working directory counts), or"),
        ({"inputs": ["nope.py"]}, "write mig:PATH for a file of the MiG home"),
        ({"outputs": [("a", Remote("../x"))]}, "--output a:mig:../x: the destination leads out of the MiG home"),
        ({"outputs": ["/abs", "a*"]}, "2 faults:\n- --output /abs: is absolute"),
        (
            {"resources": lambda: Resources(wall_time=-1)},
            "--wall-time -1: is less than 0; give a whole number: --wall-time",
        ),
        ({"environment": {"1A": "x"}}, "--env 1A: is not a name of the shell"),
        ({"mrsl": {"FOO": "3"}}, "--mrsl FOO: unknown keyword"),
        ({"commands": ""}, "command '': is an empty command"),
    ],
)
def test_faults_name_options(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        JobSpec(**{"commands": "true", **{name: each() if callable(each) else each for name, each in fields.items()}})
    told = sentence(caught.value)
    assert words in told
    assert "Remote(" not in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("see Remote('a b/c') and Remote(\"it's\")", "see mig:a b/c and mig:it's"),
        ("command not found: executables=[…] sends your own", "command not found: -x FILE sends your own"),
        ("await session.unconfirmed() lists them", "aiomig unconfirmed lists them"),
        ("make it with queue.create()", "make it with aiomig queue create"),
        ("the directory is not empty; use remove(recursive=True)", "the directory is not empty; use aiomig rm -r"),
        ("use remove(recursive=True), or rmdir", "use aiomig rm -r, or rmdir"),
        ("is a directory; copy it with recursive=True", "is a directory; copy it with --recursive"),
        ("remove it with recursive=True, or rmdir if empty", "remove it with --recursive"),
        ("create(exist_ok=True) accepts it", "--exist-ok accepts it"),
        ("put it there first: session.files.put(…)", "put it there first: aiomig put"),
        ("download it: session.files.get('a/b', …)", "download it: aiomig get a/b"),
        ("algorithm='foo': is unknown", "--algorithm 'foo': is unknown"),
        ("x=1 is yours, and wall_time=60 is an option", "x=1 is yours, and --wall-time 60 is an option"),
    ],
)
def test_calls_and_arguments(text: str, words: str) -> None:
    assert own_words(text) == words
