"""What each preset means: checkpoint, dictionary, pairs, settings. The method is the same."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, load_dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from workbench.data.preferences import load_data
from workbench.models.loading import load
from workbench.papers.fpo.paper import BASE, SAE, Settings, preflight
from workbench.paths import EMBEDDED, data_folder
from workbench.sae.dictionary import check_sae, load_sae, sae_hook
from workbench.training.pairs import CHAT_TEMPLATE, checked

MODEL = "styles"
PAIRS = {"paper": "HuggingFaceH4/ultrafeedback_binarized"}
SPLITS = {"train": "train_prefs", "test": "test_prefs"}


@dataclass(frozen=True)
class Scale:
    """What a study runs on. `sae` is a SAELens object; `train` and `test` preference pairs."""

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
    chosen = Settings() if preset == "paper" else Settings().tiny()
    if methods.strip():
        chosen = replace(chosen, methods=tuple(m.strip() for m in methods.split(",")))
    if alphas.strip():
        try:
            grid = {float(a) for a in alphas.split(",")}
        except ValueError as error:
            raise ValueError(f"alphas={alphas!r}: give numbers separated by commas") from error
        chosen = replace(chosen, alphas=tuple(sorted(grid | {0.0})))
    unset = {k for k, v in given.items() if v == "" or (not isinstance(v, str) and v < 0)}
    return replace(chosen, **{k: v for k, v in given.items() if k not in unset})


def scale(
    preset: str, chosen: Settings, *, model_id: str = "", sae: str = "", pairs_path: str = ""
) -> Scale:
    """Load what the preset or the caller names; cheap and likely refusals first.

    Raises as `preflight`, `models.load`, `features.load_sae` and `pairs.checked`.
    """
    preflight(preset, {"model_id": model_id})
    name = model_id or (BASE if preset == "paper" else MODEL)
    if name in EMBEDDED:
        # So small a model gains nothing from a second thread, and loses much on a busy machine.
        torch.set_num_threads(1)
    train = pairs(preset, "train", pairs_path)
    test = pairs(preset, "test", pairs_path)
    dictionary = load_sae(sae or (SAE if preset == "paper" else embedded() / "sae"))
    hook = sae_hook(dictionary, chosen.hook)
    if chosen.k > dictionary.cfg.d_sae:
        raise ValueError(f"k={chosen.k} of {dictionary.cfg.d_sae} SAE features")
    model = load(name)
    reference, tokenizer = model.hf, model.tokenizer
    if isinstance(train[0]["chosen"], list) and not tokenizer.chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE
    check_sae(dictionary, reference, hook)
    return Scale(
        reference, tokenizer, model.name, dictionary.to(reference.device), hook,
        _first(train, chosen.pairs), _first(test, chosen.held_out),
    )  # fmt: skip


def embedded() -> Path:
    """Folder of the embedded checkpoint; its dictionary is in `sae`."""
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
        rows = load_dataset(PAIRS["paper"], split=SPLITS[split])
        rows = rows.select_columns(["prompt", "chosen", "rejected"])
    else:
        found = load_data(MODEL, split)
        keep = ("prompt", "chosen", "rejected")
        rows = Dataset.from_list([{c: r[c] for c in keep} for r in found])
    return checked(rows, split)


def _first(rows: Dataset, count: int) -> Dataset:
    return rows.select(range(min(count, len(rows)))) if count else rows
