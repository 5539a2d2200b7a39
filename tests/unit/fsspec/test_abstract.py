"""The abstract test suite of fsspec, in local mode and on a `FakeGrid`."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

import pytest
from fsspec.tests import abstract

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


class Fixtures(abstract.AbstractFixtures):  # type: ignore[misc]
    @pytest.fixture
    def fs_path(self) -> str:
        return "top/of/all"

    @pytest.fixture
    def fs_join(self) -> Any:
        return posixpath.join

    @pytest.fixture
    def fs(self, system: AbstractFileSystem) -> AbstractFileSystem:
        return system


class TestCopy(abstract.AbstractCopyTests, Fixtures):  # type: ignore[misc]
    pass


class TestGet(abstract.AbstractGetTests, Fixtures):  # type: ignore[misc]
    pass


class TestPut(abstract.AbstractPutTests, Fixtures):  # type: ignore[misc]
    pass


class TestPipe(abstract.AbstractPipeTests, Fixtures):  # type: ignore[misc]
    pass


class TestOpen(abstract.AbstractOpenTests, Fixtures):  # type: ignore[misc]
    pass
