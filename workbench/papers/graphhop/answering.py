"""A reader that is trained: question and evidence in, answer out (§4, reader ii).

A T5: the paper's kind where `model` is given, as it stands; else one of 0.1 M random weights, which
is told marks for names (`marks`). Each question is learnt with its gold evidence, with facts too
many, and with none, so that whatever retrieval hands it is like what it has seen.
"""

import copy
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from workbench.hashing import digest
from workbench.models.seq2seq import Seq2Seq
from workbench.papers.graphhop import marks
from workbench.papers.graphhop.study import Graphs, Keep, Study
from workbench.papers.parameters import seed_list
from workbench.retrieval.answers import answer_exact
from workbench.retrieval.evidence_files import as_row
from workbench.retrieval.graphs import ROOT, Edge, Evidence
from workbench.training.epochs import epochs
from workbench.training.supervised import collate_replies

EVIDENCE = ("no_evidence", "all_facts", "top_k", "retrieved_evidence", "gold_evidence")
MIX = ("gold",) * 4 + ("more",) * 3 + ("none",)
"""What a question is learnt with, drawn each time; `more`: one to three wrong facts, too."""
LONGEST, NEW = 512, 16
"""Tokens of a text, and of an answer."""
BEST = ("bgr", "forward", "one_hop", "bm25")
"""The first of these that was run retrieves for the reader."""
ONE_QUERY = ("two_towers", "dense", "bm25", "tfidf")
"""The first of these gives its top k, the facts nearest to the question."""
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
Answers = dict[str, list[list[str]]]
"""Evidence → `[seed][question]` → what the reader says."""


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
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, fit.lr, total_steps=steps + 1, pct_start=0.1, cycle_momentum=False
    )
    parts = {"model": hf, "optimizer": optimizer, "schedule": schedule}

    def run(number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        torch.manual_seed(rng.getrandbits(32))
        rows = []
        for question in questions:
            text, names = reader.told(question, mixed(question, rng))
            rows.append((text, names.get(question.answer.removeprefix("The "), question.answer)))
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


def run(
    study: Study, train: Sequence[Evidence], keep: Keep, model: Seq2Seq | None = None,
    networks: Path | None = None,
) -> Answers:  # fmt: skip
    """What a reader, trained on `train`, answers from each evidence to the test questions.

    `retrieved_evidence`, `top_k`: the graphs of the first of `BEST` and of `ONE_QUERY` that was
    run, seed by seed. Questions without an answer are neither learnt nor asked. Empty where there
    are none with one. `networks`: a folder where a training that was killed finds its last epoch.

    >>> answering.run(gh_study, questions["train"], partial(cached, "out/cache"))
    """
    train = [q for q in train if q.answer]
    asked = [i for i, q in enumerate(study.test) if q.answer]
    out: Answers = {}
    if not (train and asked):
        return out
    test, fit = [study.test[i] for i in asked], TUNED if model else ReaderFit()
    seeds = seed_list(study.settings.seed, study.settings.seeds)
    for number, seed in enumerate(seeds):
        evidence = evidence_of(study, asked, number)
        key = {"questions": digest([as_row(q) for q in (*train, *test)]), "count": len(train),
               "evidence": digest([*evidence.items()]), "fit": asdict(fit), "seed": seed,
               "model": model.identity() if model else ""}  # fmt: skip
        state = networks / f"training-reader-{seed}-{digest(key)}" if networks else None
        step = partial(_answers, train, test, evidence, fit, seed, model, state)
        for name, replies in keep(f"reader-{seed}", key, step).items():
            out.setdefault(name, []).append(replies)
    return out


def evidence_of(study: Study, asked: Sequence[int], number: int) -> dict[str, Graphs]:
    """Kind of `EVIDENCE` → a graph for each of the test questions at these places, at one seed.

    Without `retrieved_evidence` where none of `BEST` was run, nor `top_k` of `ONE_QUERY`.
    """
    test = [study.test[i] for i in asked]
    evidence: dict[str, Graphs] = {
        "no_evidence": [[] for _ in test],
        "all_facts": [[(ROOT, fact) for fact in range(len(q.facts))] for q in test],
    }
    for kind, methods in (("top_k", ONE_QUERY), ("retrieved_evidence", BEST)):
        if method := next((name for name in methods if name in study.predicted), None):
            graphs = study.predicted[method]
            evidence[kind] = [graphs[number % len(graphs)][i] for i in asked]
    return evidence | {"gold_evidence": [[*q.edges] for q in test]}


def _answers(
    train: Sequence[Evidence], test: Sequence[Evidence],
    evidence: Mapping[str, Sequence[Sequence[Edge]]], fit: ReaderFit, seed: int,
    model: Seq2Seq | None, state: Path | None,
) -> dict[str, list[str]]:  # fmt: skip
    untaught = Reader(model, None) if model else small_reader(train, seed, fit.d)
    reader = taught(untaught, train, fit, seed, state)
    replies = {name: reader.answers(test, graphs) for name, graphs in evidence.items()}
    if state:
        shutil.rmtree(state)
    return replies


def right(study: Study, answers: Answers, of: Callable[[Evidence], bool]) -> dict[str, Any]:
    """Evidence → (`[seed][question]` 1 or 0, the same of ids), of those that were asked."""
    asked = [q for q in study.test if q.answer]
    chosen = [i for i, q in enumerate(asked) if of(q)]
    return {
        name: (
            [[float(answer_exact(asked[i].answer, seed[i])) for i in chosen if i < len(seed)]
             for seed in seeds],
            [[asked[i].id for i in chosen if i < len(seed)] for seed in seeds],
        )
        for name, seeds in answers.items()
    }  # fmt: skip
