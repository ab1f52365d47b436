"""``python -m llmrec.cli``: the command line under a launcher, where there is no ``scripts/gen.py``."""

from llmrec.cli import main

if __name__ == "__main__":
    main()
