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
        ("x=1 is yours, and wall_time=60 is an option", "x=1 is yours, and --wall-time 60 is an option"),
    ],
)
def test_calls_and_arguments(text: str, words: str) -> None:
    assert own_words(text) == words
