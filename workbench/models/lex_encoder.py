"""What `load_encoder("lex")` is of: words with random vectors, the same ones everywhere."""

import functools
import re
from types import SimpleNamespace
from typing import Any

import torch
from transformers import PreTrainedTokenizer
from transformers.modeling_outputs import BaseModelOutput

from workbench.hashing import digest

WIDTH = 384
"""As MiniLM's. Two different words have a cosine of 0 ± 0.05."""
MOST_WORDS = 512
"""Of a text."""
_WORD = re.compile(r"\w+")
_GOLDEN, *_MIX = -7046029254386353131, -4658895280553007687, -7723592293110705685
"""SplitMix64's constants (Steele, Lea and Flood 2014), as signed numbers."""


def words(text: str) -> list[str]:
    """The words of a text in small letters; numbers are words, too.

    >>> words("Ada's gate, 1,200 m.")
    ['ada', 's', 'gate', '1', '200', 'm']
    """
    return _WORD.findall(text.lower())


class WordHashes(PreTrainedTokenizer):
    """A tokenizer without a vocabulary: each word's id is 62 bits of its SHA-256, and no more."""

    def __init__(self) -> None:
        """Take no file and no options."""
        super().__init__(
            pad_token="[PAD]", model_max_length=MOST_WORDS, special_tokens_pattern="none"
        )
        self.model_input_names = ["input_ids", "attention_mask"]

    @property
    def vocab_size(self) -> int:
        """0: there is none."""
        return 0

    def get_vocab(self) -> dict[str, int]:
        """{}: every word has an id."""
        return {}

    def tokenize(self, text: str, **_: Any) -> list[str]:
        """The words; nothing in a text is a special token."""
        return words(text)

    def _convert_token_to_id(self, token: str) -> int:
        return _hashed(token)


@functools.lru_cache(2**16)
def _hashed(word: str) -> int:
    return int(digest(word), 16) >> 2


class WordVectors(torch.nn.Module):
    """State of a word: the signs that its id is mixed into, through one linear map.

    The map is all that can be trained, and the identity until it is.
    """

    def __init__(self) -> None:
        """Start with the identity."""
        super().__init__()
        self.config = SimpleNamespace(hidden_size=WIDTH, max_position_embeddings=MOST_WORDS)
        self.map = torch.nn.Linear(WIDTH, WIDTH, bias=False)
        torch.nn.init.eye_(self.map.weight)

    @property
    def device(self) -> torch.device:
        """Where the map lies."""
        return self.map.weight.device

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> BaseModelOutput:
        """States `[text, words, 384]` of ids; the mask makes no difference to them."""
        mixed = input_ids[..., None] + _GOLDEN * torch.arange(
            1, WIDTH // 64 + 1, device=input_ids.device
        )
        for bits, factor in zip((30, 27), _MIX, strict=True):
            # The number's sign must not fill in from the left.
            mixed = (mixed ^ (mixed >> bits & (1 << 64 - bits) - 1)) * factor
        mixed = mixed ^ (mixed >> 31 & (1 << 33) - 1)
        signs = mixed[..., None] >> torch.arange(64, device=input_ids.device) & 1
        return BaseModelOutput(self.map((2 * signs - 1).flatten(-2).to(self.map.weight.dtype)))
