"""Probes beside the scikit-learn loop, and streaming under a memory cap."""

import torch

import workbench as wb
from tests.benchmarks import timing

HEADS, ROWS, WIDTH = 1024, 1000, 128


def rows(kind: str) -> tuple[wb.Activations, torch.Tensor]:
    """1 024 heads × 1 000 rows × 128: white noise, or the decaying spectrum activations have.

    `"white"` converges fastest in scikit-learn. `"decaying"`: scales falling as 1/√k in a rotated
    basis, a common offset of a third, ten units wide, as in a residual stream's heads.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, HEADS, WIDTH, generator=generator)
    labels = torch.arange(ROWS) % 2
    if kind == "decaying":
        x *= 10 * torch.arange(1, WIDTH + 1) ** -0.5
        x = x @ torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator))[0]
        x += 3 * torch.randn(HEADS, WIDTH, generator=generator)
    unit = torch.nn.functional.normalize(torch.randn(HEADS, WIDTH, generator=generator), dim=1)
    spread = (x * unit).sum(2).std(0)
    x += (0.7 * spread[:, None] * unit) * (2.0 * labels[:, None, None] - 1)
    values = x.view(ROWS, 1, 32, 32, WIDTH)
    lengths = torch.ones(ROWS, dtype=torch.long)
    layers = tuple(range(32))
    return wb.Activations((values,), lengths, layers, "heads", wb.last(), "random", {}), labels


def sklearn_loop(acts: wb.Activations, labels: torch.Tensor, seed: int) -> list[list[float]]:
    """ITI's loop: one LogisticRegression a head, then accuracy on both sides of the split."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score

    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(seed))
    train, validation = order[: round(0.6 * ROWS)].numpy(), order[round(0.6 * ROWS) :].numpy()
    x, y = acts.values[:, 0].numpy(), labels.numpy()
    x_train, x_validation = x[train], x[validation]
    out = []
    for layer in range(32):
        for head in range(32):
            fit = LogisticRegression(max_iter=1000).fit(x_train[:, layer, head], y[train])
            out.append(
                [
                    accuracy_score(y[train], fit.predict(x_train[:, layer, head])),
                    accuracy_score(y[validation], fit.predict(x_validation[:, layer, head])),
                ]
            )
    return out


def probes() -> dict[str, float]:
    """Time of the loop over ours, agreement, and our peak memory over the activations."""
    out = {}
    for kind in ("white", "decaying"):
        acts, labels = rows(kind)
        wb.fit_probes(acts, labels, seed=1)
        ours = []
        for _ in range(3):
            start = timing.clock()
            fitted = wb.fit_probes(acts, labels, seed=1)
            ours.append(timing.clock() - start)
        start = timing.clock()
        theirs = torch.tensor(sklearn_loop(acts, labels, 1))
        took = timing.clock() - start
        out[f"probes_vs_sklearn_{kind}"] = took / sorted(ours)[1]
        both = torch.stack([fitted.train_accuracy, fitted.validation_accuracy], -1).view(-1, 2)
        out[f"probes_accuracy_gap_{kind}"] = (both - theirs).abs().mean().item()
    out["probes_vs_sklearn"] = out["probes_vs_sklearn_decaying"]
    return out | {"probes_peak_over_activations": _peak_over_activations()}


def _peak_over_activations() -> float:
    from tests.benchmarks.__main__ import peak

    high, held = peak("wb.fit_probes(a, y)", "import workbench as wb\na, y = fit.rows('white')")
    size = HEADS * ROWS * WIDTH * 4 / 2**20
    return 1 + (high - held) / size


def stream(folder: str, megabytes: int) -> None:
    """Capture so much of the embedded model's residual stream, all tokens, to disk."""
    model = wb.load("tiny", device="cpu")
    text = "gate " * 500
    tokens = len(model.tokenizer(text)["input_ids"])
    row = tokens * model.n_layers * model.d_model * 4
    count = -(-megabytes * 2**20 // row)
    wb.capture(model, [text] * count, "resid", wb.all_tokens(), out=f"{folder}/acts")
