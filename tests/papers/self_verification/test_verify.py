"""Self-Verification with a scripted solver: its accuracy is known in closed form."""

import hashlib
import itertools
import logging
import re
from dataclasses import dataclass, field, replace
from math import comb

import pytest

from workbench.data.problems import Problem, read_problems
from workbench.errors import ContextLengthError
from workbench.generation.requests import Sample
from workbench.generation.sample_store import SampleStore
from workbench.papers.self_verification import prompts as words
from workbench.papers.self_verification.decision import (
    Verified,
    decide,
    distinct,
    majority,
    settled,
)
from workbench.papers.self_verification.paper import Settings
from workbench.papers.self_verification.verify import self_verify, solve, swap


@dataclass
class ScriptedGenerator:
    """A backend that answers with `reply(prompt, sample index, seed)`; counts what it draws."""

    reply: object
    name: str = "scripted"
    by_place: bool = False
    asked: list = field(default_factory=list)  # (stage, prompt, sample index), as drawn

    def identity(self):
        return {"kind": "scripted", "name": self.name}

    def check(self, requests):
        pass

    def draw(self, requests, missing):
        for place, (request, indices) in enumerate(zip(requests, missing, strict=True)):
            drawn = []
            for i in indices:
                self.asked.append((request.stage, request.prompt, i))
                text = self.reply(request.prompt, i, request.seed)
                drawn.append((place, i, Sample(text, "stop", len(text.split()), 1)))
            yield drawn

    def stages(self):
        return [stage for stage, _, _ in self.asked]

    def prompts(self, stage):
        return list(dict.fromkeys(p for s, p, _ in self.asked if s == stage))


def uniform(*parts):
    """A number in [0, 1) from all of `parts`."""
    digest = hashlib.sha256("\n".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


# ---- decision


def test_distinct_answers_keep_their_order():
    assert distinct(["7", "", "7.0", "5", "1,000", "1000", "5"]) == ["7", "5", "1,000"]
    assert distinct(["yes", "YES", "no"]) == ["yes", "no"]
    assert distinct([]) == distinct(["", ""]) == []


def test_majority_and_its_ties():
    assert majority(["3", "4", "4.0", "5"]) == ["4"]
    assert majority(["3", "4", "5", "4", "3"]) == ["3"]
    assert majority(["5", "3", "4", "4", "3"], 2) == ["3", "4"]
    assert majority(["", "", "9"]) == ["9"]
    assert majority(["9"], 2) == ["9"]
    assert majority([]) == majority(["", ""]) == []


def verified(answers, hits=(), gold="7"):
    one = Problem("1", "gsm8k", "There are 3.", "How many?", gold)
    return Verified(one, list(answers), [], distinct(answers), mode="cmv", hits=list(hits))


def decided(answers, hits=(), **settings):
    one = verified(answers, hits)
    decide(one, Settings(**settings))
    return one


def test_decide():
    none = decided(["", ""])
    assert (none.answer, none.correct, none.scores) == (None, False, [])
    assert "no answer" in none.reason
    lone = decided(["7", "7.0", ""])
    assert (lone.answer, lone.scores, lone.correct) == ("7", [1.0], True)
    assert decided(["5", "7", "7"], p=0).answer == "7"
    assert decided(["", ""], p=0).answer is None
    two = decided(["5", "7"], [[[1, 0], [0, 0]], [[0, 1], [1, 0]]])
    assert (two.answer, two.scores) == ("7", [1.0, 2.0])
    tie = decided(["5", "7", "6"], [[[1, 0]], [[0, 1]], [[0, 0]]])
    assert (tie.answer, tie.scores, tie.correct) == ("5", [1.0, 1.0, 0.0], False)
    assert decided(["5", "7"], [[[0, 0]], [[0, 0]]]).answer == "5"
    # Ours, off by default: votes break what verification leaves even.
    assert decided(["5", "7", "7"], [[[1]], [[1]]], votes=0.5).answer == "7"
    assert decided(["5", "7", "7"], [[[1]], [[1]]]).answer == "5"


def argmax(scores):
    return scores.index(max(scores))


def completions_agree(hits, total):
    """Whether all completions of the missing samples decide alike, by trying each."""
    scores = [sum(map(sum, candidate)) for candidate in hits]
    left = [sum(total - len(samples) for samples in candidate) for candidate in hits]
    outcomes = itertools.product(*(range(rest + 1) for rest in left))
    return len({argmax([s + x for s, x in zip(scores, extra, strict=True)])
                for extra in outcomes}) == 1  # fmt: skip


def states(total, prompts, even):
    """All hit patterns up to order: samples drawn and hits among them, of each prompt."""
    if even:  # all prompts of a problem have as many samples, as `check` draws them
        for drawn in range(total + 1):
            one = [[1] * k + [0] * (drawn - k) for k in range(drawn + 1)]
            yield from itertools.product(one, repeat=prompts)
    else:
        one = [[0] * (d - k) + [1] * k for d in range(total + 1) for k in range(d + 1)]
        yield from itertools.product(one, repeat=prompts)


@pytest.mark.parametrize("candidates", [1, 2, 3])
@pytest.mark.parametrize("conditions", [1, 2])
@pytest.mark.parametrize("total", [1, 2, 3])
def test_settled_exactly_when_no_completion_changes_the_decision(candidates, conditions, total):
    even = candidates * conditions > 4 or (candidates * conditions == 4 and total == 3)
    seen = {True: 0, False: 0}
    for flat in states(total, candidates * conditions, even):
        hits = [flat[c * conditions : (c + 1) * conditions] for c in range(candidates)]
        exact = completions_agree(hits, total)
        assert settled(hits, total) == exact
        seen[exact] += 1
    assert seen[True]
    assert candidates == 1 or seen[False]


# ---- prompts


def test_text_prompts_part_exemplars_by_blank_lines_and_end_without_a_space():
    for direction in ("forward", "cmv", "tfv", "yesno"):
        shown = words.exemplars("gsm8k", direction)
        text = words.ask("How many?", shown, False)
        assert text.endswith("\n\nQ: How many?\nA:")
        assert text.startswith("Q: ")
        blocks = text.split("\n\n")
        assert len(blocks) == len(shown) + 1
        for block in blocks[:-1]:
            assert re.fullmatch(r"Q: [^\n]+\nA: [^\n]+ The answer is [^\n]+\.", block)
    assert words.ask("How many?", [], False) == "Q: How many?\nA:"
    assert words.rewriting("How many?", "7", False) == (
        "Q: Please change the questions and answers into a complete declarative sentences. "
        "How many? The answer is 7.\nA:"
    )
    asks = {
        "cmv": "What is the answer of 'X'?",
        "tfv": "Do it is correct (True or False)?",
        "yesno": "Judge whether this statement is normal (yes or no)?",
    }
    for kind, end in asks.items():
        assert words.statement_of("He has 'X'.", "So 7.", kind) == f"\"He has 'X'. So 7.\" {end}"
        assert words.statement_of("", "So 7.", kind) == f'"So 7." {end}'


@pytest.mark.parametrize("dataset", sorted(words.TASKS))
@pytest.mark.parametrize("direction", ["forward", "cmv", "tfv", "yesno"])
def test_exemplars_come_in_one_order_per_seed(dataset, direction):
    shown = words.exemplars(dataset, direction, seed=3)
    assert shown
    assert shown == words.exemplars(dataset, direction, seed=3)
    orders = [words.exemplars(dataset, direction, seed=s) for s in range(12)]
    assert all(sorted(order) == sorted(shown) for order in orders)
    assert len({tuple(order) for order in orders}) > 3
    assert words.exemplars(dataset, direction, seed=3, shots=2) == shown[:2]
    assert words.exemplars(dataset, direction, seed=3, shots=99) == shown
    assert words.exemplars("sums", direction) == []


@pytest.mark.parametrize("dataset", sorted(words.TASKS))
def test_chat_turns_alternate_and_end_with_the_user(dataset):
    for direction in ("forward", words.verification_of(dataset)):
        shown = words.exemplars(dataset, direction)
        turns = words.ask("Why?", shown, True)
        assert [t["role"] for t in turns] == ["user", "assistant"] * len(shown) + ["user"]
        assert turns[-1]["content"] == "Why?"
        assert [t["content"] for t in turns[:-1]] == [part for pair in shown for part in pair]
        assert all(t["content"] for t in turns)


def test_equations_in_code_tags():
    for dataset in ("gsm8k", "aqua", "bigbench_date"):
        paper = words.exemplars(dataset, "cmv")
        code = words.exemplars(dataset, "cmv", equations="code")
        for (q, row), (same_q, tagged) in zip(paper, code, strict=True):
            assert q == same_q
            said, rest = tagged.split("\n<code>\n")
            lines, answer = rest.split("\n</code>\n")
            assert "\n\n" not in tagged  # which would stop the reply
            assert all(line.count("=") == 1 for line in lines.split("\n"))
            assert lines.split("\n")[-1].startswith("X = ")
            equations = ", ".join(lines.split("\n"))
            assert f"{said} {equations}. {answer.strip()}" == row
    assert words.exemplars("gsm8k", "forward", equations="code") == (
        words.exemplars("gsm8k", "forward")
    )


def test_the_kind_of_verification_follows_the_dataset():
    kinds = {name: words.verification_of(name) for name in [*words.TASKS, "sums"]}
    numbers = "gsm8k svamp addsub singleeq multiarith aqua bigbench_date sums".split()
    assert {n for n, kind in kinds.items() if kind == "cmv"} == set(numbers)
    assert [n for n, kind in kinds.items() if kind == "yesno"] == ["commonsensqa"]


# ---- verify: the closed form

WRONG = 2


@dataclass
class World:
    """Problems "P7 has 12 pens. P7 buys 60 more." and a solver of known reliability.

    Forward it is right with probability 1 - e and else gives one of two wrong answers alike. It
    recovers a masked number (or affirms) with probability a from the right conclusion, b from a
    wrong one.
    """

    e: float = 0.5
    a: float = 0.45
    b: float = 0.25

    def numbers(self, i):
        return 10 + i % 31, 50 + i % 41

    def answers(self, i):
        right = sum(self.numbers(i))
        return [right, right + 1, right - 7]

    def problems(self, count):
        return [
            Problem(str(i), "sums", "P{0} has {1} pens. P{0} buys {2} more.".format(
                i, *self.numbers(i)), f"How many pens does P{i} have?", str(self.answers(i)[0]))
            for i in range(count)
        ]  # fmt: skip

    def reply(self, prompt, index, seed):
        i = int(re.search(r"P(\d+) ", prompt)[1])
        u = uniform("reply", prompt, index, seed)
        right, *wrong = self.answers(i)
        stated = re.findall(r"\d+", re.sub(r"P\d+", "", prompt))
        if "Please change" in prompt:
            return f" P{i} has {stated[-1]} pens."
        if '"' not in prompt:
            given = right if u >= self.e else wrong[int(u / self.e * WRONG)]
            return f" The answer is {given}."
        concluded = int(stated[-1])
        assert concluded in self.answers(i)
        good = u < (self.a if concluded == right else self.b)
        if "'X'" not in prompt:
            yes, no = ("yes", "no") if "(yes or no)" in prompt else ("True", "False")
            return f" The answer is {yes if good else no}."
        masked = self.numbers(i)["buys 'X'" in prompt]
        assert str(masked) not in stated[:-1]
        return f" The answer is {masked if good else masked + 1}."

    def expected(self, k, samples):
        """The accuracy of SV with that many verification samples a candidate, exactly.

        Over all sequences of k answers: the right one must be among them and win against those
        before it strictly, against those after it by no less, all scores being binomial.
        """
        chances = [1 - self.e] + [self.e / WRONG] * WRONG
        total = 0.0
        for drawn in itertools.product(range(WRONG + 1), repeat=k):
            order = list(dict.fromkeys(drawn))
            if 0 not in order:
                continue
            chance = 1.0
            for answer in drawn:
                chance *= chances[answer]
            before = order.index(0)
            total += chance * self.wins(before, len(order) - before - 1, samples)
        return total

    def wins(self, before, after, samples):
        if not before + after:
            return 1.0
        wrong = [binomial(samples, self.b, s) for s in range(samples + 1)]
        return sum(
            binomial(samples, self.a, s) * sum(wrong[:s]) ** before * sum(wrong[: s + 1]) ** after
            for s in range(samples + 1)
        )


def binomial(n, p, k):
    return comb(n, k) * p**k * (1 - p) ** (n - k)


def accuracy(found):
    return sum(v.correct for v in found) / len(found)


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


@pytest.mark.parametrize(
    "bad",
    [{"k": 0}, {"p": -1}, {"sc": 0}, {"t_forward": -0.1}, {"t_backward": -1.0}, {"shots": -2},
     {"max_new_tokens": 0}, {"max_conditions": -1}, {"votes": -0.5}, {"verification": "rtv"},
     {"conditions": "last"}, {"masking": "tokens"}, {"extraction": "strict"},
     {"equation_style": "latex"}, {"early_stop": True, "votes": 0.1}],
)  # fmt: skip
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad)).split("_")[0]):
        Settings(**bad)


def test_no_candidates_and_no_problems(world):
    silent = ScriptedGenerator(lambda *_: " I cannot say.")
    found = self_verify(silent, world.problems(3))
    assert all(v.answer is None and not v.correct and v.reason for v in found)
    assert set(silent.stages()) == {"forward"}
    assert self_verify(silent, []) == []


# ---- verify: wording


def script(forward, rewrite=None, backward=" The answer is True."):
    """A solver of one question: forward answers in order, one sentence, one reply backward."""

    def reply(prompt, index, seed):
        text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
        if "Please change" in text:
            return rewrite(text) if callable(rewrite) else rewrite
        if "'X'?" in text.split("\n\n")[-1] or (text.endswith(("?\nA:", "?")) and '" ' in text):
            return backward
        return forward[index]

    return ScriptedGenerator(reply)


def answers(*given):
    return [f" The answer is {a}." for a in given]


PENS = Problem("1", "gsm8k", "Tom has 50 pens. He loses 5.", "How many has he?", "45")
BARE = Settings(k=2, p=1)


def last_question(prompt):
    return prompt.split("\n\n")[-1]


def statements(solver):
    """What was put to the verifier, without exemplars."""
    return [re.fullmatch(r'Q: "(.*)" [^"]*\nA:', last_question(p))[1]
            for p in solver.prompts("backward")]  # fmt: skip


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


SWAPS = [
    ("Of 50 pens, 5 are left, 5.", "5", "7", "Of 50 pens, 5 are left, 7."),  # the last one
    ("He has 5 of 50 pens.", "5", "7", "He has 7 of 50 pens."),
    ("He has 50 pens.", "5", "7", None),
    ("He has 3.5 pens, from 5:30.", "5", "7", None),
    ("He has 1,005 pens of 2,005.", "5", "7", None),
    ("He pays $1,200.00.", "1200", "90", "He pays $90."),
    ("He has five pens.", "5", "7", "He has 7 pens."),
    ("It is 5%.", "5", "2.5", "It is 2.5%."),
    ("It is -5.", "5", "7", None),
    ("It is -5.", "-5", "7", "It is 7."),
    ("It is 1/2.", "0.5", "1/3", "It is 1/3."),
    ("It is 25%.", "5%", "7%", None),
    ("It is $5.20.", "$5", "$7", None),
    ("It is 5cm, not 5 m.", "5 m", "7 m", "It is 5cm, not 7 m."),
    ("He walks 5cm.", "5cm", "x\\1", "He walks x\\1."),
    ("The Yes is yes.", "yes", "no", "The Yes is no."),
    ("Eyes only.", "yes", "no", None),
    ("", "5", "7", None),
]


@pytest.mark.parametrize(("sentence", "old", "new", "expected"), SWAPS)
def test_swap(sentence, old, new, expected):
    assert swap(sentence, old, new) == expected


def test_other_candidates_take_the_first_ones_place():
    solver = script(answers(5, 7, 9), " Of 50 pens he has 5 now.")
    (found,) = self_verify(solver, [PENS], replace(BARE, k=3))
    assert found.conclusions == [f"Of 50 pens he has {x} now." for x in (5, 7, 9)]
    assert solver.stages().count("rewrite") == 1


def test_a_rewriting_without_the_answer_is_asked_again_then_given_up():
    def rewrite(text):
        return " He has 7 pens." if "answer is 7." in text else "  Of 50 pens,\n he keeps some. "

    solver = script(answers(5, 7, 9), rewrite)
    (found,) = self_verify(solver, [PENS], replace(BARE, k=3))
    assert solver.stages().count("rewrite") == 3
    assert found.conclusions == [
        "How many has he? The answer is 5.",
        "He has 7 pens.",
        "How many has he? The answer is 9.",
    ]
    assert found.tokens["rewrite"] == len("Of 50 pens, he keeps some.".split()) * 2 + 4
    empty = script(answers(5, 7), "")
    (found,) = self_verify(empty, [PENS], BARE)
    assert found.conclusions == [f"How many has he? The answer is {x}." for x in (5, 7)]


def test_choices_conclude_with_their_texts():
    one = Problem("1", "aqua", "A lamp costs 80 dollars.", "What do 2 cost?", "B",
                  ("$16", "$160", "$160", "none of these"), "choice")  # fmt: skip
    solver = script(answers("(B)", "D", "(C)"), " Two lamps cost $160.", " The answer is 80.")
    (found,) = self_verify(solver, [one], replace(BARE, k=3))
    assert found.candidates == ["B", "D", "C"]
    assert found.conclusions == [
        "Two lamps cost $160.", "Two lamps cost none of these.", "Two lamps cost $160.",
    ]  # fmt: skip
    assert (found.mode, found.answer, found.correct) == ("cmv", "B", True)
    assert [c.value for c in found.conditions] == ["80"]
    assert found.hits == [[[1]], [[1]], [[1]]]
    assert "What do 2 cost? The answer is $160." in solver.prompts("rewrite")[0]
    assert "Answer choices" not in last_question(solver.prompts("backward")[0])
    assert "Answer choices: (A) $16" in last_question(solver.prompts("forward")[0])


def test_a_date_needs_no_rewriting():
    one = Problem("1", "bigbench_date", "Today is 01/22/2019.",
                  "What is the date one week ago from today in MM/DD/YYYY?", "01/15/2019",
                  kind="date")  # fmt: skip
    solver = script(answers("01/15/2019", "01/16/2019"), None, " The answer is 2019.")
    (found,) = self_verify(solver, [one], BARE)
    assert "rewrite" not in solver.stages()
    assert found.conclusions == [
        f"one week ago from today is 01/{day}/2019." for day in ("15", "16")
    ]
    assert [c.value for c in found.conditions] == ["1", "22", "2019"]
    assert statements(solver)[1] == ("Today is 01/'X'/2019. one week ago from today is 01/15/2019.")
    assert found.hits[0] == [[0], [0], [1]]
    assert found.correct


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


def test_a_prompt_too_long_says_how_many_exemplars_would_fit(tiny):
    """The embedded chat model's context holds 512 tokens, eight exemplars take more."""
    with pytest.raises(ContextLengthError, match=r"the 512 .* Of 8 exemplars about \d") as info:
        self_verify(tiny, [PENS], Settings())
    fit = int(re.search(r"about (\d) would fit", str(info.value))[1])
    assert len(self_verify(tiny, [PENS], Settings(shots=fit, k=1, max_new_tokens=8))) == 1
