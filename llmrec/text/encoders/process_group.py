"""Several processes encode one list of texts, each its part, as `accelerate launch` starts them; one of them writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from llmrec.arrays import Floats
from llmrec.errors import require
from llmrec.processes import num_processes
from llmrec.text.encoders.base import Encoder

__all__ = ["ProcessGroup"]


@dataclass(frozen=True)
class ProcessGroup:
    """This process among its siblings.

    Attributes:
        rank: Number of this process, from 0.
        num_processes: How many there are.
        state: `accelerate.PartialState`; None where there is one process, which then needs no torch.
    """

    rank: int = 0
    num_processes: int = 1
    state: Any = None

    @classmethod
    def here(cls) -> Self:
        """What ``accelerate launch`` or ``torchrun`` says; one process without them."""
        if num_processes() == 1:
            return cls()
        require("accelerate", "text")
        from accelerate import PartialState

        from llmrec.training.nodes import join

        join()
        state = PartialState()
        return cls(state.process_index, state.num_processes, state)

    @property
    def is_main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.state is not None:
            self.state.wait_for_everyone()

    def require_shared(self, folder: Path) -> None:
        """Refuse a folder that not all machines see; as `llmrec.training.nodes.require_shared`."""
        if self.state is not None:
            from llmrec.training.nodes import require_shared

            require_shared(folder)

    def encode(self, encoder: Encoder, texts: Sequence[str]) -> Floats:
        """Vectors of all texts, shape ``(N, D)``, on every process; each encodes its part."""
        if self.state is None:
            return encoder.encode_documents(texts)
        import torch
        from accelerate.utils import gather

        size = -(-len(texts) // self.num_processes)
        mine = texts[self.rank * size : (self.rank + 1) * size]
        part = np.zeros((size, encoder.dim), dtype=np.float32)
        part[: len(mine)] = encoder.encode_documents(mine)
        whole: Floats = gather(torch.from_numpy(part).to(self.state.device)).cpu().numpy()
        return whole[: len(texts)]
