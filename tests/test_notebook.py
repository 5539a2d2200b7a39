"""The cells of the example notebook run as in Jupyter, and give the output in the notebook."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aiomig
from aiomig import MigError, NoSession
from aiomig.notebook import load_ipython_extension
from aiomig.testing import FakeGrid

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import CodeType

NOTEBOOK = json.loads((Path(__file__).parents[1] / "examples" / "notebook.ipynb").read_text("utf-8"))
MAGIC = "%load_ext aiomig.notebook\n"
CELLS = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


async def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell as Jupyter does, in a task of its own. Return the value of its last expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    pieces: list[ast.Module | ast.Expression] = [tree]
    if isinstance(last, ast.Expr):
        pieces.append(ast.Expression(last.value))
    value = None
    for piece in pieces:
        mode = "eval" if isinstance(piece, ast.Expression) else "exec"
        code = compile(piece, "cell", mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        value = await in_task(code, names)
    return value


async def in_task(code: CodeType, names: dict[str, Any]) -> Any:
    value = eval(code, names)
    return await value if inspect.iscoroutine(value) else value


class Shell:
    """The part of IPython that the extension uses."""

    def __init__(self) -> None:
        self.printers: dict[type, Any] = {}
        self.display_formatter = self
        self.formatters = {"text/html": self}

    def for_type(self, kind: type, printer: Any) -> None:
        self.printers[kind] = printer


def html_of(value: Any) -> str:
    return str(value._repr_html_()) if hasattr(value, "_repr_html_") else ""


def texts(cell: dict[str, Any], kind: str) -> str:
    """Return the output of a cell, or its value, in the form of the notebook."""
    if kind == "stdout":
        return "".join("".join(each["text"]) for each in cell["outputs"] if each["output_type"] == "stream")
    values = [each["data"] for each in cell["outputs"] if each["output_type"] == "execute_result"]
    return "".join(values[0].get(kind, ())) if values else ""


def comparable(text: str) -> str:
    text = re.sub(r"\d+_\d+_\d+_\d+__\d+_\d+_\d+_local\.0", "JOB", text)
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|^(QUEUED|EXECUTING)\n", "", text, flags=re.MULTILINE)


def test_was_run_to_its_end() -> None:
    assert [cell["execution_count"] for cell in CELLS] == list(range(1, len(CELLS) + 1))
    assert all(each["output_type"] != "error" for cell in CELLS for each in cell["outputs"])
    assert sum(bool(texts(cell, "text/html")) for cell in CELLS) >= 5


def test_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    names: dict[str, Any] = {}
    shell = Shell()
    with asyncio.Runner() as runner:
        for cell in CELLS:
            source = "".join(cell["source"])
            if source.startswith(MAGIC):
                load_ipython_extension(shell)
            value = runner.run(run_cell(source.removeprefix(MAGIC), names))
            assert comparable(capsys.readouterr().out) == comparable(texts(cell, "stdout"))
            printer = shell.printers.get(type(value))
            page = (printer(value) if printer else html_of(value)) or ""
            assert comparable(page) == comparable(texts(cell, "text/html"))
            if not page:
                assert repr(value) == (texts(cell, "text/plain") or "None")


# -- sessions that are opened and closed by different tasks


def in_tasks(*steps: Coroutine[Any, Any, Any]) -> None:
    with asyncio.Runner() as runner:
        for step in steps:
            runner.run(step)


def test_is_current_until_it_is_closed(tmp_path: Path) -> None:
    mig = aiomig.local(tmp_path / "home")

    async def opens() -> None:
        assert await mig.open() is mig

    async def uses() -> None:
        assert aiomig.current_session() is mig
        async with aiomig.local(tmp_path / "other") as other:
            assert aiomig.current_session() is other
        assert (await (await aiomig.submit("echo hello"))).stdout == "hello\n"

    async def closes() -> None:
        with pytest.raises(MigError, match="open already"):
            await mig.open()
        await mig.aclose()
        await mig.aclose()
        with pytest.raises(NoSession):
            aiomig.current_session()

    in_tasks(opens(), uses(), closes())


async def test_opening_fails_as_with_a_block() -> None:
    async with FakeGrid() as grid:
        grid.faults.add("*", "drop", times=None)
        mig = grid.session()
        with pytest.raises(aiomig.ConnectionFailed):
            await mig.open()
        assert not mig.is_open
        await mig.aclose()


async def test_a_block_is_left_and_not_closed(tmp_path: Path) -> None:
    async with aiomig.local(tmp_path / "home") as mig:
        with pytest.raises(MigError, match="leave its block"):
            await mig.aclose()
        assert mig.is_open


async def test_closing_that_is_cancelled_cancels_the_jobs(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        mig = await aiomig.local(tmp_path / "home").open()
        job = await mig.submit("sleep 1000")
        scope.cancel()
        await mig.aclose()
    assert not mig.is_open
    async with aiomig.local(tmp_path / "home") as again:
        assert (await again.job(job.id).status()).state == "CANCELED"
