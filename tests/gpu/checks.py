"""The checks of `python -m tests.gpu`, most valuable first: to add one, add a function.

Each yields what it measured, `{name: number}` or `{name: one number a round}`, as it goes (or a
remark): what was yielded is kept if it fails or is cut off later. It fails where results disagree
with those of plain forwards. Libraries are imported where they are used, so that one that is
missing costs its check only. Rehearsed, a check runs the same code on toy shapes.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

Values = dict[str, float | list[float]]
Run = Callable[[bool], Iterator[Values | str]]


@dataclass(frozen=True)
class Check:
    """`gigabytes` of free GPU memory it needs, `seconds` it may take, what some values must reach.

    `run(toy)` measures.
    """

    run: Run
    gigabytes: float
    seconds: float
    at_most: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.run.__name__


CHECKS: dict[str, Check] = {}


def check(gigabytes: float, seconds: float, **at_most: float) -> Callable[..., None]:
    """Enter a function into `CHECKS` under its name."""

    def enter(run: Run) -> None:
        CHECKS[run.__name__] = Check(run, gigabytes, seconds, at_most)

    return enter


@check(22, 50)
def capture_8b(toy: bool) -> Iterator[Values | str]:
    """Last-token activations of all layers beside the bare forward, plain hooks and nnsight."""
    from tests.benchmarks import capture, peers, timing

    name = "toy" if toy else "8b"
    alike = ("transformers hidden states, 16", "plain nnsight, 16")
    makers = capture.FLOORS | {peer: peers.PEERS[peer] for peer in alike}
    prompts = timing.prompts(capture.COUNTS[name])
    times, differences, left_out = capture.timed(name, makers, prompts, one_model=True)
    tokens = sum(map(len, timing.tokenizer()(prompts)["input_ids"]))
    yield {"tokens_per_second": [tokens / s for s in times["workbench"]]}
    for peer in (peer for peer in makers if peer in times):
        slug = peer.partition(",")[0].replace(" ", "_")
        yield {f"{slug}_over_ours": timing.ratios(times, peer, capture.beside(peer))}
        yield {f"{slug}_difference": differences[peer]} if peer in differences else {}
    for peer, why in left_out.items():
        yield f"{peer} is left out: {why}"


@check(22, 50, fold_seconds=0.01)
def steering_8b(toy: bool) -> Iterator[Values]:
    """A lock of 24 heads: folding it, and decoding with it folded and hooked over without."""
    import workbench as wb
    from tests.benchmarks import steering, timing

    model = wb.load(timing.make("toy" if toy else "8b"), timing.tokenizer())
    lock = steering.some_lock(model, 2 if toy else 24)
    yield steering.agreement(model, lock)
    folds, forwards = steering.lock_times(model, lock, 1 if toy else 5)
    yield {"fold_seconds": folds, "forward_512_tokens_seconds": forwards}
    yield steering.decode_ratios(model, lock, 1 if toy else 8)


@check(20, 40, rule_ratio_1b=1.05)
def rules_1b(toy: bool) -> Iterator[Values]:
    """Decoding 256 rows under a rule that never fires, over decoding without one."""
    from tests.benchmarks.floor_rules import rules

    yield rules("toy" if toy else "1b")


@check(8, 45, gate_ratio_1b=1.03)
def gate_1b(toy: bool) -> Iterator[Values]:
    """Decoding 64 rows under a gate over decoding without: where it never fires, and sums."""
    from tests.benchmarks.gate import ratios

    yield ratios("toy" if toy else "1b")


@check(8, 30)
def sums_of_all_pairs(toy: bool) -> Iterator[Values]:
    """Every pair of operands below 1 000 put to the compiled networks, in two dtypes."""
    from tests.benchmarks.compiled import wrong_pairs

    for name, dtype in product(("addition", "subtraction"), ("float32", "bfloat16")):
        wrong = wrong_pairs(name, 20 if toy else 1000, dtype)
        yield {f"wrong_{name}_{dtype}": wrong}
        if wrong:
            raise SystemExit(f"{name} in {dtype}: {wrong} pairs are answered wrongly")


@check(40, 40, **{"logprob_ratio_1b_256x256": 1.1, "logprob_memory_share_1b_1x8192": 0.1})
def replies_1b(toy: bool) -> Iterator[Values]:
    """Log-probabilities of replies over the plain forward: time, and logits held at 8k tokens."""
    from tests.benchmarks.floor_replies import replies

    yield replies("toy" if toy else "1b", 1 if toy else 5)


@check(40, 55, offline_pass_over_forward_epoch=1.2)
def fpo_precompute(toy: bool) -> Iterator[Values]:
    """FPO's offline pass over a plain forward epoch of the same pairs, at Gemma-2-2B's shapes."""
    from tests.benchmarks import fpo

    with tempfile.TemporaryDirectory() as folder:
        times = fpo.precompute(fpo.bench(toy, Path(folder)), Path(folder), 4 if toy else 32)
    yield {"offline_pass_over_forward_epoch": times.pop("ratio")}
    yield {f"precompute_{name}": values for name, values in times.items() if name == "difference"}
    yield {f"{name}_seconds": values for name, values in times.items() if name != "difference"}


@check(60, 50)
def fpo_step(toy: bool) -> Iterator[Values]:
    """A training step of FPO over LN-DPO's, in interleaved pairs."""
    from tests.benchmarks import fpo
    from workbench.papers.fpo.costs import step_ratios

    with tempfile.TemporaryDirectory() as folder:
        on = fpo.bench(toy, Path(folder))
        yield {"fpo_over_ln_dpo": step_ratios(on, Path(folder), 1 if toy else 10)}


@check(60, 50)
def prefix_8b(toy: bool) -> Iterator[Values]:
    """Samples of prompts that begin alike, beside plain `generate` on the same random numbers."""
    from tests.benchmarks import generation, timing

    model, asked = generation.behind_one_text("toy" if toy else "8b")
    yield {"shared_beginning_difference": generation.shared_agreement(model, asked)}
    times, same = generation.prefix_times(model, asked)
    yield {"plain_generate_over_ours": timing.ratios(times, "plain", "workbench")}
    yield {"generate_seconds": times["workbench"], "share_of_equal_samples": same}


@check(8, 30)
def probes_8b(toy: bool) -> Iterator[Values]:
    """1 024 heads' probes beside the scikit-learn loop, timed on some heads and extrapolated."""
    from tests.benchmarks import fit

    took, ours, gap = fit.beside_sklearn("decaying", *((1, 2) if toy else (fit.LAYERS, 64)))
    yield {"probes_accuracy_gap": gap, "fit_seconds": ours}
    yield {"sklearn_over_ours": [took / seconds for seconds in ours]}


@check(45, 40)
def fpo_memory(toy: bool) -> Iterator[Values]:
    """Peak bytes and seconds of a step of FPO and its rivals, at Gemma-2-2B's shapes."""
    from tests.benchmarks import fpo
    from workbench.papers.fpo.costs import COMPARED, costs

    with tempfile.TemporaryDirectory() as folder:
        on = fpo.bench(toy, Path(folder))
        for method in COMPARED[: 1 if toy else None]:
            (row,) = costs(on, Path(folder), [method])
            yield {f"{method}_peak_bytes": row["peak_bytes"], f"{method}_seconds": row["seconds"]}


@check(14, 30)
def topk_ten_million(toy: bool) -> Iterator[Values]:
    """Exact search of 10 million float16 vectors by chunks, over a plain product and topk."""
    from tests.benchmarks.retrieval import on_device

    yield from on_device(toy)


@check(16, 400)
def graphhop_tuned(toy: bool) -> Iterator[Values | str]:
    """Graph-hop's network with MiniLM tuned along: speed and loss by dtype, F1 of three seeds."""
    from tests.benchmarks.graphhop import tuned_along

    yield from tuned_along(toy, 240)


@check(16, 470)
def chains_tuned(toy: bool) -> Iterator[Values | str]:
    """The path retriever with MiniLM tuned along: speed, chain EM by depth of two seeds."""
    from tests.benchmarks.chains import tuned_along

    yield from tuned_along(toy, 300)
