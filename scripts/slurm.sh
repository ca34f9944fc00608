#!/usr/bin/env bash
# Trains on every GPU of several SLURM nodes, and continues after a time limit.
#
#   sbatch --nodes=2 scripts/slurm.sh --config configs/mtra.py:roberta_tweeteval \
#       --workdir /shared/runs/mtra --config.data.dir=/shared/data
#
# The arguments are those of scripts/train.py. Set the four lines below for your cluster.
#SBATCH --job-name=mtra
#SBATCH --gpus-per-node=8
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --output=%x-%j.log
# SIGTERM five minutes before the time limit: the run saves its state and ends.
#SBATCH --signal=TERM@300
# A node that failed: SLURM starts the job again, and the same command continues the run.
#SBATCH --requeue
#SBATCH --open-mode=append

set -euo pipefail

if (($# == 0)); then
    echo "usage: sbatch --nodes=N scripts/slurm.sh --config FILE:NAME --workdir DIR ..." >&2
    exit 2
fi

# sbatch runs a copy of this script: the clone is where sbatch was called.
cd "${SLURM_SUBMIT_DIR:?expected to be started by sbatch}"
python=${PYTHON:-.venv/bin/python}

# A process for each GPU; JAX gives process I of a node its GPU I. `--gpus-per-task` would
# hide the other GPUs from a process, and with them the fast links between them.
# `--kill-on-bad-exit=0`: process 0 may still save while the others have ended, and where one
# process is lost the others end by themselves.
srun --kill-on-bad-exit=0 "$python" scripts/train.py --distributed "$@"
