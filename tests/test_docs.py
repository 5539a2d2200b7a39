"""The documentation holds together: links and citations resolve, and generated parts are up to date."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

import aiomig
from aiomig.cli import run

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
SOURCES = sorted(
    path
    for folder in ("aiomig", "tests", "examples", "benchmarks", "docs")
    for path in (ROOT / folder).rglob("*.py")
    if path != Path(__file__)
)


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_code(page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[str]:
    yield from re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]+`", "", without_code(page.read_text("utf-8"))))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    broken = []
    for link in links(page):
        if "://" in link:
            continue
        file, _, anchor = unquote(link).partition("#")
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page: Path) -> None:
    folders = r"(?:aiomig|examples|tests|benchmarks|docs|\.ci)"
    named = set(re.findall(rf"`({folders}/[\w./]+)`", page.read_text("utf-8")))
    named |= set(re.findall(r"(?:examples|benchmarks)/\w+\.py", page.read_text("utf-8")))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_page_is_linked() -> None:
    linked = {(page.parent / link.partition("#")[0]).resolve() for page in PAGES for link in links(page)}
    assert [page.name for page in PAGES if page.parent == ROOT / "docs" and page not in linked] == []


def test_no_page_has_conflict_markers() -> None:
    marker = re.compile(r"^(<{7} |>{7} |={7}$)", re.MULTILINE)
    assert [page.name for page in PAGES if marker.search(page.read_text("utf-8"))] == []


def test_citations_resolve() -> None:
    available = {page: anchors(page) for page in PAGES}
    broken = []
    for path in SOURCES:
        for page, anchor in re.findall(r"(docs/\w[\w-]*\.md)(?:#([\w-]+))?", path.read_text("utf-8")):
            if ROOT / page not in available or (anchor and anchor not in available[ROOT / page]):
                broken.append(f"{path.relative_to(ROOT)}: {page}#{anchor}")
    assert broken == []


def test_no_citation_names_a_page_that_is_not_there() -> None:
    old = re.compile(r"mig-protocol|mig-live|golden\.md|golden case")
    assert [str(path.relative_to(ROOT)) for path in SOURCES if old.search(path.read_text("utf-8"))] == []


def test_generated_parts_are_up_to_date() -> None:
    generated = runpy.run_path(str(ROOT / "docs" / "generate.py"))["generated"]()
    stale = [path.name for path, text in generated.items() if path.read_text("utf-8") != text]
    assert stale == [], "a docstring has changed: run `python docs/generate.py`"


def test_the_page_on_migrating_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "migrating.md").read_text("utf-8")
    owners = {"files": aiomig.Files, "mig": aiomig.Session, "job": aiomig.Job}
    named = re.findall(r"\b(files|mig|job)\.(\w+)", without_code(page).partition("user script of MiG")[2])
    assert len(named) > 40
    assert [f"{owner}.{name}" for owner, name in named if not hasattr(owners[owner], name)] == []
    run(["--help"])
    commands = set(re.findall(r"^  ([a-z-]+)  ", capsys.readouterr().out, re.MULTILINE))
    assert set(re.findall(r"`aiomig ([\w-]+)", page)) <= commands
