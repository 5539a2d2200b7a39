"""Measures the median time of ``import aiomig`` and ``aiomig --help`` from the start of the interpreter.

Exits with 1 if a figure misses its target. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from statistics import median

from _figures import Verdicts, machine

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import aiomig": ["-c", "import aiomig"],
    "aiomig --help": ["-m", "aiomig", "--help"],
}


def seconds(command: list[str], runs: int) -> list[float]:
    """Return the wall time of each run. An additional first run fills the disk cache and writes the bytecode."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    times = []
    for number in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=True)
        if number:
            times.append(time.perf_counter() - began)
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    print(machine())
    times = {name: seconds([sys.executable, *command], options.runs) for name, command in COMMANDS.items()}
    for name, runs in times.items():
        print(f"{name:<16} median {median(runs):.3f} s, best {min(runs):.3f} s")
    verdicts = Verdicts()
    verdicts.judge(
        "import aiomig, in a running interpreter",
        median(times["import aiomig"]) - median(times["python -c pass"]),
        "s",
        0.15,
    )
    verdicts.judge("aiomig --help", median(times["aiomig --help"]), "s", 0.3)
    return int(verdicts.failed)


if __name__ == "__main__":
    sys.exit(main())
