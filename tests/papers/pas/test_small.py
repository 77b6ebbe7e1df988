"""The real small model, where it is at hand: a null result, told before any search and at the end.

Elsewhere the skip says how to get it.
"""

from dataclasses import replace

import numpy as np
import pytest

from workbench.errors import ModelError
from workbench.papers.pas import paper, presets, scores, study, tables
from workbench.papers.pas.paper import Settings
from workbench.papers.pas.unsteered import VALUES, unsteered


def test_a_null_result_is_told_first_and_recorded():
    try:
        everybody = paper.people("small")
    except ModelError as error:
        pytest.skip(str(error))
    model = presets.model("small", "")
    settings = replace(Settings().small(), modes=("pas",), alphas=(0.0, 8.0))
    told = unsteered(model, everybody.inventory, settings)
    assert "collapsed (0.00 bits" in str(told)
    assert np.corrcoef(*(told.letters @ VALUES))[0, 1] < 0
    few = [n for n, item in enumerate(everybody.inventory.items) if item.trait == "A"]
    items = tuple(everybody.inventory.items[n] for n in few)
    one = replace(
        everybody.take([0]),
        inventory=replace(everybody.inventory, items=items),
        values=everybody.values[:1, few],
        traits=None,
    )
    done = study.run(model, {0: one}, settings, lambda name, key, compute: compute())
    assert scores.check(done).startswith("NULL RESULT. pas: the answers have collapsed (0.00 bits")
    recorded = {m["name"]: m for m in tables.metrics(done)}
    assert recorded["score_pas_validated"]["value"] == recorded["score_always_neutral"]["value"]
    assert not [name for name, m in recorded.items() if m["published"] is not None]
