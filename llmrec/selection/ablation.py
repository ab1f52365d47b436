"""What each kind of title and each ranker is worth: switched off, learnt again, judged out of fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llmrec.errors import DataError
from llmrec.rankers.fusion.ranker import Fusion
from llmrec.rankers.sessions import TrainingSessions
from llmrec.reporting.ablation import Ablation, ablate
from llmrec.selection.learning import LearntFolds, learn_choices, learn_folds, pooled_stats
from llmrec.selection.selector import Selector, ranker_settings_of
from llmrec.selection.settings import SelectSettings
from llmrec.selection.table import TitleTable

__all__ = ["ablate_selector"]


def ablate_selector(
    settings: SelectSettings, training: TrainingSessions, products: Any, table: TitleTable, names: Sequence[str]
) -> list[Ablation]:
    """Learn with everything, then without each of some names.

    Args:
        settings: Settings.
        training: Sessions to learn from.
        products: Their products.
        table: Titles.
        names: Kinds of titles or rankers; a kind of title needs no ranker to be fitted again.

    Raises:
        ConfigError: a name is neither.
        DataError: there is nothing to judge on.
    """
    options = {name: Selector(replace(settings, without=(*settings.without, name))).settings for name in names}

    def learnt_of(chosen: SelectSettings) -> LearntFolds:
        return learn_folds(Fusion(ranker_settings_of(chosen)), training, products, table, chosen.writers)

    learnt = learnt_of(settings)

    def judge(off: str) -> dict[str, Any] | None:
        chosen = options.get(off, settings)
        stats = pooled_stats(learn_choices(learnt_of(chosen) if off in settings.sources else learnt, table, chosen))
        return None if stats is None else {"bleu": stats}

    rows = ablate(names, judge, settings.seed)
    if not rows:
        raise DataError("too few labelled sessions to judge on: an ablation needs two folds with targets proposed")
    return rows
