#!/bin/bash
# Where jobs may not be put back into the queue: N jobs, each waiting for the one before it, each
# going on where that one stopped. Those that come after the run is done say so and end at once.
#
#   slurm/chain.sh N JOB.toml RUN [options of sbatch]
#
# Prints the numbers of the jobs.
set -eu
count=${1:?number of jobs} job=${2:?job file} run=${3:?run directory}
shift 3
here=$(cd "$(dirname "$0")" && pwd)
before=
for _ in $(seq "$count"); do
  before=$(REELSCALE_REQUEUE=no sbatch --parsable --no-requeue \
    ${before:+--dependency=afterany:$before} "$@" "$here/train.sbatch" "$job" "$run")
  echo "$before"
done
