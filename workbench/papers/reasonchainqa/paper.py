"""What the paper is and says (arXiv 2210.08763): its claim, its settings, what a run needs.

Neither its tables nor its data were to be had when this was written: columns of published values
stay blank unless a file of the user's own fills them (`evidence.reference`). No figure is made up.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.arguments import different, finite, listed, one_of, whole
from workbench.papers import parameters
from workbench.papers.evidence import (
    SPLITS,
    check_completer,
    check_encoder,
    check_reader,
    split_files,
)
from workbench.papers.evidence import reference as reference

TITLE = "ReasonChainQA: Text-based Complex Question Answering with Explainable Evidence Chains"
NOTEBOOK = "06_reasonchainqa.ipynb"
CLAIM = (
    "A question over a database of sentences is answered by a chain of facts, each found by what "
    "the one before says: what one query finds is the first of them, and what reads on finds all."
)
ONE_QUERY = ("tfidf", "bm25", "dense")
"""Rankings by the question alone, untrained (§2.2)."""
READ_ON = tuple(f"{name}_{form}" for name in ONE_QUERY for form in ("iterated", "beam"))
"""The same scorers by the question and the facts read so far: one chain, or a beam of them."""
TOWERS = ("two_towers",)
SUPPORT = ("ssg", "ssg_released")
NETWORKS = {"one_hop": "one_hop", "forward": "forward", "greedy": "forward", "path": "path"}
"""Method → the network it takes. `one_hop`: the control, which reads all facts from the question
alone; `forward` reads every likely fact, `greedy` the likeliest; `path` has a beam and a stop."""
MAIN = (*ONE_QUERY, *READ_ON, *TOWERS, "ssg", *NETWORKS)
METHODS = (*MAIN, "ssg_released")
TYPES = (
    "What", "QueryAttr", "QueryRelation", "QueryAttrQualifier", "QueryRelationQualifier",
    "QueryAttrUnderCondition", "SelectBetween", "SelectAmong", "Count", "VerifyStr", "VerifyNum",
    "VerifyYear",
)  # fmt: skip
"""Kinds of reasoning, by the function that gives the answer. The names of the paper's twelve are
not public: these are ours (§3)."""
CHAINS = ("What", "QueryAttr", "VerifyStr", "VerifyNum")
"""Kinds whose evidence is one chain at any depth, with open answers and yes or no."""
DEEPEST = 7
NEEDS = (
    "preset=paper takes some hours on one GPU with 16 GB: BERT (0.4 GB) and T5 (0.9 GB), and "
    "questions of invented worlds, or -p data_path=FOLDER with your own. -p model_id= takes any "
    "other encoder"
)
PUBLISHED = [
    {"metric": "relations", "value": 78, "setting": "ReasonChainQA, abstract"},
    {"metric": "reasoning_types", "value": 12, "setting": "ReasonChainQA, abstract"},
    {"metric": "deepest", "value": 7, "setting": "ReasonChainQA, as its authors' next paper says"},
]


@dataclass(frozen=True)
class Settings:
    """The shape of the paper's data where it is known (§6), a usual training of its kind elsewhere.

    `types`, `depths`: of questions, in turn. `train`, `dev`, `test`: how many, drawn from as many
    worlds as `worlds` has in that order, or the first of a file. `pool`: facts of a question, 0 for
    its whole world; `decoys`: complete decoy chains. `held_out`: of the test questions, the first,
    asked again with facts in wordings that no training question has. `d`, `heads`: of the networks;
    `epochs` of training. `seeds`: trainings, the first `seed`. `reads`: what the networks read
    (`retrievers.train.Fit`). `beam`: chains that `path` follows at once; `chain_weight`: λ of its
    chain loss. `answered`: test questions that a language model is asked, where there is one.
    `database`: facts among which fine-tuned copies of the sentence encoder are asked for chains, 0
    for none.

    Raises `ValueError` for a number out of range, an unknown method or type, one that is there
    twice.
    """

    methods: tuple[str, ...] = MAIN
    types: tuple[str, ...] = TYPES
    depths: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)
    train: int = 10_000
    dev: int = 1000
    test: int = 1000
    worlds: tuple[int, int, int] = (20, 4, 4)
    pool: int = 25
    decoys: int = 2
    held_out: int = 500
    d: int = 768
    heads: int = 12
    epochs: int = 10
    learning_rate: float = 2e-5
    batch: int = 8
    seeds: int = 3
    seed: int = 0
    reads: str = "tuned"
    beam: int = 4
    chain_weight: float = 1.0
    answered: int = 200
    database: int = 0

    def __post_init__(self) -> None:
        for name, known in {"methods": METHODS, "types": TYPES}.items():
            for value in different(name, listed(name, getattr(self, name))):
                one_of(name, value, known)
        for value in different("depths", listed("depths", self.depths)):
            whole("depths", value, 1, DEEPEST)
        for name in SPLITS:
            whole(name, getattr(self, name), 1, 10**6)
        whole("held_out", self.held_out, 0, self.test)
        for number in self.worlds:
            whole("worlds", number, 1)
        if self.pool:
            whole("pool", self.pool, 10, 3000)
        whole("decoys", self.decoys, 0, 100)
        whole("answered", self.answered, 0, 10**5)
        if self.database:
            whole("database", self.database, 500, 3000)
        for name in ("d", "heads", "epochs", "batch"):
            whole(name, getattr(self, name), 1, 10**5)
        whole("beam", self.beam, 1, 100)
        finite("learning_rate", self.learning_rate, above=0)
        finite("chain_weight", self.chain_weight, 0, 1000)
        parameters.seed_list(self.seed, self.seeds)

    def tiny(self) -> "Settings":
        """The least that shows it, in some three minutes on a CPU (§6).

        1,500 questions twice, not 600 five times: as many steps, and better on dev.
        """
        return replace(
            self, types=CHAINS, depths=(1, 2, 3, 4), train=1500, dev=120, test=240,
            worlds=(10, 1, 2), pool=16, held_out=120, d=48, heads=4, epochs=2, learning_rate=3e-3,
            batch=16, seeds=1, reads="words",
        )  # fmt: skip

    def full(self) -> "Settings":
        """The whole of §6's small scale, all kinds of reasoning, three seeds."""
        return replace(
            self.tiny(), types=TYPES, depths=Settings.depths, train=3000, dev=280, test=560,
            worlds=(12, 2, 3), pool=25, held_out=280, d=64, epochs=2, learning_rate=2e-3, seeds=3,
            methods=METHODS,
        )  # fmt: skip

    def small(self) -> "Settings":
        """As `tiny`, beside a real sentence encoder and a real language model.

        It is asked 40 questions, from five kinds of evidence in two forms, some minutes of a CPU.
        SSG, which takes as long above a real encoder, is left to `methods`.
        """
        methods = tuple(method for method in MAIN if method not in SUPPORT)
        return replace(self.tiny(), methods=methods, database=1000, answered=40)


def settings(
    preset: str, size: str = "", seed: int = 0, data_path: str = "", **given: Any
) -> Settings:
    """The preset's settings; those given pin a value, unless empty or -1. `size`: `"full"` at tiny.

    `methods`, `types`, `depths` are lists separated by commas. Raises `ValueError` for an unknown
    preset or size, a list that is none, as `Settings`, and for what goes unheeded beside files.
    """
    chosen, pinned = parameters.of_preset(preset, Settings()), parameters.given(given)
    if one_of("size", size, ("", "full")):
        if preset != "tiny":
            raise ValueError(f"size={size!r} goes unheeded at preset={preset}; give preset=tiny")
        chosen = Settings().full()
    drawn = ("decoys", "types", "depths", "held_out")
    for name in drawn if is_kqa_pro(data_path) else ("pool", *drawn):
        if data_path and name in pinned:
            raise ValueError(f"{name}={pinned[name]!r:.40} goes unheeded beside data_path")
    if is_kqa_pro(data_path):
        pinned.setdefault("pool", Settings.pool)
        whole("pool", pinned["pool"], Settings.pool, 3000)
    for name in ("methods", "types", "depths"):
        if name in pinned:
            pinned[name] = parameters.names(name, pinned[name])
    if "depths" in pinned:
        for value in pinned["depths"]:
            one_of("depths", value, tuple(str(n) for n in range(1, DEEPEST + 1)))
        pinned["depths"] = tuple(map(int, pinned["depths"]))
    if "held_out" not in pinned:
        pinned["held_out"] = min(chosen.held_out, pinned.get("test", chosen.held_out))
    return replace(chosen, seed=seed, **pinned)


def is_kqa_pro(folder: str) -> bool:
    """Whether a folder holds KQA Pro, from whose programs evidence is rebuilt (§3)."""
    return bool(folder) and Path(folder, "kb.json").is_file()


def check_data(folder: str) -> None:
    """Raise `ValueError` for a folder that has neither KQA Pro's files nor questions by split."""
    if not is_kqa_pro(folder):
        split_files(folder)
        return
    for name in ("train.json", "val.json"):
        if not Path(folder, name).is_file():
            raise ValueError(f"data_path={folder!r:.80} has KQA Pro's kb.json, and no {name}")


def published(metric: str) -> tuple[float | None, str | None]:
    """(value, setting) of a metric; None without one."""
    rows = ((row["value"], row["setting"]) for row in PUBLISHED if row["metric"] == metric)
    return next(rows, (None, None))


def preflight(preset: str, given: dict[str, Any]) -> None:
    """Refuse a run that cannot succeed. `given`: parameters that differ from the notebook's own.

    Raises as `settings`, `reference`, `check_data`, and the checks of models.
    """
    names = (
        "methods types depths train dev test pool decoys held_out epochs beam chain_weight "
        "answered database seeds size seed data_path"
    )
    settings(preset, **parameters.picked(given, names))
    reference(given.get("tables_path", ""))
    if folder := given.get("data_path"):
        check_data(folder)
    check_encoder(preset, given.get("model_id", ""), NEEDS)
    check_reader(preset, given.get("seq2seq_id", ""))
    check_completer(given.get("reader_id", ""), given.get("served_model", ""))
