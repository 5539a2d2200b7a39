"""Compiles and runs an MPI program, if MPI is installed on the machine that runs the job."""

import argparse

import anyio

import aiomig

HELLO = rb"""
#include <mpi.h>
#include <stdio.h>

int main(int argc, char **argv) {
    int rank, size;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    printf("hello from rank %d of %d\n", rank, size);
    return MPI_Finalize();
}
"""
COMMANDS = [
    # `exit 0` ends the job successfully before the commands that need MPI.
    'command -v mpicc && command -v mpirun || { echo "no MPI (mpicc, mpirun) on this machine"; exit 0; }',
    "mpicc hello.c -o hello",
    'mpirun -n "$MIG_JOBCPUCOUNT" ./hello',
]


async def main(options: argparse.Namespace) -> None:
    async with aiomig.connect("grid" if options.config else options.mode, config=options.config) as mig:
        job = await mig.submit(
            COMMANDS,
            inputs=[(HELLO, "hello.c")],
            resources=aiomig.Resources(cores=2),
            # By default, Open MPI refuses to run as root and to start more processes than it detects cores.
            environment={
                "OMPI_ALLOW_RUN_AS_ROOT": "1",
                "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                "OMPI_MCA_rmaps_base_oversubscribe": "1",
            },
        )
        result = await job
        print(result.stdout, end="")
        await job.clean()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--local", dest="mode", action="store_const", const="local", help="on this machine")
    place.add_argument("--grid", dest="config", metavar="CONFIG", help="on the grid of this miguser.conf")
    anyio.run(main, parser.parse_args())
