"""No module of aiomig imports itself through others. Imports for type checkers count."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import aiomig

ROOT = Path(aiomig.__file__).parent


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in ROOT.rglob("*.py")}


def imports_of(name: str) -> set[str]:
    """Return the modules of aiomig that a module imports, anywhere in its text."""
    path = MODULES[name]
    package = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *(node.module or "").split(".")]).strip(".")
            # `from .package import module` imports the module; `from .module import name` imports the module `module`.
            found |= {inner if (inner := f"{base}.{alias.name}") in MODULES else base for alias in node.names}
    return found & MODULES.keys()


def test_every_relative_import_is_resolved() -> None:
    assert {"aiomig._core.errors", "aiomig._core.models", "aiomig._api"} <= imports_of("aiomig")
    assert "aiomig._core.models" in imports_of("aiomig._core.errors")


def test_no_import_cycles() -> None:
    try:
        TopologicalSorter({name: imports_of(name) for name in MODULES}).prepare()
    except CycleError as error:
        raise AssertionError(f"import cycle: {' -> '.join(reversed(error.args[1]))}") from None
