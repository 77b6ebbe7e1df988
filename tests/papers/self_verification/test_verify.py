"""Self-Verification with a scripted solver: its accuracy is known in closed form."""

import logging
from dataclasses import replace

import pytest

from tests.helpers.solvers import (
    BARE,
    PENS,
    ScriptedGenerator,
    World,
    accuracy,
    answers,
    last_question,
    script,
    statements,
)
from workbench.data.problems import Problem, read_problems
from workbench.generation.sample_store import SampleStore
from workbench.papers.self_verification.decision import majority
from workbench.papers.self_verification.paper import Settings
from workbench.papers.self_verification.verify import self_verify, solve


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def run(world):
    """Runs by their settings, each done once; smaller ones are part of larger ones in the store."""
    store, done = SampleStore(), {}

    def once(**changes):
        name = tuple(sorted(changes.items()))
        if name not in done:
            settings = Settings(k=3, extraction="official", **changes)
            count = 1000 if settings.p == 10 else 2000
            solver = ScriptedGenerator(world.reply)
            done[name] = self_verify(solver, world.problems(count), settings, store=store)
        return done[name]

    with store:
        yield once


def test_the_closed_form_by_hand():
    certain = World(e=0)
    assert certain.expected(5, 10) == 1
    sure = World(e=0.5, a=1.0, b=0.0)  # right whenever the right answer was sampled at all
    assert sure.expected(5, 10) == pytest.approx(1 - 0.5**5)
    blind = World(e=0.5, a=0.0, b=0.0)  # all scores equal: the first sample
    assert blind.expected(5, 10) == pytest.approx(0.5)


ALL, ONE = ("auto", "all", 2), ("auto", "first", 1)
RUNS = [(*way, p) for way in (ALL, ONE) for p in (1, 3, 10)]
RUNS += [("auto", "random", 1, 3), ("tfv", "all", 1, 3), ("yesno", "all", 1, 3)]


@pytest.mark.parametrize(("kind", "conditions", "prompts", "p"), RUNS)
def test_accuracy_has_its_closed_form(world, run, kind, conditions, prompts, p):
    found = run(p=p, conditions=conditions, verification=kind)
    exact = world.expected(3, p * prompts)
    assert abs(accuracy(found) - exact) < 4 * (exact * (1 - exact) / len(found)) ** 0.5
    assert {v.mode for v in found if v.contested} == {"cmv" if kind == "auto" else kind}
    assert all(len(h) == prompts and all(len(s) == p for s in h) for v in found for h in v.hits)
    # The paper's point in this world: verification beats a first sample, the more the better.
    assert exact > 1 - world.e + 0.01 * p


def test_the_share_of_hits_is_the_solvers(world, run):
    found = run(p=10, conditions="all", verification="auto")
    for right, share in ((True, world.a), (False, world.b)):
        hits = [
            hit
            for one in found
            if one.contested
            for candidate, of in zip(one.candidates, one.hits, strict=True)
            if (candidate == one.problem.answer) == right
            for samples in of
            for hit in samples
        ]
        assert abs(sum(hits) / len(hits) - share) < 4 * (share * (1 - share) / len(hits)) ** 0.5


def test_votes_and_p_0_are_the_majority(world):
    found = self_verify(ScriptedGenerator(world.reply), world.problems(200), Settings(p=0))
    assert all(v.mode == "none" and not v.hits for v in found)
    assert [v.answer for v in found] == [majority(v.answers)[0] for v in found]
    heavy = self_verify(
        ScriptedGenerator(world.reply), world.problems(200), Settings(p=2, votes=1000)
    )
    most = [[sum(a == c for a in v.answers) for c in v.candidates] for v in heavy]
    assert all(
        count[v.candidates.index(v.answer)] == max(count)
        for v, count in zip(heavy, most, strict=True)
    )


@pytest.mark.parametrize(("p", "conditions"), [(10, "all"), (3, "all"), (5, "first"), (1, "all")])
def test_early_stop_decides_alike_with_fewer_samples(world, p, conditions):
    settings = Settings(p=p, conditions=conditions)
    problems = world.problems(80)
    full, early = ScriptedGenerator(world.reply), ScriptedGenerator(world.reply)
    whole = self_verify(full, problems, settings)
    short = self_verify(early, problems, replace(settings, early_stop=True))
    assert [v.answer for v in short] == [v.answer for v in whole]
    assert set(early.asked) <= set(full.asked)
    assert p == 1 or len(early.asked) < len(full.asked)
    for a, b in zip(short, whole, strict=True):
        assert a.tokens.get("backward", 0) <= b.tokens.get("backward", 0)
        for one, other in zip(a.hits, b.hits, strict=True):
            for samples, more in zip(one, other, strict=True):
                assert samples == more[: len(samples)]


def test_more_samples_draw_only_what_is_new(world):
    problems, store = world.problems(60), SampleStore()
    first = ScriptedGenerator(world.reply)
    self_verify(first, problems, Settings(k=5, p=4), store=store)
    more = ScriptedGenerator(world.reply)
    self_verify(more, problems, Settings(k=10, p=4), store=store)
    assert not set(first.asked) & set(more.asked)
    assert {i for stage, _, i in more.asked if stage == "forward"} == set(range(5, 10))
    rest = ScriptedGenerator(world.reply)
    large = self_verify(rest, problems, Settings(k=10, p=10), store=store)
    assert {(stage, i) for stage, _, i in rest.asked} == {("backward", i) for i in range(4, 10)}
    again = ScriptedGenerator(world.reply)
    fresh = self_verify(again, problems, Settings(k=10, p=10))
    assert [v.answer for v in fresh] == [v.answer for v in large]
    assert [v.tokens for v in fresh] == [v.tokens for v in large]
    assert store.written == len(store) == len(again.asked)


def test_tokens_by_stage_add_up(world):
    solver = ScriptedGenerator(world.reply)
    store = SampleStore()
    found = self_verify(solver, world.problems(80), Settings(p=3), store=store)
    spent = {stage: tokens for stage, (_, tokens) in store.stages().items()}
    assert set(spent) == {"forward", "rewrite", "backward"}
    for stage, tokens in spent.items():
        assert sum(v.tokens.get(stage, 0) for v in found) == tokens
    lone = [v for v in found if not v.contested]
    assert lone
    assert all(set(v.tokens) == {"forward"} for v in lone)
    for v in found:
        said = sum(len(t.split()) for c in v.replies for r in c for t in r)
        assert v.tokens.get("backward", 0) == said
        assert v.tokens["forward"] == sum(len(t.split()) for t in v.thoughts)


def test_given_candidates_replace_forward_sampling(world):
    solver = ScriptedGenerator(world.reply)
    problems = world.problems(3)
    right, wrong = ([str(world.answers(i)[j]) for i in range(3)] for j in (0, 1))
    given = [[right[0], wrong[0], right[0]], [right[1], right[1]], []]
    found = self_verify(solver, problems, Settings(p=20), candidates=given)
    assert [v.candidates for v in found] == [[right[0], wrong[0]], [right[1]], []]
    assert [v.mode for v in found] == ["cmv", "none", "none"]
    assert [v.scores for v in found][1:] == [[1.0], []]
    assert found[1].answer == right[1]
    assert found[2].answer is None
    assert not found[2].correct
    assert "forward" not in solver.stages()
    with pytest.raises(ValueError, match="2 lists of candidates for 3 problems"):
        self_verify(solver, problems, candidates=given[:2])


def test_temperature_0_draws_once_and_says_so(world, caplog):
    solver = ScriptedGenerator(world.reply)
    with caplog.at_level(logging.WARNING):
        found = self_verify(solver, world.problems(10), Settings(t_forward=0, p=3))
    assert [r for r in caplog.records if "all 5 samples are one" in r.message]
    assert len(solver.asked) == 10
    assert all(len(v.answers) == 1 for v in found)
    caplog.clear()
    solver = ScriptedGenerator(world.reply)
    with caplog.at_level(logging.WARNING):
        found = self_verify(solver, world.problems(10), Settings(t_backward=0, p=7))
    assert [r for r in caplog.records if "all 7 samples are one" in r.message]
    contested = [v for v in found if v.contested]
    assert contested
    assert all(len(s) == 1 for v in contested for h in v.hits for s in h)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        self_verify(solver, world.problems(2), Settings(t_forward=0, t_backward=0, k=1, p=1))
        self_verify(solver, world.problems(2), Settings(t_backward=0, p=7, early_stop=True))
        solve(solver, world.problems(2), Settings(), None, n=1, temperature=0.0)
    assert len([r for r in caplog.records if "one" in r.message]) == 1


def test_no_candidates_and_no_problems(world):
    silent = ScriptedGenerator(lambda *_: " I cannot say.")
    found = self_verify(silent, world.problems(3))
    assert all(v.answer is None and not v.correct and v.reason for v in found)
    assert set(silent.stages()) == {"forward"}
    assert self_verify(silent, []) == []


# ---- wording


def test_masked_prompts():
    solver = script(answers(45, 55), " He has 45 pens.", " The answer is 50.")
    (found,) = self_verify(solver, [PENS], BARE)
    assert statements(solver) == [
        "Tom has 'X' pens. He loses 5. He has 45 pens.",
        "Tom has 50 pens. He loses 'X'. He has 45 pens.",
        "Tom has 'X' pens. He loses 5. He has 55 pens.",
        "Tom has 50 pens. He loses 'X'. He has 55 pens.",
    ]
    assert found.hits == [[[1], [0]], [[1], [0]]]
    assert [c.value for c in found.conditions] == ["50", "5"]
    assert found.answer == "45"
    assert [last_question(p) for p in solver.prompts("rewrite")] == [
        "Q: Please change the questions and answers into a complete declarative sentences. "
        "How many has he? The answer is 45.\nA:"
    ]
    for stage in ("forward", "backward"):
        prompts = solver.prompts(stage)
        beginnings = {p.removesuffix(last_question(p)) for p in prompts}
        assert len(beginnings) == 1  # shared by all, so that it is read once
        assert beginnings.pop().count("Q: ") == 8
    few = script(answers(45, 55), " He has 45 pens.")
    self_verify(few, [PENS], replace(BARE, max_conditions=1, shots=2))
    assert len(few.prompts("backward")) == 2
    assert few.prompts("backward")[0].count("Q: ") == 3


def test_true_or_false_and_yes_or_no():
    for kind, reply in (("tfv", "True"), ("yesno", "yes")):
        for good, hit in ((reply, 1), ("False" if kind == "tfv" else "no", 0)):
            solver = script(answers(45, 55), " He has 45 pens.", f" The answer is {good}.")
            (found,) = self_verify(solver, [PENS], replace(BARE, verification=kind))
            assert found.mode == kind
            assert found.hits == [[[hit]], [[hit]]]
            assert statements(solver) == [
                "Tom has 50 pens. He loses 5. He has 45 pens.",
                "Tom has 50 pens. He loses 5. He has 55 pens.",
            ]
            assert found.conditions == []


def test_nothing_to_mask_falls_back_to_true_or_false():
    few = Problem("1", "gsm8k", "Tom has some pens. He loses one.", "How many has he?", "4")
    for masking in ("spans", "released"):
        solver = script(answers(4, 5), " He has 4 pens.")
        (found,) = self_verify(solver, [few], replace(BARE, masking=masking))
        assert found.mode == "tfv_fallback"
        assert found.hits == [[[1]], [[1]]]
        assert statements(solver)[1] == "Tom has some pens. He loses one. He has 5 pens."
        assert all("(True or False)?\nA:" in last_question(p) for p in solver.prompts("backward"))
    lone = replace(few, context="", question="How many are 2 and 2?")
    solver = script(answers(4, 5), " 2 and 2 are 4.")
    (found,) = self_verify(solver, [lone], BARE)
    assert found.mode == "tfv_fallback"


def test_released_masks():
    one = replace(PENS, context="Tom has 16 pens, 6 of them red. He loses 5.")
    solver = script(answers(11, 12), " He has 11 pens.", " The answer is 16.")
    (found,) = self_verify(solver, [one], replace(BARE, masking="released", max_conditions=3))
    assert statements(solver)[:3] == [
        "Tom has 'X' pens. 6 of them red. He loses 5. He has 11 pens.",
        "Tom has 1'X' pens. 'X' of them red. He loses 5. He has 11 pens.",
        "Tom has 16 pens. 6 of them red. He loses 5. He has 11 pens.",
    ]
    assert [c.visible for c in found.conditions] == [True, True, False]
    assert found.hits[0] == [[1], [0], [0]]
    assert [found.stated[c.start : c.end] for c in found.conditions] == ["16", "6", ""]
    official = Settings(k=2, p=1).official()
    assert (official.masking, official.max_conditions) == ("released", 3)
    solver = script(answers(11, 12), " He has 11 pens.", " The answer is 16.")
    self_verify(solver, [one], official)
    assert "<code>" in solver.prompts("backward")[0]


def test_chat_prompts():
    solver = script(answers(45, 55), " He has 45 pens.", "**50** is it.\n\nThe answer is \\(50\\).")
    (found,) = self_verify(solver, [PENS], replace(BARE, chat=True))
    assert all(isinstance(prompt, list) for _, prompt, _ in solver.asked)
    backward = [p for s, p, _ in solver.asked if s == "backward"]
    assert backward[0][-1]["content"] == (
        "\"Tom has 'X' pens. He loses 5. He has 45 pens.\" What is the answer of 'X'?"
    )
    assert found.hits[0] == [[1], [0]]


def test_every_published_question_can_be_asked(shared):
    """No question of the real files breaks any stage; every mask is in its prompt."""
    files = {"gsm8k": "gsm8k_test_400.jsonl", "svamp": "SVAMP.json", "aqua": "AQuA_test.json"}
    for name, file in files.items():
        problems = read_problems(name, shared / "selfverification" / file)[:200]
        given = [list("AB") if name == "aqua" else ["3", "1/2"] for _ in problems]
        solver = script([], lambda text: " So it is " + text.split("answer is ")[-1][:-4])
        settings = Settings(p=1, shots=1)
        found = self_verify(solver, problems, settings, candidates=given)
        for v in found:
            assert v.answer == v.candidates[0]  # no number recovered, all affirmed: ties
            assert len(v.conclusions) == 2
            assert all(len(v.conditions or [0]) == len(h) for h in v.hits)
        for prompt in solver.prompts("backward"):
            asks = last_question(prompt)
            assert asks.count("'X'") == (2 if "answer of 'X'" in asks else 0)
