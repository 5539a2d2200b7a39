"""Paths of the MiG home: which are accepted, which are refused, and the messages."""

from __future__ import annotations

import posixpath
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomig._core import paths as _paths
from aiomig._core.errors import PathRefused
from aiomig._core.paths import check_characters, home_path


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        (".", "."),
        ("/", "."),
        ("//", "."),
        ("./", "."),
        ("a/..", "."),
        ("a", "a"),
        ("/a/b", "a/b"),
        ("//a//b/", "a/b"),
        ("a/./b/../c", "a/c"),
        (PurePosixPath("/runs/7"), "runs/7"),
        ("with space/ünï", "with space/ünï"),
        (".config/x", ".config/x"),
        ("sub/.aiomig", "sub/.aiomig"),
        (".aiomig2", ".aiomig2"),
        ('odd#name[1]"|', 'odd#name[1]"|'),
        ("...", "..."),
        ("xyz/" * 1023 + "wxyz", "xyz/" * 1023 + "wxyz"),
    ],
)
def test_normalises(given: str | PurePosixPath, clean: str) -> None:
    assert home_path(given) == clean


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "empty"),
        ("..", "leads out"),
        ("/..", "leads out"),
        ("../x", "leads out"),
        ("a/../../x", "leads out"),
        ("a/./../..//etc/passwd", "leads out"),
        ("a\0b", r"U\+0000"),
        ("a\nb", r"U\+000A"),
        ("a\x7f", r"U\+007F"),
        ("a\x85", r"U\+0085"),
        ("\ud800", "surrogate"),
        ("x" * 4097, "4097 characters"),
        (".htaccess", "hidden by MiG"),
        ("a/.htaccess", "hidden by MiG"),
        (".trash/x", "hidden by MiG"),
        ("a/.vgridwiki/b", "hidden by MiG"),
        (".vgridscm", "hidden by MiG"),
        (".vgridtracker", "hidden by MiG"),
        (".vgridforum", "hidden by MiG"),
        (".aiomig", "belongs to aiomig"),
        ("/./.aiomig/tmp", "belongs to aiomig"),
        ("x/../.aiomig", "belongs to aiomig"),
        ("*", "pattern"),
        ("a/b?", "pattern"),
    ],
)
def test_refuses(given: str, words: str) -> None:
    with pytest.raises(PathRefused, match=words) as caught:
        home_path(given)
    assert isinstance(caught.value, PermissionError)
    assert isinstance(caught.value, ValueError)


def test_a_pattern_stands_in_the_last_component_only() -> None:
    assert home_path("runs/*.t?t", pattern=True) == "runs/*.t?t"
    with pytest.raises(PathRefused, match="allowed only in the last component"):
        home_path("r*/x", pattern=True)


@pytest.mark.parametrize("given", [b"x", 1, None, PureWindowsPath("x")])
def test_other_types_are_refused(given: object) -> None:
    with pytest.raises(TypeError, match="str or PurePosixPath"):
        home_path(given)  # type: ignore[arg-type]


@given(st.text(alphabet=st.sampled_from("./a b"), min_size=1, max_size=20))
def test_what_comes_out_is_inside_and_stays_as_it_is(text: str) -> None:
    try:
        clean = home_path(text)
    except PathRefused:
        assert posixpath.normpath(text.lstrip("/") or ".").split("/")[0] == ".."
    else:
        assert home_path(clean) == clean
        assert not clean.startswith("/")
        assert ".." not in clean.split("/")


def test_characters_that_mig_carries() -> None:
    check_characters("azAZ09 /.,_-+=:;@'%()~!&¤$€£¢¥₣₤±×÷½¾§‰¶æøåÆØÅñЖλ")
    check_characters("e\u0301")  # becomes é by normalisation


@pytest.mark.parametrize("character", [*'"*?[]{}|\\^`<>#', "\t", "漢", "😀", "\u0301", "\udc80"])
def test_characters_that_mig_does_not_carry(character: str) -> None:
    with pytest.raises(PathRefused, match=rf"U\+{ord(character):04X}"):
        check_characters(f"a/{character}b")


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../b", "a//b", "a/", ".htaccess", ".aiomig/x", "a\0"])
def test_a_listing_is_not_trusted(path: str) -> None:
    with pytest.raises(PathRefused):
        _paths.listed_path(path)


def test_a_listing_may_hold_odd_names() -> None:
    assert _paths.listed_path("a/odd*name\n#") == "a/odd*name\n#"


@pytest.mark.parametrize(
    ("name", "pattern", "matches"),
    [
        ("data[1].csv", "data[1].*", True),
        ("data1.csv", "data[1].*", False),
        ("a.txt", "?.txt", True),
        ("ab.txt", "?.txt", False),
        ("A.txt", "a*", False),
        ("line\nbreak", "line*", True),
    ],
)
def test_patterns(name: str, pattern: str, matches: bool) -> None:
    assert _paths.name_matches(name, pattern) is matches


def test_parts_of_paths() -> None:
    assert (_paths.folder_of("a/b/c"), _paths.folder_of("a"), _paths.folder_of(".")) == ("a/b", ".", ".")
    assert _paths.chain("a/b/c") == ("a", "a/b", "a/b/c")
    assert _paths.chain(".") == ()
    assert _paths.join(".", "a") == "a"
    assert _paths.join("a", ".") == "a"
    assert (_paths.below(".", "a/b"), _paths.below("a", "a/b")) == ("a/b", "b")
    assert _paths.is_inside("a/b", "a")
    assert _paths.is_inside("a", ".")
    assert not _paths.is_inside("ab", "a")
    assert not _paths.is_inside("a", "a")


def test_kinds_of_archives() -> None:
    names = ["a.zip", "a.tar", "a.tar.gz", "a.TGZ", "a.tar.bz2", "x/a.tbz"]
    assert [_paths.archive_format(name) for name in names] == ["zip", "tar", "gz", "gz", "bz2", "bz2"]
    with pytest.raises(PathRefused, match=r"\.zip"):
        _paths.archive_format("a.rar")
