"""What the paper is and says (arXiv 2304.01665): its tables, its settings, what a run needs."""

from dataclasses import dataclass, replace
from typing import Any

from workbench import hub
from workbench.arguments import different, listed, one_of, whole
from workbench.errors import ModelError
from workbench.papers import parameters
from workbench.papers.neural_comprehension.stories import addsub_stories, published_stories

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
    "takes any other causal model, -p t5_id= another T5, -p data_path=, addsub_path= problems"
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
PUBLISHED = [
    {"metric": f"params_{task}", "value": row[-1], "setting": "Table 3"}
    for task, row in TABLE_3.items()
] + [
    {"metric": f"acc_ungated_addition_{digits}", "value": percent / 100,
     "setting": "GPT-4 few-shot, read off a curve, Fig. 1"}
    for digits, percent in FIG_1["GPT-4 few-shot"].items()
] + [
    {"metric": f"solved_{mode}_hard_{subset}", "value": round(percent / 100, 3),
     "setting": f"llama-2-7b, {of} problems, Table 2"}
    for subset, of, rates in zip(SUBSETS, SUBSET_SIZES, TABLE_2["llama-2-7b"], strict=True)
    for mode, percent in zip(("ungated", "program", "gated"), rates, strict=True)
] + [
    {"metric": f"solved_{mode}_addsub", "value": 0.8278, "setting": "code-davinci-002, Table 6"}
    for mode in ("ungated", "gated")
]  # fmt: skip
"""Figures 1, 4, 5 and 6 are curves without printed numbers. In Fig. 4 NC is at 100 everywhere, and
its length counts every character: "40" there are operands of about 20 digits."""


def published(metric: str) -> tuple[float | None, str | None]:
    """(value, setting) of a metric; None without one."""
    if metric.startswith("acc_gated_") and "_chat_" not in metric:
        return 1.0, "NC, a curve, Fig. 4"
    rows = ((row["value"], row["setting"]) for row in PUBLISHED if row["metric"] == metric)
    return next(rows, (None, None))


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


def check_t5(t5_id: str = "") -> str:
    """The name of the T5. Raises `ModelError` for one that is missing, or of another kind."""
    name = t5_id or T5
    with parameters.naming("t5_id", name):
        config = hub.require_model(name)
        kind = str(config.get("model_type", "t5"))
        if "t5" not in kind or not config.get("is_encoder_decoder", True):
            raise ModelError(
                f"it is {kind!r}, and no T5 with a decoder; give {T5}, or a folder that holds one"
            )
    return name


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
    for name in ("data_path", "addsub_path"):
        parameters.check_file(name, given.get(name, ""))
    config = check_model(preset, given.get("model_id", ""))
    whole("max_new_tokens", chosen.max_new_tokens, 1, config.get("max_position_embeddings"))
    if preset == "paper":
        check_t5(given.get("t5_id", ""))
    if path := given.get("data_path"):
        with parameters.naming("data_path", path):
            published_stories(path, chosen.rows)
    if path := given.get("addsub_path"):
        with parameters.naming("addsub_path", path):
            addsub_stories(path, chosen.digits, chosen.rows, chosen.stories, chosen.seed)


def check_unheeded(preset: str, given: dict[str, Any]) -> None:
    """Raise `ValueError` for a parameter that changes nothing at the preset."""
    coins, tuned = "stories of coins are told", "T5 is tuned"
    for name, what in {"flips": coins, "t5_id": tuned, "epochs": tuned}.items():
        if given.get(name) and preset not in ("paper", "tiny" if name == "flips" else ""):
            raise ValueError(
                f"{name}={given[name]!r:.80} goes unheeded: no {what} at preset={preset}"
            )
