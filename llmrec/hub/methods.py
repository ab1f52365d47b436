"""``push_to_hub`` and ``from_pretrained`` as methods, for everything that saves itself into a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from llmrec.errors import ModelError

if TYPE_CHECKING:
    from llmrec.evaluation.results import Result
    from llmrec.hub.push import Shared

__all__ = ["OnHub"]


class OnHub:
    """What can be shared on the Hugging Face hub and loaded from it."""

    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool | None = None,
        licence: str | None = None,
        results: Sequence[Path | Result] = (),
        base_model: str | None = None,
    ) -> Shared:
        """Share it with a card; as of `llmrec.push_to_hub`."""
        from llmrec.hub.push import push_to_hub

        return push_to_hub(self, repo, private=private, licence=licence, results=results, base_model=base_model)

    @classmethod
    def from_pretrained(cls, repo: str | Path, *, revision: str | None = None) -> Self:
        """Load one of this class; as `llmrec.from_pretrained`.

        Raises:
            ModelError: the repository holds something else, too.
        """
        from llmrec.hub.pull import from_pretrained

        found = from_pretrained(repo, revision=revision)
        if not isinstance(found, cls):
            raise ModelError(
                f"{repo}: holds a {type(found).__name__}, not a {cls.__name__}; llmrec.from_pretrained opens any"
            )
        return found
