"""What a model's ``generation_config.json`` may decide of the titles that it writes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from transformers import GenerationConfig

__all__ = ["generation_of"]

Token = Annotated[int, Meta(ge=0)]
Length = Annotated[int, Meta(ge=0, le=1 << 16)]
Weight = Annotated[float, Meta(ge=-100, le=100)]


class _Decides(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is kept; how long a title is, how many beams it has and that nothing is drawn, others decide."""

    decoder_start_token_id: Token | None = None
    bos_token_id: Token | None = None
    eos_token_id: Token | list[Token] | None = None
    pad_token_id: Token | None = None
    forced_bos_token_id: Token | None = None
    forced_eos_token_id: Token | list[Token] | None = None
    suppress_tokens: list[Token] | None = None
    begin_suppress_tokens: list[Token] | None = None
    no_repeat_ngram_size: Length | None = None
    min_length: Length | None = None
    length_penalty: Weight | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=100)] | None = None
    early_stopping: bool | Literal["never"] | None = None
    use_cache: bool | None = None

    def tokens(self) -> list[int]:
        """All token ids that it names."""
        named = [getattr(self, name) for name in self.__struct_fields__ if name.endswith(("_token_id", "_tokens"))]
        return [token for one in named if one is not None for token in (one if isinstance(one, list) else [one])]


def generation_of(model: Any) -> GenerationConfig:
    """A model's own settings of decoding, without those that are decided elsewhere.

    Where it does not say what a decoder starts with, its ``config.json`` does.

    Raises:
        ValueError: one is of another type, names a token that the model does not have, or a decoder cannot start.
    """
    given = {name: value for name, value in model.generation_config.to_dict().items() if value is not None}
    decides = msgspec.convert(given, _Decides)
    rows = model.get_input_embeddings().weight.shape[0]
    if rows and any(token >= rows for token in decides.tokens()):  # none here where the weights are on other devices
        raise ValueError(f"generation_config.json names token {max(decides.tokens())} of {rows}")
    if model.config.is_encoder_decoder and decides.decoder_start_token_id is None and decides.bos_token_id is None:
        decides.decoder_start_token_id = getattr(model.config, "decoder_start_token_id", None)
        if decides.decoder_start_token_id is None:
            raise ValueError("neither config.json nor generation_config.json names decoder_start_token_id")
    return GenerationConfig(**msgspec.to_builtins(decides))
