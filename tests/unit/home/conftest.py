"""A local home, and `Files` on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiomig._home.files import Files
from aiomig._local.home import LocalHome

if TYPE_CHECKING:
    from pathlib import Path

    from aiomig._backend import HomeBackend


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "the home ünï"


@pytest.fixture
def home(root: Path) -> HomeBackend:
    return LocalHome(root)


@pytest.fixture
def files(home: HomeBackend) -> Files:
    return Files(home)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder
