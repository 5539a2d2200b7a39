"""A pipeline: preprocess, 50 fits in parallel, merge, report. After a crash, run it again: no job runs twice."""

import argparse
import random
from collections.abc import Sequence

import anyio

import aiomig
from aiomig import JobSpec, Remote

FIT = (
    "awk -v seed={seed} 'BEGIN {{ srand(seed) }} {{ value[NR] = $1 }} "
    "END {{ for (i = 0; i < NR; i++) sum += value[int(rand() * NR) + 1]; print sum / NR }}' clean > fit"
)


async def main(options: argparse.Namespace) -> None:
    home = f"pipeline/{options.run}"  # in the MiG home, where the steps exchange data

    def step(name: str, command: str, inputs: Sequence[tuple[Remote | bytes, str]], output: str) -> JobSpec:
        return JobSpec(
            command,
            inputs=inputs,
            outputs=[(output, Remote(f"{home}/{name}/{output}"))],
            name=name,
            labels={"pipeline": options.run},
            key=f"{options.run}/{name}",  # each key is submitted only once
        )

    async with aiomig.connect("grid" if options.config else options.mode, config=options.config) as mig:
        rng = random.Random(7)
        raw = "".join(f"{rng.gauss(100, 15):.3f}\n" for _ in range(500)) + "broken\n"
        await (await mig.submit(step("preprocess", "grep -v broken raw > clean", [(raw.encode(), "raw")], "clean")))
        print("preprocess", flush=True)

        clean = (Remote(f"{home}/preprocess/clean"), "clean")
        fits = [step(f"fit-{seed}", FIT.format(seed=seed), [clean], "fit") for seed in range(options.fits)]
        async for job in mig.as_completed(await mig.submit_many(fits)):
            print((await job).status.name, flush=True)  # a failed job ends the pipeline

        results = [(Remote(f"{home}/{fit.name}/fit"), f"fits/{fit.name}") for fit in fits]
        await (await mig.submit(step("merge", "cat fits/* | sort -n > means", results, "means")))
        means = [float(mean) for mean in (await mig.files.read_text(f"{home}/merge/means")).split()]
        print(f"mean {sum(means) / len(means):.0f}, between {means[0]:.1f} and {means[-1]:.1f}")
        statuses = await mig.statuses(await mig.jobs(labels={"pipeline": options.run}))
        print(f"{len(statuses)} jobs, {sum(status.exit_code == 0 for status in statuses.values())} successful")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--local", dest="mode", action="store_const", const="local", help="on this machine")
    place.add_argument("--grid", dest="config", metavar="CONFIG", help="on the grid of this miguser.conf")
    parser.add_argument("--fits", type=int, default=50, help="number of fits (default: %(default)s)")
    parser.add_argument("--run", default="1", help="name of the run; the same name continues it (default: %(default)s)")
    anyio.run(main, parser.parse_args())
