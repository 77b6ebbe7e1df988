"""The presets: settings, then the model, SAE and pairs of each. The method is the same."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from workbench.data.preferences import load_data
from workbench.models.loading import load
from workbench.papers import parameters
from workbench.papers.fpo.paper import BASE, SAE, Settings, preflight
from workbench.paths import data_folder
from workbench.sae.loading import check_sae, load_sae, sae_hook
from workbench.training.pairs import CHAT_TEMPLATE, checked

MODEL = "styles"
PAIRS = "HuggingFaceH4/ultrafeedback_binarized"
SPLITS = {"train": "train_prefs", "test": "test_prefs"}


@dataclass(frozen=True)
class Inputs:
    """The model, SAE and preference pairs of a study; `hook`: where the SAE reads.

    `sae` is a SAELens object, `reference` the checkpoint that all trainings begin from.
    """

    reference: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    sae: Any
    hook: str
    train: Dataset
    test: Dataset


def settings(preset: str, *, methods: str = "", alphas: str = "", **given: Any) -> Settings:
    """The preset's settings; those given pin a value, unless empty or below 0.

    `methods`, `alphas`: separated by commas; 0 is always among the alphas. Raises `ValueError` for
    an alpha that is no number and as `Settings`.
    """
    pinned = parameters.given(given)
    if methods.strip():
        pinned["methods"] = parameters.names(methods)
    if alphas.strip():
        pinned["alphas"] = tuple(sorted({0.0, *parameters.numbers("alphas", alphas)}))
    return replace(Settings() if preset == "paper" else Settings().tiny(), **pinned)


def inputs(
    preset: str, chosen: Settings, *, model_id: str = "", sae: str = "", pairs_path: str = ""
) -> Inputs:
    """Load what the preset or the caller names; cheap and likely refusals first.

    Raises as `preflight`, `models.loading.load`, `load_sae` and `training.pairs.checked`;
    `ValueError` for a `k` above the number of features.
    """
    preflight(preset, {"model_id": model_id})
    name = model_id or (BASE if preset == "paper" else MODEL)
    parameters.one_thread_if_embedded([name])
    train = pairs(preset, "train", pairs_path)
    test = pairs(preset, "test", pairs_path)
    features = load_sae(sae or (SAE if preset == "paper" else embedded() / "sae"))
    hook = sae_hook(features, chosen.hook)
    if chosen.k > features.cfg.d_sae:
        raise ValueError(f"k={chosen.k} of {features.cfg.d_sae} SAE features")
    model = load(name)
    reference, tokenizer = model.hf, model.tokenizer
    if isinstance(train[0]["chosen"], list) and not tokenizer.chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE
    check_sae(features, reference, hook)
    return Inputs(
        reference, tokenizer, model.name, features.to(reference.device), hook,
        _first(train, chosen.pairs), _first(test, chosen.held_out),
    )  # fmt: skip


def embedded() -> Path:
    """Folder of the embedded checkpoint; its SAE is in `sae`."""
    return data_folder() / MODEL


def pairs(preset: str, split: str, path: str = "") -> Dataset:
    """Preference pairs of a split: the embedded sample, the hub's, or a .jsonl of the caller's.

    A file without a `split` column is divided: its last tenth is the test.
    """
    if path:
        rows = load_dataset("json", data_files=os.fspath(path), split="train")
        if "split" in rows.column_names:
            rows = rows.filter(lambda r: r["split"] == split).remove_columns("split")
        else:
            cut = len(rows) - max(len(rows) // 10, 1)
            rows = rows.select(range(cut) if split == "train" else range(cut, len(rows)))
    elif preset == "paper":
        rows = load_dataset(PAIRS, split=SPLITS[split])
        rows = rows.select_columns(["prompt", "chosen", "rejected"])
    else:
        columns = ("prompt", "chosen", "rejected")
        rows = Dataset.from_list([{c: r[c] for c in columns} for r in load_data(MODEL, split)])
    return checked(rows, split)


def _first(rows: Dataset, count: int) -> Dataset:
    return rows.select(range(min(count, len(rows)))) if count else rows
