"""Rank the next products of sessions on several devices: `llmrec rank` under accelerate.

**Usage**

    accelerate launch --config_file accelerate_configs/multi_gpu.yaml scripts/rank.py gru4rec \
        --train FILE --sessions FILE --out RUN
"""

import sys

from llmrec.cli import main

if __name__ == "__main__":
    main(["rank", *sys.argv[1:]])
