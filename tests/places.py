"""Where things lie that tests read: the checkout, and real data where there is any."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REAL = Path(os.environ.get("LLMREC_REAL_DATA", ROOT.parent / "shared" / "data"))
