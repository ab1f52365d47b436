"""``llmrec embed``: products to vectors; ``llmrec embed train``: an encoder that learns from sessions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from llmrec.cli.flags import assignments, choice
from llmrec.errors import require

__all__ = ["app"]

PRECISIONS = ("auto", "fp32", "bf16", "int8")


class _Embed(TyperGroup):
    """Runs `default` where the first word is no verb of its own: ``llmrec embed PRODUCTS --out DIR``."""

    default = "products"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default verb in front of words that name none."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [self.default, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="embed",
    cls=_Embed,
    no_args_is_help=True,
    help="""Write the vectors of products' titles, ready to be searched: `llmrec embed PRODUCTS --out DIR`.
    All flags: `llmrec embed products --help`.

    Example: llmrec embed products.parquet --out runs/titles

    Example: llmrec embed train --train train.parquet --products products.parquet --out models/encoder
    """,
)


@app.command(no_args_is_help=True)
def products(
    products: Annotated[Path, typer.Argument(help="Products: Parquet, or CSV in the official form.")],
    out: Annotated[Path, typer.Option(help="Folder for vectors, keys, encoder and manifest.")],
    encoder: Annotated[
        str, typer.Option(help="tfidf-svd, a folder (of `embed train`, too), or a hub name.")
    ] = "tfidf-svd",
    template: Annotated[
        str, typer.Option(help="What of a product is read: title, brand, attributes, a file.")
    ] = "title",
    dim: Annotated[int | None, typer.Option(help="Width of the vectors; the encoder's own if not given.")] = None,
    precision: Annotated[
        str, typer.Option(help="auto, fp32, bf16 or int8, for sentence-transformers models.")
    ] = "auto",
    batch_size: Annotated[int, typer.Option(help="Texts such a model reads at once.", min=1)] = 32,
    seed: Annotated[int, typer.Option(help="Of what tfidf-svd draws.")] = 0,
    index: Annotated[
        bool, typer.Option("--index/--no-index", help="Build the index, too; `llmrec index` builds other kinds.")
    ] = True,
) -> None:
    """Encode products and write vectors, keys, encoder, manifest and index; a killed run goes on where it was.

    Example: llmrec embed products.parquet --out runs/titles --encoder intfloat/multilingual-e5-small
    """
    from llmrec.text.encoders.embed import EmbedJob, run_embed_job

    if index:
        require("faiss", "text")  # before hours of encoding, not after
    from llmrec.text.search.build import build_for_folder

    job = EmbedJob(
        products=products,
        out=out,
        encoder=encoder,
        template=template,
        dim=dim,
        precision=choice(precision, "--precision", PRECISIONS),
        batch_size=batch_size,
        seed=seed,
    )
    run_embed_job(job)
    if index and not int(os.environ.get("RANK", "0")):  # under `accelerate launch` one process builds for all
        build_for_folder(out)


@app.command(no_args_is_help=True)
def train(
    train: Annotated[list[Path], typer.Option(help="Sessions, labelled or bare; several files may follow.")],
    products: Annotated[Path, typer.Option(help="Products: Parquet, or CSV in the official form.")],
    out: Annotated[Path, typer.Option(help="Folder for the encoder, which `--encoder` of `llmrec embed` takes.")],
    recipe: Annotated[str | None, typer.Option(help="encoder_static, encoder_finetune, or a file.")] = None,
    base: Annotated[str | None, typer.Option(help="static, or a sentence-transformers model to fine-tune.")] = None,
    lora_rank: Annotated[int | None, typer.Option(help="Rank of LoRA, for large models.")] = None,
    seed: Annotated[int | None, typer.Option(help="Draws validation sessions, order and initial weights.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the recipe, as name=value; may be repeated.")
    ] = None,
    checkpoints: Annotated[Path | None, typer.Option(help="Folder for checkpoints; OUT.training if not given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from what a killed training left there.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Throw away an unfinished training.")] = False,
    sessions: Annotated[
        Path | None,
        typer.Option(help="Sessions to rank with it later: --train must not repeat them."),
    ] = None,
    allow_overlap: Annotated[
        bool,
        typer.Option("--allow-overlap", help="Let training rows repeat a session with its label."),
    ] = False,
) -> None:
    """Train an encoder on items seen together: a static one from nothing, or a transformer from its weights.

    Example: llmrec embed train --train train.parquet --products products.parquet --out models/encoder
    """
    from llmrec.text.encoders.learning.train_encoder import TrainEncoderJob, run_train_encoder_job

    named = {"base": base, "lora_rank": lora_rank, "seed": seed}
    job = TrainEncoderJob(
        train=train,
        products=products,
        out=out,
        recipe=recipe,
        settings=assignments(changes or []) | {name: value for name, value in named.items() if value is not None},
        checkpoints=checkpoints,
        resume=resume,
        overwrite=overwrite,
        sessions=sessions,
        allow_overlap=allow_overlap,
    )
    run_train_encoder_job(job, _finder)


def _finder(vectors: Any) -> Any:
    """An index of vectors, loaded when a training asks for one."""
    require("faiss", "text")
    from llmrec.text.search.index import nearest_rows

    return nearest_rows(vectors)
