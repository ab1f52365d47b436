"""The verbs of ``llmrec``: what is typed, what it does, and where its dataclass and its function are."""

from __future__ import annotations

from typing import Final

from llmrec.cli.flags import Verb

__all__ = ["GROUPS", "PANELS"]

GROUPS: Final = {
    "data": "Raw files to a checked store; synthetic data.",
    "prompts": "Prompts: list, render, compare, build a dataset of them.",
    "embed": """Write the vectors of products' titles, ready to be searched: `llmrec embed PRODUCTS --out DIR`.
    All flags: `llmrec embed products --help`.

    Example: llmrec embed products.parquet --out runs/titles

    Example: llmrec embed train --train train.parquet --products products.parquet --out models/encoder
    """,
}
PANELS: Final = {
    "Start here": (
        Verb(
            "demo",
            "Show it all in minutes: made-up data, ranked products, titles, similar products, one page.",
            "demo.demo:DemoJob:run_demo",
            bare=True,
            needs=("generate", "rank", "search"),
        ),
    ),
    "Data": (
        Verb(
            "data get",
            "Say where the Amazon-M2 files come from, fetch what can be fetched without a login, "
            "check what was fetched.",
            "data.download.get:GetJob:get",
            bare=True,
        ),
        Verb(
            "data import",
            "Read the official CSVs, the authors' repository or plain Parquet into a checked store.",
            "cli.data:ImportJob:import_",
        ),
        Verb(
            "data events",
            "Make a store of a shop's own log: events to sessions, cut by time into what is learnt and what is tested.",
            "data.events.making:EventsJob:run_events_job",
        ),
        Verb(
            "data synth",
            "Write synthetic Amazon-M2 sessions and products, in six languages.",
            "cli.data:SynthJob:synth",
        ),
        Verb(
            "data holdout",
            "Hold out a share of a sessions file: what to learn from, what to rank for, and the targets.",
            "cli.data:HoldoutJob:holdout",
        ),
        Verb(
            "data pick",
            "Write the sessions of some locales: Task 1 is of UK, DE and JP, Task 2 of ES, FR and IT.",
            "cli.data:PickJob:pick",
        ),
        Verb(
            "stats",
            "Count what the paper's Tables 1-2 and Figures 2, 4 and 5 show: "
            "sizes, long tails, overlap, repeats, neighbours.",
            "paper.statistics.describe:StatisticsJob:show_statistics",
        ),
    ),
    "The next product": (
        Verb(
            "rank",
            "Rank the next products of sessions: learn from files, or load a kept ranker.",
            "cli.rank:Rank:rank",
            asks_for=(
                ("rank", "neural rankers and fusion"),
                ("text", "text_knn, text features"),
                ("spark", "--engine spark"),
            ),
        ),
        Verb(
            "tune",
            "Search a ranker's settings (the ranges of the paper's Appendix A) and write the best ones as a recipe.",
            "rankers.tune:TuneJob:run_tune_job",
            needs=("rank",),
        ),
        Verb("blend", "Blend runs of the same sessions by their ranks.", "cli.runs:BlendJob:blend"),
        Verb(
            "explain",
            "Say why products are where they are: their ranks at the sources, and what each feature adds to the score.",
            "cli.runs:ExplainJob:explain",
            needs=("rank",),
        ),
    ),
    "The next title": (
        Verb(
            "generate",
            "Fine-tune a model or take a trained one, write the next title of every session, score it beside the last.",
            "selection.generated:GenerateConfig:generate_titles",
            bare=True,
            needs=("generate",),
            asks_for=(
                ("lora", "--lora-rank, --quantize"),
                ("fast", "--backend ctranslate2"),
                ("rank", "--select"),
                ("deepspeed", "accelerate_configs/zero*.yaml"),
            ),
        ),
        Verb(
            "prompts list", "Show the prompts that come with the package.", "cli.titles:ListJob:list_prompts", bare=True
        ),
        Verb(
            "prompts render",
            "Print the prompt of one session; a chat's messages below their roles.",
            "cli.titles:RenderJob:render",
        ),
        Verb(
            "prompts compare",
            "Run prompts × K × examples × models over the same sessions: "
            "BLEU with intervals, cost, titles side by side.",
            "titles.lab.compare:CompareSettings:compare_prompts",
            asks_for=(("generate", "a model in a folder"), ("chat", "--server")),
        ),
        Verb(
            "prompts export",
            "Save prompt sessions as a dataset with a card, for `datasets.load_dataset`.",
            "cli.titles:ExportJob:export",
            needs=("generate",),
        ),
        Verb(
            "select",
            "Choose the next title of every session among its own, those of likely products, and those of given runs.",
            "cli.select:Select:select",
            needs=("rank",),
        ),
        Verb(
            "last-title",
            "Write the title of each session's last product, the paper's baseline of Task 3, as a run.",
            "cli.titles:LastTitleJob:last_title",
        ),
        Verb(
            "plan",
            "Say what fits on some GPUs: weights, gradients, optimizer, activations; which batch, which ZeRO stage.",
            "cli.titles:PlanJob:plan",
            needs=("generate",),
        ),
        Verb(
            "sweep",
            "Train every setting of a grid (the paper's Appendix A), score it on validation, "
            "write the best as a recipe.",
            "titles.sweep:SweepJob:run_sweep",
            needs=("generate",),
        ),
        Verb(
            "merge-adapter",
            "Write a LoRA adapter and its base as one plain model, for any program that loads models.",
            "cli.titles:MergeJob:merge_adapter",
            needs=("generate", "lora"),
        ),
        Verb(
            "trim",
            "Cut a model's vocabulary to the tokens of a catalogue and its prompts; or put it back.",
            "cli.titles:TrimJob:trim",
            needs=("generate",),
        ),
    ),
    "Text": (
        Verb(
            "embed products",
            "Encode products and write vectors, keys, encoder, manifest and index; a killed run goes on where it was.",
            "cli.embed:Embed:embed",
            needs=("search",),
            asks_for=(("text", "models of others"), ("onnx", "--precision int8")),
        ),
        Verb(
            "embed train",
            "Train an encoder on items seen together: a static one from nothing, or a transformer from its weights.",
            "cli.embed:TrainEncoderJob:train",
            needs=("text",),
        ),
        Verb(
            "index",
            "Build and tune the index of an embeddings folder; or add and remove products without building it.",
            "cli.text:IndexJob:index",
            needs=("search",),
        ),
        Verb(
            "similar",
            "Find products like a title, a product or a session.",
            "cli.text:SimilarJob:similar",
            needs=("search",),
        ),
        Verb(
            "ground",
            "Turn titles into ranked products that exist, of each session's locale.",
            "cli.text:GroundJob:ground",
            needs=("search",),
        ),
        Verb(
            "evaluate-alignment",
            "Let each product look for itself in the other locales: Hit@1, Hit@10 and MRR for each ordered pair.",
            "cli.text:AlignmentJob:evaluate_alignment",
        ),
        Verb(
            "impute",
            "Vote on brand, colour and material by the products with like texts; accuracy on hidden values by locale.",
            "cli.text:ImputeJob:impute",
            needs=("search",),
        ),
    ),
    "Scores": (
        Verb(
            "evaluate",
            "Score a run: BLEU for titles; MRR, Recall and NDCG @100 for ranked lists; per locale and overall.",
            "cli.runs:EvaluateJob:evaluate",
        ),
        Verb(
            "results",
            "Set results beside each other: a method a row; "
            "locales, overall and macro of phase 1 and phase 2 as columns.",
            "cli.runs:ResultsJob:results",
        ),
        Verb(
            "reproduce",
            "Measure the paper's tables and figures beside what it says: paper, ours, difference, what differs.",
            "cli.reproduce:Reproduce:reproduce",
            asks_for=(("rank", "neural rows and fusion"), ("generate", "rows of titles")),
        ),
    ),
    "This machine": (
        Verb(
            "doctor",
            "Say what this machine has and lacks: extras, versions, cores, memory, GPU, Java, models, caches; "
            "and which verbs can run.",
            "cli.doctor:DoctorJob:doctor",
            bare=True,
        ),
        Verb(
            "schema",
            "Print the JSON Schema of recipes or prompts, for editors that complete and check YAML.",
            "cli.schemas:SchemaJob:schema",
        ),
    ),
}
