"""One streaming pass over preference pairs: two models, every SAE feature, on the same tokens."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from tqdm.auto import tqdm

from workbench.arguments import listed, seed_number, whole
from workbench.errors import FeatureError
from workbench.hashing import digest
from workbench.models.forward_state import forward_digest, libraries
from workbench.models.hooks import Hook, reading
from workbench.models.logprobs import sequence_logprobs
from workbench.sae.counts import Counts
from workbench.sae.loading import (
    decoder_norms,
    encode,
    require_fit,
    require_weights,
    sae_digest,
    warn_of_bos,
)
from workbench.sae.pooling import Constraint, index_set, pooled_distance, stack_pairs
from workbench.sae.store import (
    as_arrays,
    as_matrix,
    read_rows,
    read_shard,
    read_state,
    row_of,
    save_arrays,
    save_state,
    shards,
)
from workbench.writing import disk_errors

VERSION = 1


@dataclass(frozen=True)
class FeatureDiff:
    """Two models compared feature by feature over preference pairs; a folder on disk.

    `run.json`: the models, SAE, pairs and settings; `counts-N.npz`: `Counts`; `rows-N.npz`, pairs N
    and on: pooled features of each response as sparse rows, and every response token's active
    features (uint32, float16: 6 bytes each) for shading contexts.
    """

    folder: Path
    meta: dict[str, Any]
    counts: Counts

    @classmethod
    def load(cls, folder: str | Path) -> "FeatureDiff":
        """Open a finished diff. Raises `FeatureError` naming a file that is missing or damaged."""
        folder = Path(folder)
        meta, counts = read_state(folder)
        if meta["done"] != meta["rows"]:
            raise FeatureError(f"{folder}: {meta['done']} of {meta['rows']} pairs; build goes on")
        return cls(folder, meta, counts)

    @cached_property
    def pooled(self) -> dict[tuple[str, str], scipy.sparse.csr_matrix]:
        """(policy | ref, chosen | rejected) → pooled features `[pairs, m]`, sparse float32."""
        parts: dict[tuple[str, str], list] = {}
        rows = 0
        for path in shards(self.folder):
            file = read_rows(path, self.meta["features"])
            if row_of(path) != self.meta["first_row"] + rows:
                raise FeatureError(f"{path}: begins at another pair than the part before it ends")
            rows += len(file["length"]) // 2
            for w, who in enumerate(("policy", "ref")):
                for s, side in enumerate(("chosen", "rejected")):
                    part = as_matrix(file, f"pooled{w}{s}", self.meta["features"])
                    parts.setdefault((who, side), []).append(part)
        if rows != self.meta["rows"]:
            raise FeatureError(f"{self.folder}: parts of {rows} pairs, of {self.meta['rows']}")
        return {key: scipy.sparse.vstack(matrices).tocsr() for key, matrices in parts.items()}

    def tokens(self, row: int, side: int) -> tuple[scipy.sparse.csr_matrix, ...]:
        """Activations of one response's tokens, policy and reference: sparse `[tokens, m]` each."""
        row = whole("row", row, 0, error=FeatureError)
        side = whole("side", side, 0, 1, FeatureError)
        paths = [p for p in shards(self.folder) if row_of(p) <= row]
        if not paths:
            raise FeatureError(f"row {row} is not in {self.folder}")
        file = read_shard(paths[-1], self.meta["features"], paths[-1].stat().st_mtime_ns)
        place = 2 * (row - row_of(paths[-1])) + side
        if place >= len(file["length"]):
            raise FeatureError(f"row {row} is not in {self.folder}")
        start = int(file["length"][:place].sum())
        tokens = slice(start, start + int(file["length"][place]))
        return tuple(as_matrix(file, f"tokens{w}", self.meta["features"], tokens) for w in (0, 1))


@torch.no_grad()
def diff_features(
    policy: Any,
    reference: Any,
    rows: Sequence[dict[str, list[int]]],
    sae: Any,
    hook_name: str,
    out: str | Path,
    constraint: Constraint | None = None,
    *,
    batch: int = 8,
    shard: int = 64,
    first_row: int = 0,
    seed: int = 0,
    pad_token_id: int = 0,
) -> FeatureDiff:
    """Count `rows` (of `training.pairs.tokenised`) into `out`; goes on where a kill stopped it.

    `constraint`: of the loss whose pull on each feature is asked for, the paper's by default.
    `first_row`: number of the first row where they are a part of more; `merge_diffs` joins parts.
    Raises `FeatureError` for a folder that holds another diff, an SAE that does not fit, or a
    number that is none or out of range.

    >>> diff = diff_features(policy, reference, rows, sae, "blocks.25.hook_resid_post", "features/")
    >>> diff.counts.active  # tokens where a feature is active: [policy or reference, side, feature]
    """
    out, constraint = Path(out), constraint or Constraint()
    whole("k", constraint.k, 1, sae.cfg.d_sae, FeatureError)
    batch = whole("batch", batch, 1, error=FeatureError)
    shard = whole("shard", shard, 1, error=FeatureError)
    first_row = whole("first_row", first_row, 0, error=FeatureError)
    whole("pad_token_id", pad_token_id, 0, error=FeatureError)
    seed = seed_number(seed, error=FeatureError)
    hooks = [require_fit(sae, model, hook_name) for model in (policy, reference)]
    require_weights(sae)
    warn_of_bos(sae, policy, (row["prompt_ids"] for row in rows))
    meta = {
        "version": VERSION, "hook": hook_name, **asdict(constraint), "seed": seed,
        "features": sae.cfg.d_sae,
        "policy": forward_digest(policy), "ref": forward_digest(reference),
        "sae": sae_digest(sae),
        "first_row": first_row, "rows": len(rows), "data": digest(repr([dict(r) for r in rows])),
        "shard": shard, "libraries": libraries(),
    }  # fmt: skip
    done, counts = 0, Counts.empty(sae.cfg.d_sae)
    if (out / "run.json").exists():
        old, counts = read_state(out)
        wrong = [f"{k} ({old.get(k)!r}, now {v!r})" for k, v in meta.items() if old.get(k) != v]
        if wrong:
            raise FeatureError(f"{out} is another diff: {', '.join(wrong)}; give another folder")
        done = old["done"]
    out.mkdir(parents=True, exist_ok=True)
    common = (sae, hooks, constraint, seed, pad_token_id)
    for start in tqdm(range(done, len(rows), shard), desc="features of pairs", unit="shard"):
        part = rows[start : start + shard]
        pieces: list[dict[str, Any]] = []
        for b in range(0, len(part), batch):
            place = first_row + start + b
            pieces.append(_batch(policy, reference, part[b : b + batch], place, counts, *common))
        save_arrays(out / f"rows-{first_row + start:08d}.npz", _joined(pieces))
        save_state(out, {**meta, "done": start + len(part)}, counts)
    if not (out / "run.json").exists():
        save_state(out, {**meta, "done": 0}, counts)
    return FeatureDiff.load(out)


def merge_diffs(diffs: Sequence[FeatureDiff], out: str | Path) -> FeatureDiff:
    """The diff over the pairs of all of them, which must follow each other by row number.

    Raises `FeatureError` for diffs of different models or settings, or with pairs missing between.
    """
    diffs = sorted(listed("diffs", diffs, FeatureError), key=lambda d: d.meta["first_row"])
    per_part = ("first_row", "rows", "done", "data")
    first, out = diffs[0], Path(out)
    counts = Counts.empty(first.meta["features"])
    expected = first.meta["first_row"]
    for diff in diffs:
        wrong = [k for k, v in first.meta.items() if k not in per_part and diff.meta[k] != v]
        if wrong:
            raise FeatureError(f"{diff.folder} differs from {first.folder} in {', '.join(wrong)}")
        if diff.meta["first_row"] != expected:
            raise FeatureError(
                f"{diff.folder} begins at row {diff.meta['first_row']}, not {expected}"
            )
        expected += diff.meta["rows"]
        counts.merge(diff.counts)
    with disk_errors(out):
        out.mkdir(parents=True)
        for diff in diffs:
            for path in shards(diff.folder):
                shutil.copyfile(path, out / path.name)
    rows = sum(d.meta["rows"] for d in diffs)
    data = digest(repr([d.meta["data"] for d in diffs]))
    save_state(out, {**first.meta, "rows": rows, "done": rows, "data": data}, counts)
    return FeatureDiff.load(out)


def _batch(
    policy: Any,
    reference: Any,
    rows: Sequence[dict[str, list[int]]],
    first_row: int,
    counts: Counts,
    sae: Any,
    hooks: Sequence[Hook],
    constraint: Constraint,
    seed: int,
    pad: int,
) -> dict[str, Any]:
    """Count some pairs and return what is stored of them: chosen, rejected, chosen, …"""
    device = next(policy.parameters()).device
    ids, attention, mask = stack_pairs(rows, pad, device)
    text, position = mask.nonzero(as_tuple=True)
    features, logps = [], []
    for model, hook in zip((policy, reference), hooks, strict=True):
        with reading(hook) as slot:
            logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits
        features.append(encode(sae, slot.value[:, :-1][mask]))
        logps.append(sequence_logprobs(logits, ids, mask))
    length = mask.sum(1).clamp(min=1)
    scale = decoder_norms(sae) if constraint.decoder_scale else 1.0
    belongs = (text == torch.arange(len(ids), device=device)[:, None]).float()
    pooled = [belongs @ f * scale / length[:, None] for f in features]
    k, alpha, beta = constraint.k, constraint.alpha, constraint.beta
    members = index_set(*pooled, k, constraint.topk)
    d = pooled_distance(*pooled, members, k)
    b = len(rows)
    score = (logps[0] - logps[1]) / length
    u = beta * (score[:b] - score[b:]) - alpha * beta * (d[b:] - d[:b])
    counts.add_pairs(
        *pooled,
        (index_set(*pooled, k, "policy"), index_set(*pooled, k, "ref")),
        torch.where(members, (pooled[0] - pooled[1]) ** 2, 0.0) / k,
        alpha * beta * torch.sigmoid(-u),
    )
    place = torch.stack([first_row + text % b, text // b, position], 1).cpu().numpy()
    counts.add_tokens(*features, place, _keys(place, seed))
    # Stored pair by pair, chosen then rejected.
    order = [row + side * b for row in range(b) for side in (0, 1)]
    by_text = torch.cat([(text == t).nonzero()[:, 0] for t in order])
    return {
        "length": mask.sum(1)[order].cpu().numpy(),
        **{f"pooled{w}{s}": p[s * b : (s + 1) * b].cpu().numpy()
           for w, p in enumerate(pooled) for s in (0, 1)},
        **{f"tokens{w}": f[by_text].cpu().numpy() for w, f in enumerate(features)},
    }  # fmt: skip


def _joined(pieces: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """One shard's arrays of its batches' pieces."""
    out = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    arrays = {"length": out.pop("length")}
    for name, dense in out.items():
        arrays |= as_arrays(dense, name, np.float32 if name.startswith("pooled") else np.float16)
    return arrays


def _keys(place: np.ndarray, seed: int) -> np.ndarray:
    """Uniform on [0, 1), `[n]`, each a function of seed and place alone (splitmix64)."""
    with np.errstate(over="ignore"):
        # A number far from other seeds': else a seed would deal the keys of one to other rows.
        x = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
        for column in place.T.astype(np.uint64):
            x = (x ^ column) + np.uint64(0x9E3779B97F4A7C15)
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(11)).astype(np.float64) / 2**53
