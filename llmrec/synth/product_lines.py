"""The synthetic catalogue as columns: product lines, their variants, and which locale sells which line.

A *line* is a brand's model in a family; its products are variants in colour, size and pack. Lines are shared between
locales as a whole, so a shared product keeps its neighbours. A product's number is its line's first number plus its
slot; slot 0 sells most. The last ``reserved`` slots of a line are never in a training session: Task 3's targets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.ragged import offsets_of
from llmrec.synth.sizes import LocalePlan
from llmrec.synth.words import Lexicon

__all__ = ["Lines", "SyntheticCatalogue", "build_catalogue", "distinct_share"]

Floats = NDArray[np.float64]

_LINE_SIZE: Final = 7.0  # mean number of variants of a line
_RESERVED: Final = 0.12  # share of a line's variants kept for Task 3

_FEW_PRODUCTS: Final = 10_000  # below that a catalogue sells fewer kinds of product
_TASTE: Final = 0.06  # how far locales differ in which lines attract them; lines attract from 0 to 1

# Share of a locale's products that come from lines of earlier locales: all of the first sell them, none of the second.
# UK and DE overlap, JP hardly; a small locale shares about .4 with DE (paper Fig. 2b). In sum they leave 1.41 M
# distinct ids of 1.55 M rows (Table 2).
_SHARED: Final = {
    "UK": (),
    "DE": ((("UK",), (), 0.12),),
    "JP": ((("UK", "DE"), (), 0.02), (("UK",), ("DE",), 0.015)),
    "ES": ((("UK", "DE"), (), 0.20), (("DE",), ("UK",), 0.20), (("UK",), ("DE",), 0.08)),
    "FR": ((("UK", "DE"), (), 0.20), (("DE",), ("UK",), 0.20), (("UK",), ("DE",), 0.08)),
    "IT": ((("UK", "DE"), (), 0.20), (("DE",), ("UK",), 0.20), (("UK",), ("DE",), 0.08)),
}


@dataclass(frozen=True)
class Lines:
    """One entry for each product line; all arrays have shape ``(lines,)``.

    ``brand`` numbers the vocabulary's names, ``letters`` and ``number`` make the model's name, ``feature`` and
    ``feature2`` are two different phrases, ``style`` picks one of three orders of the title, ``luck`` in [0, 1) decides
    what a listing leaves out, ``price`` is in EUR.
    """

    family: Ints
    first: Ints
    size: Ints
    reserved: Ints
    brand: Ints
    letters: Ints
    number: Ints
    feature: Ints
    feature2: Ints
    material: Ints
    colour: Ints
    colours: Ints
    style: Ints
    luck: Floats
    price: Floats


@dataclass(frozen=True)
class SyntheticCatalogue:
    """All lines, and for each locale the numbers of the lines that it sells, ordered by family, then price."""

    lines: Lines
    sold: dict[str, Ints]

    @property
    def num_products(self) -> int:
        """Number of distinct products."""
        return int(self.lines.size.sum())


def distinct_share(plans: Iterable[LocalePlan]) -> float:
    """Distinct ids for each product row of a catalogue with these sizes of locales, as planned.

    Few where the small locales are large: about half of their products are of earlier locales, of JP's hardly any.
    """
    plans = tuple(plans)
    fresh = sum(one.products * (1 - sum(share for *_, share in _SHARED[one.locale])) for one in plans)
    return fresh / sum(one.products for one in plans)


def build_catalogue(plans: tuple[LocalePlan, ...], lexicon: Lexicon, rng: np.random.Generator) -> SyntheticCatalogue:
    """Make exactly as many products for each locale as planned."""
    wanted = {plan.locale: plan.products for plan in plans}
    sizes: Ints = np.zeros(0, dtype=np.int64)
    members: dict[str, Ints] = {}
    attraction: Floats = np.zeros(0)
    for locale, rules in _SHARED.items():
        taken = [
            _share(rng, sizes, attraction, members, inside, outside, share * wanted[locale])
            for inside, outside, share in rules
        ]
        shared = np.concatenate([np.zeros(0, dtype=np.int64), *taken])
        fresh = _new_sizes(rng, wanted[locale] - int(sizes[shared].sum()))
        members[locale] = np.concatenate([shared, np.arange(len(sizes), len(sizes) + len(fresh))])
        sizes = np.concatenate([sizes, fresh])
        attraction = np.concatenate([attraction, rng.random(len(fresh))])
    lines = _describe(sizes, lexicon, rng)
    sold = {
        plan.locale: numbers[np.lexsort((lines.price[numbers], lines.family[numbers]))]
        for plan in plans
        for numbers in (members[plan.locale],)
    }
    return SyntheticCatalogue(lines, sold)


def _new_sizes(rng: np.random.Generator, products: int) -> Ints:
    """Sizes of lines that sum to ``products``."""
    mean = min(_LINE_SIZE, max(2.0, products / 100))  # a tiny locale needs some lines too
    drawn = np.minimum(rng.geometric(1 / mean, size=max(1, products)), 60)
    total = np.cumsum(drawn)
    count = int(np.searchsorted(total, products)) + 1
    sizes = drawn[:count].astype(np.int64)
    sizes[-1] -= int(total[count - 1]) - products
    return sizes


def _share(
    rng: np.random.Generator,
    sizes: Ints,
    attraction: Floats,
    members: dict[str, Ints],
    inside: tuple[str, ...],
    outside: tuple[str, ...],
    products: float,
) -> Ints:
    """Lines sold in all of ``inside`` and none of ``outside``, with about ``products`` products in sum.

    The same lines attract every locale, so small locales overlap with each other too.
    """
    fits = np.ones(len(sizes), dtype=bool)
    for locale in inside:
        fits &= np.isin(np.arange(len(sizes)), members[locale])
    for locale in outside:
        fits &= ~np.isin(np.arange(len(sizes)), members[locale])
    candidates = np.flatnonzero(fits)
    order = candidates[np.argsort(attraction[candidates] + rng.normal(0, _TASTE, len(candidates)), kind="stable")]
    total = np.cumsum(sizes[order])
    count = int(np.searchsorted(total, products, side="right"))
    taken = [order[:count]]
    rest = products - (int(total[count - 1]) if count else 0)
    for line in order[count:]:  # the first that does not fit ends the run; smaller ones after it may fill the rest
        if rest < 1:
            break
        if sizes[line] <= rest:
            taken.append(line[None])
            rest -= int(sizes[line])
    return np.concatenate(taken)


def _describe(sizes: Ints, lexicon: Lexicon, rng: np.random.Generator) -> Lines:
    count = len(sizes)
    families = lexicon.families
    family = rng.choice(len(families), size=count, p=_family_shares(lexicon, int(sizes.sum())))
    department = np.array([one.department for one in families])[family]
    features = np.array([len(one.features) for one in families])[family]
    materials = np.array([max(1, len(one.materials)) for one in families])[family]
    coloured = np.array([one.coloured for one in families])[family]
    feature = rng.integers(0, features)
    brands_each = len(lexicon.names) // lexicon.departments
    brand = np.floor(np.exp(rng.random(count) * np.log(brands_each + 1))).astype(np.int64) - 1
    usual = np.array([one.price for one in families])[family]
    return Lines(
        family=family,
        first=offsets_of(sizes)[:-1],
        size=sizes,
        reserved=np.minimum(sizes - 1, np.floor(sizes * _RESERVED + rng.random(count)).astype(np.int64)),
        brand=brand * lexicon.departments + department,
        letters=rng.integers(0, 26 * 26, size=count),
        number=rng.integers(2, 100, size=count) * 10,
        feature=feature,
        feature2=(feature + rng.integers(1, features)) % features,
        material=rng.integers(0, materials),
        colour=np.minimum(rng.geometric(0.25, size=count) - 1, len(lexicon.colours) - 1),
        colours=np.where(coloured, rng.integers(1, 7, size=count), 0),
        style=rng.integers(0, 3, size=count),
        luck=rng.random(count),
        price=usual * np.exp(rng.normal(0, 0.45, size=count)),
    )


def _family_shares(lexicon: Lexicon, products: int) -> Floats:
    """Share of each family in the lines: some are larger than others, in every department.

    A small catalogue sells two families of every second department, books among them. Were it all of them, a locale
    would have a line or two of each, and the lines beside one another would have nothing in common.
    """
    department = np.array([one.department for one in lexicon.families])
    weights = 1 / np.sqrt(np.arange(len(department)) % 16 + 2.0)
    if products < _FEW_PRODUCTS:
        edge = np.diff(department, prepend=-1, append=lexicon.departments) != 0
        weights *= (edge[:-1] | edge[1:]) & (department % 2 == lexicon.books % 2)
    shares: Floats = weights / weights.sum()
    return shares
