"""Writes the parts of the documentation that come from docstrings.

``python docs/generate.py`` rewrites the files; tests/test_docs.py fails if they are out of date.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import aiomig

FOLDER = Path(__file__).parent
TABLES = {
    "sessions.md": {"Config": "Attributes", "Polling": "Attributes"},
    "local-mode.md": {"local": "Args"},
}


def main() -> None:
    for path, text in generated().items():
        path.write_text(text, "utf-8")


def generated() -> dict[Path, str]:
    """The text of each file that holds generated parts, as it should be."""
    files = {}
    for file, names in TABLES.items():
        text = (FOLDER / file).read_text("utf-8")
        for name, section in names.items():
            table = settings_table(getattr(aiomig, name), section)
            before, start, rest = text.partition(f"<!-- generated: {name} -->\n")
            _, end, after = rest.partition("<!-- end -->")
            text = f"{before}{start}\n{table}\n{end}{after}"
        files[FOLDER / file] = text
    return files


def settings_table(documented: Any, section: str) -> str:
    """A table of the arguments or fields of a function or class, with their defaults."""
    defaults = {name: each.default for name, each in inspect.signature(documented).parameters.items()}
    rows = ["| setting | default | |", "|---|---|---|"]
    for name, text in entries(section_text(documented, section)):
        default = defaults[name]
        cell = "required" if default is inspect.Parameter.empty else f"`{default!r}`"
        rows.append(f"| `{name}` | {cell} | {markdown(text)} |")
    return "\n".join(rows) + "\n"


def section_text(documented: Any, section: str) -> str:
    """The lines of one section of a docstring."""
    found = re.search(rf"^{section}:\n((?:    .*\n|\n)*)", f"{inspect.getdoc(documented)}\n", re.MULTILINE)
    return inspect.cleandoc(found[1]) if found else ""


def entries(section: str) -> list[tuple[str, str]]:
    """The entries ``name: text`` of a section, each text on one line."""
    parts = re.split(r"^(\**\w+): ", re.sub(r"\n +", " ", section), flags=re.MULTILINE)[1:]
    return [(name, text.strip()) for name, text in zip(parts[::2], parts[1::2], strict=True)]


def markdown(text: str) -> str:
    """The text of a docstring as Markdown: double backticks become single ones."""
    return re.sub(r"``(.+?)``", r"`\1`", text).replace("|", r"\|")


if __name__ == "__main__":
    main()
