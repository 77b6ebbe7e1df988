"""The presets: settings, then the model, SAE and pairs of each. The method is the same."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from workbench.arguments import whole
from workbench.data.fields import split_of_file
from workbench.data.preferences import load_data
from workbench.errors import FeatureError
from workbench.hashing import digest
from workbench.hub import hub_rows
from workbench.models.forward_state import forward_digest, libraries
from workbench.models.loading import load
from workbench.models.token_ids import require_pad
from workbench.papers import parameters
from workbench.papers.fpo.paper import (
    MODEL,
    MODELS,
    ROWS,
    SAE_BATCH,
    SAES,
    Settings,
    check_inputs,
)
from workbench.papers.fpo.paper import settings as settings
from workbench.sae.loading import check_sae, load_sae, sae_hook
from workbench.sae.training import response_activations, train_topk
from workbench.training.pair_sets import checked
from workbench.training.pairs import CHAT_TEMPLATE, tokenised
from workbench.training.resume import fault, seal
from workbench.writing import disk_errors

log = logging.getLogger(__name__)

PAIRS = "HuggingFaceH4/ultrafeedback_binarized"
ACTIVE = 32
"""Features a token of an SAE that is trained in the run."""
BESIDE = {"small": ("preference",)}
"""Pairs of ours whose answers an SAE is trained on besides: those of the study are few."""
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


def inputs(
    preset: str,
    chosen: Settings,
    *,
    model_id: str = "",
    sae: str = "",
    pairs_path: str = "",
    work: Path | None = None,
) -> Inputs:
    """Load what the preset or the caller names; cheap and likely refusals first.

    An SAE that is trained is kept in `work`, where one is given. At `small` pairs of texts become
    conversations where the model has a chat template.

    Raises as `check_inputs`, `models.loading.load`, `load_sae`, `sae.training.train_topk` and
    `training.pair_sets.checked`;
    `ValueError` for a `k` above the number of features, or more pairs asked for than there are.
    """
    check_inputs(preset, chosen, model_id=model_id, sae=sae, pairs_path=pairs_path)
    name = model_id or MODELS[preset]
    parameters.one_thread_if_embedded([name])
    train = pairs(preset, "train", pairs_path)
    test = pairs(preset, "test", pairs_path)
    features: Any = None
    if sae or not chosen.train_sae:
        features = load_sae(sae or SAES[preset])
        hook = sae_hook(features, chosen.hook)
        whole("k", chosen.k, 1, features.cfg.d_sae)
    usual = settings(preset)
    for count, rows in (("pairs", train), ("held_out", test)):
        # Fewer than the preset would take are all there are; of a number of one's own it is wrong.
        if getattr(chosen, count) != getattr(usual, count):
            whole(count, getattr(chosen, count), 0, len(rows))
    model = load(name)
    reference, tokenizer = model.hf, model.tokenizer
    if not chosen.lora and reference.device.type == "cpu":
        size = 4 * reference.get_memory_footprint()  # weights, gradients and two moments
        parameters.require_memory("training all weights (lora=0)", size, "train an adapter: lora=8")
    chats = [isinstance(rows[0]["chosen"], list) for rows in (train, test)]
    if any(chats) and not tokenizer.chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE
        log.warning("%s has no chat template: it is given the released code's", model.name)
    require_pad(tokenizer, model.n_tokens)
    beside = [_ours(name, "train", "small") for name in BESIDE.get(preset, ())]
    if preset == "small":
        train, test, *beside = (as_chat(rows, tokenizer) for rows in (train, test, *beside))
    train = _first(train, chosen.pairs)
    if features is None:
        features, hook = _trained_sae(reference, tokenizer, [train, *beside], chosen, work)
    check_sae(features, reference, hook)
    return Inputs(
        reference, tokenizer, model.name, features.to(reference.device), hook,
        train, _first(test, chosen.held_out),
    )  # fmt: skip


def _trained_sae(
    reference: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sets: list[Dataset],
    chosen: Settings,
    work: Path | None,
) -> tuple[Any, str]:
    """A TopK SAE of the answers of some pairs, and where it reads; kept in `work`, if anywhere."""
    features, tokens, layer = chosen.train_sae
    hook = chosen.hook or f"blocks.{layer}.hook_resid_post"
    rows = [row for each in sets for row in tokenised(each, tokenizer, chosen.max_length, "train")]
    key = digest([forward_digest(reference.eval()), rows, chosen.train_sae, hook, libraries()])
    folder = work / f"sae-{key}" if work else None
    if folder and not fault(folder, key):
        return load_sae(folder), hook
    values = response_activations(
        reference, rows, hook, tokens, batch=chosen.per_device, pad_token_id=tokenizer.pad_token_id
    )
    if len(values) < SAE_BATCH:
        raise FeatureError(
            f"train_sae: the answers have {len(values)} tokens, and an SAE is trained on "
            f"{SAE_BATCH} at least: give more pairs, or an SAE with -p sae=RELEASE:ID or a folder"
        )
    if len(values) < tokens:
        log.warning("train_sae: the answers have %d tokens, not %d", len(values), tokens)
    name = reference.config._name_or_path
    active = min(ACTIVE, features)
    sae = train_topk(values, features, active, hook_name=hook, model_name=name, batch=SAE_BATCH)
    if folder:
        with disk_errors(folder):
            sae.save_model(folder)
            seal(folder, key)
    return sae, hook


def pairs(preset: str, split: str, path: str = "") -> Dataset:
    """Preference pairs of a split: the embedded sample, the hub's, or a file of the caller's.

    A file (as `files.read_rows` reads it) without a `split` column is divided: its last tenth is
    the test. Raises `DatasetError` as that and `of_split` do, and as `checked`.
    """
    if path:
        return checked(split_of_file(path, split), split)
    if preset == "paper":
        rows = hub_rows(PAIRS, SPLITS[split])
        return checked(rows.select_columns(["prompt", "chosen", "rejected"]), split)
    return checked(_ours(MODEL, split, ROWS[preset]), split)


def _ours(name: str, split: str, source: str) -> Dataset:
    columns = ("prompt", "chosen", "rejected")
    rows = load_data(name, split, source)
    return Dataset.from_list([{c: row[c] for c in columns} for row in rows])


def as_chat(rows: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """Pairs of texts as conversations, if the model has a template for them."""
    if isinstance(rows[0]["chosen"], list):
        return rows
    if not tokenizer.chat_template:
        log.warning("the model has no chat template: an answer follows its prompt as plain text")
        return rows
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    return rows.map(lambda row: {c: [{"role": r, "content": row[c]}] for c, r in roles.items()})


def _first(rows: Dataset, count: int) -> Dataset:
    return rows.select(range(min(count, len(rows)))) if count else rows
