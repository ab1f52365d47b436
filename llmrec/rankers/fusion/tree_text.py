"""LightGBM's text form of a model, read by us first: LightGBM itself believes its counts and places, and may crash."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from llmrec.arrays import Ints
from llmrec.ragged import offsets_of, places_within, row_numbers

__all__ = ["check_model"]

_NUMBER: Final = rb"-?[0-9][0-9.e+-]*"
_HEADER: Final = re.compile(
    rb"tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=([0-9]{1,6})\n"
    rb"objective=(?:lambdarank|rank_xendcg|binary sigmoid:1|regression)\nfeature_names=([^\n]+)\n"
    rb"feature_infos=((?:none|\[" + _NUMBER + rb":" + _NUMBER + rb"\]| )+)\ntree_sizes=([0-9]+(?: [0-9]{1,9})*)\n\n"
)
_END: Final = re.compile(
    rb"end of trees\n\nfeature_importances:\n(?:[^\n ]+=[0-9]+\n)*\nparameters:\n(?:\[[a-z0-9_]+: [\w.,+-]*\]\n)*\n?"
    rb"end of parameters\n\npandas_categorical:null\n"
)
_CHARACTERS: Final = b"0123456789.e+ -"
_INTEGERS: Final = re.compile(rb"(?:-?[0-9]{1,18}(?: -?[0-9]{1,18})*)?")
_SPLITS: Final = ("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child")
_LEAVES: Final = ("leaf_value", "leaf_weight", "leaf_count")
_INNER: Final = ("internal_value", "internal_weight", "internal_count")
_KEYS: Final = ("num_leaves", "num_cat", *_SPLITS, *_LEAVES, *_INNER, "is_linear", "shrinkage")
_NAMES: Final = tuple(f"{key}=".encode() for key in _KEYS)
_WHOLE: Final = ("num_leaves", "num_cat", "split_feature", "decision_type", "left_child", "right_child", "is_linear")
_MISSING: Final = (0, 2, 4, 6, 8, 10)  # where a missing number goes, of three kinds, and no split by category
_DEEPEST: Final = 2_000  # LightGBM goes down a tree by calling itself
_HUGE: Final = re.compile(rb"[0-9]{40}|e\+?(?:[3-9][0-9]|[0-9]{3})")


def check_model(text: bytes) -> None:
    """Refuse what is no whole model of one value, of numeric splits, as `model_to_string` writes it.

    Raises:
        ValueError: it is none; says where it differs.
    """
    header = _HEADER.match(text)
    if header is None:
        raise ValueError("trees: not the header of a model")
    names, infos, sizes = (header[place].split(b" ") for place in (2, 3, 4))
    if not len(names) == len(infos) == int(header[1]) + 1 == len(set(names)):
        raise ValueError(f"trees: {len(names)} names and {len(infos)} ranges of {int(header[1]) + 1} features")
    bounds = header.end() + offsets_of([int(size) for size in sizes])
    if bounds[-1] > len(text) or _END.fullmatch(text, int(bounds[-1])) is None:
        raise ValueError("trees: their sizes are not those of the text, or what follows them is none of it")
    trees = [_lines(text[start:end], place) for place, (start, end) in enumerate(pairwise(bounds.tolist()))]
    columns = {key: _numbers(key, [tree[place] for tree in trees]) for place, key in enumerate(_KEYS)}
    _check_trees(columns, len(names))


def _lines(text: bytes, place: int) -> list[bytes]:
    """What a tree's lines hold, in the order of `_KEYS`."""
    lines = text.split(b"\n")
    whole = lines[0] == b"Tree=%d" % place and not any(lines[len(_KEYS) + 1 :]) and len(lines) > len(_KEYS)
    if not whole or not all(map(bytes.startswith, lines[1:], _NAMES)):
        raise ValueError(f"trees: tree {place} does not have the lines of one")
    return [line[len(name) :] for line, name in zip(lines[1:], _NAMES, strict=False)]


def _numbers(key: str, lines: Sequence[bytes]) -> tuple[Ints, Ints]:
    """Whole numbers of one line of each tree, one after the other, and how many numbers, of any kind, each has."""
    together = b" ".join(filter(None, lines))
    if key == "threshold":
        together = together.replace(b"inf", b"0")  # what is there goes one way, what is missing the other
    blanks = any(line.strip(b" ") != line or b"  " in line for line in lines)
    if blanks or together.translate(None, _CHARACTERS):
        raise ValueError(f"trees: {key} holds what is no number")
    lengths = np.array([line.count(b" ") + 1 if line else 0 for line in lines])
    if key == "leaf_value" and _may_be_huge(together) and _HUGE.search(together):
        raise ValueError(f"trees: {key} holds a number that nothing was ever measured in")
    if key not in _WHOLE:  # LightGBM itself says where another is malformed, and none of them leads anywhere
        return np.zeros(0, dtype=np.int64), lengths
    if _INTEGERS.fullmatch(together) is None:
        raise ValueError(f"trees: {key} holds what is no whole number")
    return np.fromstring(together, dtype=np.int64, sep=" "), lengths


def _may_be_huge(numbers: bytes) -> bool:
    """Whether some numbers have an exponent above 0 or many digits: quicker to see than `_HUGE`."""
    return numbers.count(b"e") > numbers.count(b"e-") or max(map(len, numbers.split()), default=0) >= 40


def _check_trees(columns: dict[str, tuple[Ints, Ints]], num_features: int) -> None:
    values = {key: column[0] for key, column in columns.items()}
    leaves = values["num_leaves"]
    single = {"num_leaves", "num_cat", "is_linear", "shrinkage"}
    if (leaves < 1).any() or values["num_cat"].any() or values["is_linear"].any():
        raise ValueError("trees: one is no tree of numeric splits")
    for key, (_, lengths) in columns.items():
        wanted = 1 if key in single else leaves if key in _LEAVES else leaves - 1
        unsaid = (lengths == 0) & (leaves == 1) & (key in _LEAVES[1:])  # of a tree that is one value
        if not ((lengths == wanted) | unsaid).all():
            raise ValueError(f"trees: {key} is longer or shorter than its tree")
    feature, children = values["split_feature"], np.stack([values["left_child"], values["right_child"]], axis=1)
    if (
        feature.min(initial=0) < 0
        or feature.max(initial=0) >= num_features
        or not np.isin(values["decision_type"], _MISSING).all()
    ):
        raise ValueError("trees: a split reads a feature that is none")
    _check_shape(children, leaves)


def _check_shape(children: Ints, leaves: Ints) -> None:
    """Each inner node but the first, and each leaf, has one parent, which stands before it; none is too deep."""
    inner = leaves - 1
    starts, tree = offsets_of(inner), row_numbers(inner)
    own, last = places_within(inner)[:, None], (leaves[tree])[:, None]
    down = children >= 0
    if not np.where(down, (children > own) & (children < last - 1), ~children < last).all():
        raise ValueError("trees: a split leads nowhere")
    nodes = (children + starts[tree][:, None])[down]
    ends = (~children + offsets_of(leaves)[tree][:, None])[~down]
    first = starts[:-1][inner > 0]
    parents, of_leaves = np.bincount(nodes, minlength=len(tree)), np.repeat(leaves > 1, leaves)
    parents[first] += 1
    if (parents != 1).any() or (np.bincount(ends, minlength=len(of_leaves)) != of_leaves).any():
        raise ValueError("trees: a split leads where another does")
    level, depth = first, 0
    while len(level):
        below = children[level]
        level = (below + starts[tree[level]][:, None])[below >= 0]
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(f"trees: one has more than {_DEEPEST} levels")
