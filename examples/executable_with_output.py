"""Runs a shell script as a job and downloads the file that it writes."""

import argparse
import tempfile

import anyio

import aiomig

SCRIPT = b"""#!/bin/sh
# Counts the words on standard input and writes the counts to the given file.
tr -cs '[:alpha:]' '[\\n*]' | tr '[:upper:]' '[:lower:]' | sort | uniq -c | sort -k1,1nr -k2 >"$1"
echo "counted on $(uname -s)"
"""
TEXT = b"The grid is the computer. The computer is what the grid makes of it.\n"


async def main(options: argparse.Namespace) -> None:
    async with aiomig.connect("grid" if options.config else options.mode, config=options.config) as mig:
        job = await mig.submit(
            "./count_words counts.txt < text.txt",
            executables=[(SCRIPT, "count_words")],
            inputs=[(TEXT, "text.txt")],  # or the path of a file on this machine
            outputs=["counts.txt"],
            name="count-words",
        )
        with tempfile.TemporaryDirectory() as folder:
            [counts] = await job.fetch(folder)  # waits for the end of the job
            print(await job.stdout(), end="")
            print(counts.read_text(), end="")
        await job.clean()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--local", dest="mode", action="store_const", const="local", help="on this machine")
    place.add_argument("--grid", dest="config", metavar="CONFIG", help="on the grid of this miguser.conf")
    anyio.run(main, parser.parse_args())
