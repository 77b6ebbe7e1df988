"""The real small model, where it is at hand: long sums that it cannot do, and a gate that can.

Elsewhere the skip says how to get it.
"""

import pytest

from workbench.errors import ModelError
from workbench.papers.neural_comprehension import presets, study
from workbench.papers.neural_comprehension.paper import settings


@pytest.fixture(scope="module")
def model():
    try:
        return presets.model("small")
    except ModelError as error:
        pytest.skip(str(error))


def test_sums_of_ten_digits(model):
    few = settings("small", lengths="10", rows=2, observed=1)
    for task in ("addition", "subtraction"):
        step = study.tried(model, task, few)
        (cell,) = (study.Cell(**cell) for cell in step["cells"])
        assert (cell.right("gated"), cell.right("ungated")) == ([1, 1], [0, 0])
        assert cell.replies["observed"] == cell.replies["ungated"][:1]
        assert sum(step["disagreed"]) > 4


def test_in_a_chat_it_fires_only_where_the_model_writes_the_trigger(model):
    few = settings("small", lengths="5", stories=3, observed=1)
    (cell,) = study.tried(model, "reverse_chat", few)["cells"]
    for given, plain, gated in zip(cell["asked"], cell["replies"]["ungated"],
                                   cell["replies"]["gated"], strict=True):  # fmt: skip
        if f'reverse of "{given}" is' in plain:
            assert f'reverse of "{given}" is {given[::-1]}' in gated.replace('is "', "is ")
        else:
            assert plain == gated
