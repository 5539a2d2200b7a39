"""Runs jobs in a program with unusual signals: ``inherited.py BACKEND HOME [ignore NAME]… [block NAME]… -- COMMAND…``.

``descriptors NUMBER`` limits the number of open files. Prints for each command its final state, its output, and the
details of its failed attempts, as JSON.
"""

from __future__ import annotations

import json
import resource
import signal
import sys

import anyio

import aiomig


async def main(home: str, commands: list[str]) -> None:
    async with aiomig.local(home, slots=40, default_retries=2) as mig:
        mig.check_commands = False
        for job in [await mig.submit(command) for command in commands]:
            result = await job.result(check=False)
            details = [attempt.detail for attempt in result.status.attempts]
            sys.stdout.write(json.dumps([result.status.state, result.stdout, details]) + "\n")


def prepare(what: str, value: str) -> None:
    if what == "ignore":
        signal.signal(signal.Signals[value], signal.SIG_IGN)
    elif what == "block":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.Signals[value]})
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(value), int(value)))


if __name__ == "__main__":
    backend, home, *words = sys.argv[1:]
    end = words.index("--")
    for what, value in zip(words[:end:2], words[1:end:2], strict=True):
        prepare(what, value)
    anyio.run(main, home, words[end + 1 :], backend=backend)
