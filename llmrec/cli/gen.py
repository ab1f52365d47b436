"""Write the next title of every session: ``python -m llmrec.cli.gen``, where there is no ``scripts/gen.py``."""

from llmrec.cli import run
from llmrec.selection.generated import generate_titles
from llmrec.titles.settings import GenerateConfig

if __name__ == "__main__":
    raise SystemExit(run(GenerateConfig, generate_titles))
