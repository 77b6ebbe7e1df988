"""PAS beside what the paper does: everybody's directions at once, and letters without decoding."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import workbench as wb
from tests.benchmarks import timing
from workbench.data.inventories import read_inventory
from workbench.papers.pas.answer import NEW_TOKENS, distribution, written
from workbench.papers.pas.contrast import AnswerContrast
from workbench.papers.pas.personas import Personas, personas
from workbench.papers.pas.prompts import SYSTEM, texts
from workbench.tiny import survey_texts

SUBJECTS, ITEMS, LAYERS, HEADS, WIDTH = 300, 120, 32, 32, 128
LOOPED_SUBJECTS, LOOPED_HEADS = 3, 64
"""What the loop is timed on; the rest is extrapolated, every subject and head being alike."""


def everybody() -> tuple[AnswerContrast, np.ndarray]:
    """Synthetic activations of a model of 8B's shape, and random answers."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2 * ITEMS, 1, LAYERS, HEADS, WIDTH, generator=generator)
    lengths = torch.ones(2 * ITEMS, dtype=torch.long)
    acts = wb.Activations(
        (values,), lengths, tuple(range(LAYERS)), "heads", wb.last(), "random", {}
    )
    answers = np.random.default_rng(0).integers(0, 6, (SUBJECTS, ITEMS))
    return AnswerContrast(acts, tuple(range(ITEMS))), answers


def loop(
    acts: np.ndarray, answers: np.ndarray, heads: list[tuple[int, int]]
) -> tuple[list[tuple[np.ndarray, float]], float]:
    """The paper's steps for one subject: (unit, scale) of each head, and seconds a head.

    The subject's rows and labels are put together before the clock starts: both are small beside
    1 024 heads.
    """
    used = np.flatnonzero((answers != 0) & (answers != 3))
    rows = np.stack([2 * used, 2 * used + 1], 1).ravel()
    labels = np.stack([answers[used] > 3, answers[used] < 3], 1).ravel()
    mine = acts[rows]
    start = timing.clock()
    out = []
    for layer, head in heads:
        x = mine[:, layer, head, :]
        difference = x[labels].mean(0) - x[~labels].mean(0)
        unit = difference / np.linalg.norm(difference)
        out.append((unit, float((x @ unit).std())))
    return out, (timing.clock() - start) / len(heads)


def directions() -> dict[str, float]:
    """Seconds of the loop over ours, for the loop in half precision (as released) and in float32.

    Ours on one thread, as the loop is, and on all of them.
    """
    contrast, answers = everybody()
    before = torch.get_num_threads()
    took, found = {}, None
    for count in sorted({1, timing.THREADS}):
        torch.set_num_threads(count)
        times = timing.interleaved({"ours": lambda: personas(contrast, answers)}, 3)["ours"]
        took[count] = sorted(times)[1]
        found = personas(contrast, answers)
    torch.set_num_threads(before)
    rng = np.random.default_rng(1)
    cells = rng.permutation(LAYERS * HEADS)[:LOOPED_HEADS].tolist()
    heads = [(c // HEADS, c % HEADS) for c in cells]
    out, whole = {}, SUBJECTS * LAYERS * HEADS
    print(
        f"\ndirections and scales of {SUBJECTS} subjects x {LAYERS * HEADS} heads from {ITEMS} "
        f"items; the loop timed on {LOOPED_SUBJECTS} subjects x {LOOPED_HEADS} heads, extrapolated"
    )
    print("  workbench: " + ", ".join(f"{s:.2f} s on {n} thread(s)" for n, s in took.items()))
    for dtype in ("float16", "float32"):
        acts = contrast.acts.values[:, 0].numpy().astype(dtype)
        each = []
        for subject in range(LOOPED_SUBJECTS):
            pairs, seconds = loop(acts, answers[subject], heads)
            each.append(seconds)
            compare(found, subject, heads, pairs, 1e-4 if dtype == "float32" else 2e-2)
        seconds = whole * sorted(each)[len(each) // 2]
        for count, ours in took.items():
            name = "" if dtype == "float16" else "_float32"
            name += "" if count == 1 else "_threads"
            out[f"pas_directions_vs_loop{name}"] = seconds / ours
        print(f"  loop in {dtype}: {seconds:.0f} s, {seconds / took[1]:.0f} times ours on 1 thread")
    return out


def compare(
    found: Personas,
    subject: int,
    heads: list[tuple[int, int]],
    pairs: list[tuple[np.ndarray, float]],
    limit: float,
) -> None:
    """Stop where the loop's units and scales are not ours."""
    for (layer, head), (unit, scale) in zip(heads, pairs, strict=True):
        theirs = torch.tensor(unit.astype("float32"))
        off = (found.unit[subject, layer, head] - theirs).abs().max().item()
        off = max(off, abs(found.scale[subject, layer, head].item() / scale - 1))
        if not off <= limit:
            raise SystemExit(f"directions differ from the loop's: {off:.2g}, limit {limit:g}")


def answers() -> dict[str, float]:
    """Log-probabilities of the letters beside up to 15 greedy tokens: rows a statement, and time.

    The embedded model ends its reply after the letter; a random one of its size, like a model that
    goes on to explain, never does. Rows through the model are counted by a hook, one order of the
    options is asked, and both ways compute what prompts share once for a batch.
    """
    inventory = read_inventory()
    tokenizer = survey_texts.build_tokenizer(inventory)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=4,
        num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=1024,
    )  # fmt: skip
    endless = wb.load(LlamaForCausalLM(config).eval(), tokenizer)
    statements = texts(inventory, range(len(inventory.items)), "second", lower=True)
    print(f"\nanswers to {len(statements)} statements: letters beside {NEW_TOKENS} tokens written")
    out = {}
    for suffix, model in (("", endless), ("_embedded", wb.load("survey"))):
        calls = {
            "letters": partial(distribution, model, SYSTEM, statements, ["forward"]),
            "written": partial(written, model, SYSTEM, statements),
        }
        needed = {name: rows(model, call) / len(statements) for name, call in calls.items()}
        times = timing.interleaved(calls, 5)
        fewer = needed["written"] / needed["letters"]
        out[f"pas_rows_written_vs_letters{suffix}"] = fewer
        slower = timing.ratio(times, "written", "letters")
        out[f"pas_seconds_written_vs_letters{suffix}"] = slower
        print(f"  {suffix[1:] or 'random'}: {fewer:.1f} times the rows, {slower:.1f} times as long")
    return out


def rows(model: wb.Model, call: Callable[[], object]) -> int:
    """Rows that went through the model while `call` ran."""
    counts = []

    def count(_: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        counts.append((args[0] if args else kwargs["hidden_states"]).shape[0])

    hook = model.layer(0).register_forward_pre_hook(count, with_kwargs=True)
    call()
    hook.remove()
    return sum(counts)


def study() -> dict[str, float]:
    """All of the above."""
    return directions() | answers()
