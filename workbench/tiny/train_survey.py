"""Train the questionnaire model: persons described, then answers told, then given in turn."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from workbench.tiny.population import Population
from workbench.tiny.survey import NONE, Mixture, Writer, batch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """Optimiser steps on one mixture of texts; the rate goes linearly from `lr` to `end`."""

    steps: int
    mixture: Mixture
    lr: float = 3e-3
    end: float = 3e-3


@dataclass(frozen=True)
class Recipe:
    """Everything the checkpoint depends on, beside the questionnaire.

    What is hard about a questionnaire is a product: a statement's sign and trait, times a person's
    trait, times the order of the options. Learned all at once nothing happens for long; a stage
    that adds one factor at a time takes minutes.
    """

    seed: int = 0
    hidden: int = 64
    layers: int = 4
    heads: int = 8
    kv_heads: int = 4
    mlp: int = 256
    context: int = 512
    texts: int = 48
    spread: float = 0.1
    stages: tuple[Stage, ...] = ()


def recipe(seed: int = 0) -> Recipe:
    """Described persons; answers told; one answer given in a chat; all of it, options turned."""
    stages = (
        Stage(350, Mixture(shares=(1, 0, 0), turned=0)),
        Stage(350, Mixture(shares=(0.1, 0.9, 0), turned=0, counts=(40,))),
        Stage(300, Mixture((0.05, 0.05, 0.9), turned=0, focus=1, counts=(40,), turns=(1,))),
        Stage(650, Mixture((0.1, 0.3, 0.6)), end=0),
    )
    return Recipe(seed=seed, stages=stages)


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A randomly initialised Llama of the recipe's size."""
    torch.manual_seed(recipe.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden,
            intermediate_size=recipe.mlp,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.kv_heads,
            max_position_embeddings=recipe.context,
            tie_word_embeddings=True,
            initializer_range=recipe.spread,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def train(
    model: LlamaForCausalLM,
    writer: Writer,
    population: Population,
    recipe: Recipe,
    done: Callable[[int, float], None] = lambda step, excess: None,
) -> None:
    """AdamW over all stages, in place; `done(step, excess)` after each step.

    The loss on a letter is the cross-entropy with its exact probabilities; `excess`, nats above
    their entropy, is 0 for a model that knew the person fully.
    """
    rng = np.random.default_rng(recipe.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0, weight_decay=0.01, betas=(0.9, 0.98))
    letters = torch.tensor(writer.letter)
    step = 0
    model.train()
    progress = tqdm(total=sum(s.steps for s in recipe.stages), desc="survey", mininterval=5)
    for stage in recipe.stages:
        for at in range(stage.steps):
            rate = stage.lr + (stage.end - stage.lr) * at / stage.steps
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1, (step + 1) / 100)
            made = batch(writer, population, rng, recipe.texts, stage.mixture)
            loss, excess = _loss(model, made, letters)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
            progress.update()
            progress.set_postfix(excess=f"{excess:.3f}", refresh=False)
            done(step, excess)
    progress.close()
    model.eval()


def _loss(
    model: LlamaForCausalLM, made: dict[str, np.ndarray], letters: torch.Tensor
) -> tuple[torch.Tensor, float]:
    tensors = {name: torch.from_numpy(value) for name, value in made.items()}
    hidden_from = torch.zeros(made["visible"].shape).masked_fill(~tensors["visible"], -1e9)
    hidden = model.model(
        tensors["input_ids"],
        attention_mask=hidden_from[:, None],
        position_ids=tensors["position_ids"],
        use_cache=False,
    ).last_hidden_state
    row, place = tensors["at"].unbind(1)
    odds = tensors["odds"]
    logps = model.lm_head(hidden[row, place]).log_softmax(-1)[:, letters]
    entropy = -(odds * odds.clamp_min(1e-9).log()).sum(-1).mean()
    letter = -(odds * logps).sum(-1).mean()
    row, place = (tensors["labels"] != NONE).nonzero().unbind(1)
    fixed = torch.nn.functional.cross_entropy(
        model.lm_head(hidden[row, place - 1]), tensors["labels"][row, place]
    )
    return letter + 0.5 * fixed, (letter - entropy).item()
