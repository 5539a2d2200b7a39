"""Tests of behaviour use public names; tests that need private modules of aiomig are in tests/unit/."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
PATHS = (path.relative_to(ROOT) for path in ROOT.rglob("*.py"))
OUTSIDE = sorted(str(path) for path in PATHS if path.parts[0] not in ("unit", "data", "test_imports.py"))


def private_names(source: str) -> list[str]:
    """Return the private modules of aiomig that a source imports, or names in strings for monkeypatch."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            names.append(node.value.partition(":")[0])
    return [name for name in names if _is_private(name)]


def _is_private(name: str) -> bool:
    package, *parts = name.split(".")
    return package == "aiomig" and any(part.startswith("_") and not part.endswith("__") for part in parts if part)


@pytest.mark.parametrize("path", OUTSIDE)
def test_tests_of_behaviour_import_no_private_module(path: str) -> None:
    assert private_names((ROOT / path).read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import aiomig, aiomig.testing", []),
        ("from aiomig import Session, __version__", []),
        ("import aiomig._session", ["aiomig._session"]),
        ("from aiomig._grid import poller", ["aiomig._grid.poller"]),
        ("def test():\n    from aiomig.testing._home import Home", ["aiomig.testing._home.Home"]),
        ("from aiomig import _api", ["aiomig._api"]),
        ("patch('aiomig._grid.http.LONGEST', 3)", ["aiomig._grid.http.LONGEST"]),
        ("run('before', 'aiomig._local.store:Store.claim')", ["aiomig._local.store"]),
        ("import aiomigrate._inner", []),
    ],
)
def test_private_names_are_found(source: str, names: list[str]) -> None:
    assert private_names(source) == names
