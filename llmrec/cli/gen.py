"""Write the next title of every session: ``python -m llmrec.cli.gen``, where there is no ``scripts/gen.py``."""

from llmrec.cli import run
from llmrec.config import GenerateConfig
from llmrec.generation import generate_titles

if __name__ == "__main__":
    raise SystemExit(run(GenerateConfig, generate_titles))
