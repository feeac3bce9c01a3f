#!/bin/bash
# A training on four GPUs of one machine of a SLURM cluster, which goes on in the next job when its time is over:
#   sbatch examples/slurm.sh experiment=tgs_base data.root=tgs
#SBATCH --job-name=unetkit
#SBATCH --nodes=1                 # with more machines, add trainer.num_nodes= below
#SBATCH --ntasks-per-node=4       # a process for each GPU
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=USR1@120         # two minutes before the end: save, and stop with status 138
#SBATCH --requeue --open-mode=append

# All tasks, and the job when it is started again, write to runs/slurm-JOB/DIGEST, and go on where the run was stopped.
srun --kill-on-bad-exit=1 unetkit train trainer=ddp trainer.devices=4 trainer.num_nodes="$SLURM_NNODES" "$@"
status=$?
if [ $status -eq 138 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit $status
