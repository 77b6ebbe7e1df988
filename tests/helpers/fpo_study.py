"""A study of made-up numbers, for the tests of FPO's tables and figures."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from workbench.papers.fpo.evaluate import Evaluation
from workbench.papers.fpo.paper import Settings
from workbench.papers.fpo.study import Study
from workbench.papers.fpo.train import Condition, Trained
from workbench.sae.health import Health

HEALTH = Health(0.1, 6.0, 0.4, 1.7, 1.8, 5.0, 500)


def evaluation(accuracy, d, kl, n=20, entropy=1.5):
    """n pairs of which the first share is right."""
    right = np.arange(n) < round(accuracy * n)
    ones = np.ones(n)
    return Evaluation(
        score_chosen=np.where(right, 1.0, -1.0), score_rejected=0 * ones,
        logp_chosen=-ones, logp_rejected=-2 * ones, kl_chosen=kl / 2 * ones, kl_rejected=kl * ones,
        d_chosen=d / 2 * ones, d_rejected=d * ones, entropy=entropy * ones,
        shift=np.zeros(2),
    )  # fmt: skip


def trained(name, method, alpha, seed, found):
    curves = {"fpo/u": [(5, 1.0), (10, 2.0)], "fpo/margin": [(5, 0.5), (10, 1.0)],
              "fpo/d_rejected": [(5, 0.1), (10, 0.2)]}  # fmt: skip
    return Trained(Condition(name, method, alpha), seed, found, curves, Path("nowhere"), 3.0)


TRAINED = [
    trained("LN-DPO", "fpo", 0.0, 0, evaluation(0.9, 4.0, 8.0)),
    trained("LN-DPO", "fpo", 0.0, 1, evaluation(0.8, 6.0, 6.0)),
    trained("FPO α=0.5", "fpo", 0.5, 0, evaluation(0.9, 1.0, 9.0)),
    trained("FPO α=0.5", "fpo", 0.5, 1, evaluation(0.9, 1.0, 4.0)),
    trained("FPO α=50", "fpo", 50.0, 0, evaluation(0.9, 0.2, 2.0)),
    trained("FPO α=50", "fpo", 50.0, 1, evaluation(0.7, 0.75, 3.0)),
    trained("TDPO-2", "tdpo2", 0.5, 0, evaluation(1.0, 3.0, 5.0)),
    trained("TDPO-2", "tdpo2", 0.5, 1, evaluation(1.0, 3.0, 5.0)),
]
COSTS = [
    {"method": "fpo", "peak_bytes": [90, 100, 110], "seconds": [1.0, 3.0, 2.0]},
    {"method": "tdpo2", "peak_bytes": [200, 200, 900], "seconds": [4.0, 4.0, 4.0]},
]
SHIFTS = {name: [(0.2, 0.5), (0.4, 0.5)] for name in ("LN-DPO", "FPO α=0.5", "FPO α=50")}
ROWS = [{"prompt_ids": [prompt]} for prompt in range(20)]
STUDY = Study(
    inputs=SimpleNamespace(
        name="toy", hook="blocks.1.hook_resid_post", train=[{}] * 9,
        sae=SimpleNamespace(cfg=SimpleNamespace(d_sae=64)),
    ),
    settings=Settings(methods=("fpo", "tdpo2"), alphas=(0.0, 0.5, 50.0)), rows=ROWS,
    health=HEALTH, trained=TRAINED, shifts=SHIFTS, ends=[], lens=None,
    bench={"bench": "toy", "tokens": 64, "batch": 1}, costs=COSTS, step_ratios=[1.0, 1.02, 1.3],
)  # fmt: skip
