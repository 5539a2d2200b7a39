"""Finds bibliographic references to the same work, with a job for each block of references."""

import argparse
import random
from pathlib import Path

import anyio

import aiomig

WORKER = Path(__file__).with_name("workers") / "match_references.py"
WORDS = ["grid", "job", "queue", "cloud", "model", "graph", "protein", "climate", "ocean", "random", "matrix"]


def references(works: int, copies: int) -> list[str]:
    """Return several references to each work, in random order and each with different misprints."""
    rng = random.Random(7)
    lines = []
    for year in range(1960, 1960 + works):
        work = f"{rng.choice(WORDS).title()} ({year}): {' '.join(rng.sample(WORDS, 5))}"
        for _ in range(copies):
            letters = list(work)
            for position in rng.sample(range(len(letters)), 2):
                letters[position] = rng.choice("abcdefghijklmnopqrstuvwxyz")
            lines.append("".join(letters))
    return rng.sample(lines, len(lines))


async def main(options: argparse.Namespace) -> None:
    lines = references(works=60, copies=4)
    groups = {line: {line} for line in lines}  # references to the same work share a set
    async with aiomig.connect("grid" if options.config else options.mode, config=options.config) as mig:
        all_references = aiomig.Remote("reference_matching/references.txt")
        await mig.files.write_text(all_references.path, "\n".join(lines))  # uploaded once for all jobs
        jobs = []
        for start in range(0, len(lines), 40):
            block = "\n".join(lines[start : start + 40]).encode()
            command = "python3 match_references.py block.txt references.txt 0.2"
            jobs.append(await mig.submit(command, inputs=[WORKER, all_references, (block, "block.txt")]))
        async for job in mig.as_completed(jobs):
            result = await job
            for pair in result.stdout.splitlines():
                first, second = pair.split("\t")
                merged = groups[first] | groups[second]
                groups.update(dict.fromkeys(merged, merged))
            await job.clean()
        await mig.files.remove("reference_matching", recursive=True)
    works = {id(group) for group in groups.values()}
    print(f"{len(jobs)} jobs compared {len(lines)} references to {len(works)} works")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--local", dest="mode", action="store_const", const="local", help="on this machine")
    place.add_argument("--grid", dest="config", metavar="CONFIG", help="on the grid of this miguser.conf")
    anyio.run(main, parser.parse_args())
