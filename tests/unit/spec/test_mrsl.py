"""mRSL: written, read, and checked as a real server does."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomig._core.errors import SpecError
from aiomig._spec.jobspec import JobSpec
from aiomig._spec.keywords import KEYWORDS, validate_lines
from aiomig._spec.mrsl import Description, parse, render

GOOD: dict[str, tuple[str, ...]] = {
    "EXECUTE": ("echo one", "echo 'two' # \\ ::MEMORY::"),
    "INPUTFILES": (
        "a.txt",
        "/d/b.txt b.txt",
        "https://host:8080/x.txt x.txt",
        "in/blåbær-é.txt",
        "a(1)=2;.txt",
    ),
    "OUTPUTFILES": ("o.txt", "o.txt results/o.txt", "o.txt https://host/o.txt"),
    "EXECUTABLES": ("run.sh bin/run",),
    "VERIFYFILES": ("wanted.stdout",),
    "MOUNT": ("home/dir mnt",),
    "ENVIRONMENT": ("A=1", "_b=two words; $(x) `y` \"z\" 'q' #*[]{}|^\\", "C=", "D=a=b"),
    "RUNTIMEENVIRONMENT": ("SSHFS-2.X-1", "PYTHON_3"),
    "CPUTIME": ("3600",),
    "NODECOUNT": ("1",),
    "CPUCOUNT": ("2",),
    "MEMORY": ("4096",),
    "DISK": ("0",),
    "RETRIES": ("0",),
    "ARCHITECTURE": ("SPARC-T1",),
    "PLATFORM": ("linux-1.example.org",),
    "JOBTYPE": ("bulk",),
    "RESOURCE": ("*", "0a1b_exe?"),
    "VGRID": ("ANY", "My VGrid/sub"),
    "MAXFILL": ("CPUTIME", "MEMORY"),
    "SANDBOX": ("False",),
    "NOTIFY": ("email: me@example.org", "pigeon: <home>"),
    "JOBNAME": ("my.job-1_+@%",),
    "PROJECT": ("proj1",),
    "MAXPRICE": ("10",),
}

REFUSED = [
    ("EXECUTE", ["a\nb"], "line break"),
    ("EXECUTE", ["a\u2028b"], "line break"),
    ("EXECUTE", ["  "], "empty line"),
    ("INPUTFILES", ["a b c"], "1 or 2 items"),
    ("INPUTFILES", ["a  b"], "1 or 2 items"),
    ("INPUTFILES", ["a\tb"], "does not accept"),
    ("INPUTFILES", ['a"b'], "'\"'"),
    ("INPUTFILES", ["https://host/a?b=1"], "'?'"),
    ("OUTPUTFILES", ["a*.txt x"], "'*'"),
    ("OUTPUTFILES", ["a" * 5000], "4096"),
    ("EXECUTABLES", ["a[1]"], "'['"),
    ("VERIFYFILES", ["漢.stdout"], "'漢'"),
    ("MOUNT", ["a b c"], "1 or 2 items"),
    ("ENVIRONMENT", ["JUSTNAME"], "'='"),
    ("ENVIRONMENT", ["A=<x>"], "'<'"),
    ("ENVIRONMENT", ["A=1 > x"], "'>'"),
    ("ENVIRONMENT", ["9A=2"], "valid name of a variable"),
    ("ENVIRONMENT", ["A B=2"], "valid name of a variable"),
    ("RUNTIMEENVIRONMENT", ["A B"], "does not accept"),
    ("CPUTIME", ["1h"], "whole number"),
    ("CPUTIME", ["-1"], "whole number"),
    ("MEMORY", ["4 GB"], "whole number"),
    ("MEMORY", ["٣"], "whole number"),
    ("MEMORY", ["9" * 30], "too large"),
    ("MEMORY", [], "no value"),
    ("DISK", ["1", "2"], "one line"),
    ("RETRIES", ["-1"], "whole number"),
    ("ARCHITECTURE", [], "no value"),
    ("ARCHITECTURE", ["X 86"], "does not accept"),
    ("PLATFORM", ["a/b"], "does not accept"),
    ("JOBTYPE", ["a serial one"], "does not accept"),
    ("RESOURCE", ["a b"], "does not accept"),
    ("VGRID", ["a+b"], "does not accept"),
    ("MAXFILL", ["NONSENSE"], "allowed value"),
    ("SANDBOX", ["maybe"], "allowed value"),
    ("JOBNAME", ["my job"], "does not accept"),
    ("JOBNAME", ["é"], "does not accept"),
    ("JOBNAME", ["x" * 256], "does not accept"),
    ("PROJECT", ["a-b"], "does not accept"),
    ("MAXPRICE", ["1.5"], "does not accept"),
]


def test_the_table_has_an_example_of_every_keyword() -> None:
    assert list(GOOD) == list(KEYWORDS)


@pytest.mark.parametrize("keyword", GOOD)
def test_every_keyword_is_taken_rendered_and_read_back(keyword: str) -> None:
    assert validate_lines(keyword, GOOD[keyword]) == []
    description = Description({"EXECUTE": ("true",), keyword: GOOD[keyword]})
    assert parse(render(description)) == description


def test_each_site_has_its_own_job_types() -> None:
    assert JobSpec.from_mrsl("::EXECUTE::\ntrue\n\n::JOBTYPE::\narc\n").kind == "arc"
    assert JobSpec("true", mrsl={"JOBTYPE": "arc"}).plan("t").description.lines("JOBTYPE") == ("arc",)


@pytest.mark.parametrize(("keyword", "lines", "word"), REFUSED)
def test_values_that_a_server_refuses(keyword: str, lines: list[str], word: str) -> None:
    (fault,) = validate_lines(keyword, lines)
    assert fault.field == keyword
    assert word in fault.problem
    assert fault.remedy


def test_one_bad_value_in_a_text_is_found_with_its_line() -> None:
    for keyword, lines, _ in REFUSED:
        if keyword != "EXECUTE" and lines and not any(set(line) & set("\n\u2028") for line in lines):
            text = f"::EXECUTE::\ntrue\n\n::{keyword}::\n" + "\n".join(lines) + "\n"
            with pytest.raises(SpecError) as caught:
                parse(text)
            assert caught.value.faults[0].field == keyword
            assert caught.value.faults[0].line == (5 if len(lines) == 1 else 6)


def test_render_is_in_the_order_of_the_table_with_blank_lines_and_escapes() -> None:
    description = Description({"MEMORY": ("512",), "EXECUTE": ("echo \\# #", "x"), "NOTIFY": ()})
    assert render(description) == "::EXECUTE::\necho \\\\\\# \\#\nx\n\n::MEMORY::\n512\n"


@pytest.mark.parametrize("line", ["", " ", "\t", "a\nb", "a\rb", "a\0b", " a", "a ", "a\x85b", "a\x0bb", "\ud800"])
def test_render_refuses_what_no_line_can_hold(line: str) -> None:
    with pytest.raises(SpecError) as caught:
        render(Description({"EXECUTE": ("true",), "VGRID": (line, line)}))
    assert [fault.field for fault in caught.value.faults] == ["VGRID", "VGRID"]


def test_render_refuses_an_unknown_keyword() -> None:
    with pytest.raises(SpecError, match="did you mean MEMORY"):
        render(Description({"EXECUTE": ("true",), "MEMROY": ("1",)}))


PARSED = [
    # Texts of real submits, and the description that the server ran.
    (
        "echo",
        "::EXECUTE::\necho HELLO GRID\n\n::MEMORY::\n512\n\n::RETRIES::\n0\n",
        {"EXECUTE": ("echo HELLO GRID",), "MEMORY": ("512",), "RETRIES": ("0",)},
    ),
    (
        "crlf",
        "::EXECUTE::\r\necho one\r\necho two\r\n\r\n::MEMORY::\r\n512\r\n",
        {"EXECUTE": ("echo one", "echo two"), "MEMORY": ("512",)},
    ),
    (
        "lowercase",
        "execute\necho lower\n\nmemory:\n512\n\n::retries\n0\n",
        {"EXECUTE": ("echo lower",), "MEMORY": ("512",), "RETRIES": ("0",)},
    ),
    (
        "no-blank-line",
        "::EXECUTE::\necho x\n::MEMORY::\n512\n\n::RETRIES::\n0\n\n::CPUTIME::\n10\n",
        {"EXECUTE": ("echo x", "::MEMORY::", "512"), "RETRIES": ("0",), "CPUTIME": ("10",)},
    ),
    (
        "execute-twice",
        "::EXECUTE::\necho one\n\n::MEMORY::\n512\n\n::EXECUTE::\necho two\n",
        {"EXECUTE": ("echo one", "echo two"), "MEMORY": ("512",)},
    ),
    (
        "hash-comment-line",
        "::EXECUTE::\necho a\n# only a comment\necho b\n",
        {"EXECUTE": ("echo a", "echo b")},
    ),
    (
        "hash-trailing",
        "::EXECUTE::\necho before # this is a comment\necho end\n",
        {"EXECUTE": ("echo before", "echo end")},
    ),
    ("hash-raw", "::EXECUTE::\necho ${#HOME}\n", {"EXECUTE": ("echo ${",)}),
    (
        "env-hash",
        '::EXECUTE::\ntrue\n\n::ENVIRONMENT::\nA="x\\#y"\nB="p\\\\q"\n',
        {"EXECUTE": ("true",), "ENVIRONMENT": ('A="x#y"', 'B="p\\q"')},
    ),
    (
        "tabs",
        "::EXECUTE::\n\techo\ttab\n   echo   leading   \n",
        {"EXECUTE": ("echo\ttab", "echo   leading")},
    ),
    ("percent", '::EXECUTE::\nprintf "%d%%\\\\n" 50\n', {"EXECUTE": ('printf "%d%%\\n" 50',)}),
    ("no closing", "::EXECUTE\ntrue", {"EXECUTE": ("true",)}),
    (
        "several blank lines",
        "\n\n \t\n::EXECUTE::\ntrue\n\n\n\n::DISK::\n1",
        {"EXECUTE": ("true",), "DISK": ("1",)},
    ),
    ("byte order mark", "\ufeff::EXECUTE::\ntrue\n", {"EXECUTE": ("true",)}),
    ("other escapes stay", "::EXECUTE::\na\\tb \\\\n c\\\n", {"EXECUTE": ("a\\tb \\n c",)}),
    ("escaped backslash before a comment", "::EXECUTE::\na \\\\# b\n", {"EXECUTE": ("a \\",)}),
    (
        "empty sections",
        "::EXECUTE::\ntrue\n\n::INPUTFILES::\n\n::SANDBOX::\n\n::JOBNAME::\n",
        {"EXECUTE": ("true",)},
    ),
    # aiomig accepts what the server refuses.
    ("comment block", "# a\n# b\n\n::EXECUTE::\ntrue\n", {"EXECUTE": ("true",)}),
    (
        "comment before a keyword",
        "# a\n::EXECUTE::\ntrue\n\n# c\n::DISK::\n1\n",
        {"EXECUTE": ("true",), "DISK": ("1",)},
    ),
    ("all comments in a block", "::EXECUTE::\ntrue\n\n::NOTIFY::\n# none\n", {"EXECUTE": ("true",)}),
]


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in PARSED], ids=[case[0] for case in PARSED])
def test_parse(text: str, expected: dict[str, tuple[str, ...]]) -> None:
    assert parse(text).keywords == expected


REFUSED_TEXTS = [
    # Texts that a real server refused, and the keyword it named.
    (
        "env-inject",
        "::EXECUTE::\nls\n\n::ENVIRONMENT::\nA=1; echo injected > x.txt\n9A=2\n",
        "ENVIRONMENT",
        5,
    ),
    ("env-lt", "::EXECUTE::\necho x\n\n::ENVIRONMENT::\nA=<x>\n\n::MEMORY::\n512\n", "ENVIRONMENT", 5),
    ("env-noequal", "::EXECUTE::\necho x\n\n::ENVIRONMENT::\nJUSTNAME\n", "ENVIRONMENT", 5),
    ("execute-empty", "::EXECUTE::\n\n\n::MEMORY::\n512\n\n::RETRIES::\n0\n", "EXECUTE", None),
    ("maxfill-bad", "::EXECUTE::\necho x\n\n::MAXFILL::\nNONSENSE\n", "MAXFILL", 5),
    ("out-glob", "::EXECUTE::\ntrue\n\n::OUTPUTFILES::\na*.txt out-glob/x\n", "OUTPUTFILES", 5),
    ("output-space", "::EXECUTE::\necho x\n\n::OUTPUTFILES::\na b c\n", "OUTPUTFILES", 5),
    ("retries-neg", "::EXECUTE::\necho x\n\n::RETRIES::\n-1\n", "RETRIES", 5),
    ("unknown", "::EXECUTE::\necho x\n\n::NOSUCHKEY::\n1\n", "NOSUCHKEY", 4),
    ("blank line in a value", "::EXECUTE::\nif true; then\n\necho x; fi\n", "ECHO X; FI", 4),
    ("repeated", "::EXECUTE::\ntrue\n\n::DISK::\n1\n\n::DISK::\n2\n", "DISK", 7),
    ("two lines", "::EXECUTE::\ntrue\n\n::DISK::\n1\n2\n", "DISK", 6),
    ("empty number", "::EXECUTE::\ntrue\n\n::DISK::\n\n", "DISK", 4),
    ("missing", "::DISK::\n1\n", "EXECUTE", None),
    ("nothing", "", "EXECUTE", None),
    ("only a comment", "::EXECUTE::\n# nothing\n", "EXECUTE", None),
    ("nul", "::EXECUTE::\na\0b\n", "EXECUTE", 2),
]


@pytest.mark.parametrize(
    ("text", "field", "line"), [case[1:] for case in REFUSED_TEXTS], ids=[case[0] for case in REFUSED_TEXTS]
)
def test_parse_refuses(text: str, field: str, line: int | None) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text)
    assert caught.value.faults[0].field == field
    assert caught.value.faults[0].line == line


def test_parse_names_all_faults_at_once_and_suggests() -> None:
    with pytest.raises(SpecError) as caught:
        parse("::MEMROY::\n1\n\n::CPUTIME::\n1h\n\n::JOBTYPE::\na b\n\n::MOUNT::\na b c\n")
    faults = caught.value.faults
    assert {(fault.field, fault.line) for fault in faults} == {
        ("EXECUTE", None),
        ("MEMROY", 1),
        ("CPUTIME", 5),
        ("JOBTYPE", 8),
        ("MOUNT", 11),
    }
    assert any("did you mean MEMORY" in fault.remedy for fault in faults)


def test_parse_refuses_what_is_no_text() -> None:
    with pytest.raises(SpecError, match="decode"):
        parse(b"::EXECUTE::\ntrue\n")  # type: ignore[arg-type]


def _holdable(text: str) -> bool:
    return text == text.strip() and bool(text) and len(text.splitlines()) == 1 and "\0" not in text


hostile = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(
        st.sampled_from(["#", "\\", "::KEY::", "::EXECUTE::", " ", "'", '"', "é", "漢", "\t", "a" * 500, "<", "+"])
    ).map("".join),
).filter(_holdable)


@given(st.lists(hostile, min_size=1, max_size=5), st.lists(hostile, max_size=3))
def test_what_is_rendered_is_read_back_whatever_it_holds(commands: list[str], notify: list[str]) -> None:
    keywords = {"EXECUTE": tuple(commands)}
    if notify:
        keywords["NOTIFY"] = tuple(notify)
    description = Description(keywords)
    text = render(description)
    assert parse(text) == description
    assert parse(text.replace("\n", "\r\n")) == description


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_no_line_injects_a_keyword(lines: list[str]) -> None:
    with contextlib.suppress(SpecError):
        text = render(Description({"EXECUTE": tuple(lines)}))
        assert parse(text).keywords == {"EXECUTE": tuple(lines)}


@given(st.text())
def test_parse_raises_nothing_else(text: str) -> None:
    with contextlib.suppress(SpecError):
        description = parse(text)
        assert parse(render(description)) == description
