"""Every method's chain for every question, scored; what was chosen on dev."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from workbench.errors import ModelError
from workbench.hashing import digest
from workbench.models.encoders import Encoder, load_encoder
from workbench.papers.evidence import SPLITS
from workbench.papers.evidence_tables import Values, of_questions
from workbench.papers.parameters import seed_list
from workbench.papers.reasonchainqa import networks, single
from workbench.papers.reasonchainqa.paper import (
    NETWORKS,
    ONE_QUERY,
    READ_ON,
    SUPPORT,
    TOWERS,
    Settings,
)
from workbench.papers.reasonchainqa.single import Chain
from workbench.papers.workers import Job, Keep, worker_pool
from workbench.retrieval.chain_metrics import ChainScores, chain_scored
from workbench.retrieval.evidence_files import as_row
from workbench.retrieval.graphs import Edge, Evidence
from workbench.retrieval.index import Remembering
from workbench.retrievers import fuse, support, towers
from workbench.retrievers.baselines import star
from workbench.retrievers.tuned import warn_of_cuts
from workbench.training.memory import release

Bench = tuple[Mapping[str, Sequence[Evidence]], Settings, Encoder | None, Remembering | None]
"""What trainings and searches work with: questions, settings, the sentence encoder; that again,
to rank by as it comes."""
Which = Callable[[Evidence], bool]
ORACLE_K, ORACLE_M = "_oracle_k", "_oracle_m"
"""Ends of the names of rows that are told how many facts are gold."""


@dataclass
class Study:
    """Everything that was run.

    `test`: the questions; `held_out`: the first of them, with facts in wordings that no training
    question has.
    `predicted`: method → `[seed][question]` → places of facts in order; one seed where nothing is
    trained; of SSG, which gives sets, in order of places. `scores`: the same, scored. `unseen`: the
    same of `held_out`, of rankings and networks.
    `rankings`: method → `[seed][question]` → all facts by one query, the best first. `tuned`:
    method → per seed what was chosen on dev. `networks`: network → its folder, of the first seed
    (`networks.stepper`).
    """

    settings: Settings
    encoder: str
    device: str
    test: list[Evidence]
    held_out: list[Evidence]
    predicted: dict[str, list[list[Chain]]] = field(default_factory=dict)
    scores: dict[str, list[list[ChainScores]]] = field(default_factory=dict)
    unseen: dict[str, list[list[ChainScores]]] = field(default_factory=dict)
    rankings: dict[str, list[list[Chain]]] = field(default_factory=dict)
    tuned: dict[str, list[str]] = field(default_factory=dict)
    networks: dict[str, Path] = field(default_factory=dict)

    def add(
        self,
        method: str,
        chains: Sequence[Sequence[int]],
        chosen: str = "",
        graphs: Sequence[Sequence[Edge]] | None = None,
        unseen: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """Score the chains of one more seed. `graphs`: predicted edges, where they are no chain."""
        chains = [tuple(chain) for chain in chains]
        self.predicted.setdefault(method, []).append(chains)
        edges = graphs or [None] * len(chains)
        rows = [chain_scored(*row) for row in zip(self.test, chains, edges, strict=True)]
        self.scores.setdefault(method, []).append(rows)
        if chosen:
            self.tuned.setdefault(method, []).append(chosen)
        if unseen is not None and self.held_out:
            rows = [chain_scored(q, chain) for q, chain in zip(self.held_out, unseen, strict=True)]
            self.unseen.setdefault(method, []).append(rows)

    def values(self, method: str, score: str, of: Which = lambda q: True) -> Values:
        """A score of a method, and the questions' ids, both `[seed][question]`."""
        return of_questions(self.test, self.scores[method], score, of)


def run(
    questions: Mapping[str, Sequence[Evidence]],
    settings: Settings,
    keep: Keep,
    encoder: Encoder | None = None,
    folder: str | Path | None = None,
    workers: int = 1,
) -> Study:
    """Every method on the test questions, tuned on dev; what `keep` has is not done again.

    `questions`: train, dev, test, and `held_out` where it is asked for. `encoder`: ranks as it
    comes and fitted, is what SSG is trained above, and networks read it where the settings say so;
    without one these are left out. `folder`: for the trained networks, of which none is trained
    again, and a killed one from its last epoch. `workers`: processes that share trainings and
    searches, a thread each (one has all threads, and so other last digits); more than one load
    the encoder again, by its name. Raises `ValueError` where no method runs, or networks are
    tuned, without an encoder, for workers that cannot load the same one, and for what SSG cannot
    read (`retrievers.support.check`).

    >>> settings = presets.settings("tiny")
    >>> rc_study = run(presets.questions(settings), settings, partial(cached, "out/cache"))
    """
    if settings.reads == "tuned" and (encoder is None or encoder.name == "lex"):
        raise ValueError("the networks are tuned along with a sentence encoder; give one, not lex")
    if settings.reads == "tuned":
        every = [q for split in SPLITS for q in questions[split]]
        warn_of_cuts(encoder, every, networks.LONGEST)
    above_encoder = {*TOWERS, *SUPPORT, "dense", "dense_iterated", "dense_beam"}
    methods = [m for m in settings.methods if encoder or m not in above_encoder]
    if not methods:
        raise ValueError(f"methods={','.join(settings.methods)} take a sentence encoder; give one")
    if {*SUPPORT} & {*methods}:
        support.check(questions)
    device = str(encoder.hf.device) if encoder else "cpu"
    study = Study(
        settings, encoder.name if encoder else "", device,
        [*questions["test"]], [*questions.get("held_out", [])],
    )  # fmt: skip
    name = encoder.name if encoder else ""
    if workers > 1 and encoder and not _loads(encoder):
        raise ValueError(f"workers={workers} cannot load {name} as it is; give workers=1")
    encoded = encoder.identity() if encoder else ""
    jobs = _jobs(study, questions, methods, encoder, Path(folder) if folder else None)
    bench: Bench = (questions, settings, encoder, Remembering(encoder) if encoder else None)
    with worker_pool(workers, bench, _set_up, questions, settings, name, device) as results_of:
        done = dict(zip((job.name for job in jobs), results_of(jobs, keep, "methods"), strict=True))
        counts = {m: done[f"{m}-steps"] for m in methods if m in READ_ON}
        known = {"test": digest([as_row(q) for q in study.test]), "encoder": encoded}
        read_on = [Job(m, {**known, "m": n}, _read_on, (m, n)) for m, n in counts.items()]
        read = results_of(read_on, keep, "readings")
    release()
    for method in (m for m in methods if m in ONE_QUERY):
        _cut(study, method, questions["dev"], done[method])
    for (method, m), there in zip(counts.items(), read, strict=True):
        study.add(method, there["test"], f"m {m}")
        study.add(method + ORACLE_M, there["oracle"])
    for seed in seed_list(settings.seed, settings.seeds):
        _add_networks(study, questions["dev"], methods, seed, done)
        for method in (m for m in methods if m in TOWERS):
            _cut(study, method, questions["dev"], done[f"{method}-{seed}"])
        for method, there in done.get(f"ssg-{seed}", {}).items():
            study.add(method, there["test"], there["chosen"], [*map(star, there["test"])])
    in_order = {m: study.scores[m] for m in (name + end for name in settings.methods
                for end in ("", ORACLE_K, ORACLE_M)) if m in study.scores}  # fmt: skip
    study.scores = in_order
    for job in jobs:
        place = job.arguments[-1]
        if job.function is _search and place and place.exists():
            study.networks.setdefault(job.arguments[0], place)
    return study


def _loads(encoder: Encoder) -> bool:
    """Whether a worker that loads the encoder's name has the same one."""
    try:
        return load_encoder(encoder.name, device="cpu").identity() == encoder.identity()
    except ModelError:
        return False


def _set_up(
    questions: Mapping[str, Sequence[Evidence]], settings: Settings, name: str, device: str
) -> Bench:
    """A worker's own copy of what is worked with."""
    torch.set_num_threads(1)
    encoder = load_encoder(name, device=device) if name else None
    return questions, settings, encoder, Remembering(encoder) if encoder else None


def _jobs(
    study: Study, questions: Mapping[str, Sequence[Evidence]], methods: Sequence[str],
    encoder: Encoder | None, folder: Path | None,
) -> list[Job]:  # fmt: skip
    """All that is trained, and searches that take long: the longest first, so that none is last."""
    settings = study.settings
    known = {split: digest([as_row(q) for q in questions[split]]) for split in SPLITS}
    known["encoder"] = encoder.identity() if encoder else ""
    held_out = digest([as_row(q) for q in study.held_out])
    seeds = seed_list(settings.seed, settings.seeds)
    jobs = []
    for direction in ("path", "forward", "one_hop"):
        for seed in seeds if direction in {NETWORKS.get(m) for m in methods} else []:
            # What a network is, whatever it is asked: another test set trains none anew.
            key = {"train": known["train"], "dev": known["dev"], "seed": seed,
                   "fit": asdict(networks.fit_of(settings, encoder)),
                   "encoder": known["encoder"] if settings.reads != "words" else ""}  # fmt: skip
            key |= {"weight": settings.chain_weight} if direction == "path" else {}
            place = folder / f"{direction}-{seed}-{digest(key)}" if folder else None
            key |= {"test": known["test"], "held_out": held_out, "beam": settings.beam}
            jobs.append(Job(f"{direction}-{seed}", key, _search, (direction, seed, place)))
    for method in (m for m in methods if m in TOWERS):
        fit = towers.fit_of(settings.reads, encoder)
        for seed in seeds:
            key = {**known, "fit": asdict(fit), "seed": seed}
            jobs.append(Job(f"{method}-{seed}", key, _rank, (fit, seed)))
    if sets := [m for m in methods if m in SUPPORT]:
        jobs += [Job(f"ssg-{seed}", {**known, "seed": seed, "methods": sets}, _join, (seed, sets))
                 for seed in seeds]  # fmt: skip
    # m is of dev alone: another test set chooses none anew.
    key = {"dev": known["dev"], "encoder": known["encoder"], "most": single.MOST}
    counts = [Job(f"{m}-steps", key, _steps, (m,)) for m in methods if m in READ_ON]
    key = {"dev": known["dev"], "test": known["test"], "held_out": held_out,
           "encoder": known["encoder"]}  # fmt: skip
    rankings = [Job(m, key, _ranked, (m,)) for m in methods if m in ONE_QUERY]
    return jobs + counts + rankings


def _search(bench: Bench, direction: str, seed: int, place: Path | None) -> networks.Views:
    questions, settings, encoder, _ = bench
    return networks.searched(questions, settings, direction, seed, encoder, place)


def _rank(bench: Bench, fit: towers.TowerFit, seed: int) -> dict[str, Any]:
    return towers.rankings(bench[0], bench[2], fit, seed)


def _join(bench: Bench, seed: int, methods: Sequence[str]) -> dict[str, Any]:
    return support.ssg(bench[0], bench[2], seed, methods)


def _ranked(bench: Bench, method: str) -> dict[str, Any]:
    rank = single.rank_by(method, bench[3])
    return {split: rank(of) for split, of in bench[0].items() if split != "train"}


def _steps(bench: Bench, method: str) -> int:
    return single.steps(method, bench[0]["dev"], bench[3])


def _read_on(bench: Bench, method: str, m: int) -> dict[str, Any]:
    return single.read_on(method, m, bench[0]["test"], bench[3])


def _cut(
    study: Study, method: str, dev: Sequence[Evidence], rankings: Mapping[str, Sequence[Any]]
) -> None:
    k, chains, oracle = single.cut(dev, study.test, rankings)
    unseen = [row[:k] for row in rankings["held_out"]] if "held_out" in rankings else None
    study.add(method, chains, f"k {k}", [*map(star, chains)], unseen)
    study.add(method + ORACLE_K, oracle, graphs=[*map(star, oracle)])
    study.rankings.setdefault(method, []).append([*map(tuple, rankings["test"])])


def _add_networks(
    study: Study, dev: Sequence[Evidence], methods: Sequence[str], seed: int,
    done: Mapping[str, networks.Views],
) -> None:  # fmt: skip
    for method in (m for m in methods if m in NETWORKS):
        of = done[f"{NETWORKS[method]}-{seed}"]
        if method == "path":
            test, unseen = ([paths[0][0] for paths in of[split]["paths"]] if split in of else []
                            for split in ("test", "held_out"))  # fmt: skip
            study.add(method, test, f"beam {study.settings.beam}", unseen=unseen)
            continue
        shape = "chain" if method == "greedy" else "edges"
        tau = networks.threshold(dev, of["dev"][shape], method)
        test, unseen = (
            [networks.above(edges, tau, method) for edges in of[split][shape]]
            if split in of
            else []
            for split in ("test", "held_out")
        )
        graphs = [fuse.soft(edges, (), 1.0, tau) for edges in of["test"][shape]]
        study.add(method, test, f"τ {tau:g}", graphs, unseen)
        if method == "one_hop":
            ranked = of["test"]["ranking"]
            oracle = [row[: len(q.nodes)] for q, row in zip(study.test, ranked, strict=True)]
            study.add(method + ORACLE_K, oracle, graphs=[*map(star, oracle)])
            study.rankings.setdefault(method, []).append([*map(tuple, ranked)])
