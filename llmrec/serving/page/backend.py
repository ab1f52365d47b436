"""What the page asks beside the service's own routes: sessions, products by words, other rankers, prompts, runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import pyarrow.compute as pc

from llmrec import __version__
from llmrec.languages import language_of
from llmrec.rankers.fitting import load_ranker
from llmrec.serving.held import Held
from llmrec.serving.loaded import Loaded, Places
from llmrec.serving.messages import Recommend, RecommendAnswer, Similar
from llmrec.serving.page.draws import Draws
from llmrec.serving.page.page_messages import (
    Against,
    Ask,
    Beside,
    Draw,
    Drawn,
    Filled,
    Find,
    Look,
    PageProduct,
    Paired,
    Prompted,
    RunsShown,
    Setup,
    Shown,
)
from llmrec.serving.page.paired_runs import PairedRuns
from llmrec.serving.page.places import PagePlaces
from llmrec.serving.page.prompts_filled import fill
from llmrec.serving.page.run_folder import RunFolder
from llmrec.serving.routes import Post, Refused
from llmrec.serving.service import RequestError, Service
from llmrec.text.prompts import prompt_names
from llmrec.updating.versions import version_of
from llmrec.vocabulary import UNKNOWN

__all__ = ["Page"]

_WORDS: Final = 8  # of a search that are looked at


@dataclass(frozen=True)
class Page:
    """The page's routes; they work in the service's own queue, so that no number of them can crowd it out.

    Attributes:
        held: The service.
        places: What else is shown.
    """

    held: Held
    places: PagePlaces

    @property
    def posts(self) -> tuple[Post, ...]:
        """Its routes, all of them posted to."""
        return (
            Post("/v1/page/setup", Ask, Setup, self._in_turn(self.setup)),
            Post("/v1/page/session", Draw, Drawn, self._in_turn(self.session)),
            Post("/v1/page/products", Look, Shown, self._in_turn(self.products)),
            Post("/v1/page/find", Find, Shown, self._in_turn(self.find)),
            Post("/v1/page/beside", Beside, RecommendAnswer, self._in_turn(self.beside)),
            Post("/v1/page/prompt", Prompted, Filled, self._in_turn(self.prompt)),
            Post("/v1/page/runs", Ask, RunsShown, self._in_turn(self.runs_shown)),
            Post("/v1/page/difference", Against, Paired, self._in_turn(self.difference)),
        )

    def _in_turn(self, work: Callable[[Any, Service], Any]) -> Callable[[Any], Any]:
        async def answer(asked: Any) -> Any:
            if self.held.service is None:
                raise Refused(503, "loading", self.held.trouble or "the models are being loaded", retry_after="1")
            return await self.held.working.ask(partial(work, asked, self.held.service))

        return answer

    def setup(self, _: Ask, service: Service) -> Setup:
        """What there is to show."""
        loaded, found = service.loaded, {one.kind: one for one in service.models()}
        drawn = self._draws.sessions
        own = loaded.writer.card.prompt if loaded.writer is not None else "next_title/plain_v1"
        return Setup(
            version=__version__,
            locales={name: language_of(name) for name in service.locales},
            ranker=found["ranker"].name if "ranker" in found else "",
            model=found["ranker"].id if "ranker" in found else "",
            others=[name for name, (folder, _) in self._others.items() if folder != self.held.places.ranker],
            titles="selector" if loaded.selector else "writer" if loaded.writer else "",
            index=loaded.index is not None,
            products=loaded.details is not None,
            sessions=0 if drawn is None else len(drawn),
            prompts=sorted(_prompts(), key=lambda name: name != own) if loaded.details is not None else [],
            runs=self._runs is not None,
            places=_named(self.held.places) if self.places.private else {},
            growing=self.places.growing(),
        )

    def session(self, asked: Draw, service: Service) -> Drawn:
        """A session to look at."""
        locale = asked.locale or (service.locales[0] if service.locales else "")
        return self._draws.draw(asked, service.locale(locale), service)

    def products(self, asked: Look, service: Service) -> Shown:
        """Products by id."""
        return Shown(products=_products(service, list(asked.ids), service.locale(asked.locale)))

    def find(self, asked: Find, service: Service) -> Shown:
        """Products by the words of their titles, nearest first; by the beginning of their id where one begins so."""
        locale, text = service.locale(asked.locale), asked.text.strip()
        if service.loaded.index is not None and not _begins_ids(service, text, locale):
            known = locale if locale in service.loaded.index.locales else None
            hits = service.similar(Similar(title=text[:1000], locale=known, k=asked.k)).items
            return Shown(products=_products(service, [hit.id for hit in hits], locale))
        return Shown(products=_products(service, _with_words(service, text, locale, asked.k), locale))

    def beside(self, asked: Beside, service: Service) -> RecommendAnswer:
        """The list of another ranker for a session."""
        del service
        other = self._others.get(asked.ranker)
        if other is None:
            known = ", ".join(self._others) or "none; start the page with --compare DIR"
            raise RequestError(f"no ranker {asked.ranker[:60]!r} to set beside this one; there are: {known}", "ranker")
        given = {name: getattr(asked, name) for name in Recommend.__struct_fields__}
        (answer,) = other[1].recommend([Recommend(**given)])
        if isinstance(answer, RequestError):
            raise answer
        return answer

    def prompt(self, asked: Prompted, service: Service) -> Filled:
        """A prompt with a session in it, and what the title model writes to it."""
        return fill(asked, service)

    def runs_shown(self, _: Ask, service: Service) -> RunsShown:
        """Runs, results and reports of a folder."""
        del service
        return self._shown_folder().shown()

    def difference(self, asked: Against, service: Service) -> Paired:
        """Two runs of the folder beside each other."""
        del service
        products = self.held.places.products
        beside = [*self.places.sessions, *([] if products is None else [products])]
        return PairedRuns(self._shown_folder(), beside, products).difference(asked.first, asked.second)

    def _shown_folder(self) -> RunFolder:
        if self._runs is None:
            raise RequestError("no folder of runs is shown; start the page with --runs DIR", "")
        return self._runs

    def report(self, token: str) -> bytes | None:
        """A report of the folder of runs, by what `runs_shown` called it; None where there is none of that name."""
        return None if self._runs is None else self._runs.report(token)

    @cached_property
    def _draws(self) -> Draws:
        return Draws(tuple(self.places.sessions))

    @cached_property
    def _runs(self) -> RunFolder | None:
        return None if self.places.runs is None else RunFolder(self.places.runs, self.places.secret)

    @cached_property
    def _others(self) -> dict[str, tuple[Path, Service]]:
        """Folder of each ranker to set beside, and what answers for it, by a name; loaded when the page first asks."""
        details = None if self.held.service is None else self.held.service.loaded.details
        found: dict[str, tuple[Path, Service]] = {}
        for folder in self.places.compare:
            place = version_of(folder)
            name = folder.name if folder.name not in found else str(folder)
            loaded = Loaded(ranker=load_ranker(place), details=details, versions={"ranker": name})
            found[name] = folder, Service(loaded)
        return found


def _prompts() -> list[str]:
    return [name for name in prompt_names() if name.startswith("next_title/")]


def _named(places: Places) -> dict[str, str]:
    """Where served things are, as they were named, for commands to be copied."""
    return {name: str(place) for name, place in vars(places).items() if place is not None}


def _products(service: Service, ids: list[str], locale: str) -> list[PageProduct]:
    details = service.details_of(ids, locale)
    known = [True] * len(ids)
    if service.loaded.ranker is not None and ids:
        codes = service.ranker_of(locale).catalogue.vocabulary.encode_list(ids)
        known = [code != UNKNOWN for code in codes.tolist()]
    return [
        PageProduct(id=one, known=is_known, title=row.get("title"), brand=row.get("brand"), price=row.get("price"))
        for one, is_known, row in zip(ids, known, details, strict=True)
    ]


def _begins_ids(service: Service, text: str, locale: str) -> bool:
    return bool(text) and " " not in text and bool(_beginning_with(service, text, locale, 1))


def _beginning_with(service: Service, text: str, locale: str, k: int) -> list[str]:
    if service.loaded.details is not None:
        table = service.loaded.details.table
        ids = table["id"].filter(pc.equal(table["locale"], locale))
    elif service.loaded.ranker is not None:
        ids = service.ranker_of(locale).catalogue.vocabulary.ids
    else:
        return []
    return [str(one) for one in ids.filter(pc.starts_with(ids, text))[:k].to_pylist()]


def _with_words(service: Service, text: str, locale: str, k: int) -> list[str]:
    """Ids that begin so, then products with the most of the words in their titles."""
    begun = _beginning_with(service, text, locale, k) if " " not in text else []
    if begun or service.loaded.details is None:
        return begun
    table = service.loaded.details.table
    here = table.filter(pc.equal(table["locale"], locale))
    titles = pc.fill_null(here["title"], "")
    words = list(dict.fromkeys(text.split()))[:_WORDS]
    scores: Any = sum(
        pc.match_substring(titles, word, ignore_case=True).to_numpy(zero_copy_only=False).astype("int64")
        for word in words
    )
    if not words or not len(here):
        return []
    best = (-scores).argsort(kind="stable")[:k]
    return [str(here["id"][int(row)].as_py()) for row in best if scores[row] > 0]
