"""Every method's graph for every question, scored; what was tuned on dev; what a reader does."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from workbench.hashing import digest
from workbench.models.encoders import Encoder
from workbench.papers.graphhop import baselines, fuse, readers, support
from workbench.papers.graphhop.paper import SPLITS, SUPPORT, TRAINED, Settings
from workbench.papers.graphhop.search import retrieved
from workbench.papers.graphhop.train import Fit, trained
from workbench.papers.parameters import seed_list
from workbench.retrieval.evidence_files import as_row
from workbench.retrieval.graphs import Edge, Evidence, ScoredEdge, nodes
from workbench.retrieval.lexical import Bm25, TfIdf
from workbench.retrieval.metrics import Scores, scored

Keep = Callable[[str, dict[str, Any], Callable[[], Any]], Any]
"""`keep(name, key, compute)`: a step done before is not done again (`runs.cache.cached`)."""
Graphs = list[list[Edge]]
"""Predicted edges of each question."""
Searched = dict[str, list[list[ScoredEdge]]]
"""What a network retrieves, by `"dev"`, `"test"`, and what is searched: scored edges of each."""
ORACLE = "_oracle_k"
LIKELY = 0.5
"""The release reads on from facts that are more probable than not."""


@dataclass(frozen=True)
class Study:
    """Everything that was run.

    `test`: the questions. `predicted`: method → `[seed][question]` → edges; one seed where nothing
    is trained. `scores`: the same, scored. `tuned`: method → per seed what was chosen on dev.
    `sufficient`: evidence → `[seed][question]`, 1 where the gold program over it answers right;
    empty for questions whose sentences the reader cannot parse. `searched`: direction → scored
    edges of each question, of the first seed: what a view fuses again.
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

    def values(
        self, method: str, score: str, of: Callable[[Evidence], bool] = lambda q: True
    ) -> tuple[list[list[float]], list[list[str]]]:
        """A score of a method, and the questions' ids, both `[seed][question]`."""
        chosen = [i for i, question in enumerate(self.test) if of(question)]
        ids = [self.test[i].id for i in chosen]
        values = [[float(getattr(seed[i], score)) for i in chosen] for seed in self.scores[method]]
        return values, [ids for _ in values]


def run(
    questions: Mapping[str, Sequence[Evidence]],
    settings: Settings,
    keep: Keep,
    encoder: Encoder | None = None,
    *,
    reads: bool = False,
) -> Study:
    """Every method on the test questions, tuned on dev; what `keep` has is not done again.

    `questions`: split → questions. `encoder`: ranks as it comes, and is what SSG is trained above;
    without one both are left out.
    `reads`: the networks read its token states, too, and not those of a small encoder of words.

    >>> settings = presets.settings("tiny")
    >>> study = run(presets.questions(settings), settings, partial(cached, "out/cache"))
    """
    dev, test = list(questions["dev"]), list(questions["test"])
    predicted: dict[str, list[Graphs]] = {}
    tuned: dict[str, list[str]] = {}
    ranks = {"bm25": baselines.lexical(Bm25), "tfidf": baselines.lexical(TfIdf)}
    if encoder:
        ranks["dense"] = baselines.dense(encoder)
    for method in (m for m in settings.methods if m in ranks):
        k = baselines.best_k(dev, ranks[method](dev))
        rankings = ranks[method](test)
        predicted[method] = [[baselines.star(ranking[:k]) for ranking in rankings]]
        predicted[method + ORACLE] = [
            [
                baselines.star(ranking[: len(q.nodes)])
                for q, ranking in zip(test, rankings, strict=True)
            ]
        ]
        tuned[method] = [f"k {k}"]  # fmt: skip
    under = encoder if reads else None
    key = {"questions": digest([as_row(q) for split in SPLITS for q in questions[split]]),
           "encoder": under.identity() if under else ""}  # fmt: skip
    first_searched: dict[str, list[list[ScoredEdge]]] = {}
    for seed in seed_list(settings.seed, settings.seeds):
        networks = {}
        for direction in settings.directions:
            fit = fit_of(settings, direction)
            train = partial(searched, questions, fit, direction, seed, under)
            step = {**key, "fit": asdict(fit), "seed": seed}
            networks[direction] = keep(f"{direction}-{seed}", step, train)
        first_searched = first_searched or {name: there["test"] for name, there in networks.items()}
        if encoder and (sets := [m for m in settings.methods if m in SUPPORT]):
            step = {**key, "encoder": encoder.identity(), "seed": seed, "methods": sets}
            generate = partial(support.ssg, questions, encoder, seed, sets)
            for method, there in keep(f"ssg-{seed}", step, generate).items():
                predicted.setdefault(method, []).append([*map(baselines.star, there["test"])])
                tuned.setdefault(method, []).append(there["chosen"])
        for method in (m for m in settings.methods if m in TRAINED):
            graphs, chosen = fused(method, dev, networks)
            predicted.setdefault(method, []).append(graphs)
            tuned.setdefault(method, []).append(chosen)
    scores = {
        method: [[scored(q.edges, edges) for q, edges in zip(test, graphs, strict=True)]
                 for graphs in seeds]
        for method, seeds in predicted.items()
    }  # fmt: skip
    return Study(
        settings, encoder.name if encoder else "",
        str(under.hf.device) if under else "cpu", test, predicted, scores, tuned,
        sufficient(test, predicted), first_searched,
    )  # fmt: skip


def fit_of(settings: Settings, direction: str) -> Fit:
    """Size and training of the network of a direction."""
    epochs = settings.one_hop_epochs if direction == "one_hop" else settings.epochs
    size = {"d": settings.d, "heads": settings.heads, "batch": settings.batch}
    return Fit(**size, epochs=epochs, lr=settings.learning_rate)


def searched(
    questions: Mapping[str, Sequence[Evidence]],
    fit: Fit,
    direction: str,
    seed: int,
    encoder: Encoder | None = None,
) -> Searched:
    """Train a network and search dev and test: all edges, those of one chain, the likely ones."""
    retriever = trained(questions["train"], fit, direction, seed, encoder)
    out = {split: retrieved(retriever, questions[split]) for split in ("dev", "test")}
    if direction == "forward":
        out |= {f"{split} chain": retrieved(retriever, questions[split], greedy=True)
                for split in ("dev", "test")}  # fmt: skip
    return out | {"test likely": retrieved(retriever, questions["test"], above=LIKELY)}


def fused(
    method: str, dev: Sequence[Evidence], networks: Mapping[str, Searched]
) -> tuple[Graphs, str]:
    """The graphs of a method for the test questions, and what of it was chosen on dev.

    Weight and threshold by Structural Acc; of `one_hop`, whose graphs are stars, by EM of facts.
    """
    first, *second = (networks[direction] for direction in TRAINED[method])
    if method == "bgr_official":
        pairs = zip(first["test likely"], second[0]["test likely"], strict=True)
        return [fuse.official(*pair) for pair in pairs], ""
    end = " chain" if method == "single_chain" else ""
    nothing: Searched = {split: [[]] * len(first[split]) for split in ("dev", "test")}
    forward, backward = first, second[0] if second else nothing
    weights: Sequence[float] = fuse.WEIGHTS if second else (1.0,)
    if method == "backward":
        forward, backward, weights = nothing, first, (0.0,)
    # A star is right where its facts are, of which there are no other edges to choose by.
    gold = [baselines.star(q.nodes) if method == "one_hop" else q.edges for q in dev]
    w, tau = fuse.tuned(gold, forward["dev" + end], backward["dev"], weights)
    pairs = zip(forward["test" + end], backward["test"], strict=True)
    chosen = f"w {w:g}, τ {tau:g}" if second else f"τ {tau:g}"
    return [fuse.soft(*pair, w, tau) for pair in pairs], chosen


def sufficient(
    test: Sequence[Evidence], predicted: Mapping[str, list[Graphs]]
) -> dict[str, list[list[float]]]:
    """What the gold programs come to over no facts, all, the gold ones, and each method's."""
    if any(readers.parsed(q.facts[0]) is None for q in test):
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
