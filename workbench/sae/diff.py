"""FeatureRun: one streaming pass over preference pairs, policy and reference on the same tokens."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from tqdm.auto import tqdm

from workbench.errors import FeatureError
from workbench.hashing import digest, tensors_digest
from workbench.models.hooks import find_hook, reading
from workbench.sae.counts import Counts
from workbench.sae.dictionary import decoder_norms, encode
from workbench.sae.pooling import distance, index_set, stack_pairs
from workbench.sae.store import (
    as_arrays,
    as_matrix,
    read_arrays,
    read_shard,
    read_state,
    row_of,
    save_arrays,
    save_state,
    shards,
)

log = logging.getLogger(__name__)

VERSION = 1


@dataclass(frozen=True)
class FeatureDiff:
    """What a pass over pairs found about every feature of a dictionary; a folder on disk.

    `run.json`: what it is of; `counts.npz`: `Counts`; `rows-N.npz`, pairs N and on: pooled features
    of each response as sparse rows, and every response token's active features (uint32, float16:
    6 bytes each) for shading contexts.
    """

    folder: Path
    meta: dict[str, Any]
    counts: Counts

    @classmethod
    def load(cls, folder: str | Path) -> "FeatureDiff":
        """Open a finished run. Raises `FeatureError` naming the file that is missing or damaged."""
        folder = Path(folder)
        meta, counts = read_state(folder)
        if meta["done"] != meta["rows"]:
            raise FeatureError(f"{folder}: {meta['done']} of {meta['rows']} pairs; build goes on")
        return cls(folder, meta, counts)

    @cached_property
    def pooled(self) -> dict[tuple[str, str], scipy.sparse.csr_matrix]:
        """(policy | ref, chosen | rejected) → pooled features `[pairs, m]`, sparse float32."""
        parts: dict[tuple[str, str], list] = {}
        for path in shards(self.folder):
            file = read_arrays(path)
            for w, who in enumerate(("policy", "ref")):
                for s, side in enumerate(("chosen", "rejected")):
                    part = as_matrix(file, f"pooled{w}{s}", self.meta["features"])
                    parts.setdefault((who, side), []).append(part)
        return {key: scipy.sparse.vstack(found).tocsr() for key, found in parts.items()}

    def tokens(self, row: int, side: int) -> tuple[scipy.sparse.csr_matrix, ...]:
        """Activations of one response's tokens, policy and reference: sparse `[tokens, m]` each."""
        path = [p for p in shards(self.folder) if row_of(p) <= row]
        if not path:
            raise FeatureError(f"row {row} is not in {self.folder}")
        file = read_shard(path[-1], path[-1].stat().st_mtime_ns)
        place = 2 * (row - row_of(path[-1])) + side
        if place >= len(file["length"]):
            raise FeatureError(f"row {row} is not in {self.folder}")
        start = int(file["length"][:place].sum())
        some = slice(start, start + int(file["length"][place]))
        return tuple(as_matrix(file, f"tokens{w}", self.meta["features"], some) for w in (0, 1))


@torch.no_grad()
def diff_features(
    policy: Any,
    reference: Any,
    rows: Sequence[dict[str, list[int]]],
    sae: Any,
    hook_name: str,
    out: str | Path,
    *,
    k: int = 50,
    topk: str = "union",
    alpha: float = 0.5,
    beta: float = 0.1,
    decoder_scale: bool = True,
    batch: int = 8,
    shard: int = 64,
    first_row: int = 0,
    seed: int = 0,
    pad_token_id: int = 0,
) -> FeatureDiff:
    """Count `rows` (as TRL tokenises them) into folder `out`; goes on where a killed pass stopped.

    `alpha`, `beta`, `k`, `topk`: of the loss whose pull on each feature is asked for. `first_row`:
    number of the first of them where they are a part of more; parts `merge`. Raises `FeatureError`
    for a folder that holds another run.
    """
    out = Path(out)
    meta = {
        "version": VERSION, "hook": hook_name, "k": k, "topk": topk, "alpha": alpha, "beta": beta,
        "decoder_scale": decoder_scale, "seed": seed, "features": sae.cfg.d_sae,
        "policy": tensors_digest(policy.state_dict()),
        "ref": tensors_digest(reference.state_dict()), "sae": tensors_digest(sae.state_dict()),
        "first_row": first_row, "rows": len(rows), "data": _hash([dict(r) for r in rows]),
        "shard": shard,
    }  # fmt: skip
    done, counts = 0, Counts.empty(sae.cfg.d_sae)
    if (out / "run.json").exists():
        found, counts = read_state(out)
        wrong = [f"{k} ({found.get(k)!r}, now {v!r})" for k, v in meta.items() if found.get(k) != v]
        if wrong:
            raise FeatureError(f"{out} is another run: {', '.join(wrong)}; give another folder")
        done = found["done"]
    out.mkdir(parents=True, exist_ok=True)
    settings = (sae, hook_name, meta, pad_token_id)
    for start in tqdm(range(done, len(rows), shard), desc="features of pairs", unit="shard"):
        some = rows[start : start + shard]
        pieces: list[dict[str, Any]] = []
        for b in range(0, len(some), batch):
            place = first_row + start + b
            pieces.append(_batch(policy, reference, some[b : b + batch], place, counts, *settings))
        save_arrays(out / f"rows-{first_row + start:08d}.npz", _joined(pieces))
        save_state(out, {**meta, "done": start + len(some)}, counts)
    if not (out / "run.json").exists():
        save_state(out, {**meta, "done": 0}, counts)
    return FeatureDiff.load(out)


def merge_diffs(runs: Sequence[FeatureDiff], out: str | Path) -> FeatureDiff:
    """The run over the pairs of all of them, which must follow each other by row number.

    Raises `FeatureError` for runs of different models or settings, or with pairs missing between.
    """
    runs = sorted(runs, key=lambda r: r.meta["first_row"])
    per_part = ("first_row", "rows", "done", "data")
    first, out = runs[0], Path(out)
    counts = Counts.empty(first.meta["features"])
    expected = first.meta["first_row"]
    for run in runs:
        wrong = [k for k, v in first.meta.items() if k not in per_part and run.meta[k] != v]
        if wrong:
            raise FeatureError(f"{run.folder} differs from {first.folder} in {', '.join(wrong)}")
        if run.meta["first_row"] != expected:
            raise FeatureError(
                f"{run.folder} begins at row {run.meta['first_row']}, not {expected}"
            )
        expected += run.meta["rows"]
        counts.merge(run.counts)
    out.mkdir(parents=True)
    for run in runs:
        for path in shards(run.folder):
            shutil.copyfile(path, out / path.name)
    rows = sum(r.meta["rows"] for r in runs)
    data = _hash([r.meta["data"] for r in runs])
    save_state(out, {**first.meta, "rows": rows, "done": rows, "data": data}, counts)
    return FeatureDiff.load(out)


def _batch(
    policy: Any,
    reference: Any,
    rows: Sequence[dict[str, list[int]]],
    first_row: int,
    counts: Counts,
    sae: Any,
    hook_name: str,
    meta: dict[str, Any],
    pad: int,
) -> dict[str, Any]:
    """Count some pairs and return what is stored of them: chosen, rejected, chosen, …"""
    device = next(policy.parameters()).device
    ids, attention, mask = stack_pairs(rows, pad, device)
    text, position = mask.nonzero(as_tuple=True)
    codes, logps = [], []
    for model in (policy, reference):
        with reading(find_hook(model, hook_name)) as slot:
            logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits
        codes.append(encode(sae, slot.value[:, :-1][mask]))
        said = logits[:, :-1][mask].float().log_softmax(-1)
        said = said.gather(1, ids[:, 1:][mask][:, None])[:, 0]
        logps.append(said.new_zeros(mask.shape).masked_scatter(mask, said).sum(1))
    length = mask.sum(1).clamp(min=1)
    scale = decoder_norms(sae) if meta["decoder_scale"] else 1.0
    belongs = (text == torch.arange(len(ids), device=device)[:, None]).float()
    pooled = [belongs @ c * scale / length[:, None] for c in codes]
    k = meta["k"]
    members = index_set(*pooled, k, meta["topk"])
    d = distance(*pooled, members, k)
    b = len(rows)
    score = (logps[0] - logps[1]) / length
    u = meta["beta"] * (score[:b] - score[b:]) - meta["alpha"] * meta["beta"] * (d[b:] - d[:b])
    counts.add_pairs(
        *pooled,
        (index_set(*pooled, k, "policy"), index_set(*pooled, k, "ref")),
        torch.where(members, (pooled[0] - pooled[1]) ** 2, 0.0) / k,
        meta["alpha"] * meta["beta"] * torch.sigmoid(-u),
    )
    place = torch.stack([first_row + text % b, text // b, position], 1).cpu().numpy()
    counts.add_tokens(*codes, place, _keys(place, meta["seed"]))
    # Stored pair by pair, chosen then rejected.
    order = [row + side * b for row in range(b) for side in (0, 1)]
    by_text = torch.cat([(text == t).nonzero()[:, 0] for t in order])
    return {
        "length": mask.sum(1)[order].cpu().numpy(),
        "pooled": [[p[s * b : (s + 1) * b].cpu().numpy() for s in (0, 1)] for p in pooled],
        "tokens": [c[by_text].cpu().numpy() for c in codes],
    }


def _joined(pieces: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    out = {"length": np.concatenate([p["length"] for p in pieces])}
    for w in (0, 1):
        for s in (0, 1):
            whole = np.concatenate([p["pooled"][w][s] for p in pieces])
            out |= as_arrays(whole, f"pooled{w}{s}", np.float32)
        out |= as_arrays(np.concatenate([p["tokens"][w] for p in pieces]), f"tokens{w}", np.float16)
    return out


def _keys(place: np.ndarray, seed: int) -> np.ndarray:
    """Uniform on [0, 1), `[n]`, each a function of seed and place alone (splitmix64)."""
    with np.errstate(over="ignore"):
        x = np.uint64(seed)
        for column in place.T.astype(np.uint64):
            x = (x ^ column) + np.uint64(0x9E3779B97F4A7C15)
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(11)).astype(np.float64) / 2**53


def _hash(value: Any) -> str:
    return digest(repr(value))
