"""Write the next title of every session and score it beside Last Product Title: `llmrec generate` under accelerate.

With nothing but --k it runs the `demo` recipe: built-in synthetic data and a tiny mT5 trained from scratch.

**Usage**

    accelerate launch scripts/gen.py --k 3

    accelerate launch scripts/gen.py --data STORE --recipe mt5_small_k3 --output-dir runs/mt5_small_k3

    accelerate launch --config_file accelerate_configs/zero2.yaml scripts/gen.py --data STORE --recipe mt5_small_k3

    accelerate launch scripts/gen.py --data STORE --model runs/mt5_small_k3/model --split test_task3_phase2

    accelerate launch scripts/gen.py --data STORE --model runs/mt5_small_k3/model --backend ctranslate2
"""

import sys

from llmrec.cli import main

if __name__ == "__main__":
    main(["generate", *sys.argv[1:]])
