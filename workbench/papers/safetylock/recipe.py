"""How a copy of a model is trained, in numbers."""

from dataclasses import dataclass

from workbench.arguments import finite, whole


@dataclass(frozen=True)
class Recipe:
    """How a copy of a model is trained: AdamW's rate, the most steps, on what, and what stays.

    `frozen`: share of the layers, from the first on, that are not trained; above 0 neither are
    embeddings and head. `answer_tokens`: how many of each answer are learned, from the first on; 0
    for all and the end token. `decay`: whether the rate falls to 0, in a line. `look`: steps from
    one look whether it is enough to the next. Raises `ValueError` for a rate that is not above 0,
    no steps, none to a look, a share outside 0 to below 1, or a count below 0.
    """

    lr: float = 3e-5
    max_steps: int = 60
    frozen: float = 0.0
    answer_tokens: int = 0
    decay: bool = False
    look: int = 1

    def __post_init__(self) -> None:
        finite("lr", self.lr, above=0)
        whole("max_steps", self.max_steps, 1)
        whole("look", self.look, 1)
        finite("frozen", self.frozen, 0, below=1)
        whole("answer_tokens", self.answer_tokens, 0)


USUAL = Recipe()
"""Of small models that are trained whole."""
