"""Helpers for long loops that must let other tasks run."""

from __future__ import annotations

import heapq
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

T = TypeVar("T")

_TURN_SECONDS = 0.01
_SORTED_AT_ONCE = 2000


class Paced(Generic[T]):
    """Async iterator over the items of an iterable. Other tasks run after every hundred items."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self._count = 0

    def __aiter__(self) -> Paced[T]:
        return self

    async def __anext__(self) -> T:
        self._count += 1
        if self._count % 100 == 0:
            await anyio.lowlevel.checkpoint()
        for item in self._items:
            return item
        raise StopAsyncIteration


async def give_way(steps: Generator[object, None, T]) -> T:
    """Exhaust a generator and return its value. Other tasks run every few milliseconds."""
    began = perf_counter()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("T", end.value)
        if perf_counter() - began > _TURN_SECONDS:
            await anyio.lowlevel.checkpoint()
            began = perf_counter()


def sort_steps(items: Iterable[T], key: Callable[[T], Any], *, reverse: bool = False) -> Generator[None, None, list[T]]:
    """Sort items like `sorted`, in steps for `give_way`, because there may be hundreds of thousands."""
    remaining = iter(items)
    chunks: list[list[T]] = []
    while chunk := list(islice(remaining, _SORTED_AT_ONCE)):
        chunks.append(sorted(chunk, key=key, reverse=reverse))
        yield
    if len(chunks) == 1:
        return chunks[0]
    merged: list[T] = []
    for item in heapq.merge(*chunks, key=key, reverse=reverse):
        merged.append(item)
        yield
    return merged
