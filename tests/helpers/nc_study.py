"""Neural Comprehension at sizes of a second."""

from dataclasses import replace

from workbench.papers.neural_comprehension.paper import Settings


def few(**changes) -> Settings:
    """The tiny settings with others in their place."""
    return replace(Settings().tiny(), **{"observed": 0, **changes})


def one_step() -> Settings:
    """A study of one task and one word problem."""
    return few(tasks=("addition",), lengths=(3,), rows=2, digits=(2,), stories=2, flips=(2,),
               texts=20, repeats=1)  # fmt: skip
