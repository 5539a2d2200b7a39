"""Estimates pi with many jobs, each with another random seed, and prints each result as soon as its job ends."""

import argparse
import statistics

import anyio

import aiomig

PROGRAM = (
    "import random, sys; rng = random.Random(int(sys.argv[1])); points = 20000; "
    "print(4 * sum(rng.random() ** 2 + rng.random() ** 2 < 1 for _ in range(points)) / points)"
)


def estimate(seed: int) -> aiomig.JobSpec:
    return aiomig.JobSpec(f"python3 -c '{PROGRAM}' {seed}", resources=aiomig.Resources(wall_time=300))


async def main(options: argparse.Namespace) -> None:
    estimates = []
    async with aiomig.connect("grid" if options.config else options.mode, config=options.config) as mig:
        # The sweep takes the next seed only when a job has ended, so the seeds may be an endless iterator.
        async for job in mig.sweep(estimate, range(options.jobs), in_flight=20):
            result = await job
            estimates.append(float(result.stdout))
            print(f"seed {job.parameter:2}: {estimates[-1]:.5f}")
            await job.clean()
    print(f"pi is about {statistics.mean(estimates):.3f}, by {len(estimates)} jobs")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--local", dest="mode", action="store_const", const="local", help="on this machine")
    place.add_argument("--grid", dest="config", metavar="CONFIG", help="on the grid of this miguser.conf")
    parser.add_argument("--jobs", type=int, default=12, help="number of jobs (default: %(default)s)")
    anyio.run(main, parser.parse_args())
