"""Interleaved timing and the models and prompts every benchmark shares.

On a CPU times are CPU seconds of one thread, which other work on the machine hardly disturbs.
"""

import math
import random
import statistics
import time
from collections.abc import Callable

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

import workbench as wb
from workbench.paths import data_folder

THREADS = torch.get_num_threads()
"""How many there are, before any benchmark asked for one."""
SHAPES = {
    # Large enough to run, for a rehearsal.
    "toy": {
        "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    },
    # 0.1 B parameters, an 8B layer in width, heads and grouping; d_head 64 and 128.
    "100m": {
        "vocab_size": 32000, "hidden_size": 768, "intermediate_size": 2048,
        "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 4,
    },
    "1b": {
        "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192,
        "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
        "tie_word_embeddings": True,
    },
    "8b": {
        "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    },
}  # fmt: skip


LIMITS = {torch.float32: 1e-4, torch.bfloat16: 0.05}
"""How far results may be from those of a plain forward, as a share of the largest value."""


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def dtype() -> torch.dtype:
    """What random models are made in: bfloat16 on a GPU."""
    return torch.bfloat16 if device().type == "cuda" else torch.float32


def make(name: str, **changed: int) -> LlamaForCausalLM:
    """A plain transformers model: the embedded one, or a random Llama of a shape; seeded.

    Random ones are made where they run. `changed`: other sizes than the shape's.
    """
    if name == "tiny":
        return LlamaForCausalLM.from_pretrained(data_folder() / "tiny").eval().to(device())
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPES[name] | changed, max_position_embeddings=16384, pad_token_id=0)
    with device():
        return AutoModelForCausalLM.from_config(config, dtype=dtype()).eval()


def tokenizer():
    """The embedded model's."""
    return wb.load("tiny", device="cpu").tokenizer


def prompts(count: int, seed: int = 0) -> list[str]:
    """Plain sentences of the embedded town, of log-uniform length in 8 to 128 tokens."""
    rng = random.Random(seed)
    words = "mend the gate with a hammer and look at old Mara by her bone".split()
    low, high = math.log(8), math.log(128)
    lengths = [round(math.exp(rng.uniform(low, high))) - 2 for _ in range(count)]
    return [" ".join(rng.choice(words) for _ in range(n)) for n in lengths]


def pairs(count: int, seed: int = 0) -> list[str]:
    """What SafetyLock extracts from: one long system prompt, a question, a safe or unsafe reply.

    Its default style puts Llama 2's safety prompt (about 140 tokens) in front of every sequence;
    the replies are 4 to 35 words long.
    """
    rng = random.Random(seed)
    words = "mend the gate with a hammer and look at old Mara by her bone".split()

    def text(low: int, high: int) -> str:
        return " ".join(rng.choice(words) for _ in range(rng.randint(low, high)))

    system = text(138, 138)
    out = []
    for _ in range(count // 2):
        question = text(8, 16)
        out += [f"{system} {question} {text(4, 35)}" for _ in range(2)]
    return out


def clock() -> float:
    """Seconds of this process on one CPU thread; of the wall on several threads or a GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def seconds(call: Callable[[], object]) -> float:
    """Seconds of one call by `clock`, the device's work included."""
    start = clock()
    call()
    return clock() - start


def interleaved(
    calls: dict[str, Callable[[], object]], rounds: int, *, warm: bool = True
) -> dict[str, list[float]]:
    """Seconds of every call in every round, in alternating order.

    `warm`: each is made once before; not needed where it has been.
    """
    for call in calls.values() if warm else ():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds):
        for name in list(calls)[:: 1 if i % 2 else -1]:
            times[name].append(seconds(calls[name]))
    return times


def ratios(times: dict[str, list[float]], slow: str, fast: str) -> list[float]:
    """(Seconds of `slow`) / (seconds of `fast`) in every round."""
    return [a / b for a, b in zip(times[slow], times[fast], strict=True)]


def ratio(times: dict[str, list[float]], slow: str, fast: str) -> float:
    """Median over rounds of (seconds of `slow`) / (seconds of `fast`)."""
    return statistics.median(ratios(times, slow, fast))


def difference(got: torch.Tensor, reference: torch.Tensor) -> float:
    """The largest difference, as a share of the reference's largest value."""
    got, reference = got.float(), reference.to(got.device).float()
    return ((got - reference).abs().max() / reference.abs().max()).item()


def require_close(what: str, got: torch.Tensor, reference: torch.Tensor) -> float:
    """The `difference`; `SystemExit` where it is more than the dtype explains (`LIMITS`)."""
    limit, worst = LIMITS[dtype()], difference(got, reference)
    if not worst <= limit:
        raise SystemExit(f"{what}: off by {worst:.2g} of the largest value, limit {limit:g}")
    return worst
