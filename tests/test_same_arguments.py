"""One meaning of an argument in the whole house: a bad value is refused by name everywhere."""

import inspect
import math

import numpy as np
import pytest
import torch

import workbench as wb
from tests.helpers.feature_toys import HOOK, POLICY, REFERENCE, ROWS, SAE
from tests.helpers.judges import Scripted, wavering
from workbench.activations.capture import Activations
from workbench.errors import DirectionError
from workbench.generation.choices import expected, token_logprobs
from workbench.models.prompts import last
from workbench.papers.neural_comprehension.autoconn import Goal, auto_conn
from workbench.sae.card import contexts, histogram, largest_pairs
from workbench.sae.diff import diff_features
from workbench.sae.health import check_health, health, stream_shift
from workbench.sae.lens import lens
from workbench.sae.pooling import Constraint, index_set
from workbench.sae.table import feature_table, preference_effect, waterfall
from workbench.sae.training import train_topk
from workbench.training.adapter import dpo_adapter
from workbench.training.supervised import train_stage

NO_NUMBERS = (None, "1", True, np.True_, [1], math.nan, math.inf, 1j)
AT_LEAST_1 = (*NO_NUMBERS, 0, -1, 1.0, 1.5)
AT_LEAST_0 = (*NO_NUMBERS, -1, 1.0)
ABOVE_0 = (*NO_NUMBERS, 0.0, -0.5)
FROM_0 = (*NO_NUMBERS, -0.5)
SHARE = (*NO_NUMBERS, -0.5, 0.0, 1.5)
SEED = (*NO_NUMBERS, -1, 2**64, 0.0)
LABELS = ([0, 1], [0, 1] * 7, [1, 2] * 6, [0, 2, 1] * 4, [1] * 12, ["0", "1"] * 6, "01" * 6,
          [0, math.nan, 1] * 4, [0, None, 1] * 4, [[0], [1]] * 6, [], 12)  # fmt: skip
GROUPS = ([0, 1], [0, None, 1] * 4, [0.0, math.nan, 1] * 4, ["a", 1, 2] * 4, "ab" * 6, [], 12)
LAYERS = ([-1], [9], [0, 0], [0.0], [True], ["0"], [], "0", 0)
HEADS = ([(0, -1)], [(0, 9)], [(9, 0)], [(0, 0), (0, 0)], [(0,)], [0], [], 0, [(0, 0.0)],
         [(True, 0)], "00")  # fmt: skip
ALPHA = (1e39, math.nan, math.inf, -1.0, True, "4", None, [math.nan, 1.0], [], 1j, [1e300, 1.0])
TEXTS = ("one text", b"text", [], None, 5, {"role": "user"})


@pytest.fixture(scope="module")
def model():
    return wb.load("tiny")


@pytest.fixture(scope="module")
def acts():
    torch.manual_seed(0)
    sizes = {"n_layers": 2, "n_heads": 2, "d_head": 4, "d_model": 8}

    def made(site, width):
        values = torch.randn(12, 1, 2, *width)
        return Activations((values,), torch.ones(12).long(), (0, 1), site, last(), "m", sizes)

    return {"heads": made("heads", (2, 4)), "resid": made("resid", (8,))}


@pytest.fixture(scope="module")
def diff(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diff") / "whole"
    return diff_features(POLICY, REFERENCE, ROWS, SAE, HOOK, folder, Constraint(k=5))


@pytest.fixture(scope="module")
def home(model, acts, diff, tmp_path_factory):
    """What each function is called with where all is well."""
    spread = torch.ones(1)
    shift = wb.ResidualDirection(torch.tensor([0]), torch.eye(model.d_model)[:1], spread)
    probes = wb.Probes(*(torch.rand(2, 2) for _ in range(5)), layers=(0, 1))
    out = tmp_path_factory.mktemp("out")
    labels = [0, 1] * 6
    reference, pooled = REFERENCE, torch.rand(3, 8)

    def entered(context):
        def call(**given):
            with context(**given):
                pass

        return call

    return {
        "last": (last, {"k": 1}),
        "layer": (model.layer, {"index": 0}),
        "o_proj": (model.o_proj, {"index": 0}),
        "resid": (model.resid, {"index": 0}),
        "rows": (acts["heads"].rows, {"layer": 0, "head": 0}),
        "capture": (wb.capture, {"model": model, "prompts": ["Mend"], "layers": [0]}),
        "fit_probes": (wb.fit_probes, {"acts": acts["heads"], "labels": labels}),
        "top": (probes.top, {"k": 1}),
        "heads": (wb.HeadDirections.contrast,
                  {"acts": acts["heads"], "labels": labels, "heads": [(0, 0)]}),
        "stream": (wb.ResidualDirection.contrast, {"acts": acts["resid"], "labels": labels}),
        "pick": (shift.pick, {"rows": [0]}),
        "steer": (entered(wb.steer), {"model": model, "direction": shift, "alpha": 1.0}),
        "hook": (entered(wb.steer),
                 {"model": model, "direction": shift, "alpha": 1.0, "how": "hook", "mode": "last"}),
        "fold": (lambda **given: wb.fold(**given).undo(),
                 {"model": model, "direction": shift, "alpha": 1.0}),
        "generate": (wb.generate, {"model": model, "prompts": ["Mend"], "max_new_tokens": 1}),
        "judge": (wb.judge_replies,
                  {"judge": Scripted(wavering), "rubric": "helpfulness", "prompts": ["Mend"],
                   "replies": ["reply 3"]}),
        "request": (wb.GenRequest, {"prompt": "Mend"}),
        "backend": (wb.LocalBackend, {"model": model}),
        "options": (wb.option_logprobs, {"model": model, "prompts": ["Mend"], "options": ["a"]}),
        "replies": (wb.reply_logprobs, {"model": model, "chats": ["Mend it"]}),
        "tokens": (token_logprobs, {"model": model, "prompts": ["Mend"], "ids": [5]}),
        "expected": (expected, {"logprobs": torch.zeros(1, 2), "values": [1, 2]}),
        "endpoint": (wb.Endpoint, {"url": "http://host/v1"}),
        "constraint": (Constraint, {}),
        "index_set": (index_set, {"policy": pooled, "reference": pooled, "k": 2, "topk": "ref"}),
        "diff": (diff_features,
                 {"policy": POLICY, "reference": reference, "rows": ROWS, "sae": SAE,
                  "hook_name": HOOK, "out": out / "diff", "constraint": Constraint(k=5)}),
        "read": (diff.tokens, {"row": 0, "side": 0}),
        "health": (health, {"model": reference, "rows": ROWS, "sae": SAE, "hook_name": HOOK}),
        "shift": (stream_shift,
                  {"policy": POLICY, "reference": reference, "rows": ROWS, "sae": SAE,
                   "hook_name": HOOK}),
        "fit": (check_health,
                {"measured": health(reference, ROWS, SAE, HOOK), "name": "it", "most": 100.0}),
        "lens": (lens, {"model": reference, "sae": SAE, "hook_name": HOOK, "features": [0],
                        "tokenizer": Names()}),
        "contexts": (contexts, {"diff": diff, "feature": 0, "rows": ROWS, "tokenizer": Names()}),
        "histogram": (histogram, {"diff": diff, "feature": 0}),
        "largest": (largest_pairs, {"diff": diff, "feature": 0}),
        "table": (feature_table, {"diff": diff, "sae": SAE, "permutations": 9}),
        "effect": (preference_effect,
                   {"chosen": diff.pooled["ref", "chosen"], "permutations": 9,
                    "rejected": diff.pooled["ref", "rejected"]}),
        "waterfall": (waterfall, {"table": feature_table(diff, SAE, permutations=1)}),
        "train_topk": (train_topk, {"activations": torch.randn(8, 4), "n_features": 8, "k": 2,
                                    "hook_name": HOOK, "steps": 5, "batch": 4}),
        "dpo": (entered(dpo_adapter), {"model": model, "pairs": [{}]}),
        "stage": (train_stage, {"model": None, "tokenizer": None, "sample": None, "steps": 1,
                                "batch": 1, "lr": 0.1, "seed": 0}),
        "auto_conn": (auto_conn, {"writer": lambda asked, n: ["token"] * n,
                                  "goal": Goal("Copy.", [("ab", "ab")], "ab")}),
    }  # fmt: skip


class Names:
    """A tokenizer as far as tables of tokens need one."""

    def convert_ids_to_tokens(self, ids):
        return [str(i) for i in ids]


BAD = {
    "alpha": {"steer hook fold": ALPHA, "constraint": FROM_0},
    "start": {"hook": ([math.nan], [0.5], -1, True, "0", [], [-1])},
    "labels": {"fit_probes heads stream": LABELS},
    "groups": {"fit_probes heads stream": GROUPS},
    "layers": {"capture": LAYERS, "stream": LAYERS},
    "heads": {"heads": HEADS},
    "rows": {"pick": LAYERS},
    "row": {"read": (*AT_LEAST_0, 99)},
    "side": {"read": (*AT_LEAST_0, 2), "waterfall": ("both", None, 0)},
    "index": {"layer o_proj resid": (*AT_LEAST_0, 99)},
    "layer": {"rows": (-1, 9, 0.0, True, "0")},
    "head": {"rows": (-1, 9, 0.0, True, "0")},
    "prompts": {"capture judge": TEXTS, "generate options tokens": [t for t in TEXTS if t != []]},
    "chats": {"replies": [t for t in TEXTS if t != []]},
    "moments": {"replies": (None, 1, "yes")},
    "per_token": {"options": (None, 1, "yes")},
    "options": {"options": (*TEXTS, [1], [None], [["a"]])},
    "token_budget": {"capture": [v for v in AT_LEAST_1 if v is not None]},
    "shard_bytes": {"capture": AT_LEAST_1},
    "positions": {"capture": ("last", -1, 0, last)},
    "direction": {"steer hook fold": (None, 5, "lock")},
    "dtype": {"capture": (torch.int8, torch.bool, torch.complex64, "float32", None)},
    "k": {"last top constraint": AT_LEAST_1, "index_set": (*AT_LEAST_1, 9),
          "train_topk": (*AT_LEAST_1, 9)},
    "topk": {"constraint index_set": ("both", None, 1)},
    "beta": {"constraint dpo": ABOVE_0},
    "seed": {"fit_probes generate request judge diff table effect": SEED,
             "train_topk dpo stage auto_conn": SEED},
    "train_share": {"fit_probes": (*SHARE, 1.0)},
    "C": {"fit_probes": ABOVE_0},
    "n": {"generate request auto_conn": AT_LEAST_1},
    "repeats": {"judge": AT_LEAST_1},
    "replies": {"judge": (*TEXTS, [5], [None], ["a", "b"])},
    "others": {"judge": ("text", [], 5, [5], ["a", "b"])},
    "max_new_tokens": {"generate request judge": AT_LEAST_1},
    "temperature": {"generate request judge": FROM_0},
    "top_p": {"generate request": SHARE},
    "top_k": {"generate request": AT_LEAST_0},
    "stop": {"generate request": ("one", ("",), None, 5, {"a": 1}, b"a")},
    "mode": {"generate judge": ("record", None)},
    "batch_size": {"generate options replies backend": [v for v in AT_LEAST_1 if v is not None]},
    "budget_bytes": {"backend": [v for v in AT_LEAST_1 if v is not None]},
    "ids": {"tokens": ([-1], [10**6], [0.0], [True], [], 5)},
    "values": {"expected": ([1], [1, math.nan], [1, None], [True, 2], 5)},
    "concurrency": {"endpoint": AT_LEAST_1},
    "retries": {"endpoint": AT_LEAST_0},
    "timeout": {"endpoint": ABOVE_0},
    "batch": {"diff health shift train_topk dpo stage": AT_LEAST_1},
    "shard": {"diff": AT_LEAST_1},
    "first_row": {"diff": AT_LEAST_0},
    "pad_token_id": {"diff health shift": AT_LEAST_0},
    "most": {"fit": FROM_0},
    "features": {"lens": ([-1], [10**6], [0.0], [True], ["0"])},
    "top": {"lens": AT_LEAST_1},
    "feature": {"contexts histogram largest": (*AT_LEAST_0, 10**6)},
    "window": {"contexts": AT_LEAST_0},
    "count": {"largest": AT_LEAST_1},
    "nearest": {"table": AT_LEAST_1},
    "permutations": {"table effect": AT_LEAST_1},
    "cover": {"waterfall": SHARE},
    "n_features": {"train_topk": AT_LEAST_1},
    "steps": {"train_topk dpo stage": AT_LEAST_1},
    "lr": {"train_topk dpo stage": ABOVE_0},
    "accumulate": {"dpo": AT_LEAST_1},
    "rank": {"dpo": AT_LEAST_1},
    "lora_alpha": {"dpo": AT_LEAST_1},
    "dropout": {"dpo": (*FROM_0, 1.0)},
    "warmup": {"dpo stage": (*FROM_0, 1.5)},
    "weight_decay": {"dpo": FROM_0},
    "beta2": {"stage": (*FROM_0, 1.0)},
}  # fmt: skip
CASES = [
    (place, name, values)
    for name, places in BAD.items()
    for together, values in places.items()
    for place in together.split()
]


@pytest.mark.parametrize(("place", "name", "values"), CASES, ids=[f"{p}-{n}" for p, n, _ in CASES])
def test_a_bad_value_is_refused_by_name(home, place, name, values):
    call, good = home[place]
    for value in values:
        with pytest.raises((ValueError, DirectionError)) as error:
            call(**{**good, name: value})
        names = (name, name.removesuffix("s"), "places", "requests", f"a {name}", "place", "layer")
        assert any(n in str(error.value) for n in names), (value, str(error.value))


GOOD = {
    "k": (np.int64(1), torch.tensor(1)), "seed": (np.int32(3), 2**32 - 1),
    "labels": (np.array([0, 1] * 6), torch.tensor([0, 1] * 6), [False, True] * 6),
    "groups": (np.arange(12) // 2, list("abcdefghijkl")),
    "layers": (np.array([1, 0]), torch.tensor([1]), range(2)), "alpha": (np.float32(2), 3),
    "temperature": (np.float64(0.5), 1), "heads": (np.array([[1, 0]]), ((0, 1), (1, 1))),
    "batch": (np.int64(3),), "feature": (np.int64(1),), "index": (np.int64(1),),
    "layer": (np.int64(1),), "head": (torch.tensor(1), slice(0, 1)),
}  # fmt: skip
FAST = [(p, n, GOOD[n]) for p, n, _ in CASES if n in GOOD and p not in ("dpo", "stage", "diff")]


@pytest.mark.parametrize(("place", "name", "values"), FAST, ids=[f"{p}-{n}" for p, n, _ in FAST])
def test_numbers_of_numpy_and_torch_are_numbers(home, place, name, values):
    call, good = home[place]
    for value in values:
        call(**{**good, name: value})


@pytest.mark.parametrize(
    "name", ["generate", "GenRequest", "fit_probes", "capture", "steer", "judge_replies"]
)
def test_every_number_of_the_face_is_held_to_it(name):
    for parameter in inspect.signature(getattr(wb, name)).parameters.values():
        if "int" in str(parameter.annotation) or "float" in str(parameter.annotation):
            assert parameter.name in BAD, f"{name}({parameter.name})"
