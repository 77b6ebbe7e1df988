"""How fast evidence is shown: a slider of `wb.ui.evidence`, a question over 1,000 own facts.

The way to the screen is not in it; `tests.benchmarks.widgets` measures that in a browser.
"""

import statistics
import time
from types import SimpleNamespace

import workbench as wb
from workbench.errors import ModelError
from workbench.retrieval.nearest import Nearest
from workbench.retrievers.search import retrieved
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
    return out


def _spread(name: str, call, count: int) -> dict[str, float]:
    times = []
    for i in range(count):
        start = time.perf_counter()
        call(i)
        times.append(1000 * (time.perf_counter() - start))
    p95 = statistics.quantiles(times, n=20)[-1]
    return {f"{name}_ms": statistics.median(times), f"{name}_p95_ms": p95}


if __name__ == "__main__":
    for measure, value in evidence().items():
        print(f"{measure:<32} {value:>8.1f}")
