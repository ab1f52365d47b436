"""What ``llmrec data get`` is asked for, in a module that loads nothing: help need not wait for a database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmrec.settings import option

__all__ = ["GetJob"]


@dataclass(frozen=True, kw_only=True)
class GetJob:
    """What ``llmrec data get`` is asked for.

    Example: llmrec data get --from authors --out raw/amazon-m2

    Example: llmrec data get --from minionerec ~/MiniOneRec --out raw/minionerec
    """

    clone: Path | None = option(None, "Clone to read, for --from minionerec.", argument=True)
    source: str | None = option(
        None,
        "Where to fetch from: aicrowd, authors, minionerec, or a folder to copy. Without it, list the sources.",
        flag="--from",
    )
    out: Path | None = option(None, "Folder to fetch into. Default: raw/amazon-m2, or raw/minionerec.")
    check: Path | None = option(None, "Check the files of this folder. Nothing is fetched.")
    url: str | None = option(None, "Mirror of the authors' repository.")
    write_sums: bool = option(False, "Write the checksums of the checked files to SHA256SUMS.")

    @property
    def folder(self) -> Path:
        """Folder to fetch into."""
        return self.out or Path("raw") / ("minionerec" if self.source == "minionerec" else "amazon-m2")
