"""The paper as data: its claim, its tables, its settings, and what a run of it needs.

*Constrain Alignment with Sparse Autoencoders*, arXiv 2411.07618, ICML 2025.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from workbench import hub
from workbench.arguments import different, finite, listed, one_of, shown, whole
from workbench.data.fields import split_of_file
from workbench.data.preferences import load_data
from workbench.errors import FeatureError, RunError
from workbench.files import Row
from workbench.models.hook_names import parse_hook
from workbench.models.pair_shapes import read_pairs
from workbench.papers import parameters
from workbench.paths import data_folder
from workbench.sae.settings import stated_features

TITLE = "Constrain Alignment with Sparse Autoencoders (FPO)"
NOTEBOOK = "03_fpo.ipynb"
CLAIM = (
    "Holding back the SAE features of rejected answers, against a reference computed once, "
    "controls a preference-trained model as TDPO does at the cost of a reference-free method."
)

_METHODS = ("DPO", "TDPO-1", "TDPO-2", "SimPO", "FPO")


def _rows(metric: str, dataset: str, table: str, values: tuple[float, ...]) -> list[dict[str, Any]]:
    return [
        {"metric": f"{metric}_{method.lower().replace('-', '')}", "model": f"{method}, Gemma-2-2B",
         "dataset": dataset, "value": value, "table": table}
        for method, value in zip(_METHODS, values, strict=True)
    ]  # fmt: skip


PUBLISHED = [
    *_rows("accuracy", "UltraFeedback", "Table 2, right", (0.599, 0.632, 0.642, 0.634, 0.641)),
    *_rows("entropy", "UltraFeedback", "Table 2, right (nats)", (1.66, 1.65, 1.68, 1.64, 1.68)),
    *_rows("peak_bytes", "first 1000 steps, one H100", "Figure 4, left",
           (47.6e9, 50.1e9, 53.5e9, 45.1e9, 45.5e9)),
]  # fmt: skip
"""Accuracies are shares, entropies nats. Which of Figure 4's five printed values belongs to which
method is inferred from the text."""

BASE = "google/gemma-2-2b"
MODEL = "styles"
MODELS = {"tiny": MODEL, "small": "smollm2", "paper": BASE}
SAES = {
    "tiny": str(data_folder() / MODEL / "sae"),
    "paper": "gemma-scope-2b-pt-res:layer_25/width_16k/average_l0_55",
}
"""None at `small`, which trains its own."""
ROWS = {"tiny": "auto", "small": "small"}
"""Source of the pairs for `load_data`; at `paper` they are on the hub."""
METHODS = {
    "fpo": ("FPO", "fpo", "offline"),
    "ln_dpo": ("LN-DPO", "sigmoid_norm", "offline"),
    "dpo": ("DPO", "sigmoid", "offline"),
    "simpo": ("SimPO", "simpo", "offline"),
    "tdpo1": ("TDPO-1", "tdpo1", "online"),
    "tdpo2": ("TDPO-2", "tdpo2", "online"),
    "simpo_kl": ("SimPO+KL", "simpo_kl", "online"),
}
"""Name here → name in tables and figures, loss and reference of `FPOConfig`."""
FORMULAS = (
    ("DPO", "β[(ℓθ−ℓr)(w) − (ℓθ−ℓr)(l)]", "2 numbers a pair"),
    ("LN-DPO", "β[s(w) − s(l)],  s(y) = (ℓθ(y)−ℓr(y))/|y|", "2 numbers a pair"),
    ("FPO", "LN-DPO − αβ[D(l) − sg D(w)]", "2 numbers and the pooled features a pair"),
    ("SimPO", "β[ℓθ(w)/|w| − ℓθ(l)/|l|] − γ", "none"),
    ("SimPO+KL", "SimPO − αβ[K(l)/|l| − sg K(w)/|w|]", "its whole distribution, every step"),
    ("TDPO-1", "DPO − β[K(l) − K(w)]", "its whole distribution, every step"),
    ("TDPO-2", "DPO − αβ[K(l) − sg K(w)]", "its whole distribution, every step"),
)
"""(method, u, what it needs of the reference); the loss is −log σ(u) (§2.2)."""
SAE_BATCH = 512
"""Activations of a step of an SAE's training; it takes no fewer."""


@dataclass(frozen=True)
class Settings:
    """The paper's values (§2.6); `tiny()` is the preset of that name.

    `alphas`: weights of FPO's constraint, 0 among them (then it is LN-DPO with D logged). `beta`:
    FPO's and LN-DPO's, `beta_dpo`: DPO's and TDPO's, `beta_simpo`: SimPO's. `hook`: where the SAE
    reads, or its own. `steps`: optimiser steps, 0 for one epoch; `warmup`: those in which the
    learning rate rises. `pairs`: training pairs, 0 for all; `held_out`: pairs to evaluate on.
    `lora`: rank of the adapter that is trained and kept, 0 to train all weights. `costs`: 1
    to measure memory and time of a step, 0 not to. `train_sae`: (features, tokens, layer) of a TopK
    SAE that is trained before all else, where none is given; none for the preset's.

    Raises `ValueError` for a number out of range, an unknown choice, one that is there twice,
    methods without fpo or alphas without 0; `FeatureError` for a hook that is not supported.
    """

    methods: tuple[str, ...] = ("fpo", "ln_dpo", "dpo", "simpo", "tdpo2")
    alphas: tuple[float, ...] = (0.0, 0.5)
    beta: float = 0.1
    beta_dpo: float = 0.1
    beta_simpo: float = 2.0
    tdpo_alpha: float = 0.5
    k: int = 50
    topk: str = "union"
    pool: str = "mean"
    reference: str = "offline"
    hook: str | None = None
    steps: int = 0
    batch: int = 32
    per_device: int = 2
    learning_rate: float = 5e-7
    warmup: int = 150
    max_length: int = 1024
    pairs: int = 0
    held_out: int = 2000
    checkpointing: bool = True
    lora: int = 0
    costs: int = 1
    train_sae: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for method in different("methods", listed("methods", self.methods)):
            one_of("methods", method, tuple(METHODS))
        if "fpo" not in self.methods:
            raise ValueError(
                f"methods={','.join(self.methods)}: methods must hold fpo, which the others are "
                "compared with"
            )
        for alpha in listed("alphas", self.alphas):
            finite("alphas", alpha, 0)
        # Names of conditions, metrics and folders hold this much of them.
        different("alphas", [f"{alpha:g}" for alpha in self.alphas])
        if 0.0 not in self.alphas:
            raise ValueError(f"alphas {self.alphas} must hold 0, the comparison")
        for name in ("beta", "beta_dpo", "beta_simpo", "learning_rate"):
            finite(name, getattr(self, name), above=0)
        finite("tdpo_alpha", self.tdpo_alpha, 0)
        one_of("topk", self.topk, ("union", "policy", "ref"))
        one_of("pool", self.pool, ("mean", "sum", "padded"))
        one_of("reference", self.reference, ("offline", "online"))
        if self.pool == "padded" and self.reference == "offline":
            raise ValueError("pool='padded' depends on a batch: set reference='online'")
        if self.hook is not None:
            parse_hook(self.hook)
        for name in ("k", "batch", "per_device", "max_length", "held_out"):
            whole(name, getattr(self, name), 1)
        for name in ("steps", "warmup", "pairs", "lora"):
            whole(name, getattr(self, name), 0)
        whole("costs", self.costs, 0, 1)
        if self.train_sae:
            features, tokens, layer = self.train_sae
            whole("features of train_sae", features, 1)
            whole("tokens of train_sae", tokens, SAE_BATCH)
            whole("layer of train_sae", layer, 0)
        if self.batch % self.per_device:
            raise ValueError(f"batch={self.batch} is no multiple of per_device={self.per_device}")

    def tiny(self) -> "Settings":
        """Larger beta and learning rate, so that 30 steps move a small model; k of 256."""
        return replace(
            self, methods=tuple(METHODS), alphas=(0.0, 0.5, 5.0, 50.0), beta=2.0, k=8, steps=30,
            batch=16, per_device=16, learning_rate=7e-4, warmup=0, max_length=64, pairs=480,
            held_out=200, checkpointing=False,
        )  # fmt: skip

    def small(self) -> "Settings":
        """An adapter that 8 updates of 2 pairs move, and an SAE of the middle of the model.

        Learning rate and alphas were tried with one seed on 10 of the training pairs, of 50 others.
        """
        return replace(
            self, methods=("fpo", "simpo", "tdpo2"), alphas=(0.0, 5.0, 50.0), beta=2.0, k=16,
            steps=8, batch=2, per_device=1, learning_rate=1e-3, warmup=0, max_length=128,
            held_out=20, checkpointing=False, lora=8, costs=0, train_sae=(1024, 12000, 14),
        )  # fmt: skip


def settings(
    preset: str, *, methods: str = "", alphas: str = "", train_sae: str = "", **given: Any
) -> Settings:
    """The preset's settings; those given pin a value, unless empty or -1.

    `methods`, `alphas`, `train_sae`: separated by commas; 0 is always among the alphas. A batch is
    put through the model in parts of the preset's size, or of the largest that divides both. Raises
    `ValueError` for an unknown preset, as `parameters.names` and `parameters.strengths`, as
    `Settings`, and for a warmup that the steps do not reach the end of.
    """
    chosen = parameters.of_preset(preset, Settings())
    pinned = parameters.given(given)
    if compared := parameters.names("methods", methods):
        pinned["methods"] = compared
    if searched := parameters.strengths("alphas", alphas):
        pinned["alphas"] = searched
    if train_sae:
        pinned["train_sae"] = _sae_sizes(train_sae)
    if "batch" in pinned:
        pinned["per_device"] = math.gcd(whole("batch", pinned["batch"], 1), chosen.per_device)
    chosen = replace(chosen, **pinned)
    if "warmup" in pinned and 0 < chosen.steps <= chosen.warmup:
        raise ValueError(
            f"warmup={chosen.warmup}: training ends after steps={chosen.steps}, before the "
            "learning rate is reached"
        )
    return chosen


def _sae_sizes(text: str) -> tuple[int, int, int]:
    """(features, tokens, layer) of `"1024,20000,14"`."""
    try:
        features, tokens, layer = (int(part) for part in text.split(","))
    except (ValueError, AttributeError):
        raise ValueError(
            f"train_sae={shown(text)}: give features, tokens and layer, as 1024,20000,14"
        ) from None
    return features, tokens, layer


def check_inputs(
    preset: str, settings: Settings, *, model_id: str = "", sae: str = "", pairs_path: str = ""
) -> None:
    """Refuse a model, an SAE or pairs that cannot serve, before any library is loaded for them.

    Raises `ValueError` for a path that is no file, a `k` above the features there are, a hook or a
    layer behind the last, texts longer than the model reads, an adapter wider than it, or an SAE
    that is both given and to be trained; `RunError` for one that memory is too little to train;
    `FeatureError` for what is no SAE, and for a model of one's own without an SAE of it;
    `ModelError` for a model that is gated, missing, unreachable or none.
    """
    parameters.check_file("pairs_path", pairs_path)
    own_model, own_sae = MODELS[preset], SAES.get(preset, "")
    usual = parameters.of_preset(preset, Settings())
    if settings.train_sae != usual.train_sae:
        for name, value in (("sae", sae), ("hook", settings.hook)):
            if value:
                raise ValueError(
                    f"{name}={shown(value)} and train_sae are both given: the SAE that is trained "
                    "reads the residual stream behind its own layer; leave one of them out"
                )
    trained = bool(settings.train_sae) and not sae
    if model_id not in ("", own_model) and not sae and not trained:
        raise FeatureError(
            f"model_id={shown(model_id)} is given without sae: the preset's SAE reads {own_model} "
            "alone. Give one of your model with -p sae=RELEASE:ID, a folder or a params.npz; for a "
            f"fine-tune of {own_model} the preset's will do: -p sae={own_sae}. "
            "Or have one trained in the run: -p train_sae=FEATURES,TOKENS,LAYER"
        )
    with parameters.naming("model_id", model_id):
        config = hub.require_model(model_id or own_model)
    sizes = {"max_length": "max_position_embeddings", "lora": "hidden_size"}
    for name, size in sizes.items():
        most = config.get(size)
        if isinstance(most, int) and getattr(settings, name) != getattr(usual, name):
            whole(name, getattr(settings, name), 0, most)
    layers = config.get("num_hidden_layers")
    if trained and not settings.hook and isinstance(layers, int):
        features, tokens, layer = settings.train_sae
        if layer >= layers:
            raise ValueError(
                f"train_sae={features},{tokens},{layer}: the model has {layers} layers, from 0 "
                f"on; give one of them, as -p train_sae={features},{tokens},{layers // 2}"
            )
    if settings.hook and isinstance(layers, int) and parse_hook(settings.hook)[0] >= layers:
        raise ValueError(f"hook={settings.hook!r}: the model has {layers} layers, from 0 on")
    if trained:
        features, width = settings.train_sae[0], config.get("hidden_size") or 0
        whole("k (of the features of train_sae)", settings.k, 1, features)
        size = 2 * 4 * 4 * features * width  # two matrices in float32, gradients and two moments
        parameters.require_memory(f"an SAE of {features} features", size, "train fewer")
        return
    with parameters.naming("sae", sae):
        features = stated_features(sae or own_sae)
    whole("k", settings.k, 1, features)


def preflight(preset: str, given: dict[str, Any]) -> None:
    """Refuse a run that cannot succeed. `given`: parameters that differ from the notebook's own.

    Raises `ValueError` for one out of range, or more pairs than there are; as `check_inputs`, and
    as `read_pairs` for a file of the caller's.
    """
    knobs = "methods alphas beta k topk pool reference hook steps pairs held_out learning_rate "
    knobs += "batch max_length warmup lora costs train_sae"
    chosen = settings(preset, **parameters.picked(given, knobs))
    parameters.seed_list(given.get("seed", 0), given.get("seeds", 3))
    check_inputs(preset, chosen, **parameters.picked(given, "model_id sae pairs_path"))
    if preset == "paper" and not given.get("pairs_path"):
        return
    given_rows: list[list[tuple[str, Row]]] = []
    with parameters.naming("pairs_path", given.get("pairs_path", "")):
        for name, split in (("pairs", "train"), ("held_out", "test")):
            path = given.get("pairs_path")
            rows = split_of_file(path, split) if path else load_data(MODEL, split, ROWS[preset])
            # Fewer than the preset would take are all there are.
            if name in given:
                whole(name, getattr(chosen, name), 0, len(rows), RunError)
            given_rows.append([(f"{split}, row {n}", row) for n, row in enumerate(rows) if path])
        for numbered in given_rows:
            read_pairs(numbered)
