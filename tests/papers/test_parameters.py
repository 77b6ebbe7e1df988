"""What presets ask of the machine, and of a model."""

from types import SimpleNamespace

import psutil
import pytest

import workbench as wb
from workbench.errors import RunError
from workbench.papers import parameters
from workbench.papers.pas.answer import distribution
from workbench.papers.pas.paper import Settings
from workbench.papers.registry import PAPERS


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_small_is_refused_where_memory_is_too_little_for_it(paper, monkeypatch):
    free = SimpleNamespace(available=0.9e9, free=0.1e9)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    monkeypatch.setattr(psutil, "swap_memory", lambda: free)
    with pytest.raises(RunError, match=r"preset=small takes 1\.5 GB .* and 1\.0 GB are free"):
        paper.module.preflight("small", {"model_id": "tiny"})
    paper.module.preflight("tiny", {})
    free.free = 1e9
    assert parameters.of_preset("small", Settings()) == Settings().small()


def test_a_model_without_a_template_is_asked_in_plain_prompts(caplog):
    model = wb.load("survey")
    assert parameters.with_template(model) is model
    assert caplog.text == ""
    model.tokenizer.chat_template = None
    parameters.with_template(model)
    assert "survey has no chat template: it is asked in plain prompts" in caplog.text
    chat = [{"role": "system", "content": "be kind."}, {"role": "user", "content": "say it."}]
    text = model.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == "be kind.\n\nsay it.\n\n"
    told = distribution(model, "be kind.", ["like order", "trust others"], ("forward",))
    assert told.shape == (1, 2, 5)


def test_more_seeds_than_a_list_holds_are_refused():
    assert parameters.seed_list(2, 3) == [2, 3, 4]
    with pytest.raises(ValueError, match="seeds=4000000000"):
        parameters.seed_list(0, 4 * 10**9)
