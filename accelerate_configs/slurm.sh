#!/bin/bash
# Train, embed or decode over the nodes of a SLURM job: one launcher on each node, one process for each of its GPUs.
#
#     sbatch accelerate_configs/slurm.sh scripts/gen.py --data STORE --recipe mt5_base_k1 --output-dir SHARED --resume
#
# Edit the lines below. Folders of data and outputs must be on storage that all nodes see. A node that is lost ends the
# job; with --resume, the same command goes on from the last checkpoint, also with fewer nodes.
#SBATCH --job-name=llmrec
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --output=%x-%j.log

set -euo pipefail
config=${CONFIG:-accelerate_configs/multi_node.yaml} # or zero2.yaml, zero3.yaml: the numbers below win over theirs
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
first=${nodes%%$'\n'*}
processes=$((SLURM_NNODES * SLURM_GPUS_ON_NODE))
port=$((20000 + SLURM_JOB_ID % 10000))
export config first processes port

srun --kill-on-bad-exit=1 bash -c 'exec accelerate launch --config_file "$config" \
    --num_machines "$SLURM_NNODES" --num_processes "$processes" --machine_rank "$SLURM_NODEID" \
    --main_process_ip "$first" --main_process_port "$port" "$@"' launch "$@"
