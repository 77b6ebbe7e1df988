"""What the paper is and says (arXiv 2212.09561): its tables, its settings, what a run needs."""

from dataclasses import dataclass, replace
from typing import Any

from workbench import hub
from workbench.arguments import finite, one_of, truth, whole
from workbench.data.problem_formats import DATASETS
from workbench.data.problems import Problem, read_problems
from workbench.errors import RunError
from workbench.evaluation import math_answers
from workbench.evaluation.answers import STYLES
from workbench.papers import parameters

TITLE = "Large Language Models are Better Reasoners with Self-Verification"
NOTEBOOK = "09_self_verification.ipynb"
CLAIM = (
    "Sampled answers are told apart by letting the model re-derive a masked condition from each of "
    "them; the answer from which most conditions are recovered is right more often."
)

MODELS = {"tiny": "sums", "small": "smollm2", "paper": ""}
"""Preset → its model; the paper's are retired."""
PROBLEMS = {"tiny": ("sums", "auto"), "small": ("svamp", "small"), "paper": ("gsm8k", "auto")}
"""Preset → its dataset, and where that is read from."""
OURS, LIKE_SVAMP = "small-", "like svamp"
"""How ids of the problems of `small` begin, and what these are called: they are not SVAMP's own."""
BESIDE = {"sums": "gsm8k", LIKE_SVAMP: "svamp"}
"""Problems of ours → the dataset whose published figures stand beside them."""
SERVERS = ("http://", "https://")
MOST_SAMPLES = 10**6
"""Of one prompt."""
TWO_READINGS = "5-"
"""How ids begin of the sums whose wording has two readings: the negative control."""
BENCHMARK = "gsm8k singleeq addsub multiarith aqua svamp commonsensqa bigbench_date".split()
"""The eight datasets of Tables 1 to 4, in the order of Table 1's columns."""

TABLE_1 = {  # (model, method): the eight solve rates
    ("code-davinci-001", "cot"): (13.84, 60.20, 58.55, 45.85, 18.90, 38.42, 46.75, 38.72),
    ("code-davinci-001", "sv"): (13.92, 60.61, 59.07, 46.19, 27.04, 38.96, 47.68, 39.03),
    ("code-davinci-002", "cot"): (60.81, 91.01, 82.78, 96.13, 45.30, 75.87, 77.42, 65.43),
    ("code-davinci-002", "sv"): (65.14, 93.40, 86.33, 99.15, 47.95, 76.99, 77.83, 66.57),
    ("code-davinci-001", "sc"): (23.40, 70.25, 68.65, 79.82, 25.60, 54.58, 54.92, 49.26),
    ("code-davinci-001", "sc_sv"): (23.59, 70.50, 68.71, 80.01, 28.98, 54.68, 55.09, 49.72),
    ("code-davinci-002", "sc"): (78.00, 96.78, 91.64, 100.0, 52.01, 86.77, 81.43, 71.58),
    ("code-davinci-002", "sc_sv"): (78.32, 96.85, 92.03, 100.0, 52.25, 86.94, 81.53, 71.89),
}
PICKS = ("contested", "scored", "distinct", "random_pick", "greedy_pick", "sv_pick")
"""The columns of Table 2."""
TABLE_2 = {  # dataset: contested, scored, distinct answers, random, CoT at T=0, SV's pick
    "gsm8k": (601, 1306, 2.80, 35.7, 53.4, 58.9),
    "addsub": (77, 377, 2.13, 46.9, 56.7, 74.0),
    "aqua": (123, 219, 2.71, 36.9, 50.3, 51.2),
    "multiarith": (73, 593, 2.19, 45.6, 71.2, 89.0),
    "singleeq": (51, 501, 2.31, 43.3, 51.0, 74.5),
    "svamp": (274, 954, 2.54, 39.4, 51.5, 58.4),
}
PUBLISHED = [
    {"metric": f"acc_{method}", "model": model, "dataset": name, "value": value, "table": "Table 1"}
    for (model, method), values in TABLE_1.items()
    for name, value in zip(BENCHMARK, values, strict=True)
] + [
    {"metric": metric, "model": "code-davinci-002", "dataset": name, "value": value,
     "table": "Table 2"}
    for name, values in TABLE_2.items()
    for metric, value in zip(PICKS, values, strict=True)
]  # fmt: skip
"""Percentages (solve rate, mean of three runs), except counts and mean distinct answers in Table 2.
Table 2 counts only questions whose candidates hold one right and at least one wrong answer."""


def called(problem: Problem) -> str:
    """The name of its dataset, as tables and figures show it."""
    ours = problem.dataset == "svamp" and problem.id.startswith(OURS)
    return LIKE_SVAMP if ours else problem.dataset


def published(metric: str, dataset: str = "gsm8k") -> tuple[float | None, str | None]:
    """(value, setting) of a figure of Table 1 for code-davinci-002, as a share; None without one.

    The paper's CoT row is greedy decoding.
    """
    metric = {"acc_greedy": "acc_cot"}.get(metric, metric)
    for row in PUBLISHED:
        if (row["metric"], row["dataset"], row["model"]) == (metric, dataset, "code-davinci-002"):
            setting = f"{row['model']}, {dataset}, {row['table']}, official extraction"
            return row["value"] / 100, setting
    return None, None


@dataclass(frozen=True)
class Settings:
    """The paper's values (§2 of the method) with our masks and extraction; `official()` has theirs.

    `k` candidates sampled at `t_forward`, `p` verification samples a prompt at `t_backward` (the
    temperatures are the released code's; the paper gives none). `sc`: samples of self-consistency.
    `verification`: `"auto"` (by dataset), `"cmv"`, `"tfv"` or `"yesno"`. `conditions`: `"all"`,
    `"first"` or `"random"`; `max_conditions` 0 is no limit (3 for released masks). `masking`:
    `"spans"`, or `"released"` for the released code's text routine. `extraction` of answers:
    `"robust"` (ours), `"official"` (the paper's, literal) or `"math-verify"` (the extra `math`).
    `shots` exemplars (-1: all, 0: none). `votes` (ours; 0 is the paper): weight of a candidate's
    share of the k samples beside its verification score.

    Raises `ValueError` for a number out of range or an unknown choice, `RunError` where
    math-verify is asked for and missing.
    """

    k: int = 5
    p: int = 10
    t_forward: float = 0.3
    t_backward: float = 0.2
    sc: int = 40
    max_new_tokens: int = 168
    shots: int = -1
    verification: str = "auto"
    conditions: str = "all"
    max_conditions: int = 0
    masking: str = "spans"
    extraction: str = "robust"
    equation_style: str = "paper"
    votes: float = 0.0
    early_stop: bool = False
    chat: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        whole("max_new_tokens", self.max_new_tokens, 1)
        for name, least in (("k", 1), ("sc", 1), ("p", 0)):
            whole(name, getattr(self, name), least, MOST_SAMPLES)
        for name, least in (("shots", -1), ("max_conditions", 0), ("seed", 0)):
            whole(name, getattr(self, name), least)
        for name in ("t_forward", "t_backward", "votes"):
            finite(name, getattr(self, name), 0)
        for name in ("early_stop", "chat"):
            truth(name, getattr(self, name))
        if self.early_stop and self.votes:
            raise ValueError("early_stop is exact for verification scores alone: set votes=0")
        for name, known in CHOICES.items():
            one_of(name, getattr(self, name), known)
        if self.extraction == "math-verify":
            math_answers.require()

    def official(self) -> "Settings":
        """The released code's own choices: its masks (three at most) and literal extraction."""
        return replace(
            self, masking="released", max_conditions=3, extraction="official",
            equation_style="code",
        )  # fmt: skip

    def tiny(self) -> "Settings":
        """For the embedded sums model: no exemplars, short texts, a temperature that varies it."""
        return replace(self, t_forward=0.7, t_backward=0.7, max_new_tokens=32)

    def small(self) -> "Settings":
        """For a small instruct model on a CPU: chats, two exemplars, few and short samples."""
        return replace(self, k=3, p=2, sc=10, max_new_tokens=64, shots=2, chat=True)


CHOICES = {
    "verification": ("auto", "cmv", "tfv", "yesno"),
    "conditions": ("all", "first", "random"),
    "masking": ("spans", "released"),
    "extraction": STYLES,
    "equation_style": ("paper", "code"),
}


def settings(preset: str, *, official: bool = False, **given: Any) -> Settings:
    """The preset's settings; those given pin a value, unless empty or -1.

    `official` takes the released code's masks and extraction; `chat` may be a text, too. Raises
    `ValueError` for an unknown preset, and as `Settings`; a run without verification samples is
    none.
    """
    chosen = parameters.of_preset(preset, Settings())
    chosen = chosen.official() if truth("official", official) else chosen
    chat = given.get("chat", "")
    given["chat"] = {"true": True, "false": False}.get(str(chat).lower(), chat)
    chosen = replace(chosen, **parameters.given(given))
    whole("p", chosen.p, 1)
    return chosen


def problems_of(preset: str, dataset: str = "", data_path: str = "") -> list[Problem]:
    """The problems of the preset or the dataset given, those with two readings left out.

    Raises `ValueError` for an unknown dataset, or a path that is no file, and as `read_problems`.
    """
    name, source = (dataset, "auto") if dataset else PROBLEMS[preset]
    one_of("dataset", name, tuple(DATASETS))
    parameters.check_file("data_path", data_path)
    with parameters.naming("data_path", data_path):
        rows = read_problems(name, data_path or source)
    return rows if name != "sums" else [p for p in rows if not p.id.startswith(TWO_READINGS)]


def check_model(preset: str, model_id: str = "", served_model: str = "") -> dict[str, Any]:
    """The config.json of the model, as far as it is here; {} for a server's.

    Raises `RunError` for `preset=paper` without a model; `ValueError` for a server's model where
    there is no server; `ModelError` for one that is gated, missing, unreachable or none.
    """
    if preset == "paper" and not model_id:
        raise RunError(
            "preset=paper needs a model (the paper's are retired): -p model_id=HUB_ID, a folder, "
            "or a server's address http://host:port/v1"
        )
    if model_id.startswith(SERVERS):
        return {}
    if served_model:
        raise ValueError(f"served_model={served_model!r} goes unheeded: model_id is no server's")
    with parameters.naming("model_id", model_id):
        return hub.require_model(model_id or MODELS[preset])


def preflight(preset: str, given: dict[str, Any]) -> None:
    """Refuse a run that cannot succeed. `given`: parameters that differ from the notebook's own.

    Raises `ValueError` for one out of range, above what model or file have, or that would go
    unheeded; as `check_model` and, unless the problems lie on the hub, as `problems_of`.
    """
    knobs = "official k p sc t_forward t_backward verification max_new_tokens shots chat extraction"
    chosen = settings(preset, **parameters.picked(given, knobs))
    parameters.seed_list(given.get("seed", 0), given.get("seeds", 3))
    limit = whole("limit", given.get("limit", 0), 0)
    name = given.get("dataset") or PROBLEMS[preset][0]
    one_of("dataset", name, tuple(DATASETS))
    if chosen.extraction == "math-verify":
        math_answers.require(DATASETS[name].kind)
    if name == "sums" and given.get("shots", -1) > 0:
        raise ValueError(f"shots={chosen.shots}: the sums have no exemplars")
    config = check_model(preset, **parameters.picked(given, "model_id served_model"))
    whole("max_new_tokens", chosen.max_new_tokens, 1, config.get("max_position_embeddings"))
    asked = parameters.picked(given, "dataset data_path")
    if name == "sums" or given.get("data_path") or (preset == "small" and "dataset" not in asked):
        whole("limit", limit, 0, len(problems_of(preset, **asked)))
