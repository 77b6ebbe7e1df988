"""FPO beside its rivals: bytes and seconds of a training step, and what the offline pass costs.

`python -m tests.benchmarks.fpo [--vocabulary 32768]`: a small random model, on the CPU. `--shape
gemma-2-2b`: random weights and a random SAE of the paper's shapes in bfloat16, on a GPU.
"""

import argparse
import itertools
import json
import logging
import math
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from tests.benchmarks import timing
from workbench.models.hooks import find_hook, reading
from workbench.papers.fpo.costs import (
    COMPARED,
    Bench,
    Stepper,
    costs,
    random_pairs,
    step_ratios,
    wide,
)
from workbench.papers.fpo.reference import reference_digest
from workbench.papers.fpo.tables import saving
from workbench.sae.loading import encode, load_sae
from workbench.training import memory

TOKENS, ACTIVE, FEATURES = 1024, 55, 16384
HOOK = "blocks.25.hook_resid_post"


def gemma() -> Gemma2ForCausalLM:
    """Random weights, seeded, in bfloat16 on the GPU."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        out = Gemma2ForCausalLM(Gemma2Config(attn_implementation="eager"))
    torch.set_default_dtype(torch.float32)
    return out


def gemma_2_2b(folder: Path) -> Bench:
    """Gemma-2-2B's shapes with a params.npz whose threshold leaves 55 features active."""
    on = replace(wide(), name="random Gemma-2-2B", model=gemma, hook=HOOK, tokens=TOKENS)
    model = gemma()
    d = model.config.hidden_size
    rng = np.random.default_rng(0)
    decoder = rng.normal(size=(FEATURES, d)).astype(np.float32)
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    arrays = {"W_enc": decoder.T.copy(), "b_enc": np.zeros(FEATURES, np.float32),
              "W_dec": decoder, "b_dec": np.zeros(d, np.float32)}  # fmt: skip
    path = folder / "params.npz"
    text = random_pairs(on, 1)[0]
    ids = on.tokenizer(text["prompt"] + text["chosen"], return_tensors="pt")["input_ids"]
    with torch.no_grad(), reading(find_hook(model, HOOK)) as slot:
        model(ids[:, :TOKENS].to("cuda"))
    np.savez(path, **arrays, threshold=np.zeros(FEATURES, np.float32))
    features = encode(load_sae(path, "cuda"), slot.value[0])
    threshold = features.topk(ACTIVE, dim=1).values[:, -1].median().item()
    np.savez(path, **arrays, threshold=np.full(FEATURES, threshold, np.float32))
    return replace(on, sae=load_sae(path))


def bench(toy: bool, folder: Path) -> Bench:
    """Gemma-2-2B's shapes on a GPU, or the smallest that runs."""
    return wide(600, 16) if toy else gemma_2_2b(folder)


def precompute(on: Bench, folder: Path, count: int) -> dict[str, list[float]]:
    """Seconds of the offline pass, of a plain forward epoch of the same pairs, of hashing weights.

    The hash is paid once a run, whatever the number of pairs: `ratio` leaves it out. `SystemExit`
    where the log-probabilities stored are not those of plain forwards.
    """
    stepper = Stepper("fpo", on, folder / "pass")
    trainer = stepper.trainer
    rows = trainer._prepare_dataset(
        random_pairs(on, count), trainer.processing_class, trainer.args, "pass"
    )
    made = [rows.select(range(i, i + on.batch)).to_list() for i in range(0, count, on.batch)]

    def forward() -> None:
        with trainer.as_reference() as reference:
            for some in made:
                batch = trainer._prepare_inputs(trainer.data_collator(some))
                trainer.run(reference, batch, whole=False)

    stored = []

    def offline() -> None:
        trainer.offline.root = Path(tempfile.mkdtemp(dir=folder))
        stored.append(trainer.offline.attach(trainer, rows, "pass", on.batch))

    times: dict[str, list[float]] = {}
    steps = (
        ("offline", offline),
        ("forward", forward),
        ("hash", lambda: reference_digest(trainer)),
    )
    for name, step in steps * 3:
        times.setdefault(name, []).append(memory.seconds(step))
    each = zip(times["offline"], times["hash"], times["forward"], strict=True)
    times["ratio"] = [(offline - digest) / forward for offline, digest, forward in each]
    return times | {
        "difference": [stored_agreement(trainer.model, stored[0].select(range(4)), on.tokens)]
    }


@torch.no_grad()
def stored_agreement(model: torch.nn.Module, rows: datasets.Dataset, tokens: int) -> float:
    """How far stored log-probabilities are from those of plain forwards of the same texts.

    Both as differences from a uniform distribution's: random weights are not far from it.
    """
    plain, stored = [], []
    uniform = math.log(model.config.vocab_size)
    for row, side in itertools.product(rows, ("chosen", "rejected")):
        start = len(row["prompt_ids"])
        ids = torch.tensor([(row["prompt_ids"] + row[f"{side}_ids"])[:tokens]], device=model.device)
        scores = model(ids).logits[0, start - 1 : -1].float().log_softmax(1)
        reply = scores.gather(1, ids[0, start:, None])
        plain.append((reply + uniform).sum().item())
        stored.append(row[f"ref_{side}_logps"] + len(reply) * uniform)
    return timing.require_close("the offline pass", torch.tensor(stored), torch.tensor(plain))


def measure(on: Bench, folder: Path, rounds: int, pairs: int) -> dict[str, object]:
    """Everything, as plain numbers."""
    out: dict[str, object] = {"bench": on.name, "tokens": on.tokens, "pairs a step": on.batch}
    out["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    out["costs"] = costs(on, folder, COMPARED)
    out["less_than_tdpo2"] = saving(out["costs"])
    print(json.dumps(out), flush=True)
    ratios = step_ratios(on, folder, rounds)
    out["step_ratio_fpo_vs_ln_dpo"] = statistics.median(ratios)
    out["step_ratio_quartiles"] = statistics.quantiles(ratios, n=4)
    print(json.dumps(out), flush=True)
    out["precompute"] = precompute(on, folder, pairs) | {"pairs": pairs}
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=["wide", "gemma-2-2b"], default="wide")
    parser.add_argument("--vocabulary", type=int, default=131072)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--json")
    given = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as name:
        big = given.shape == "gemma-2-2b"
        on = gemma_2_2b(Path(name)) if big else wide(given.vocabulary, given.tokens)
        found = measure(on, Path(name), given.rounds, given.pairs)
    print(json.dumps(found, indent=1))
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=1), encoding="utf-8")
