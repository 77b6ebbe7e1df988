"""Texts that are there, scored in batches: a forward of each, in which nothing is decoded."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext

import torch
from tqdm.auto import tqdm

from workbench.arguments import whole
from workbench.errors import GenerationError
from workbench.generation.batching import Row
from workbench.generation.decoding import Decoder
from workbench.generation.fitting import Fitting
from workbench.generation.requests import GenRequest
from workbench.models.model import Model
from workbench.models.prompts import Encoded

Scores = Callable[[Sequence[int], torch.Tensor], Sequence[torch.Tensor]]
"""From which texts the rows of a forward are, and its logits float32 `[row, vocab]`, scores."""


def score(
    model: Model,
    texts: Sequence[Encoded],
    names: Sequence[str],
    scores: Scores,
    *,
    within: Callable[[], AbstractContextManager[None]] = nullcontext,
    planned: Sequence[Encoded] | None = None,
    batch_size: int | None = None,
) -> list[torch.Tensor]:
    """The `scores` of every text, in order; beginnings that texts share are computed once.

    `names`: what errors call the texts. `within`: the context in which a batch is computed.
    `planned`: the texts as far as they may share a beginning.

    Raises `ValueError` for a batch size below 1, `GenerationError` for scores that are not numbers
    and `MemoryError` for a text that does not fit by itself.
    """
    if batch_size is not None:
        whole("batch_size", batch_size, 1)
    fitting = Fitting(model, batch_size, None, names)
    requests = [GenRequest("", max_new_tokens=1)] * len(texts)
    results = [torch.empty(0)] * len(texts)

    @torch.inference_mode()
    def work(decoder: Decoder) -> Iterator[list[tuple[Row, torch.Tensor]]]:
        with within(), ExitStack() as context:
            context.callback(setattr, model, "in_flight", None)
            for rows, logits in decoder.forward.next_tokens(context):
                values = scores([row.request for row in rows], logits)
                ready = list(zip(rows, values, strict=True))
                for row, score in ready:
                    if score.isnan().any():
                        raise GenerationError(
                            f"log-probabilities are not finite in {model.hf.dtype}: "
                            f"{names[row.request]}. A steering alpha too large for the dtype is "
                            "the usual cause."
                        )
                yield ready

    # Many short calls would litter a notebook with bars.
    bar = {"desc": "score", "unit": "text", "leave": False, "delay": 5}
    with tqdm(total=len(texts), **bar) as progress:
        every = list(range(len(texts)))
        for batch, ways in fitting.batches(requests, planned or texts, every):
            for ready in fitting.computed(batch, requests, texts, ways, work):
                for row, score in ready:
                    results[row.request] = score
                progress.update(len(ready))
    return results
