"""A session that takes orders on its standard input: ``worker.py BACKEND HOME SETTINGS``.

SETTINGS are arguments of `aiomig.local` as JSON. Each line of the input is a JSON list, and gets one line as its reply:
``["submit", COMMANDS, FIELDS]`` the id of a job, ``["cancel", ID]`` the state after it, ``["wait", ID]`` the final
state. ``["close"]`` ends the program. ``$MOMENT`` is a moment of `tests.programs.mines`.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import anyio

import aiomig
from tests.programs.mines import lay
from tests.programs.support import lines


def say(text: object) -> None:
    os.write(1, f"{text}\n".encode())


async def serve(mig: aiomig.Session) -> None:
    orders = lines(0)
    while True:
        order: list[Any] = json.loads(await orders.next())
        match order:
            case ["submit", commands, fields]:
                say((await mig.submit(commands, **fields)).id)
            case ["cancel", job_id]:
                say((await mig.job(job_id).cancel()).after)
            case ["wait", job_id]:
                say((await mig.job(job_id).wait()).state)
            case ["close"]:
                return


async def main(home: str, settings: str) -> None:
    async with aiomig.local(home, **json.loads(settings)) as mig:
        mig.check_commands = False  # syntax errors must fail in the job, as on a grid
        say("open")
        await serve(mig)
    say("closed")


if __name__ == "__main__":
    if moment := os.environ.get("MOMENT"):
        lay(moment)
    anyio.run(main, sys.argv[2], sys.argv[3], backend=sys.argv[1])
