"""Last-token, all-layer activations as each tool's users would take them.

Each maker takes a plain transformers model of its own, a tokenizer and the prompts, and returns a
call that yields float32 `[prompt, layer, width]`. Batches of 16 in the order given, unless the
tool's own way is one prompt at a time.
"""

import contextlib
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import workbench as wb
from workbench.models.limits import Budget
from workbench.models.prompts import encode_all

Call = Callable[[], torch.Tensor]
Maker = Callable[[Any, Any, list[str]], Call]
BATCH = 16


def workbench_resid(hf: Any, tokenizer: Any, prompts: list[str]) -> Call:
    model = wb.load(hf, tokenizer)
    return lambda: wb.capture(model, prompts, "resid").values[:, 0]


def workbench_heads(hf: Any, tokenizer: Any, prompts: list[str]) -> Call:
    model = wb.load(hf, tokenizer)
    return lambda: wb.capture(model, prompts, "heads").values[:, 0].flatten(2)


class _Reached(Exception):  # noqa: N818 - a way out of the forward
    pass


def bare(hf: Any, tokenizer: Any, prompts: list[str]) -> Call:
    """No activations at all: the same batches through the same layers, stopped at the same place.

    This is the floor; its result is empty.
    """
    model = wb.load(hf, tokenizer)
    encoded = encode_all(model, prompts)
    budget = Budget.of(model).tokens
    last = hf.model.layers[-1]

    def stop(*_: Any) -> None:
        raise _Reached

    @torch.inference_mode()
    def call() -> torch.Tensor:
        hook = last.register_forward_hook(stop)
        queue = sorted(range(len(encoded)), key=lambda i: -len(encoded[i].ids))
        while queue:
            width = len(encoded[queue[0]].ids)
            n = max(1, budget // width)
            rows = [encoded[i].ids + [0] * (width - len(encoded[i].ids)) for i in queue[:n]]
            del queue[:n]
            with contextlib.suppress(_Reached):
                hf(torch.tensor(rows, device=hf.device), use_cache=False)
        hook.remove()
        return torch.empty(0)

    return call


def _batches(hf: Any, tokenizer: Any, prompts: list[str], size: int) -> list[dict[str, Any]]:
    return [
        tokenizer(prompts[i : i + size], padding=True, return_tensors="pt").to(hf.device)
        for i in range(0, len(prompts), size)
    ]


def official_heads(hf: Any, tokenizer: Any, prompts: list[str]) -> Call:
    """SafetyLock's (and ITI's) extraction: one prompt at a time through the whole model.

    Hooks keep the input of every `o_proj` and all hidden states at all tokens, as numpy; the
    wanted token is cut out afterwards.
    """

    @torch.no_grad()
    def call() -> torch.Tensor:
        out = []
        for prompt in prompts:
            kept: list[torch.Tensor] = []
            hooks = [
                layer.self_attn.o_proj.register_forward_pre_hook(
                    lambda _, args, kept=kept: kept.append(args[0].detach().clone())
                )
                for layer in hf.model.layers
            ]
            ids = tokenizer(prompt, return_tensors="pt").input_ids.to(hf.device)
            states = hf(ids, output_hidden_states=True).hidden_states
            torch.stack(states).squeeze().detach().float().cpu().numpy()
            heads = torch.stack([k.squeeze(0) for k in kept]).float().cpu().numpy()
            for hook in hooks:
                hook.remove()
            out.append(heads[:, -1])
        return torch.from_numpy(np.stack(out))

    return call


def hidden_states(hf: Any, tokenizer: Any, prompts: list[str]) -> Call:
    """transformers' own `output_hidden_states`, which repeng reads; last layer after the norm."""

    @torch.no_grad()
    def call() -> torch.Tensor:
        out = []
        for batch in _batches(hf, tokenizer, prompts, BATCH):
            states = hf(**batch, output_hidden_states=True).hidden_states[1:]
            last = batch["attention_mask"].cumsum(1).argmax(1)
            rows = torch.arange(len(last), device=hf.device)
            out.append(torch.stack([s[rows, last] for s in states], 1).float().cpu())
        return torch.cat(out)

    return call


def repeng(hf: Any, tokenizer: Any, prompts: list[str]) -> Call:
    from repeng.extract import batched_get_hiddens

    layers = list(range(hf.config.num_hidden_layers))

    def call() -> torch.Tensor:
        got = batched_get_hiddens(hf, tokenizer, prompts, layers, BATCH)
        return torch.from_numpy(np.stack([got[i] for i in layers], 1))

    return call


def steering_vectors(hf: Any, tokenizer: Any, prompts: list[str]) -> Call:
    from steering_vectors import record_activations

    @torch.no_grad()
    def call() -> torch.Tensor:
        out = []
        for batch in _batches(hf, tokenizer, prompts, BATCH):
            with record_activations(hf, clone_activations=False) as recorded:
                hf(**batch)
            last = batch["attention_mask"].cumsum(1).argmax(1)
            rows = torch.arange(len(last), device=hf.device)
            states = [recorded[i][0][rows, last] for i in sorted(recorded)]
            out.append(torch.stack(states, 1).float().cpu())
        return torch.cat(out)

    return call


def nnsight(hf: Any, tokenizer: Any, prompts: list[str]) -> Call:
    from nnsight import TransformersModel
    from nnsight import save as keep

    model = TransformersModel(hf, task="text-generation", tokenizer=tokenizer)

    @torch.no_grad()
    def call() -> torch.Tensor:
        out = []
        for batch in _batches(hf, tokenizer, prompts, BATCH):
            last = batch["attention_mask"].cumsum(1).argmax(1)
            rows = torch.arange(len(last), device=hf.device)
            with model.trace(**batch) as tracer:
                states = keep([])
                for layer in model.model.layers:
                    states.append(layer.output[rows, last])
                tracer.stop()
            out.append(torch.stack(states, 1).float().cpu())
        return torch.cat(out)

    return call


def transformer_lens(hf: Any, tokenizer: Any, prompts: list[str]) -> Call:
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(
        hf.config.name_or_path or "llama", hf_model=hf, tokenizer=tokenizer, device=str(hf.device)
    )
    names = [f"blocks.{i}.hook_resid_post" for i in range(hf.config.num_hidden_layers)]
    wanted = set(names)

    @torch.no_grad()
    def call() -> torch.Tensor:
        out = []
        for batch in _batches(hf, tokenizer, prompts, BATCH):
            last = batch["attention_mask"].cumsum(1).argmax(1)
            rows = torch.arange(len(last), device=hf.device)
            _, cache = bridge.run_with_cache(
                batch["input_ids"],
                attention_mask=batch["attention_mask"],
                names_filter=lambda name: name in wanted,
            )
            out.append(torch.stack([cache[n][rows, last] for n in names], 1).float().cpu())
        return torch.cat(out)

    return call


def pyvene(hf: Any, tokenizer: Any, prompts: list[str]) -> Call:
    import pyvene as pv

    layers = range(hf.config.num_hidden_layers)
    config = pv.IntervenableConfig(
        [
            {"layer": i, "component": "block_output", "intervention_type": pv.CollectIntervention}
            for i in layers
        ]
    )
    model = pv.IntervenableModel(config, hf)

    @torch.no_grad()
    def call() -> torch.Tensor:
        out = []
        for prompt in prompts:
            batch = tokenizer(prompt, return_tensors="pt").to(hf.device)
            at = batch["input_ids"].shape[1] - 1
            collected = model(batch, unit_locations={"base": at})[0][1]
            out.append(torch.stack([c.flatten() for c in collected]).float().cpu())
        return torch.stack(out)

    return call


PEERS = {
    "transformers hidden states, 16": hidden_states,
    "plain nnsight, 16": nnsight,
    "steering-vectors, 16": steering_vectors,
    "repeng, 16": repeng,
    "transformer-lens, 16": transformer_lens,
    "pyvene, 1": pyvene,
}
EXACT_LAST_LAYER = {
    "plain nnsight, 16",
    "steering-vectors, 16",
    "transformer-lens, 16",
    "pyvene, 1",
}


def quiet() -> None:
    """Keep the peers' own progress bars and notes out of the table."""
    logging.disable(logging.WARNING)
