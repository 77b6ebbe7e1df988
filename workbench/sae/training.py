"""Train a small TopK SAE on captured activations, through SAELens."""

import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from workbench.arguments import finite, seed_number, whole
from workbench.errors import FeatureError
from workbench.models.hook_names import parse_hook
from workbench.models.hooks import find_hook, read_alone
from workbench.sae.loading import load_sae
from workbench.sae.pooling import stack_pairs


def train_topk(
    activations: torch.Tensor,
    n_features: int,
    k: int,
    *,
    hook_name: str,
    model_name: str = "",
    steps: int = 400,
    batch: int = 512,
    lr: float = 2e-3,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Any:
    """A TopK SAE of `activations` `[n, d]`, k active features per vector, as `load_sae` gives it.

    Batches are drawn with replacement. The scale that training needs is folded into the weights,
    so that the SAE reads activations as they are. The learning rate falls to a tenth.
    TopK because its number of active features is exact and the same in training and use, also after
    few steps. Raises `FeatureError` for activations that are not finite or fewer than a batch, and
    for k above `n_features`.
    """
    from sae_lens import SAETrainer, TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig

    parse_hook(hook_name)
    n_features = whole("n_features", n_features, 1, error=FeatureError)
    steps = whole("steps", steps, 1, error=FeatureError)
    batch = whole("batch", batch, 1, error=FeatureError)
    k = whole("k", k, 1, n_features, FeatureError)
    lr, seed = finite("lr", lr, above=0, error=FeatureError), seed_number(seed, error=FeatureError)
    if activations.ndim != 2 or len(activations) < batch:
        raise FeatureError(
            f"activations {tuple(activations.shape)}: needs [n, d] with n at least batch={batch}"
        )
    if not activations.isfinite().all():
        raise FeatureError("activations are not finite; capture in bfloat16 or float32")
    values = activations.float()
    generator = torch.Generator().manual_seed(seed)

    def batches() -> Iterator[torch.Tensor]:
        while True:
            yield values[torch.randint(len(values), (batch,), generator=generator)].to(device)

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sae = TopKTrainingSAE(
            TopKTrainingSAEConfig(
                d_in=values.shape[1],
                d_sae=n_features,
                k=k,
                device=str(device),
                normalize_activations="expected_average_only_in",
            )
        )
        sae.cfg.metadata.hook_name = hook_name
        sae.cfg.metadata.model_name = model_name
        config = SAETrainerConfig(
            total_training_samples=steps * batch,
            train_batch_size_samples=batch,
            lr=lr,
            lr_end=lr / 10,
            lr_decay_steps=steps // 2,
            lr_scheduler_name="constant",
            dead_feature_window=max(steps // 5, 1),
            feature_sampling_window=max(steps // 4, 1),
            device=str(device),
            n_batches_for_norm_estimate=10,
        )
        SAETrainer(cfg=config, sae=sae, data_provider=batches()).fit()
    with tempfile.TemporaryDirectory() as folder:
        sae.save_inference_model(folder)
        return load_sae(folder, device)


@torch.no_grad()
def response_activations(
    model: Any,
    rows: Sequence[dict[str, list[int]]],
    hook_name: str,
    count: int,
    *,
    batch: int = 16,
    pad_token_id: int = 0,
) -> torch.Tensor:
    """The first `count` activations of answers, `[n, d]` float32 on the CPU; fewer where all are.

    `rows`: of `training.pairs.tokenised`. Read where a token of an answer is predicted, never at
    the first token of a text, as `sae.health` measures. Raises `FeatureError` for a hook that the
    model has not, and for no pair.
    """
    hook, device = find_hook(model, hook_name), next(model.parameters()).device
    count = whole("count", count, 1, error=FeatureError)
    batch = whole("batch", batch, 1, error=FeatureError)
    values: list[torch.Tensor] = []
    for start in range(0, len(rows), batch):
        ids, attention, mask = stack_pairs(rows[start : start + batch], pad_token_id, device)
        mask[:, 0] = False
        with read_alone(hook) as read:
            hidden = read(model, input_ids=ids, attention_mask=attention, use_cache=False)
        values.append(hidden[:, :-1][mask].float().cpu())
        if sum(map(len, values)) >= count:
            break
    if not values:
        raise FeatureError("there are no pairs to read activations of")
    return torch.cat(values)[:count]
