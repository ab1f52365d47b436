"""Stock RecBole on atomic files: its Config, Dataset, loaders and Trainer, with the shims that current versions need.

A program of its own, because RecBole reads ``sys.argv``, writes ``log/`` and ``saved/`` where it stands, and needs
names that numpy 2 has dropped. It prints one line of JSON: loss of each step, seconds per epoch, validation metrics.

Usage:
    python tests/rankers/neural/stock_recbole.py ATOMIC_FOLDER --model GRU4Rec --epochs 1 --batch-size 512 \
        --set hidden_size=128 --dump WEIGHTS.npz --batches BATCHES.npz
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import sys
import time
import types
import warnings
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import yaml


def shim() -> None:
    """Names and defaults that RecBole 1.2.1 expects of its surroundings, in this process alone."""
    for name, kind in {"float_": np.float64, "complex_": np.complex128, "object_": np.object_, "str_": np.str_}.items():
        if not hasattr(np, name):
            setattr(np, name, kind)
    for name, kind in {"bool8": np.bool_, "unicode_": np.str_, "long": np.int64}.items():
        if not hasattr(np, name):
            setattr(np, name, kind)
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    warnings.simplefilter("ignore")
    if importlib.util.find_spec("sklearn") is None:  # for metrics and models that are not asked for here
        absent = {
            "sklearn": (),
            "sklearn.metrics": ("auc", "mean_absolute_error", "mean_squared_error"),
            "sklearn.linear_model": ("ElasticNet",),
            "sklearn.exceptions": ("ConvergenceWarning",),
            "sklearn.utils": (),
            "sklearn.utils.extmath": ("randomized_svd",),
        }
        for module, names in absent.items():
            sys.modules[module] = stub = types.ModuleType(module)
            stub.__spec__ = ModuleSpec(module, None)  # torch asks whether it is there
            for name in names:
                setattr(stub, name, None)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("atomic", type=Path, help="folder NAME that llmrec.rankers.atomic wrote")
    parser.add_argument("--model", default="GRU4Rec")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of RecBole's own")
    parser.add_argument("--dump", type=Path, help="write the initial weights here (npz)")
    parser.add_argument("--batches", type=Path, help="write the batches of the first epoch here (npz), ids as tokens")
    parser.add_argument("--load-only", action="store_true", help="read the files, train nothing")
    return parser.parse_args()


def configure(args: argparse.Namespace) -> Any:
    from recbole.config import Config

    settings = {
        "data_path": str(args.atomic.parent),
        "epochs": args.epochs,
        "train_batch_size": args.batch_size,
        "eval_batch_size": 1024,
        "learning_rate": args.learning_rate,
        "metric_decimal_place": 6,
        "seed": args.seed,
        "reproducibility": True,
        "use_gpu": False,
        "show_progress": False,
        "nproc": 1,
        "state": "ERROR",
    }
    settings |= {key: yaml.safe_load(value) for key, _, value in (entry.partition("=") for entry in args.set)}
    files = [str(args.atomic / f"{args.atomic.name}.yaml")]
    return Config(model=args.model, dataset=args.atomic.name, config_file_list=files, config_dict=settings)


def record_steps(trainer: Any, losses: list[float]) -> None:
    """Have the trainer's model note the loss of each step."""
    original = trainer.model.calculate_loss

    def noted(interaction: Any) -> Any:
        loss = original(interaction)
        losses.append(float(loss))
        return loss

    trainer.model.calculate_loss = noted


def dump_batches(path: Path, loader: Any, dataset: Any) -> None:
    """Write the first epoch's batches as the loader will give them: codes, lengths and targets, and the ids' names.

    The loader draws its order from a generator of its own, which is put back.
    """
    state = loader.generator.get_state()
    rows = [(batch["item_id_list"], batch["item_length"], batch["item_id"]) for batch in loader]
    loader.generator.set_state(state)
    np.savez(
        path,
        tokens=np.array(dataset.field2id_token["item_id"], dtype=str),
        sizes=np.array([len(targets) for _, _, targets in rows]),
        items=np.concatenate([items.numpy() for items, _, _ in rows]),
        lengths=np.concatenate([lengths.numpy() for _, lengths, _ in rows]),
        targets=np.concatenate([targets.numpy() for _, _, targets in rows]),
    )


def main() -> int:
    args = parse()
    args.atomic = args.atomic.resolve()
    sys.argv = sys.argv[:1]  # RecBole would read the rest as its own settings
    shim()
    import torch

    torch.set_num_threads(args.threads)
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    logging.disable(logging.CRITICAL)
    config = configure(args)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    if args.load_only:
        report = {"items": dataset.item_num - 1, "fields": sorted(dataset.field2type), "sessions": len(dataset)}
        sys.stdout.write(json.dumps(report) + "\n")
        return 0
    train, valid, _ = data_preparation(config, dataset)
    init_seed(config["seed"], config["reproducibility"])
    model = get_model(args.model)(config, train._dataset)
    if args.dump:
        np.savez(args.dump, **{key: value.numpy() for key, value in model.state_dict().items()})
    if args.batches:
        dump_batches(args.batches, train, dataset)
    trainer = get_trainer(config["MODEL_TYPE"], args.model)(config, model)
    losses: list[float] = []
    record_steps(trainer, losses)
    seconds = []
    for epoch in range(args.epochs):
        started = time.perf_counter()
        trainer._train_epoch(train, epoch)
        seconds.append(time.perf_counter() - started)
    metrics = trainer.evaluate(valid, load_best_model=False)
    report = {"losses": losses, "seconds_per_epoch": seconds, "valid": {k: float(v) for k, v in metrics.items()}}
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
