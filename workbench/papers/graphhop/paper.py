"""What the paper is and says (arXiv 2305.14211): its tables, its settings, what a run needs.

The tables of results were not to be had when this was written: their columns stay blank unless a
file of the user's own fills them (`reference`). No figure here is made up.
"""

from dataclasses import dataclass, replace
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
from workbench.retrieval.graphs import STRUCTURES

TITLE = (
    "Towards Graph-hop Retrieval and Reasoning in Complex Question Answering over Textual Database"
)
NOTEBOOK = "05_graphhop.ipynb"
CLAIM = (
    "Questions over a database of sentences need several chains of several hops; a retriever that "
    "reads fact after fact, and grows an explicit graph of evidence, finds what one query cannot."
)
UNTRAINED = ("bm25", "tfidf", "dense")
"""Rankings by one query. Each also has a row of as many facts as the gold graph has."""
TRAINED = {
    "one_hop": ("one_hop",), "single_chain": ("forward",), "forward": ("forward",), "backward":
    ("backward",), "bgr_official": ("forward", "backward"), "bgr": ("forward", "backward"),
}  # fmt: skip
"""Method → the directions that it takes a network of. `bgr` fuses scores, which is ours;
`bgr_official` has the released gate (§2.4)."""
TOWERS = ("two_towers",)
"""A ranking by one query, too, above the encoder fitted to the questions, by seed."""
SWEPT = ("one_hop", "forward")
"""What is asked under more and more decoys (`sweeps`)."""
SUPPORT = ("ssg", "ssg_released")
"""The support-set generator of neural databases, repaired and as it was; above the encoder."""
OFFICIAL_LABELS = "forward_official_labels"
"""The forward network, trained on the labels of the release (§5, trap 1)."""
ABLATIONS = ("forward_names", "forward_names_matches", "forward_frozen")
"""What failed (§6), forward: words with a vector of each name, without matches and with them; the
states of a sentence encoder as they are."""
MAIN = (*UNTRAINED, *TOWERS, "ssg", *TRAINED, OFFICIAL_LABELS)
METHODS = (*MAIN, *ABLATIONS, "ssg_released")
TRAINED |= {method: (method,) for method in (OFFICIAL_LABELS, *ABLATIONS)}
NEEDS = (
    "preset=paper takes some hours on one GPU with 16 GB: BERT (0.4 GB), and questions of invented "
    "worlds, or -p data_path=FOLDER with the official ones. -p model_id= takes any other encoder"
)
PUBLISHED = [
    {"metric": f"share_{name.lower()}", "value": share, "setting": "ReasonGraphQA, Table 1"}
    for name, share in zip(STRUCTURES, (0.195, 0.386, 0.087, 0.331), strict=True)
]
"""Questions by structure, as a public summary of the paper gives them."""


@dataclass(frozen=True)
class Settings:
    """The official values where there are any (§2.3), of data what ReasonGraphQA has.

    `train`, `dev`, `test`: questions, drawn from as many worlds as `worlds` has in that order, or
    the first of a file. `pool`: candidate facts of a question; `decoys`: complete decoy chains for
    each branch. `d`, `heads`: of the networks; `epochs` of training, `one_hop_epochs` of that which
    knows no second hop, `official_epochs` of that on the release's labels. `seeds`: trainings, the
    first `seed`. `reads`: what the networks read (`train.Fit`); above an encoder that is `"tuned"`
    along they have its size. `head`: what of a fact is scored (`model.Retriever`). `share`: forward
    and backward are trained at once, above one encoder; else apart, as released. `hop_questions`:
    of each number of hops, which fine-tuned encoders are asked over whole databases. `largest`:
    sentences of the largest database of the retrieval curve, 0 for none.

    Raises `ValueError` for a number out of range, an unknown method, or one that is there twice.
    """

    methods: tuple[str, ...] = MAIN
    train: int = 11703
    dev: int = 1506
    test: int = 1469
    worlds: tuple[int, int, int] = (24, 4, 4)
    pool: int = 25
    decoys: int = 2
    d: int = 768
    heads: int = 12
    epochs: int = 20
    one_hop_epochs: int = 20
    official_epochs: int = 20
    learning_rate: float = 1e-5
    batch: int = 8
    seeds: int = 3
    seed: int = 0
    reads: str = "tuned"
    head: str = "cls"
    share: bool = False
    hop_questions: int = 0
    largest: int = 0

    def __post_init__(self) -> None:
        for method in different("methods", listed("methods", self.methods)):
            one_of("methods", method, METHODS)
        for name in SPLITS:
            whole(name, getattr(self, name), 1, 10**6)
        for number in self.worlds:
            whole("worlds", number, 1)
        whole("pool", self.pool, 10, 2000)
        whole("decoys", self.decoys, 0, 100)
        whole("hop_questions", self.hop_questions, 0, 500)
        if self.largest:
            whole("largest", self.largest, 100, 10**6)
        for name in ("d", "heads", "epochs", "one_hop_epochs", "official_epochs", "batch"):
            whole(name, getattr(self, name), 1, 10**5)
        finite("learning_rate", self.learning_rate, above=0)
        one_of("head", self.head, ("cls", "tokens"))
        if not isinstance(self.share, bool):
            raise ValueError(f"share={self.share!r:.40}: give true or false")
        if self.reads != "words" and (others := [m for m in self.methods if m in ABLATIONS]):
            raise ValueError(f"methods={others[0]!r} is of preset=tiny and small alone")
        parameters.seed_list(self.seed, self.seeds)

    def tiny(self) -> "Settings":
        """The least that shows it, in less than three minutes on a CPU (§6)."""
        return replace(
            self, train=600, dev=120, test=240, worlds=(4, 1, 2), pool=16, d=48, heads=4, epochs=5,
            one_hop_epochs=5, official_epochs=2, learning_rate=3e-3, batch=16, seeds=1,
            reads="words",
        )  # fmt: skip

    def full(self) -> "Settings":
        """The whole of §6's scale, three seeds: some 30 minutes on a CPU."""
        return replace(
            self.tiny(), train=1500, dev=240, test=480, worlds=(6, 2, 3), pool=25, d=64, epochs=6,
            one_hop_epochs=8, official_epochs=6, learning_rate=2e-3, seeds=3, methods=METHODS,
        )  # fmt: skip

    def small(self) -> "Settings":
        """As `tiny`, beside a real sentence encoder."""
        return replace(self.tiny(), hop_questions=100, largest=10_000)


def settings(
    preset: str,
    size: str = "",
    seed: int = 0,
    data_path: str = "",
    ablations: bool = False,
    **given: Any,
) -> Settings:
    """The preset's settings; those given pin a value, unless empty or -1. `size`: `"full"` at tiny.

    `ablations`: with what failed beside the preset's methods (all of `METHODS`).

    Raises `ValueError` for an unknown preset or size, a list that is none, as `Settings`, and for
    pools that are given beside files (`data_path`), which have their own.
    """
    chosen, pinned = parameters.of_preset(preset, Settings()), parameters.given(given)
    if one_of("size", size, ("", "full")):
        if preset != "tiny":
            raise ValueError(f"size={size!r} goes unheeded at preset={preset}; give preset=tiny")
        chosen = Settings().full()
    for name in ("pool", "decoys"):
        if data_path and name in pinned:
            raise ValueError(f"{name}={pinned[name]!r:.40} goes unheeded beside data_path")
    if "epochs" in pinned:
        pinned |= dict.fromkeys(("one_hop_epochs", "official_epochs"), pinned["epochs"])
    if "methods" in pinned:
        pinned["methods"] = parameters.names("methods", pinned["methods"])
    if ablations:
        if "methods" in pinned:
            raise ValueError("ablations goes unheeded beside methods; name them there")
        pinned["methods"] = tuple(dict.fromkeys((*chosen.methods, *METHODS)))
    return replace(chosen, seed=seed, **pinned)


def published(metric: str) -> tuple[float | None, str | None]:
    """(value, setting) of a metric; None without one."""
    rows = ((row["value"], row["setting"]) for row in PUBLISHED if row["metric"] == metric)
    return next(rows, (None, None))


def preflight(preset: str, given: dict[str, Any]) -> None:
    """Refuse a run that cannot succeed. `given`: parameters that differ from the notebook's own.

    Raises as `settings`, `reference`, `split_files`, and the checks of models.
    """
    names = (
        "methods train dev test pool decoys hop_questions largest epochs seeds size seed data_path "
        "head share ablations"
    )
    settings(preset, **parameters.picked(given, names))
    reference(given.get("tables_path", ""))
    if folder := given.get("data_path"):
        split_files(folder)
    check_encoder(preset, given.get("model_id", ""), NEEDS)
    check_reader(preset, given.get("seq2seq_id", ""))
    check_completer(given.get("reader_id", ""), given.get("served_model", ""))
