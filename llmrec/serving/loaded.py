"""What a service works with: fitted things, loaded from their folders and tried once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmrec.artefact import arrays_mapped
from llmrec.errors import ConfigError
from llmrec.rankers.fitting import AnyRanker, load_ranker
from llmrec.rankers.per_locale import PerLocale
from llmrec.selection.selector import SELECTOR, Selector
from llmrec.selection.table import TitleTable
from llmrec.serving.product_details import ProductDetails
from llmrec.updating.versions import version_of

if TYPE_CHECKING:
    from llmrec.text.search.similar import SimilarProducts
    from llmrec.titles.title_writer import TitleWriter

__all__ = ["Loaded", "Places", "load_all", "locales_of"]


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the fitted things are.

    Attributes:
        ranker: Folder of a ranker, or of its versions.
        titles: Folder of a title model or a selector, or of its versions; or a model's hub name.
        index: What `llmrec embed` wrote.
        products: Product file.
        backend: What a title model decodes with.
    """

    ranker: Path | None = None
    titles: str | None = None
    index: Path | None = None
    products: Path | None = None
    backend: Literal["transformers", "ctranslate2"] = "transformers"


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Fitted things, each there or None.

    Attributes:
        ranker: Ranker.
        writer: Model that writes titles.
        selector: What chooses among titles, in the writer's place.
        table: Titles of products, for the selector.
        index: Similar products.
        details: Titles, brands and prices.
        versions: Name of the version that each of ``ranker``, ``titles`` and ``index`` is of.
    """

    ranker: AnyRanker | None = None
    writer: TitleWriter | None = None
    selector: Selector | None = None
    table: TitleTable | None = None
    index: SimilarProducts | None = None
    details: ProductDetails | None = None
    versions: dict[str, str]


def load_all(places: Places) -> Loaded:
    """Load what there is.

    Raises:
        ConfigError: no place is given, or a selector without products.
        LlmrecError: as the loaders of rankers, titles, indexes and products.
    """
    if not any((places.ranker, places.titles, places.index)):
        raise ConfigError("nothing to serve; give --ranker DIR, --titles DIR or --index DIR")
    folders = {
        name: version_of(Path(place))
        for name in ("ranker", "titles", "index")
        if (place := getattr(places, name)) is not None
    }
    details = None if places.products is None else ProductDetails.load(places.products)
    found: dict[str, Any] = {"details": details, "versions": {name: one.name for name, one in folders.items()}}
    if "ranker" in folders:
        with arrays_mapped():  # which the models to come, and other workers, need not hold once more
            found["ranker"] = load_ranker(folders["ranker"])
    if "titles" in folders and SELECTOR.is_at(folders["titles"]):
        if details is None:
            raise ConfigError("a selector chooses among the titles of products; give --products FILE")
        found["selector"] = Selector.load(folders["titles"])
        found["table"] = TitleTable(details.table, found["selector"].tokenizers or None)
    elif "titles" in folders:
        from llmrec.titles.title_writer import TitleWriter

        place = folders["titles"] if folders["titles"].exists() else str(places.titles)
        found["writer"] = TitleWriter.load(place, backend=places.backend)
    if "index" in folders:
        from llmrec.text.search.similar import SimilarProducts

        found["index"] = SimilarProducts.load(folders["index"])
    return Loaded(**found)


def locales_of(loaded: Loaded) -> Sequence[str]:
    """Locales that can be asked for, ascending; none where nothing that is loaded has any."""
    if isinstance(loaded.ranker, PerLocale):
        return sorted(loaded.ranker.rankers)
    if loaded.ranker is not None:
        return sorted(loaded.ranker.catalogue.locales)
    if loaded.details is not None:
        return sorted(set(loaded.details.table["locale"].unique().to_pylist()))
    return sorted(loaded.index.locales) if loaded.index is not None else []
