"""How often the 95 % interval of a share holds the truth, in worlds drawn again and again.

93 to 97 %, give or take what a simulation of this size cannot tell. Two things cannot be had, and
are bounded here as measured (2000 draws):

- Three seeds' interval is never narrower than that of independent answers, and still has to hold
  where seeds differ. For normal means the best choice of when to pool them gives 93 % at worst
  and 97 % at most; here it is 92.4 to 95 % where seeds differ, 96.5 to 98 % where nothing does.
- Few events (under 5 a seed) come in few counts: the interval then holds up to 98.6 %.
"""

import pytest

from tests.helpers.coverage import coverage

WORLDS = [
    ("noise", 1, False), ("noise", 3, False), ("identical", 3, False), ("questions", 3, False),
    ("seeds", 3, False), ("seeds and questions", 3, False), ("noise", 3, True),
    ("questions", 3, True), ("seeds", 3, True), ("control", 1, False), ("control", 3, False),
]  # fmt: skip
"""World (see `tests.helpers.coverage`), seeds, whether each has prompts of its own."""


def held(world, p, seeds, n, own, repeats):
    found = coverage(world, p, seeds, n, own, repeats)
    chance = 2 * (0.95 * 0.05 / repeats) ** 0.5
    most = 0.97 if seeds == 1 or world == "identical" else 0.98
    most = 0.987 if p * n < 5 else most
    least = 0.92 if world == "seeds" else 0.93
    assert least - chance <= found <= most + chance


@pytest.mark.parametrize("p", [0.02, 0.1, 0.5])
@pytest.mark.parametrize(("world", "seeds", "own"), WORLDS)
def test_intervals_cover(world, seeds, own, p):
    held(world, p, seeds, 40, own, 1000)


@pytest.mark.slow
@pytest.mark.parametrize("n", [40, 120])
@pytest.mark.parametrize("p", [0.02, 0.05, 0.1, 0.2, 0.5])
@pytest.mark.parametrize(("world", "seeds", "own"), WORLDS)
def test_intervals_cover_at_every_size(world, seeds, own, p, n):
    held(world, p, seeds, n, own, 2500)
