"""One service on fitted things: sessions in; products, titles and reasons out. Every door asks it."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from llmrec.data.lists import are_usual, stripped_array
from llmrec.errors import ConfigError, DataError, nearest
from llmrec.rankers.counting.reasons import reasons_in_words
from llmrec.rankers.fusion.explain import explain_session
from llmrec.rankers.fusion.ranker import Fusion
from llmrec.rankers.per_locale import PerLocale
from llmrec.rankers.sessions import Sessions
from llmrec.serving.loaded import Loaded, locales_of
from llmrec.serving.messages import (
    MOST_K,
    Explain,
    ExplainAnswer,
    ModelAnswer,
    Recommend,
    RecommendAnswer,
    Recommended,
    Rerank,
    RerankAnswer,
    Reranked,
    Similar,
    SimilarAnswer,
    SimilarProduct,
    Title,
    TitleAnswer,
    Warned,
    warnings_of,
    words_of,
)

__all__ = ["RequestError", "Service"]

_WARM_ITEMS: Final = 3


class RequestError(DataError):
    """What was asked for cannot be answered.

    Attributes:
        field: Part of the request that is wrong.
    """

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


class Service:
    """Fitted things, asked one request or many at a time. It keeps nothing of what it is asked.

    Attributes:
        loaded: The fitted things.
        locales: Locales that can be asked for.
    """

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.locales = tuple(locales_of(loaded))
        self._known = frozenset(self.locales)

    def recommend(self, asked: Sequence[Recommend]) -> list[RecommendAnswer | RequestError]:
        """The next products of some sessions.

        Args:
            asked: Requests; those of the same ``k`` and ``seen`` are ranked at once.

        Returns:
            For each request its answer, or why it has none.
        """
        answers: list[RecommendAnswer | RequestError | None] = [None] * len(asked)
        groups: dict[tuple[int, Any], list[tuple[int, list[str], str]]] = defaultdict(list)
        for row, one in enumerate(asked):
            try:
                self._need("ranker", "recommend")
                locale = self.locale(one.locale)
                groups[one.k + len(set(one.exclude)), one.seen].append((row, _bare(one.items), locale))
            except RequestError as error:
                answers[row] = error
        for (k, seen), rows in groups.items():
            ranker: Any = self.loaded.ranker
            lists = ranker.rank_sessions([items for _, items, _ in rows], [locale for *_, locale in rows], k, seen)
            for (row, items, locale), (ids, scores) in zip(rows, lists, strict=True):
                answers[row] = self._recommended(asked[row], items, locale, ids, scores)
        return [answer for answer in answers if answer is not None]

    def _recommended(
        self, asked: Recommend, items: list[str], locale: str, ids: Sequence[str], scores: Sequence[float]
    ) -> RecommendAnswer:
        excluded = set(_bare(asked.exclude))
        kept = [(item, score) for item, score in zip(ids, scores, strict=True) if item not in excluded][: asked.k]
        details = self.details_of([item for item, _ in kept], locale)
        why = (
            self._why(items, locale, asked, len(kept) + len(excluded), [item for item, _ in kept])
            if asked.explain
            else {}
        )
        listed = [
            Recommended(
                rank=rank,
                id=item,
                score=round(score, 6),
                title=row.get("title"),
                brand=row.get("brand"),
                price=row.get("price"),
                **why.get(item, {}),
            )
            for rank, ((item, score), row) in enumerate(zip(kept, details, strict=True), 1)
        ]
        unknown, fallback = self._unknown(items, locale)
        return RecommendAnswer(
            model=self._model("ranker"),
            locale=locale,
            items=listed,
            fallback=fallback,
            warnings=warnings_of(unknown, fallback, locale),
        )

    def explain(self, asked: Explain) -> ExplainAnswer:
        """Why a product is, or is not, in a session's list.

        Raises:
            RequestError: there is no ranker, or the locale is unknown.
        """
        self._need("ranker", "explain")
        locale, items, product = self.locale(asked.locale), _bare(asked.items), asked.product.strip()
        ranker: Any = self.loaded.ranker
        joint = _joint(ranker, locale)
        told: dict[str, Any] = {"model": self._model("ranker"), "locale": locale, "product": product}
        told["warnings"] = warnings_of(*self._unknown(items, locale), locale)
        (code,) = joint.catalogue.vocabulary.encode_list([product]).tolist()
        if code < 0:
            return ExplainAnswer(**told, listed=False, reason="the ranker has never seen this product")
        if not _sold(joint, locale, code):
            return ExplainAnswer(**told, listed=False, reason=f"{locale} does not sell this product")
        seen = asked.seen or joint.seen_by_default
        if seen == "drop" and product in items:
            return ExplainAnswer(
                **told, listed=False, reason="the session has looked at it, and seen products are dropped"
            )
        ((ids, scores),) = ranker.rank_sessions([items], [locale], MOST_K, seen)
        why = self._why(items, locale, asked, MOST_K, [product]).get(product, {})
        last = round(scores[min(asked.k, len(scores)) - 1], 6) if scores else None
        if product not in ids:
            reason = f"nothing in the session leads to it: it is not among the first {len(ids):,} products"
            return ExplainAnswer(**told, listed=False, reason=reason, last_score=last, **why)
        rank = ids.index(product) + 1
        listed = rank <= asked.k
        reason = f"it is product {rank:,} of this session" + ("" if listed else f", and {asked.k:,} are listed")
        score = round(scores[rank - 1], 6)
        return ExplainAnswer(**told, listed=listed, reason=reason, rank=rank, score=score, last_score=last, **why)

    def titles(self, asked: Sequence[Title]) -> list[TitleAnswer | RequestError]:
        """The titles of the next products of some sessions, for each its answer, or why it has none."""
        answers: list[TitleAnswer | RequestError | None] = [None] * len(asked)
        rows: list[tuple[int, list[str], str, list[Mapping[str, Any]]]] = []
        for row, one in enumerate(asked):
            try:
                rows.append((row, *self._history(one)))
            except RequestError as error:
                answers[row] = error
        for (row, _, locale, history), (title, bleu) in zip(rows, self._write(rows), strict=True):
            last = next((str(one["title"]) for one in reversed(history) if one.get("title")), "")
            warnings = [] if last else [Warned(code="no_titles", message="no product of the session has a title here")]
            answers[row] = TitleAnswer(
                model=self._model("titles"),
                locale=locale,
                title=title,
                last_title=last,
                by="selector" if self.loaded.selector is not None else "model",
                expected_bleu=bleu,
                warnings=warnings,
                **words_of(last, title),
            )
        return [answer for answer in answers if answer is not None]

    def _history(self, asked: Title) -> tuple[list[str], str, list[Mapping[str, Any]]]:
        """Ids, locale and products of a session that wants a title."""
        self._need("titles", "title")
        locale = self.locale(asked.locale)
        if bool(asked.items) == bool(asked.titles):
            raise RequestError("give items, or titles, and not both", "items")
        if asked.titles and self.loaded.writer is None:
            raise RequestError(
                "this service chooses among the titles of products; give items in place of titles", "titles"
            )
        if asked.titles:
            return [], locale, [{"title": one} for one in asked.titles]
        if self.loaded.details is None:
            raise RequestError("ids have no titles here, as the service has no products; give titles", "items")
        items = _bare(asked.items)
        return items, locale, self.details_of(items, locale)

    def _write(
        self, rows: Sequence[tuple[int, list[str], str, list[Mapping[str, Any]]]]
    ) -> list[tuple[str, float | None]]:
        """Title of each session, and the BLEU that is expected of it, where a selector chose it."""
        if not rows:
            return []
        if self.loaded.selector is not None and self.loaded.table is not None:
            sessions = Sessions.of([items for _, items, _, _ in rows], [locale for *_, locale, _ in rows])
            return list(self.loaded.selector.chosen(sessions, self.loaded.table))
        writer: Any = self.loaded.writer
        texts = [[{name: str(value) for name, value in one.items()} for one in history] for *_, history in rows]
        return [(title, None) for title in writer.write(texts, [locale for *_, locale, _ in rows])]

    def similar(self, asked: Similar) -> SimilarAnswer:
        """Products like a title, a product or a session.

        Raises:
            RequestError: there is no index, none or several of the three are given, or nothing is known of it.
        """
        self._need("index", "similar")
        index: Any = self.loaded.index
        given = [name for name in ("title", "product", "items") if getattr(asked, name) is not None]
        if len(given) != 1:
            raise RequestError("give one of title, product and items", given[-1] if given else "title")
        try:
            if asked.title is not None:
                (hits,) = index.search([asked.title], asked.k, asked.locale)
            elif asked.product is not None:
                (hits,) = index.by_product([asked.product.strip()], asked.k, asked.locale)
            else:
                hits = index.by_session(_bare(asked.items or []), asked.k, asked.locale)
        except ConfigError as error:
            raise RequestError(str(error), "locale") from error
        except DataError as error:
            raise RequestError(str(error), given[0]) from error
        items = [
            SimilarProduct(rank=hit.rank, id=hit.id, score=hit.score, locale=hit.locale, title=hit.title)
            for hit in hits
        ]
        return SimilarAnswer(model=self._model("index"), items=items)

    def rerank(self, asked: Rerank) -> RerankAnswer:
        """Documents in the order of how near they are to a text.

        Raises:
            RequestError: there is no index, and so no encoder.
        """
        self._need("index", "rerank")
        encoder = self.loaded.index.encoder  # type: ignore[union-attr]
        texts = [one if isinstance(one, str) else one.text for one in asked.documents]
        query, documents = encoder.encode_queries([asked.query])[0], encoder.encode_documents(texts)
        scores = np.asarray(documents, dtype=np.float64) @ np.asarray(query, dtype=np.float64)
        order = np.argsort(-scores, kind="stable")[: asked.top_n].tolist()
        results = [
            Reranked(
                index=row,
                relevance_score=round(float(scores[row]), 6),
                document={"text": texts[row]} if asked.return_documents else None,
            )
            for row in order
        ]
        return RerankAnswer(id=str(uuid.uuid4()), results=results)

    def models(self) -> list[ModelAnswer]:
        """What is served."""
        loaded, found = self.loaded, []
        if isinstance(loaded.ranker, PerLocale):
            found.append(self._described("ranker", next(iter(loaded.ranker.rankers.values())).name))
        elif loaded.ranker is not None:
            items = len(loaded.ranker.catalogue.vocabulary)
            found.append(
                self._described("ranker", loaded.ranker.name, items=items, settings=loaded.ranker.plain_settings)
            )
        if loaded.selector is not None:
            found.append(self._described("titles", "selector"))
        if loaded.writer is not None:
            found.append(self._described("titles", "writer"))
        if loaded.index is not None:
            found.append(self._described("index", "similar products", items=len(loaded.index.index)))
        return found

    def warm_up(self, sessions: Sequence[tuple[Sequence[str], str]] = ()) -> None:
        """Answer once for each locale, so that the first customer does not wait.

        Args:
            sessions: Items and locale of real sessions; the most frequent items of each locale where none are given.
        """
        if self.loaded.ranker is not None:
            asked = [Recommend(items=list(items), locale=locale, explain=True) for items, locale in sessions]
            self.recommend(asked or [self._popular(locale) for locale in self.locales])
        if self.loaded.index is not None:
            self.similar(Similar(title="warm up", k=1))
        if self.loaded.writer is not None and self.locales:
            self.titles([Title(titles=["warm up"], locale=self.locales[0])])
        if self.loaded.selector is not None and self.locales:
            self.titles([Title(items=self._popular(self.locales[0]).items, locale=self.locales[0])])

    def _popular(self, locale: str) -> Recommend:
        ranker: Any = self.loaded.ranker
        joint = ranker if ranker is not None and not isinstance(ranker, PerLocale) else None
        if joint is None:
            return Recommend(items=["warm up"], locale=locale)
        codes = joint.catalogue.popular[joint.catalogue.locales.index(locale)]
        return Recommend(
            items=joint.catalogue.vocabulary.decode(codes[codes >= 0][:_WARM_ITEMS]).to_pylist(), locale=locale
        )

    def ranker_of(self, locale: str) -> Any:
        """The ranker that answers for a locale."""
        return _joint(self.loaded.ranker, locale)

    def _described(self, kind: str, name: str, **more: Any) -> ModelAnswer:
        return ModelAnswer(
            id=self._model(kind),
            kind=kind,
            name=name,
            version=self.loaded.versions.get(kind, ""),
            locales=list(self.locales),
            **more,
        )

    def _model(self, kind: str) -> str:
        return self.loaded.versions.get(kind, kind)

    @property
    def has(self) -> Mapping[str, bool]:
        """Whether there is a ranker, something that gives titles, an index."""
        loaded = self.loaded
        return {
            "ranker": loaded.ranker is not None,
            "titles": loaded.writer is not None or loaded.selector is not None,
            "index": loaded.index is not None,
        }

    def _need(self, kind: str, what: str) -> None:
        if not self.has[kind]:
            raise RequestError(f"this service has no {kind}, which {what} needs; start it with --{kind} DIR", "")

    def locale(self, name: str | None) -> str:
        """A locale that can be asked for, by its name or as the only one.

        Raises:
            RequestError: it is unknown, or missing where there are several.
        """
        if name is not None and name in self._known:
            return name
        if name is None and len(self.locales) == 1:
            return self.locales[0]
        if name is None:
            raise RequestError(f"locale is missing; known: {', '.join(self.locales)}", "locale")
        if not self.locales:
            return name
        raise RequestError(f"no locale {name[:40]!r}{nearest(name[:40], self.locales)}", "locale")

    def _unknown(self, items: Sequence[str], locale: str) -> tuple[list[str], bool]:
        """Ids that the ranker does not know, and whether it knows none."""
        codes = _joint(self.loaded.ranker, locale).catalogue.vocabulary.encode_list(list(items))
        unknown = [item for item, code in zip(items, codes.tolist(), strict=True) if code < 0]
        return unknown, len(unknown) == len(items)

    def details_of(self, ids: Sequence[str], locale: str) -> list[Mapping[str, Any]]:
        """Title, brand, price … of products, as far as they are known."""
        return self.loaded.details.of(ids, locale) if self.loaded.details is not None else [{}] * len(ids)

    def _why(
        self, items: list[str], locale: str, asked: Recommend | Explain, k: int, ids: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """Sources and reasons by id, where the ranker can say any."""
        ranker = self.ranker_of(locale)
        if not isinstance(ranker, Fusion):
            return {item: {"why": why} for item, why in reasons_in_words(ranker, items, locale, ids).items()}
        told = explain_session(ranker, items, locale, k=k, seen=asked.seen)
        return {one["id"]: {name: one[name] for name in ("sources", "reasons", "why")} for one in told["products"]}


def _joint(ranker: Any, locale: str) -> Any:
    """The ranker of a locale."""
    if isinstance(ranker, PerLocale):
        return ranker.rankers.get(locale) or next(iter(ranker.rankers.values()))
    return ranker


def _sold(ranker: Any, locale: str, code: int) -> bool:
    catalogue = ranker.catalogue
    if catalogue.sold is None or locale not in catalogue.locales:
        return True
    return bool(catalogue.sold[catalogue.locales.index(locale), code])


def _bare(ids: Sequence[str]) -> list[str]:
    """Ids by the rule that files are read by: without blanks around them, and without empty ones."""
    if are_usual(ids):
        return list(ids)
    bare, _ = stripped_array(pa.array(list(ids), pa.string()))
    return [one for one in bare.to_pylist() if one]
