"""Distributes numbers to worker jobs through a message queue, and collects their answers from another queue.

A job requests a message by writing a file. Grids on Python 3 deliver messages from jobs, but jobs receive them empty.
"""

import argparse

import anyio

import aiomig

WORKER = rb"""
ask() {  # ask send FILE QUEUE, or ask get QUEUE DIRECTORY
    request="$MIG_LOCALJOBNAME.$1update"
    printf 'target mqueue\nsource %s\ndestination %s\n' "$2" "$3" > "$request"
    until [ -e "${request}done" ]; do sleep 0.1; done
    rm "${request}done"
}
while ask get workertasks inbox; [ -s inbox/workertasks ]; do  # an empty file means that the queue is empty
    number=$(cat inbox/workertasks)
    echo "$number squared is $((number * number))" > answer
    ask send answer workeranswers
done
"""


async def main(options: argparse.Namespace) -> None:
    async with aiomig.connect("grid" if options.config else options.mode, config=options.config) as mig:
        tasks, answers = mig.queue("workertasks"), mig.queue("workeranswers")
        for queue in (tasks, answers):
            await queue.remove(missing_ok=True)  # may remain from an interrupted run
            await queue.create()
        for number in range(options.tasks):
            await tasks.send(str(number))
        script = [(WORKER, "worker.sh")]
        workers = [await mig.submit("bash worker.sh", inputs=script) for _ in range(options.workers)]
        await mig.results(workers)
        lines = []
        while (answer := await answers.receive()) is not None:
            lines.append(answer.strip())
        print(*sorted(lines), f"{len(lines)} of {options.tasks} numbers by {len(workers)} workers", sep="\n")
        for worker in workers:
            await worker.clean()
        await tasks.remove()
        await answers.remove()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--local", dest="mode", action="store_const", const="local", help="on this machine")
    place.add_argument("--grid", dest="config", metavar="CONFIG", help="on the grid of this miguser.conf")
    parser.add_argument("--tasks", type=int, default=6, help="number of tasks (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="number of jobs (default: %(default)s)")
    anyio.run(main, parser.parse_args())
