"""How fast evidence is shown: a slider of `wb.ui.evidence`, a question or hop over 1,000 facts.

The way to the screen is not in it; `tests.benchmarks.widgets` measures that in a browser.
"""

import statistics
import time
from types import SimpleNamespace

import workbench as wb
from workbench.errors import ModelError
from workbench.retrieval.nearest import Nearest
from workbench.retrieval.steps import Step, Stepper
from workbench.retrievers.search import retrieved
from workbench.retrievers.stepping import stepper_of
from workbench.retrievers.train import Fit, trained
from workbench.worlds.facts import World
from workbench.worlds.pools import questions

FACTS, QUESTIONS, MOVES = 1000, 60, 60


def study(train: int = 48, test: int = 12) -> SimpleNamespace:
    """What the UI takes of a study: hardly trained networks, whose graphs are the largest."""
    asked, fit = questions("test", test), Fit(epochs=1)
    networks = {d: trained(questions("train", train), fit, d, 0) for d in ("forward", "backward")}
    searched = {direction: retrieved(network, asked) for direction, network in networks.items()}
    return SimpleNamespace(test=asked, searched=searched, tuned={"bgr": ["w 0.5, τ 0.2"]})


def evidence() -> dict[str, float]:
    """Milliseconds of a slider's move and of a question: median and 95th percentile of the wall.

    Questions are asked of MiniLM, where it is at hand, and of hashed words; facts are encoded.
    Steps of `wb.ui.chain_steps` are of these and of the network over words.
    """
    view = wb.ui.evidence(study())

    def move(i: int) -> None:
        slider = (view.w, view.tau, view.theta)[i % 3]
        slider.value = (i * 7 % 18) / 20

    out = _spread("evidence_slider", move, MOVES)
    view.close()
    facts = [fact.text for fact in World("test", 0, 2.0).facts][:FACTS]
    if len(facts) < FACTS:
        raise SystemExit(f"the world has {len(facts)} facts, not {FACTS}")
    asked = [q.question for q in questions("test", QUESTIONS, size=2.0)]
    for name in ("minilm", "lex"):
        try:
            nearest = Nearest(wb.load_encoder(name))
        except ModelError as error:
            print(f"  left out: {name}: {error}")
            continue
        wb.explain(asked[0], facts, nearest)
        ask = lambda i, nearest=nearest: wb.explain(asked[i], facts, nearest)  # noqa: E731
        out |= _spread(f"explain_{FACTS}_{name}", ask, QUESTIONS)
        out |= _steps(name, nearest.step, asked, facts)
    network = trained(questions("train", 48), Fit(epochs=1), "forward", 0)
    return out | _steps("network", stepper_of(network), asked, facts)


def _steps(name: str, stepper: Stepper, asked: list[str], facts: list[str]) -> dict[str, float]:
    """The first step of a question; then a hop by hand, drawn, by the steps that follow it."""
    steps: list[tuple[int, ...]] = []

    def counted(question: str, facts: list[str], read: tuple[int, ...]) -> Step:
        steps.append(read)
        return stepper(question, facts, read)

    view = wb.ui.chain_steps(asked[0], facts, counted)
    view.read()
    view.wait()
    first, hop = [], []
    for question in asked[: QUESTIONS // 2]:
        start = time.perf_counter()
        stepper(question, facts, ())
        first.append(1000 * (time.perf_counter() - start))
        view.question.value = question
        view.read()
        view.wait()
        for place in range(2):
            steps.clear()
            start = time.perf_counter()
            view.override(0, place)
            view.wait()
            if steps:
                hop.append(1000 * (time.perf_counter() - start) / len(steps))
    view.close()
    return _summary(f"step_first_{name}", first) | _summary(f"step_{name}", hop)


def _spread(name: str, call, count: int) -> dict[str, float]:
    times = []
    for i in range(count):
        start = time.perf_counter()
        call(i)
        times.append(1000 * (time.perf_counter() - start))
    return _summary(name, times)


def _summary(name: str, times: list[float]) -> dict[str, float]:
    p95 = statistics.quantiles(times, n=20)[-1]
    return {f"{name}_ms": statistics.median(times), f"{name}_p95_ms": p95}


if __name__ == "__main__":
    for measure, value in evidence().items():
        print(f"{measure:<32} {value:>8.1f}")
