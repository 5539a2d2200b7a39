"""Random descriptions, names and paths: only errors of aiomig, in linear time."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aiomig import JobSpec, MigError, Remote, Resources
from aiomig._core.paths import archive_format, check_characters, home_path, listed_path, path_fault, stray_character
from aiomig._spec.keywords import KEYWORDS, validate_lines
from aiomig._spec.mrsl import parse
from aiomig._spec.names import Claims, home_path_fault, is_safe, name_fault, url_fault
from aiomig._spec.plan import output_names
from aiomig._spec.quoting import quote, unquote
from tests.steps import steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PIECES = [
    "::EXECUTE::", "::ENVIRONMENT::", "::INPUTFILES::", "::MEMORY::", "\n", "\r\n", "\n\n", "#", "\\", "\\#", "A=",
    "$'", r"\xe6",
    "'", '"', " ", "/", "../", "://", ".status", "é", "漢", "\0", "\u2028", "\ud800", "\udc80", "9" * 30, "1",
    "*", "?", "[", "a" * 300, "e\u0301", ".trash", "aiomig_jobs/t/in/x", '(cd -- "$MIG_JOBDIR" && { ', "; })",
    "[ ! -e ./a ] || command -p mv -f -- ./a aiomig-out-1", "'\"'\"'",
]  # fmt: skip
TEXT = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=20).map("".join)
NAMES = TEXT.map(lambda text: text.replace("/", "-"))  # inputs are checked on the disk, in an empty folder
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**5000), 10**5000) | st.floats() | NAMES | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
FIELDS = [
    "inputs", "executables", "outputs", "environment", "name", "runtime_environments", "vgrids", "retries", "notify",
    "verify", "mount", "project", "kind", "mrsl", "resources",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@UNHURRIED
@given(TEXT)
@example("::EXECUTE::\ntrue\n\n::ENVIRONMENT::\nGREETING=$'" + r"\xe6" * 5000 + "'suffix\n")
@example("::EXECUTE::\ntrue\n\n::CPUTIME::\n" + "9" * 5000)
def test_any_description(text: str) -> None:
    with contextlib.suppress(MigError):
        spec = JobSpec.from_mrsl(text)
        assert parse(spec.mrsl_text()).lines("EXECUTE") == spec.commands


@UNHURRIED
@given(ANY, st.dictionaries(st.sampled_from(FIELDS), ANY, max_size=4))
def test_any_fields(commands: Any, fields: dict[str, Any]) -> None:
    with contextlib.suppress(MigError):
        JobSpec(commands, **fields).mrsl_text()


@UNHURRIED
@given(st.dictionaries(st.sampled_from(list(Resources.__dataclass_fields__)), ANY))
def test_any_resources(values: dict[str, Any]) -> None:
    with contextlib.suppress(MigError):
        JobSpec("true", resources=Resources(**values)).mrsl_text()


@UNHURRIED
@given(TEXT, st.booleans())
def test_any_name_or_path(text: str, flag: bool) -> None:
    for check in (home_path, listed_path, check_characters, archive_format, Remote):
        with contextlib.suppress(MigError):
            check(text)
    name_fault("f", text)
    home_path_fault("f", text, written=flag)
    url_fault("f", text)
    output_names(text)
    unquote(text)


@UNHURRIED
@given(TEXT)
def test_what_quote_makes_is_read_back(text: str) -> None:
    with contextlib.suppress(UnicodeEncodeError):
        assert "\0" in text or unquote(quote(text)) == text


# -- linear time


def quietly(action: Callable[[str], object]) -> Callable[[str], None]:
    def run(text: str) -> None:
        with contextlib.suppress(MigError):
            action(text)

    return run


def claim(text: str) -> None:
    claims = Claims()
    for name in text.split(" "):
        claims.claim("inputs", name)


PARSERS: dict[str, Callable[[str], object]] = {
    "mrsl": JobSpec.from_mrsl,
    "commands": lambda text: JobSpec("true", mrsl={"ENVIRONMENT": text.split("\n")}),
    "name": lambda text: JobSpec("true", outputs=[text]),
    "home": home_path,
    "listed": listed_path,
    "characters": check_characters,
    "stray": stray_character,
    "path": path_fault,
    "safe": is_safe,
    "url": lambda text: url_fault("f", text),
    "unquote": unquote,
    "quote": quote,
    "outputs": output_names,
    "claims": claim,
    "lines": lambda text: [validate_lines(keyword, text.split("\n")) for keyword in KEYWORDS],
}
HOSTILE = {
    "escapes": ("::EXECUTE::\ntrue\n\n::ENVIRONMENT::\nG=$'", r"\xe6", "'suffix\n"),
    "word": ("$'", r"\x41", "'x"),
    "quoted": ("$'", "a", ""),
    "backslashes": ("::EXECUTE::\n", "\\", "\n"),
    "comments": ("::EXECUTE::\n", "# ", "\n"),
    "keywords": ("", "::EXECUTE::\ntrue\n\n", ""),
    "unknown": ("", "::X::\ntrue\n\n", ""),
    "lines": ("::EXECUTE::\n", "true\n", ""),
    "inputs": ("::EXECUTE::\ntrue\n\n::INPUTFILES::\n", "a b\n", ""),
    "folders": ("", "a/", "a"),
    "names": ("", "a/b c ", ""),
    "dots": ("", "../", "a"),
    "slashes": ("", "/", ""),
    "long": ("", "a", ""),
    "combining": ("a", "\u0301\u0327", ""),
    "renames": ('(cd -- "$MIG_JOBDIR" && { ', "[ ! -e ./a ] || command -p mv -f -- ./a aiomig-out-1; ", "; })"),
    "half renames": ('(cd -- "$MIG_JOBDIR" && { ', "[ ! -e '", "; })"),
    "quotes": ('(cd -- "$MIG_JOBDIR" && { [ ! -e ', "'\"'\"'", "; })"),
    "blanks": ("", " ", "x"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("name", PARSERS)
def test_time_is_linear(name: str, kind: str) -> None:
    start, piece, end = HOSTILE[kind]
    once, twice = (start + piece * count + end for count in (500, 1000))
    parser = quietly(PARSERS[name])
    assert steps(parser, twice) <= 2.5 * steps(parser, once)


@pytest.mark.parametrize("kind", HOSTILE)
def test_megabytes_are_read(kind: str) -> None:
    """Regular expressions do not count as steps: with quadratic ones this would take hours."""
    start, piece, end = HOSTILE[kind]
    text = start + piece * (1_000_000 // len(piece)) + end
    for name in ("home", "listed", "path", "safe", "url", "unquote", "outputs"):
        quietly(PARSERS[name])(text)
