"""What steering costs: decoding folded and hooked over unsteered, and folding itself."""

import statistics

import torch

import workbench as wb
from tests.benchmarks import timing
from workbench.papers.safetylock.costs import lock_seconds

ROUNDS, TOKENS = 14, 16


def some_lock(model: wb.Model, k: int) -> wb.HeadDirections:
    """`k` random heads over all layers."""
    generator = torch.Generator().manual_seed(0)
    cells = torch.randperm(model.n_layers * model.n_heads, generator=generator)[:k]
    unit = torch.nn.functional.normalize(torch.randn(k, model.d_head, generator=generator), dim=1)
    scale = torch.full((k,), 0.3)
    return wb.HeadDirections(cells // model.n_heads, cells % model.n_heads, unit, scale)


def decode_ratios(
    model: wb.Model, lock: wb.HeadDirections, rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """Time of greedy `generate` over the unsteered model's, by way of steering and round."""
    ids = torch.arange(1, 17, device=model.input_device)[None]

    def run() -> float:
        return timing.seconds(
            lambda: model.hf.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, pad_token_id=0,
                min_new_tokens=TOKENS, max_new_tokens=TOKENS,
            )
        )  # fmt: skip

    def steered(how: str, mode: str = "all", alpha: object = 1.0) -> float:
        with wb.steer(model, lock, alpha, how=how, mode=mode):
            return run()

    ways = {
        "plain": run,
        "folded": lambda: steered("fold"),
        "hooked": lambda: steered("hook"),
        "hooked_last": lambda: steered("hook", "last"),
        "hooked_per_row": lambda: steered("hook", alpha=[1.0]),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(rounds + 2):
        for name in list(ways)[:: 1 if i % 2 else -1]:
            times[name].append(ways[name]())
    # The first two rounds warm up.
    times = {name: values[2:] for name, values in times.items()}
    return {f"decode_{name}": timing.ratios(times, name, "plain") for name in list(ways)[1:]}


def decode() -> dict[str, float]:
    """Time per token, K = 24 heads, at 100 M parameters."""
    model = wb.load(timing.make("100m"), timing.tokenizer())
    ratios = decode_ratios(model, some_lock(model, 24))
    return {name: statistics.median(values) for name, values in ratios.items()}


@torch.inference_mode()
def lock_times(
    model: wb.Model, lock: wb.HeadDirections, rounds: int = 5
) -> tuple[list[float], list[float]]:
    """Seconds of folding a lock, and of one forward of 512 tokens."""
    ids = torch.randint(0, 700, (1, 512), device=model.input_device)
    model.hf(ids, use_cache=False)
    forwards, folds = [], []
    for _ in range(rounds):
        forwards.append(timing.seconds(lambda: model.hf(ids, use_cache=False)))
        folds += lock_seconds(model, lock, 6.0, repeats=3)
    return folds, forwards


def lock() -> dict[str, float]:
    """Folding a lock over one 512-token forward in two layers of the 8B shape."""
    model = wb.load(timing.make("8b", num_hidden_layers=2, vocab_size=1000), timing.tokenizer())
    folds, forwards = lock_times(model, some_lock(model, 4))
    return {
        "fold_over_512_token_forward_8b": statistics.median(folds) / statistics.median(forwards)
    }


@torch.inference_mode()
def agreement(model: wb.Model, lock: wb.HeadDirections, alpha: float = 40.0) -> dict[str, float]:
    """How far folded and hooked logits are from a plain forward whose heads are shifted by hand.

    `steered_effect`: what the shift itself does to the logits, as a share of their largest.
    `SystemExit` where they differ, or the shift does less than differences could hide.
    """
    ids = torch.arange(1, 129, device=model.input_device)[None]
    shifts = torch.zeros(model.n_layers, model.n_heads, model.d_head, device=ids.device)
    shifts[lock.layer, lock.head] = alpha * (lock.scale[:, None] * lock.unit).to(ids.device)

    def forward() -> torch.Tensor:
        return model.hf(ids, use_cache=False).logits

    plain = forward()
    hooks = [
        layer.self_attn.o_proj.register_forward_pre_hook(
            lambda _, args, shift=shift: (args[0] + shift.flatten().to(args[0].dtype),)
        )
        for layer, shift in zip(model.hf.model.layers, shifts, strict=True)
    ]
    by_hand = forward()
    for hook in hooks:
        hook.remove()
    out = {}
    for how in ("fold", "hook"):
        with wb.steer(model, lock, alpha, how=how):
            out[f"steered_difference_{how}"] = timing.require_close(how, forward(), by_hand)
    effect = timing.difference(plain, by_hand)
    if not effect > 4 * max(out.values()):
        raise SystemExit(f"alpha {alpha:g} changes the logits by {effect:.2g}: rounding hides it")
    return out | {"steered_effect": effect}
