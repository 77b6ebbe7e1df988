"""load_seq2seq(): an encoder–decoder model (T5 and its kin), which writes a reply to a text."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForSeq2SeqLM, PreTrainedModel, PreTrainedTokenizerBase

from workbench.errors import ModelError
from workbench.hashing import digest, tensors_digest
from workbench.models.sources import read_config, read_tokenizer, read_weights
from workbench.models.token_ids import require_pad
from workbench.models.tokenizer_state import tokenizer_digest

BATCH = 64
"""Texts written for at once."""


@dataclass(frozen=True, eq=False)
class Seq2Seq:
    """An encoder–decoder model with its tokenizer."""

    hf: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str

    def identity(self) -> str:
        """16 hex digits of weights and tokenizer."""
        weights = tensors_digest(dict(self.hf.state_dict()))
        return digest([weights, tokenizer_digest(self.tokenizer)])

    def write(self, texts: Sequence[str], new: int, longest: int | None = None) -> list[str]:
        """Greedy replies of at most `new` tokens, without special tokens; texts of like length
        share a batch. `longest`: tokens of a text that are read, by default all.

        >>> load_seq2seq("google-t5/t5-small").write(["question: Who mends gates? facts: …"], 8)
        """
        replies = [""] * len(texts)
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            batch = self.tokenizer([texts[i] for i in places], return_tensors="pt", padding=True,
                                   truncation=longest is not None, max_length=longest)  # fmt: skip
            with torch.no_grad():
                ids = self.hf.generate(
                    input_ids=batch["input_ids"].to(self.hf.device),
                    attention_mask=batch["attention_mask"].to(self.hf.device),
                    max_new_tokens=new, do_sample=False, num_beams=1,
                )  # fmt: skip
            written = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
            for place, reply in zip(places, written, strict=True):
                replies[place] = reply.strip()
        return replies


def load_seq2seq(name: str | Path) -> Seq2Seq:
    """Load the model of a folder or hub id in float32, on a GPU if there is one; run no code of it.

    Raises `ModelError` for what cannot be loaded whole, is no such model, or has a tokenizer that
    is another model's.

    >>> model = load_seq2seq("google-t5/t5-base")
    """
    source = str(name)
    config = read_config(source)
    tokenizer = read_tokenizer(source)
    hf = read_weights(source, config, kind=AutoModelForSeq2SeqLM, dtype=torch.float32)
    embedded = hf.get_input_embeddings().num_embeddings
    require_pad(tokenizer, embedded)
    if len(tokenizer) > embedded:
        raise ModelError(
            f"the tokenizer has {len(tokenizer)} tokens, and the model embeds {embedded}; give "
            "a model with the tokenizer of its own"
        )
    tokenizer.padding_side = "right"
    for part in (hf.config, hf.generation_config):
        if getattr(part, "decoder_start_token_id", None) is None:  # T5's config has none itself
            part.decoder_start_token_id = tokenizer.pad_token_id
    return Seq2Seq(hf.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer, source)
