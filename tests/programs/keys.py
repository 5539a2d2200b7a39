"""Submits jobs under the keys 0 to COUNT - 1 in any order: ``keys.py MODE PLACE COUNT SEED``.

PLACE is a home, or fields of `aiomig.Config` as JSON. Prints a line after each submit.
"""

from __future__ import annotations

import json
import random
import sys

import anyio

import aiomig


async def main(mode: str, place: str, count: str, seed: str) -> None:
    if mode == "local":
        session = aiomig.local(place, slots=2, on_exit="leave")
    else:
        limits = aiomig.RequestLimits(lookups=(0.05, 0.1, 0.2, 0.4), resubmit_after=0.5)
        session = aiomig.grid(**json.loads(place), request_limits=limits)
    order = random.Random(seed).sample(range(int(count)), int(count))
    async with session:
        while order:
            some = [order.pop() for _ in range(min(len(order), 1 + len(order) % 3))]
            if len(some) > 1:
                await aiomig.submit_many([aiomig.JobSpec("true", key=str(key)) for key in some])
            else:
                await aiomig.submit("true", key=str(some[0]))
            sys.stdout.write(f"{some}\n")
            sys.stdout.flush()


anyio.run(main, *sys.argv[1:5])  # type: ignore[arg-type]
