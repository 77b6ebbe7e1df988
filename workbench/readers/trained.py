"""A reader that is trained: question and evidence in, answer out (arXiv 2305.14211 §4).

A T5: the paper's kind where `model` is given, as it stands; else one of 0.1 M random weights, which
is told marks for names (`marks`). Each question is learnt with its gold evidence, with facts too
many, and with none, so that whatever retrieval hands it is like what it has seen.
"""

import copy
import logging
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from workbench.models.seq2seq import Seq2Seq
from workbench.readers import marks
from workbench.retrieval.graphs import ROOT, Edge, Evidence
from workbench.training.epochs import epochs
from workbench.training.supervised import collate_replies

log = logging.getLogger(__name__)

MIX = ("gold",) * 4 + ("more",) * 3 + ("none",)
"""What a question is learnt with, drawn each time; `more`: one to three wrong facts, too."""
LONGEST, NEW = 512, 16
"""Tokens of a text, and of an answer."""
_PIECES = r"[@#]\d+|\w+"


@dataclass(frozen=True)
class ReaderFit:
    """Size of the small reader, and training of either."""

    d: int = 64
    epochs: int = 32
    batch: int = 32
    lr: float = 3e-3


TUNED = ReaderFit(epochs=10, batch=16, lr=1e-4)
"""Of a T5 that is not ours: a usual setting for it; the paper's is not known."""


class Reader:
    """A model, and how it is told what it reads: with marks, or plainly (`words` None)."""

    def __init__(self, model: Seq2Seq, words: frozenset[str] | None) -> None:
        self.model, self.words = model, words

    def told(self, question: Evidence, edges: Sequence[Edge]) -> tuple[str, dict[str, str]]:
        """The text, and name → mark."""
        if self.words is None:
            return marks.plain(question, edges), {}
        return marks.marked(question, edges, self.words)

    def answers(self, questions: Sequence[Evidence], graphs: Sequence[Sequence[Edge]]) -> list[str]:
        """What it says of each question, its evidence before it."""
        told = [self.told(q, edges) for q, edges in zip(questions, graphs, strict=True)]
        cut = sum(len(self.model.tokenizer(text)["input_ids"]) > LONGEST for text, _ in told)
        if cut:
            log.warning("%d of %d texts are cut to %d tokens", cut, len(told), LONGEST)
        replies = self.model.write([text for text, _ in told], NEW, LONGEST)
        names = [{mark: name for name, mark in of_text.items()} for _, of_text in told]
        return [of_text.get(reply, reply) for of_text, reply in zip(names, replies, strict=True)]


def small_reader(questions: Sequence[Evidence], seed: int, d: int = ReaderFit.d) -> Reader:
    """A T5 of two layers with random weights, whose words are those of the questions."""
    words = marks.known_words(questions)
    spoken = dict.fromkeys(["yes", "no", *map(str, range(100)), *marks.ENTITIES, *marks.NUMBERS])
    pieces = ["<pad>", "</s>", "<unk>", *spoken, *(f"f{i}" for i in range(1, 33)), "question",
              "facts", "after", *words]  # fmt: skip
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Split(Regex(_PIECES), "removed", invert=True)
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    config = T5Config(
        vocab_size=len(vocabulary), d_model=d, d_kv=d // 4, d_ff=2 * d, num_heads=4, num_layers=2,
        num_decoder_layers=1, dropout_rate=0.0, decoder_start_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        hf = T5ForConditionalGeneration(config)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        padding_side="right",
    )  # fmt: skip
    return Reader(Seq2Seq(hf, fast, "a small T5"), frozenset(words))


def taught(
    reader: Reader, questions: Sequence[Evidence], fit: ReaderFit, seed: int,
    state: Path | None = None,
) -> Reader:  # fmt: skip
    """A copy of the reader, trained; the same for the same seed, on one thread of a CPU.

    `state`: a folder that a training which was killed goes on from, named by all it depends on.

    >>> reader = taught(small_reader(train, 0), train, ReaderFit(), 0)
    """
    hf, tokenizer = copy.deepcopy(reader.model.hf), reader.model.tokenizer
    optimizer = torch.optim.AdamW(hf.parameters(), lr=fit.lr, weight_decay=0.01)
    steps = fit.epochs * -(-len(questions) // fit.batch)
    # Of ten steps a tenth is one, from the first to the first, and torch divides by nothing.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, fit.lr, total_steps=steps + 1, pct_start=0.1 if steps != 9 else 0.11,
        cycle_momentum=False,
    )  # fmt: skip
    parts = {"model": hf, "optimizer": optimizer, "schedule": schedule}

    def run(number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        torch.manual_seed(rng.getrandbits(32))
        rows = []
        for question in questions:
            text, names = reader.told(question, mixed(question, rng))
            rows.append((text, names.get(marks.named(question.answer), question.answer)))
        rng.shuffle(rows)
        # Texts of like length share a batch; the order of batches says nothing of it.
        rows.sort(key=lambda row: len(row[0]) // 80)
        batches = [rows[i : i + fit.batch] for i in range(0, len(rows), fit.batch)]
        rng.shuffle(batches)
        hf.train()
        for batch in batches:
            inputs = collate_replies(tokenizer, *zip(*batch, strict=True), LONGEST)
            optimizer.zero_grad()
            hf(**{name: ids.to(hf.device) for name, ids in inputs.items()}).loss.backward()
            torch.nn.utils.clip_grad_norm_(hf.parameters(), 1.0)
            optimizer.step()
            schedule.step()

    with torch.random.fork_rng():
        epochs(fit.epochs, parts, run, state, state.name if state else "")
    return Reader(Seq2Seq(hf.eval(), tokenizer, reader.model.name), reader.words)


def mixed(question: Evidence, rng: random.Random) -> list[Edge]:
    """Evidence to learn with, of a kind drawn from `MIX`."""
    kind = rng.choice(MIX)
    if kind == "none":
        return []
    edges = list(question.edges)
    others = sorted({*range(len(question.facts))} - {*question.nodes})
    if kind == "more" and others:
        starts = [ROOT, *question.nodes]
        wrong = rng.sample(others, min(len(others), rng.randint(1, 3)))
        edges += [(rng.choice(starts), fact) for fact in wrong]
    return sorted(edges)


def taught_answers(
    train: Sequence[Evidence], test: Sequence[Evidence],
    evidence: Mapping[str, Sequence[Sequence[Edge]]], fit: ReaderFit, seed: int,
    model: Seq2Seq | None = None, state: Path | None = None,
) -> dict[str, list[str]]:  # fmt: skip
    """Kind of evidence → what a reader, trained on `train`, says of each test question.

    `evidence`: kind → a graph for each. `model`: which is trained, else the small one. `state`: as
    `taught`; removed at the end.
    """
    untaught = Reader(model, None) if model else small_reader(train, seed, fit.d)
    reader = taught(untaught, train, fit, seed, state)
    replies = {name: reader.answers(test, graphs) for name, graphs in evidence.items()}
    if state:
        shutil.rmtree(state)
    return replies
