"""load_encoder(): a sentence encoder, which turns each text into one vector."""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, PreTrainedModel

from workbench.arguments import listed
from workbench.errors import ModelError
from workbench.hashing import digest, tensors_digest
from workbench.hub import place_of
from workbench.models.lex_encoder import MOST_WORDS, WordHashes, WordVectors
from workbench.models.limits import CPU_TOKENS, GPU_TOKENS
from workbench.models.sources import file_of, read_config, read_tokenizer, read_weights
from workbench.models.tokenizer_state import tokenizer_digest
from workbench.reading import read_text

log = logging.getLogger(__name__)

_SETTINGS = ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json")
_READ = {"Transformer", "Pooling", "Normalize", "pooling_mode_mean_tokens"}
"""What of sentence-transformers' parts and modes is done here."""


@dataclass(frozen=True, eq=False)
class Encoder:
    """A sentence encoder. Of longer texts the first `max_tokens` tokens are read, with a warning.

    >>> wb.load_encoder("minilm").encode(["A gate.", "A door."]).shape
    torch.Size([2, 384])
    """

    hf: PreTrainedModel | WordVectors
    tokenizer: Any
    name: str
    max_tokens: int

    @property
    def width(self) -> int:
        """Numbers in a vector, and in a token's state."""
        return self.hf.config.hidden_size

    def identity(self) -> str:
        """16 hex digits of all that a text's states depend on: weights, tokenizer, `max_tokens`."""
        weights = tensors_digest(dict(self.hf.state_dict()))
        return digest([weights, tokenizer_digest(self.tokenizer), self.max_tokens])

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Mean of each text's token states, of length 1: float32 `[text, width]` on the CPU.

        (Reimers and Gurevych 2019, section 3; the mean is over real tokens, `[CLS]` and `[SEP]`
        among them.) Texts of like length share a batch. Raises `ValueError` for no list of texts.
        """
        return self.vectors(listed_texts(texts), "cpu")

    def vectors(self, texts: list[str], device: str | torch.device | None = None) -> torch.Tensor:
        """As `encode`, with gradients, on the encoder's device or another."""
        device = device or self.hf.device
        order: list[int] = []
        rows = [torch.empty(0, self.width, device=device)]
        for places, states, mask in self._states(texts):
            # The mean's direction is the sum's; a text without any token has a vector of zeros.
            total = (states * mask[:, :, None]).sum(1)
            rows.append(torch.nn.functional.normalize(total, dim=1).to(device))
            order += places
        return torch.cat(rows)[torch.tensor(order, dtype=torch.long, device=device).argsort()]

    @torch.no_grad()
    def states(self, texts: Sequence[str]) -> list[torch.Tensor]:
        """The last layer's state of each token of each text: float32 `[tokens, width]` on the CPU.

        Batched as by `encode`. Raises `ValueError` for no list of texts.

        >>> wb.load_encoder("minilm").states(["A gate."])[0].shape
        torch.Size([5, 384])
        """
        texts = listed_texts(texts)
        rows = [torch.empty(0, self.width)] * len(texts)
        for places, states, mask in self._states(texts):
            for place, of_text, there in zip(places, states.cpu(), mask.cpu().bool(), strict=True):
                rows[place] = of_text[there].clone()
        return rows

    def _states(
        self, texts: Sequence[str]
    ) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        """Yield batches: places of texts, their states `[text, tokens, width]`, and the mask."""
        rows = [self._ids(text, truncation=False) for text in texts]
        most = self.max_tokens
        if long := [i for i, ids in enumerate(rows) if len(ids) > most]:
            log.warning(
                "%s: %d of %d texts are cut to %d tokens", self.name, len(long), len(rows), most
            )
        for i in long:
            rows[i] = self._ids(texts[i], truncation=True, max_length=most)
        tokens = CPU_TOKENS if self.hf.device.type == "cpu" else GPU_TOKENS
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        while order:
            count = max(1, tokens // max(1, len(rows[order[0]])))
            now, order = order[:count], order[count:]
            batch = self.tokenizer.pad({"input_ids": [rows[i] for i in now]}, return_tensors="pt")
            batch = batch.to(self.hf.device)
            yield now, self.hf(**batch).last_hidden_state.float(), batch["attention_mask"]

    def _ids(self, text: str, **options: Any) -> list[int]:
        return self.tokenizer(text, padding=False, verbose=False, **options)["input_ids"]


def listed_texts(texts: Sequence[str]) -> list[str]:
    """The texts, maybe none. Raises `ValueError` for no list, or what is no string in it."""
    texts = listed("texts", texts, empty=True)
    if wrong := [text for text in texts if not isinstance(text, str)]:
        raise ValueError(f"texts holds {wrong[0]!r:.80}; each must be a string")
    return texts


def load_encoder(name: str | Path, *, device: str | torch.device | None = None) -> Encoder:
    """Load a sentence encoder in float32: `"minilm"` (all-MiniLM-L6-v2), `"lex"`, or of a folder.

    >>> encoder = wb.load_encoder("minilm")
    >>> nearness = encoder.encode(questions) @ encoder.encode(facts).T  # cosines

    `"minilm"` comes from where `hub.place_of` finds it. `"lex"` comes from nowhere: each word has a
    random vector, the same in every process, so that a cosine says what words two texts have in
    common, names and numbers too, and nothing of their meaning or order; it knows no rare word
    from a usual one. `device=None`: the GPU where there is one.
    No code of it is run. Raises `ModelError` for one that cannot be had or read, and for one that
    pools otherwise than by the mean.
    """
    source = str(name)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if source == "lex":
        return Encoder(WordVectors().to(device).eval(), WordHashes(), source, MOST_WORDS)
    if source == "minilm":
        source, where = place_of(source)
        log.info("taken from %s", where)
    config = read_config(source)
    files = [path for file in _SETTINGS if (path := file_of(source, file))]
    settings = "".join(read_text(path, ModelError) for path in files)
    parts = {*re.findall(r'"sentence_transformers[\w.]*\.(\w+)"', settings)}
    parts |= {*re.findall(r'"(pooling_mode_\w+)": *true', settings)}
    if others := parts - _READ:
        raise ModelError(f"{name} has {', '.join(sorted(others))}; only means of tokens are read")
    limits = map(int, re.findall(r'"max_seq_length": *(\d+)', settings))
    tokenizer = read_tokenizer(source)
    hf = read_weights(source, config, kind=AutoModel, dtype=torch.float32)
    hf.to(device)
    most = min(tokenizer.model_max_length, config.max_position_embeddings, *limits)
    return Encoder(hf, tokenizer, str(name), most)
