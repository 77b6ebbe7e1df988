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


def decode() -> dict[str, float]:
    """Time per token of greedy `generate`, K = 24 heads, over the unsteered model."""
    model = wb.load(timing.make("100m"), timing.tokenizer())
    lock = some_lock(model, 24)
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
    for i in range(ROUNDS + 2):
        for name in list(ways)[:: 1 if i % 2 else -1]:
            times[name].append(ways[name]())
    # The first two rounds warm up.
    times = {name: values[2:] for name, values in times.items()}
    return {
        f"decode_{name}": statistics.median(
            a / b for a, b in zip(times[name], times["plain"], strict=True)
        )
        for name in list(ways)[1:]
    }


@torch.inference_mode()
def lock() -> dict[str, float]:
    """Folding a lock over one 512-token forward at the 8B shape (2 of its layers on a CPU)."""
    from transformers import LlamaConfig, LlamaForCausalLM

    on_gpu = timing.device().type == "cuda"
    layers = {} if on_gpu else {"num_hidden_layers": 2, "vocab_size": 1000}
    torch.manual_seed(0)
    with timing.device():
        hf = LlamaForCausalLM(LlamaConfig(**timing.SHAPES["8b"] | layers)).eval()
    hf = hf.to(torch.bfloat16) if on_gpu else hf
    model = wb.load(hf, timing.tokenizer())
    direction = some_lock(model, 24 if on_gpu else 4)
    ids = torch.randint(0, 700, (1, 512), device=model.input_device)
    model.hf(ids, use_cache=False)
    forwards, folds = [], []
    for _ in range(5):
        forwards.append(timing.seconds(lambda: model.hf(ids, use_cache=False)))
        folds += lock_seconds(model, direction, 6.0, repeats=3)
    out = {"fold_over_512_token_forward_8b": statistics.median(folds) / statistics.median(forwards)}
    return out | ({"fold_seconds_8b": statistics.median(folds)} if on_gpu else {})
