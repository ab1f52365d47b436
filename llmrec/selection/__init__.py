"""The next title chosen among titles that exist: by expected BLEU, and never without being better than the last one."""

from __future__ import annotations

from llmrec.selection.settings import SelectSettings

__all__ = ["SelectSettings"]
