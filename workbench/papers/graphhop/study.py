"""Every method's graph for every question, scored; what was tuned on dev; what a reader does."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from workbench.hashing import digest
from workbench.models.encoders import Encoder
from workbench.papers.evidence import SPLITS
from workbench.papers.evidence_tables import Values, of_questions
from workbench.papers.graphhop import readers
from workbench.papers.graphhop.paper import (
    OFFICIAL_LABELS,
    SUPPORT,
    SWEPT,
    TOWERS,
    TRAINED,
    Settings,
)
from workbench.papers.parameters import seed_list
from workbench.papers.workers import Keep
from workbench.retrieval.evidence_files import as_row
from workbench.retrieval.graphs import Edge, Evidence, ScoredEdge, nodes
from workbench.retrieval.lexical import Bm25, TfIdf
from workbench.retrieval.metrics import Scores, overlap, scored
from workbench.retrievers import baselines, checkpoint, fuse, support, towers
from workbench.retrievers.model import Retriever
from workbench.retrievers.search import retrieved
from workbench.retrievers.targets import DIRECTIONS
from workbench.retrievers.train import RELEASED, Fit, coupled
from workbench.retrievers.tuned import warn_of_cuts

Graphs = list[list[Edge]]
"""Predicted edges of each question."""
Searched = dict[str, list[list[ScoredEdge]]]
"""What a network retrieves, by `"dev"`, `"test"`, and what is searched: scored edges of each."""
ORACLE = "_oracle_k"
LIKELY = 0.5
"""The release reads on from facts that are more probable than not."""
SEEDS = {"forward": 42, "backward": 2}
"""Those of the release (§2.3), to which the run's is added where networks are trained as there."""
OTHERS: dict[str, dict[str, Any]] = {
    OFFICIAL_LABELS: {"official": True},
    "forward_names": {"names": True, "matches": False}, "forward_names_matches": {"names": True},
    "forward_frozen": {"reads": "frozen"},
}  # fmt: skip
"""Forward networks that are trained otherwise: on the release's labels, or as in §6, "What
failed"."""


@dataclass(frozen=True)
class Study:
    """Everything that was run.

    `test`: the questions. `predicted`: method → `[seed][question]` → edges; one seed where nothing
    is trained. `scores`: the same, scored. `tuned`: method → per seed what was chosen on dev.
    `sufficient`: evidence → `[seed][question]`, 1 where the gold program over it answers right;
    empty unless each does over all facts. `searched`: direction → scored edges of each question, of
    the first seed: what a view fuses again. `dev_f1`: method → per seed the F1 of facts on dev,
    where anything was chosen there. `swept`: further split → method → its graphs there, of the
    first seed (`sweeps`).
    """

    settings: Settings
    encoder: str
    device: str
    test: list[Evidence]
    predicted: dict[str, list[Graphs]]
    scores: dict[str, list[list[Scores]]]
    tuned: dict[str, list[str]]
    sufficient: dict[str, list[list[float]]]
    searched: Mapping[str, list[list[ScoredEdge]]] = field(default_factory=dict)
    dev_f1: Mapping[str, list[float]] = field(default_factory=dict)
    swept: Mapping[str, dict[str, Graphs]] = field(default_factory=dict)

    def values(
        self, method: str, score: str, of: Callable[[Evidence], bool] = lambda q: True
    ) -> Values:
        """A score of a method, and the questions' ids, both `[seed][question]`."""
        return of_questions(self.test, self.scores[method], score, of)


def run(
    questions: Mapping[str, Sequence[Evidence]],
    settings: Settings,
    keep: Keep,
    encoder: Encoder | None = None,
    networks: str | Path | None = None,
) -> Study:
    """Every method on the test questions, tuned on dev; what `keep` has is not done again.

    `questions`: split → questions; further splits (`sweeps`) are searched by the first seed's
    networks. `encoder`: ranks as it comes and fitted (`two_towers`), is what SSG is trained above,
    and networks read it where the settings say so; without one these are left out, and above
    hashed words (`lex`) `forward_frozen`. `networks`: a folder for the trained ones
    (`checkpoint.load`), of which none is trained again, and a killed one from its last epoch.
    Raises `ValueError` where no method runs, or networks are tuned, without an encoder.

    >>> settings = presets.settings("tiny")
    >>> study = run(presets.questions(settings), settings, partial(cached, "out/cache"))
    """
    dev, test = list(questions["dev"]), list(questions["test"])
    has_model = encoder is not None and encoder.name != "lex"
    if settings.reads == "tuned" and not has_model:
        raise ValueError("the networks are tuned along with a sentence encoder; give one, not lex")
    predicted: dict[str, list[Graphs]] = {}
    tuned: dict[str, list[str]] = {}
    ranks = {"bm25": baselines.lexical(Bm25), "tfidf": baselines.lexical(TfIdf)}

    def add_cut(method: str, rankings: Mapping[str, Sequence[baselines.Ranking]]) -> None:
        k, graphs, oracle = baselines.cut(dev, test, rankings)
        predicted.setdefault(method, []).append(graphs)
        predicted.setdefault(method + ORACLE, []).append(oracle)
        tuned.setdefault(method, []).append(f"k {k}")

    if encoder:
        ranks["dense"] = baselines.dense(encoder)
    for method in (m for m in settings.methods if m in ranks):
        add_cut(method, {"dev": ranks[method](dev), "test": ranks[method](test)})
    data = digest([as_row(q) for split in SPLITS for q in questions[split]])
    methods = [m for m in settings.methods if m in TRAINED and (has_model or m != "forward_frozen")]
    wanted = dict.fromkeys(network for m in methods for network in TRAINED[m])
    if settings.reads == "tuned":
        warn_of_cuts(encoder, [q for split in SPLITS for q in questions[split]], Fit.max_tokens)
    dev_f1: dict[str, list[float]] = {}
    swept: dict[str, dict[str, Graphs]] = {}
    further = {split: [*of] for split, of in questions.items() if split not in SPLITS}
    sweeping = {network for m in methods if m in SWEPT for network in TRAINED[m]}
    first_searched: dict[str, list[list[ScoredEdge]]] = {}
    for seed in seed_list(settings.seed, settings.seeds):
        edges: dict[str, Searched] = {}
        pair = ("forward", "backward")
        together = [pair] if settings.share and {*pair} <= wanted.keys() else []
        alone = [(name,) for name in wanted if not together or name not in pair]
        for names in (*together, *alone):
            fit = fit_of(settings, names[0], encoder)
            under = encoder if fit.reads != "words" else None
            step = {"questions": data, "encoder": under.identity() if under else "",
                    "fit": asdict(fit), "seed": seed, "together": names}  # fmt: skip
            folder = Path(networks) if networks else None
            more = further if sweeping & {*names} else {}
            asked = {split: questions[split] for split in SPLITS} | more
            train = partial(searched, asked, fit, names, seed, under, folder, digest(step))
            if more:
                step = step | {"further": digest([as_row(q) for of in more.values() for q in of])}
            edges |= keep(f"{'+'.join(names)}-{seed}", step, train)
        if not first_searched:
            first_searched = {name: there["test"] for name, there in edges.items()}
            swept = {split: {m: fused(m, dev, edges, split)[0] for m in SWEPT if m in methods}
                     for split in further}  # fmt: skip
            further = {}
        for method in (m for m in settings.methods if encoder and m in TOWERS):
            tower = towers.fit_of(settings.reads, encoder)
            step = {"questions": data, "encoder": encoder.identity(), "fit": asdict(tower),
                    "seed": seed}  # fmt: skip
            rank = partial(towers.rankings, questions, encoder, tower, seed)
            add_cut(method, keep(f"{method}-{seed}", step, rank))
        if encoder and (sets := [m for m in settings.methods if m in SUPPORT]):
            step = {"questions": data, "encoder": encoder.identity(), "seed": seed, "methods": sets}
            generate = partial(support.ssg, questions, encoder, seed, sets)
            for method, there in keep(f"ssg-{seed}", step, generate).items():
                predicted.setdefault(method, []).append([*map(baselines.star, there["test"])])
                tuned.setdefault(method, []).append(there["chosen"])
        for method in methods:
            graphs, chosen, on_dev = fused(method, dev, edges)
            predicted.setdefault(method, []).append(graphs)
            tuned.setdefault(method, []).append(
                ", ".join(f"{name} {value:g}" for name, value in chosen.items())
            )
            if on_dev:
                pairs = zip(dev, on_dev, strict=True)
                f1 = [overlap({*q.nodes}, {*nodes(graph)})[2] for q, graph in pairs]
                dev_f1.setdefault(method, []).append(float(np.mean(f1)))
    if not predicted:
        raise ValueError(f"methods={settings.methods!r:.80}: none runs without a sentence encoder")
    scores = {
        method: [[scored(q.edges, edges) for q, edges in zip(test, graphs, strict=True)]
                 for graphs in seeds]
        for method, seeds in predicted.items()
    }  # fmt: skip
    return Study(
        settings, encoder.name if encoder else "",
        str(encoder.hf.device) if settings.reads != "words" else "cpu", test, predicted, scores,
        tuned, sufficient(test, predicted), first_searched, dev_f1, swept,
    )  # fmt: skip


def fit_of(settings: Settings, network: str, encoder: Encoder | None = None) -> Fit:
    """Size and training of a network; above an encoder that is tuned along, of that one's size."""
    others = {"one_hop": settings.one_hop_epochs, OFFICIAL_LABELS: settings.official_epochs}
    epochs = others.get(network, settings.epochs)
    fit = Fit(
        settings.d, settings.heads, epochs, settings.batch, settings.learning_rate,
        reads=settings.reads, head=settings.head,
    )  # fmt: skip
    if settings.reads == "tuned":
        size = {"d": encoder.width, "heads": encoder.hf.config.num_attention_heads}
        fit = replace(fit, **RELEASED, **size)
    return replace(fit, **OTHERS.get(network, {}))


def searched(
    questions: Mapping[str, Sequence[Evidence]],
    fit: Fit,
    names: Sequence[str],
    seed: int,
    encoder: Encoder | None = None,
    folder: Path | None = None,
    data: str = "",
) -> dict[str, Searched]:
    """Network → what it retrieves for dev and test: all edges, those of one chain, the likely ones.

    Networks of several names are trained at once, above one encoder. In `folder` each is kept,
    with `data` as the fingerprint of what it was trained on.
    """
    directions = [name if name in DIRECTIONS else "forward" for name in names]
    seed += SEEDS.get(directions[0], 0) if fit.reads == "tuned" else 0
    places = [folder / f"{name}-{seed}-{data}" if folder else None for name in names]
    if folder and all(place.exists() for place in places):
        retrievers = [checkpoint.load(place, encoder)[0] for place in places]
        return {name: _searched(r, questions) for name, r in zip(names, retrievers, strict=True)}
    state = folder / f"training-{'+'.join(names)}-{seed}-{data}" if folder else None
    retrievers = coupled(questions["train"], fit, directions, seed, encoder, state)
    out = {}
    for name, retriever, place in zip(names, retrievers, places, strict=True):
        out[name] = _searched(retriever, questions)
        if place:
            kept = fused(name, questions["dev"], out)[1]
            checkpoint.save(retriever, place, fit, seed=seed, data=data, thresholds=kept)
    if state:
        shutil.rmtree(state)
    return out


def _searched(retriever: Retriever, questions: Mapping[str, Sequence[Evidence]]) -> Searched:
    out = {split: retrieved(retriever, of) for split, of in questions.items() if split != "train"}
    if retriever.direction == "forward":
        out |= {f"{split} chain": retrieved(retriever, questions[split], greedy=True)
                for split in ("dev", "test")}  # fmt: skip
    return out | {"test likely": retrieved(retriever, questions["test"], above=LIKELY)}


def fused(
    method: str, dev: Sequence[Evidence], networks: Mapping[str, Searched], split: str = "test"
) -> tuple[Graphs, dict[str, float], Graphs]:
    """The graphs of a method for a split's questions, what was chosen on dev, the graphs there.

    Weight and threshold by Structural Acc; of `one_hop`, whose graphs are stars, by EM of facts.
    The release's gate has neither.
    """
    first, *second = (networks[name] for name in TRAINED[method])
    if method == "bgr_official":
        pairs = zip(first["test likely"], second[0]["test likely"], strict=True)
        return [fuse.official(*pair) for pair in pairs], {}, []
    end = " chain" if method == "single_chain" else ""
    nothing: Searched = {split: [[]] * len(graphs) for split, graphs in first.items()}
    forward, backward = first, second[0] if second else nothing
    weights: Sequence[float] = fuse.WEIGHTS if second else (1.0,)
    if method == "backward":
        forward, backward, weights = nothing, first, (0.0,)
    # A star is right where its facts are, of which there are no other edges to choose by.
    gold = [baselines.star(q.nodes) if method == "one_hop" else q.edges for q in dev]
    w, tau = fuse.tuned(gold, forward["dev" + end], backward["dev"], weights)
    chosen = {"w": w, "τ": tau} if second else {"τ": tau}
    on_dev, there = (
        [fuse.soft(*pair, w, tau) for pair in zip(forward[of + end], backward[of], strict=True)]
        for of in ("dev", split)
    )
    return there, chosen, on_dev


def sufficient(
    test: Sequence[Evidence], predicted: Mapping[str, list[Graphs]]
) -> dict[str, list[list[float]]]:
    """What the gold programs come to over no facts, all, the gold ones, and each method's."""
    if not all(map(readers.readable, test)):
        return {}
    evidence = {
        "none": [[[] for _ in test]],
        "all": [[range(len(q.facts)) for q in test]],
        "gold": [[q.nodes for q in test]],
    } | {method: [[nodes(edges) for edges in graphs] for graphs in seeds]
         for method, seeds in predicted.items()}  # fmt: skip
    return {
        name: [[readers.right(q, facts) for q, facts in zip(test, seed, strict=True)]
               for seed in seeds]
        for name, seeds in evidence.items()
    }  # fmt: skip
