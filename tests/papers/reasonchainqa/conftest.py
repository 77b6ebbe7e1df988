"""One study with networks that have hardly been trained, and questions whose chains are known."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from workbench.models.encoders import load_encoder
from workbench.papers.reasonchainqa import answering, paper, presets, programs, study
from workbench.retrieval.graphs import Evidence
from workbench.training.supervised import one_thread

FACTS = ("Ada was born in Bel.", "Bel is in Mara.", "Mara has 3 parks.", "No.", "Yes.", "So.")


class Kept(dict):
    """Steps by name and key, none of which is done twice."""

    def __call__(self, name, key, compute):
        if (name, str(key)) not in self:
            self[name, str(key)] = compute()
        return self[name, str(key)]

    @property
    def names(self):
        return sorted(name for name, _ in self)


@pytest.fixture(scope="session")
def made():
    """Two seeds of every method on 40, 12 and 24 questions of all kinds of reasoning.

    One reader is trained, above the first seed's chains.
    """
    settings = paper.settings(
        "tiny", train=40, dev=12, test=24, held_out=10, epochs=1, seeds=2,
        methods=",".join(paper.METHODS), types=",".join(paper.TYPES),
    )  # fmt: skip
    questions, keep, encoder = presets.questions(settings), Kept(), load_encoder("lex")
    with one_thread():  # as workers have
        ran = study.run(questions, settings, keep, encoder)
    read = replace(ran, settings=replace(settings, seeds=1))
    with pytest.MonkeyPatch.context() as patched:
        fit = answering.ReaderFit(d=16, epochs=4)
        patched.setattr(answering, "small_fit", lambda count: fit)
        answers = answering.run(read, questions["train"][4:12], keep)
    return SimpleNamespace(
        study=ran, questions=questions, settings=settings, keep=keep, encoder=encoder,
        answers=answers, solved=programs.run(ran),
    )  # fmt: skip


@pytest.fixture
def by_hand():
    """Questions over the same facts, by their chains; each has the answer Bel."""

    def questions(split, *chains):
        return [
            Evidence(f"{split}{i}", f"Where was {split} {i}?", FACTS,
                     tuple(sorted(answering.line(chain))), answer="Bel", chain=chain)
            for i, chain in enumerate(chains)
        ]  # fmt: skip

    return questions
