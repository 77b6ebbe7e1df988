"""What the paper is and says (arXiv 2304.01665): its tables, its settings, what a run needs."""

from dataclasses import dataclass, replace
from typing import Any

from workbench import hub
from workbench.arguments import different, listed, one_of, whole
from workbench.errors import ModelError
from workbench.papers import parameters
from workbench.papers.neural_comprehension.stories import published_stories

TITLE = "Mastering Symbolic Operations: Augmenting Language Models with Compiled Neural Networks"
NOTEBOOK = "08_neural_comprehension.ipynb"
CLAIM = (
    "Networks whose weights are compiled from symbolic programs, and a gate that lets a language "
    "model's next token come from them, make symbolic steps exact at any length of their window."
)

MODELS = {"tiny": "symbols", "small": "smollm2", "paper": "meta-llama/Llama-2-7b-hf"}
"""Preset → its model."""
STAGES = {"flips-early": "early", "flips": "late"}
"""Embedded models of coin flips → their stage of training."""
T5 = "google-t5/t5-base"
"""The model of Fig. 5 at the paper preset, which is tuned in the run."""
NEEDS = (
    "preset=paper takes some two hours on one GPU with 24 GB: Llama 2 7B (14 GB, gated: its "
    "licence is accepted on its page), T5-base (1 GB), and GSM-Hard from the hub. -p model_id= "
    "takes any other causal model, -p t5_id= another T5, -p data_path= a file of problems"
)
TASKS = ("parity", "reverse", "last_letter", "copy", "addition", "subtraction")
ARITHMETIC = ("addition", "subtraction")
CHATS = {"parity": "parity_chat", "reverse": "reverse_chat"}
"""Task → what it is called where it is asked for in words, of a model that chats."""
CHAT_LONGEST = 8
"""Symbols of an input in a chat, at most: `stories` of each of these lengths."""
LONGEST = 95
"""Symbols, or digits of an operand, at most: what the largest network's window holds."""

FIG_1 = {  # addition, digits of an operand: percent, read off a curve
    "GPT-4 few-shot": {3: 100, 10: 95, 20: 90, 30: 85},
    "GPT-3.5 few-shot": {3: 100, 10: 85, 20: 60, 30: 40},
    "T5-base fine-tuned": {3: 100, 10: 20, 20: 5, 30: 5},
}
SUBSETS = ("addition", "subtraction", "mixed")
TABLE_2 = {  # model: (CoT, PAL, NC) on each subset of GSM8K-Hard, percent
    "llama-2-7b": ((6.3, 18.7, 12.5), (6.3, 7.2, 9.9), (11.1, 11.1, 27.8)),
    "llama-2-70b": ((43.8, 37.5, 43.8), (27.9, 31.5, 32.4), (16.7, 27.8, 33.3)),
    "GLM-130B": ((6.3, 6.3, 7.2), (1.8, 3.6, 4.5), (0.0, 5.6, 5.6)),
}
SUBSET_SIZES = (16, 111, 18)
"""Of the subsets: not given, implied by the rounding."""
TABLE_3 = {  # network: layers, heads, vocabulary, window, width, units, parameters
    "parity": (4, 1, 4, 40, 132, 1959, 2_200_000),
    "reverse": (4, 1, 28, 40, 297, 1640, 4_300_000),
    "last_letter": (3, 1, 28, 16, 103, 32, 62_600),
    "copy": (1, 1, 28, 16, 69, 26, 8_800),
    "addition": (10, 1, 13, 40, 535, 6422, 51_917_000),
    "subtraction": (10, 1, 13, 40, 535, 6422, 51_917_000),
}
"""Arithmetic is two networks there, of 7 and 3 layers, the second run once per symbol; their
parameters are added. "122" of a vocabulary of carries is a misprint for 22."""
TABLE_4 = {"parity": (5, 10, 10), "reverse": (10, 10, 10), "last_letter": (9, 10, 10),
           "copy": (10, 10, 10)}  # fmt: skip
"""Of 10 programs that AutoCoNN accepted, how many were right, with 1, 2 and 5 examples."""
TABLE_5 = {  # task: expert's hours; right of 20, with instruction and examples, and either alone
    "parity": (1, 8, 7, 3),
    "reverse": (0.5, 15, 16, 11),
    "last_letter": (0.5, 13, 12, 10),
    "copy": (0.2, 17, 17, 15),
    "addition": (48, 0, 0, 0),
    "subtraction": (48, 0, 0, 0),
}
TABLE_6 = {  # model: GSM8K, SingleEq, AddSub, MultiArith, SVAMP; percent
    "code-davinci-001 CoT": (13.84, 62.02, 57.22, 45.85, 38.42),
    "code-davinci-001 + NC": (13.95, 62.83, 60.25, 45.85, 38.62),
    "code-davinci-002 CoT": (60.20, 91.01, 82.78, 96.13, 75.87),
    "code-davinci-002 + NC": (60.42, 91.01, 82.78, 96.13, 76.09),
}
TABLE_7 = {"T5-small": (1.74, 1.82), "T5-base": (1.52, 1.59), "T5-large": (3.87, 4.02)}
"""GSM8K before and with NC, percent."""
TABLE_8 = {  # seconds of one reply on a GPU: without and with the gate, coin flip
    "T5-small": (5.280, 5.431),
    "T5-base": (7.865, 8.010),
    "T5-large": (14.055, 14.194),
}
PUBLISHED = [
    {"metric": f"params_{task}", "value": row[-1], "setting": "Table 3"}
    for task, row in TABLE_3.items()
] + [
    {"metric": f"acc_ungated_addition_{digits}", "value": percent / 100,
     "setting": "GPT-4 few-shot, read off a curve, Fig. 1"}
    for digits, percent in FIG_1["GPT-4 few-shot"].items()
]  # fmt: skip
"""Figures 1, 4, 5 and 6 are curves without printed numbers. In Fig. 4 NC is at 100 everywhere, and
its length counts every character: "40" there are operands of about 20 digits."""


def published(metric: str) -> tuple[float | None, str | None]:
    """(value, setting) of a metric; None without one."""
    if metric.startswith("acc_gated_") and "_chat_" not in metric:
        return 1.0, "NC, a curve, Fig. 4"
    for row in PUBLISHED:
        if row["metric"] == metric:
            return row["value"], row["setting"]
    return None, None


@dataclass(frozen=True)
class Settings:
    """The paper's values, as far as it gives them (§4).

    `tasks`: of `TASKS` and `CHATS`. `lengths`: symbols of an input, or digits of each operand;
    `rows` inputs of each. `shots`: exemplars before it. `digits`: of the numbers in word problems,
    and `flips` of coins in stories, `stories` of each. `observed`: of each length's inputs, how
    many are also asked with a gate that only looks on. `texts`: ordinary ones in which no gate may
    fire. `repeats`: of the times measured. `epochs`: after which T5 is tried, the last its end.

    Raises `ValueError` for a number out of range, an unknown task, or one that is there twice.
    """

    tasks: tuple[str, ...] = TASKS
    lengths: tuple[int, ...] = (1, 2, 5, 10, 15, 20, 25, 30, 35, 40)
    rows: int = 1000
    shots: int = 8
    digits: tuple[int, ...] = (1, 2, 5, 10, 15, 20)
    flips: tuple[int, ...] = (2, 3, 4, 5, 8, 12)
    stories: int = 100
    observed: int = 50
    texts: int = 200
    repeats: int = 5
    epochs: tuple[int, ...] = (1, 2, 5, 10, 20)
    max_new_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        for task in different("tasks", listed("tasks", self.tasks)):
            one_of("tasks", task, (*TASKS, *CHATS.values()))
        for name, most in (("lengths", LONGEST), ("digits", LONGEST), ("flips", LONGEST),
                           ("epochs", 1000)):  # fmt: skip
            for number in different(name, listed(name, getattr(self, name))):
                whole(name, number, 1, most)
        for name in ("rows", "stories", "repeats", "max_new_tokens"):
            whole(name, getattr(self, name), 1, 10**6)
        whole("observed", self.observed, 0, self.rows)
        whole("shots", self.shots, 0, 8)
        whole("texts", self.texts, 1, 200)
        parameters.seed_list(self.seed, 1)

    def sizes(self, task: str) -> tuple[tuple[int, ...], int]:
        """The lengths of a task, and how many inputs of each."""
        if task in CHATS.values():
            return tuple(n for n in self.lengths if n <= CHAT_LONGEST), self.stories
        return self.lengths, self.rows

    def tiny(self) -> "Settings":
        """For the embedded models: no exemplars, few inputs."""
        return replace(
            self, lengths=(1, 2, 4, 6, 8, 10, 15, 20, 30, 40), rows=50, shots=0,
            digits=(1, 2, 3, 4, 5, 6), flips=(2, 3, 4, 5, 6, 8, 12), stories=50, observed=10,
            epochs=(1,), max_new_tokens=64,
        )  # fmt: skip

    def small(self) -> "Settings":
        """For a small instruct model on a CPU: sums behind four exemplars, words in chats."""
        return replace(
            self, tasks=(*ARITHMETIC, *CHATS.values()), lengths=(1, 2, 5, 10, 20, 40),
            rows=50, shots=4, digits=(1, 2, 4, 8), flips=(2,), stories=20, observed=3, epochs=(1,),
            repeats=3, max_new_tokens=64,
        )  # fmt: skip


def settings(preset: str, seed: int = 0, **given: Any) -> Settings:
    """The preset's settings; those given pin a value, unless empty or -1. Lists come as text.

    Raises `ValueError` for an unknown preset, a list that is none, and as `Settings`.
    """
    chosen, pinned = parameters.of_preset(preset, Settings()), parameters.given(given)
    if "tasks" in pinned:
        pinned["tasks"] = parameters.names("tasks", pinned["tasks"])
    for name in ("lengths", "digits", "flips", "epochs"):
        if name in pinned:
            pinned[name] = numbers(name, pinned[name])
    if "rows" in pinned and "observed" not in pinned:
        whole("rows", pinned["rows"], 1, 10**6)
        pinned["observed"] = min(chosen.observed, pinned["rows"])
    return replace(chosen, seed=seed, **pinned)


def numbers(name: str, text: str) -> tuple[int, ...]:
    """Whole numbers separated by commas, rising.

    Raises `ValueError`, naming the parameter, as `parameters.names` and for what is no number.

    >>> numbers("lengths", "4, 2")
    (2, 4)
    """
    parts = parameters.names(name, text)
    for part in parts:
        if not (part.isascii() and part.isdecimal() and len(part) < 10):
            raise ValueError(
                f"{name}={text!r:.80}: {part!r:.40} is no whole number; give some, separated by "
                "commas"
            )
    return tuple(sorted(different(name, [int(part) for part in parts])))


def check_model(preset: str, model_id: str = "") -> dict[str, Any]:
    """The config.json of the model, as far as it is here.

    Raises `ModelError` for one that is gated, missing, unreachable or none.
    """
    with parameters.naming("model_id", model_id):
        try:
            return hub.require_model(model_id or MODELS[preset])
        except ModelError as error:
            if preset != "paper" or model_id:
                raise
            raise ModelError(f"{error} {NEEDS}") from None


def preflight(preset: str, given: dict[str, Any]) -> None:
    """Refuse a run that cannot succeed. `given`: parameters that differ from the notebook's own.

    Raises `ValueError` for one out of range or that would go unheeded; as `check_model`, and as
    `published_stories` for a file of problems.
    """
    names = (
        "tasks lengths rows shots digits stories flips observed texts repeats max_new_tokens epochs"
    )
    chosen = settings(preset, **parameters.picked(given, names), seed=given.get("seed", 0))
    check_unheeded(preset, given)
    parameters.check_file("data_path", given.get("data_path", ""))
    config = check_model(preset, given.get("model_id", ""))
    whole("max_new_tokens", chosen.max_new_tokens, 1, config.get("max_position_embeddings"))
    if preset == "paper":
        with parameters.naming("t5_id", given.get("t5_id", "")):
            hub.require_model(given.get("t5_id") or T5)
    if path := given.get("data_path"):
        with parameters.naming("data_path", path):
            published_stories(path, chosen.rows)


def check_unheeded(preset: str, given: dict[str, Any]) -> None:
    """Raise `ValueError` for a parameter that changes nothing at the preset."""
    ways = {"flips": ("tiny", "paper"), "t5_id": ("paper",), "epochs": ("paper",)}
    for name, presets in ways.items():
        if given.get(name) and preset not in presets:
            raise ValueError(
                f"{name}={given[name]!r:.80} goes unheeded: no stories of coins are told at "
                f"preset={preset}" if name == "flips" else
                f"{name}={given[name]!r:.80} goes unheeded: T5 is tuned at preset=paper alone"
            )  # fmt: skip
