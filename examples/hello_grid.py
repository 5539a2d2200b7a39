"""Runs a job that says hello, on the grid or with --local on this machine."""

import argparse

import anyio

import aiomig
from aiomig import submit, watch


async def main(options: argparse.Namespace) -> None:
    async with aiomig.connect("grid" if options.config else options.mode, config=options.config):
        job = await submit("echo HELLO GRID")
        async for status in watch(job):
            print(status.state, status.queued_at)
        result = await job
        print(result.stdout, end="")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--local", dest="mode", action="store_const", const="local", help="on this machine")
    place.add_argument("--grid", dest="config", metavar="CONFIG", help="on the grid of this miguser.conf")
    anyio.run(main, parser.parse_args())
