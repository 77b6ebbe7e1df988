"""A real sentence encoder among a whole database of facts: in one shot, iterated, with a beam.

As it comes, and two copies fitted with equal steps (`retrievers.hops`): one hops from fact to fact,
its twin goes from the question to each.
"""

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from workbench.hashing import digest
from workbench.models.encoders import Encoder
from workbench.papers.evidence_tables import gain, percent
from workbench.papers.reasonchainqa import tables
from workbench.papers.reasonchainqa.answering import KINDS
from workbench.papers.reasonchainqa.paper import DEEPEST, Settings
from workbench.papers.reasonchainqa.study import ORACLE_K, ORACLE_M, Study
from workbench.papers.workers import Keep
from workbench.retrieval.evidence_files import as_row
from workbench.retrieval.graphs import Evidence
from workbench.retrieval.index import Index
from workbench.retrieval.iterate import BEAM, best_count, levels, one_shot
from workbench.retrieval.towers import Contrast, Pair
from workbench.retrievers import hops
from workbench.retrievers.baselines import MOST, best_k
from workbench.training.memory import release
from workbench.worlds.chain_attributes import CHAINS
from workbench.worlds.chain_questions import what
from workbench.worlds.chains import WHOLE, questions
from workbench.worlds.facts import World

FORMS = {"oneshot": 0, "iterated": 1, "beam": BEAM}
"""Form → chains that go on at once."""
COPIES = {
    "zeroshot": ("oneshot", "iterated"),
    "oneshot": ("oneshot",),
    "iterated": ("iterated", "beam"),
}
"""The encoder as it comes, and its fitted copies by what they learn → the forms they are asked in.
"""
FACTS = 2930
"""Of a world of size 1, about."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Size:
    """Of fitting: `rounds`, each a new world of about so many `facts`, and `pairs` of one.
    Questions of each depth: `asked` of the database, and `dev` that counts are chosen on."""

    rounds: int = 8
    pairs: int = 64
    facts: int = 400
    asked: int = 10
    dev: int = 2


SIZE = Size()
FIT = Contrast(batch=8, learning_rate=1e-4)
MINED = 1
"""Nearest wrong facts of a pair; with three the same time has fewer pairs, and less is learnt."""


def drawn(split: str, facts: int, each: int) -> list[Evidence]:
    """`each` questions of every depth from 1 to 7, over all of one world of about so many facts.

    Raises `DatasetError` where it has too few.
    """
    size = facts / FACTS
    return questions(split, DEEPEST * each, worlds=1, pool=WHOLE, size=size, types=("What",))


def pairs(world: World, count: int, way: str) -> list[Pair]:
    """Pairs for one of `hops.WAYS`: for both of the same steps of chains of one to seven facts.

    They are drawn from four times as many steps, so that few are of one question.
    """
    rng = random.Random(f"{world.name} chains")

    def draw(number: int) -> hops.Asked | None:
        draft = what(world, rng, 1 + number % DEEPEST, truth=True)
        return hops.Asked(draft.question, tuple(draft.order)) if draft else None

    # Seven chains have 28 facts.
    asked = hops.different(DEEPEST * (count // 7 + 1), draw, f"{world.name}: questions")
    relations = [fact.key for fact in world.facts]
    every = hops.pairs(asked, world.texts, relations, way, f"{world.name} decoys")
    return random.Random(f"{world.name} pairs").sample(every, count)


def run(
    encoder: Encoder | None, settings: Settings, keep: Keep, text: Sequence[Evidence] = (),
    size: Size = SIZE,
) -> dict[str, Study]:  # fmt: skip
    """`"database"`: the chains found among `settings.database` facts of a world never seen before.

    `"text"`: those of other questions, which all have the same facts, by the fitted copies. Methods
    are `<zeroshot, finetuned>_<oneshot, iterated>` and `finetuned_beam`, the count of facts chosen
    on dev among questions no deeper than the deepest asked, beside the oracles. Each copy with what
    it is asked is a step of `keep`. Nothing where the settings have no `database`, without an
    encoder, or of `"lex"`: hashed words have no meaning to begin with.

    >>> run(wb.load_encoder("minilm"), settings, partial(cached, "out/cache"))["database"]
    """
    meant = encoder is not None and encoder.name != "lex"
    if settings.database and not meant:
        log.warning("a database is asked by a sentence encoder, and there is none: left out")
    if not (settings.database and meant):
        return {}
    bases = {"database": drawn("test", settings.database, size.asked)}
    bases |= {"text": [*text]} if text else {}
    dev = drawn("dev", settings.database, size.dev)
    studies = {
        base: Study(settings, encoder.name, str(encoder.hf.device), asked, [])
        for base, asked in bases.items()
    }
    key = {"encoder": encoder.identity(), "facts": settings.database, "size": asdict(size),
           "questions": digest([as_row(q) for of in (dev, *bases.values()) for q in of])
           }  # fmt: skip
    fit = {"seed": settings.seed, "fit": asdict(FIT), "mined": MINED}
    for copy, forms in COPIES.items():
        asked = {"database": bases["database"]} if copy == "zeroshot" else bases
        step = partial(_asked, encoder, copy, settings, dev, asked, size)
        release()
        done = keep(f"database-{copy}", key if copy == "zeroshot" else key | fit, step)
        for form in forms:
            method = f"{'zeroshot' if copy == 'zeroshot' else 'finetuned'}_{form}"
            letter, oracle = ("k", ORACLE_K) if form == "oneshot" else ("m", ORACLE_M)
            for base, there in done[form].items():
                studies[base].add(method, there["chosen"], f"{letter} {there['count']}")
                studies[base].add(method + oracle, there["oracle"])
    return studies


def _asked(
    encoder: Encoder, copy: str, settings: Settings, dev: Sequence[Evidence],
    bases: Mapping[str, Sequence[Evidence]], size: Size,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Form → base → the count that dev chose, the chains of so many facts, and the oracle's."""
    if copy != "zeroshot":

        def draw(number: int) -> tuple[Sequence[str], list[Pair]]:
            world = World("train", number, size.facts / FACTS, CHAINS)
            return world.texts, pairs(world, size.pairs, copy)

        encoder = hops.finetuned(encoder, draw, size.rounds, settings.seed, FIT, MINED)
    at = {base: Index(encoder.encode(of[0].facts).numpy(), encoder, of[0].facts)
          for base, of in {**bases, "dev": dev}.items()}  # fmt: skip
    return {
        form: {base: _chains(form, at["dev"], dev, at[base], asked)
               for base, asked in bases.items()} for form in COPIES[copy]
    }  # fmt: skip


def _chains(
    form: str, known: Index, dev: Sequence[Evidence], index: Index, asked: Sequence[Evidence]
) -> dict[str, Any]:
    sizes = [len(q.nodes) for q in asked]
    of_dev, texts = ([q.question for q in of] for of in (dev, asked))
    if form == "oneshot":
        tried = [[*r.facts] for r in one_shot(known, of_dev, [MOST] * len(dev))]
        count = best_k(dev, tried)
        counts = [max(count, n) for n in sizes]
        ranked = [r.facts for r in one_shot(index, texts, counts)]
        return {"count": count, "chosen": [row[:count] for row in ranked],
                "oracle": [row[:n] for row, n in zip(ranked, sizes, strict=True)]}  # fmt: skip
    gold, beam = [q.nodes for q in dev], FORMS[form]
    count = best_count(known, of_dev, gold, DEEPEST, beam=beam)
    held = [*levels(index, texts, [max(count, n) for n in sizes], beam=beam)]
    return {"count": count, "chosen": [best.facts for best, *_ in held[count - 1]],
            "oracle": [held[n - 1][i][0].facts for i, n in enumerate(sizes)]}  # fmt: skip


def metrics(studies: Mapping[str, Study]) -> list[dict[str, Any]]:
    """`<base>_<method>`, and `…_<depth>`: exactly the facts of the chain (set EM).

    Of one query there is no order to be right. `gain_<base>_iterated_oneshot`, `_deep` for depth ≥
    2 and by depth: the copy that hops less its twin, both told how many facts are gold; on the same
    questions.
    """
    rows: list[dict[str, Any]] = []
    first, second = "finetuned_iterated" + ORACLE_M, "finetuned_oneshot" + ORACLE_K
    for base, study in studies.items():
        ends = {"": KINDS[""], **{f"_{n}": of for n, of in tables.depths(study).items()}}
        for method in study.scores:
            for end, of in ends.items():
                rows += tables.share(f"{base}_{method}{end}", study, method, "exact", of)
        if {first, second} <= study.scores.keys():
            for end, of in {**ends, "_deep": lambda q: len(q.nodes) > 1}.items():
                pair = [study.values(method, "exact", of) for method in (first, second)]
                rows += gain(f"gain_{base}_iterated_oneshot{end}", *pair)
    return rows


def rows(study: Study) -> list[dict[str, Any]]:
    """The table: set EM of each method by depth, percent and 95 % interval; chain EM of all.

    One count for all, as dev chooses it, is right at one depth alone: told how many (`_oracle`), a
    method shows what it finds.
    """
    out = []
    for method in study.scores:
        row: dict[str, Any] = {"method": method}
        for name, of in {**tables.depths(study), "all": KINDS[""]}.items():
            n = sum(map(of, study.test))
            row[f"{name} (n {n})"] = percent(*tables.share(name, study, method, "exact", of))
        row["in order"] = percent(*tables.share("", study, method, "chain_exact", KINDS[""]))
        out.append(row | {"chosen on dev": "; ".join(study.tuned.get(method, []))})
    return out
