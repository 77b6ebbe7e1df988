"""Every method, once, and the same again; whatever is chosen is chosen on dev."""

from dataclasses import replace

import pytest

from tests.papers.reasonchainqa.conftest import Kept
from workbench.models.encoders import load_encoder
from workbench.papers.reasonchainqa import figures, paper, presets, study
from workbench.papers.reasonchainqa.answering import line
from workbench.retrieval.chain_metrics import chain_scored
from workbench.retrieval.chains import chain_of
from workbench.retrieval.towers import Contrast, Pair, fitted

CUT = (*paper.ONE_QUERY, *paper.TOWERS)
TRAINED = (*paper.TOWERS, *paper.SUPPORT, *paper.NETWORKS)


def test_every_method_has_a_chain_for_every_question_under_every_seed(made):
    ran, oracles = made.study, [m + study.ORACLE_K for m in (*CUT, "one_hop")]
    oracles += [m + study.ORACLE_M for m in paper.READ_ON]
    assert set(ran.predicted) == set(ran.scores) == {*paper.METHODS, *oracles}
    order = [m for m in ran.scores if m not in oracles]
    assert order == [m for m in made.settings.methods if m in order]
    for method, seeds in ran.predicted.items():
        trained = method.split("_oracle")[0] in TRAINED
        assert len(seeds) == len(ran.scores[method]) == (2 if trained else 1), method
        for chains, scores in zip(seeds, ran.scores[method], strict=True):
            for q, chain, of_chain in zip(made.questions["test"], chains, scores, strict=True):
                assert replace(of_chain, chain_f1=0) == replace(chain_scored(q, chain), chain_f1=0)
                assert len({*chain}) == len(chain)
                if method in oracles:  # as many as are gold, and no other number
                    assert len(chain) == len(q.nodes)
    assert set(ran.tuned) == {*paper.METHODS} - {"ssg_released"}
    assert all(len(seeds) == len(ran.predicted[method]) for method, seeds in ran.tuned.items())
    assert ran.predicted["one_hop"][0] != ran.predicted["one_hop"][1]


def test_rankings_are_of_all_facts_and_chains_their_beginnings(made):
    assert set(made.study.rankings) == {*CUT, "one_hop"}
    for method, seeds in made.study.rankings.items():
        for number, rankings in enumerate(seeds):
            chains = made.study.predicted[method][number]
            for q, ranking, chain in zip(made.study.test, rankings, chains, strict=True):
                assert sorted(ranking) == [*range(len(q.facts))]
                assert ranking[: len(chain)] == chain
                if method != "one_hop":
                    assert made.study.tuned[method][number] == f"k {len(chain)}"


def test_what_was_kept_is_not_done_again(made):
    before = dict(made.keep)
    assert {f"{network}-{seed}" for network in paper.NETWORKS.values() for seed in (0, 1)} | {
        *paper.ONE_QUERY, *paper.READ_ON, *(f"{m}-steps" for m in paper.READ_ON), "ssg-0", "ssg-1",
        "two_towers-0", "two_towers-1", "reader-0",
    } == {*made.keep.names}  # fmt: skip
    again = study.run(made.questions, made.settings, made.keep, made.encoder)
    assert again == made.study
    assert made.keep == before


@pytest.mark.parametrize("changed", ["dev", "held_out"])
def test_other_questions_are_other_steps(made, changed):
    asked = []
    few = made.questions | {changed: made.questions[changed][1:]}
    settings = replace(made.settings, methods=("bm25_iterated", "one_hop"), seeds=1)

    def keep(name, key, compute):
        asked.append((name, str(key)))
        return compute()

    study.run(few, settings, keep, made.encoder)
    new = [name for name, key in asked if (name, key) not in made.keep]
    steps = ["bm25_iterated-steps"] if changed == "dev" else []
    assert [name for name in new if name != "bm25_iterated"] == ["one_hop-0", *steps]


def test_another_test_set_chooses_no_count_of_steps_anew(made):
    few = made.questions | {"test": made.questions["test"][1:]}
    settings, asked = replace(made.settings, methods=("bm25_iterated",)), []

    def keep(name, key, compute):
        asked.append(((name, str(key)) in made.keep, name))
        return compute()

    study.run(few, settings, keep, made.encoder)
    assert asked == [(True, "bm25_iterated-steps"), (False, "bm25_iterated")]


def test_without_an_encoder_what_needs_none_is_run(made):
    settings = replace(made.settings, methods=("dense", "ssg", "bm25", "two_towers", "dense_beam"))
    ran = study.run(made.questions, settings, made.keep)
    assert [*ran.scores] == ["bm25", "bm25_oracle_k"]
    assert (ran.encoder, ran.device) == ("", "cpu")
    with pytest.raises(ValueError, match="methods=dense,ssg take a sentence encoder; give one"):
        study.run(made.questions, replace(settings, methods=("dense", "ssg")), made.keep)
    for encoder in (None, made.encoder):
        with pytest.raises(ValueError, match="tuned along with a sentence encoder"):
            study.run(made.questions, replace(settings, reads="tuned"), made.keep, encoder)


def test_workers_give_what_one_process_gives(made, tmp_path):
    methods = ("two_towers", "path", "one_hop", "bm25_beam")
    settings = replace(made.settings, methods=methods, seeds=1)
    shared = study.run(made.questions, settings, Kept(), made.encoder, tmp_path / "n", workers=2)
    assert {*shared.networks} == {"path", "one_hop"}
    for method, of_seed in shared.predicted.items():
        assert of_seed == made.study.predicted[method][:1], method
        assert shared.unseen.get(method, []) == made.study.unseen.get(method, [])[:1], method


def test_workers_load_no_other_encoder_than_the_one_that_is_given(made):
    other = fitted(made.encoder, [lambda _: [Pair("a", "b", ("c",))]], Contrast(), 0)
    for fit in (other, replace(other, name="lex")):
        with pytest.raises(ValueError, match=f"workers=2 cannot load {fit.name} as it is; give"):
            study.run(made.questions, made.settings, made.keep, fit, workers=2)


def test_a_fact_that_reads_as_the_end_of_a_set_is_refused_before_anything_is_done(made):
    first = made.questions["test"][0]
    wrong = replace(first, facts=("<eos>", *first.facts[1:]))
    few = made.questions | {"test": [wrong]}
    with pytest.raises(ValueError, match="fact 0 reads '<eos>', which closes a set"):
        study.run(few, made.settings, lambda *step: pytest.fail("begun"), made.encoder)


def by_test_alone(by_hand):
    """Dev and test questions of which one choice is best on dev and another on test.

    There are more test questions, so that a choice on both would be as one on test.
    """
    return {
        "train": by_hand("train", (0, 1)),
        "dev": by_hand("dev", (0, 1), (1, 0)),
        "test": by_hand("test", (0, 1, 2, 3), (3, 2, 1, 0), (0, 2, 1, 3)),
    }


def kept_by_hand(of):
    """What networks and rankings are said to be: right above .5 on dev, above .3 on test."""

    def edges(q, right, wrong):
        rest = [fact for fact in range(len(q.facts)) if fact not in q.nodes]
        return [(u, v, right) for u, v in line(q.chain)] + [(q.chain[-1], rest[0], wrong)]

    def star(q, right, wrong):
        return [(-1, v, right if v in q.nodes else wrong) for v in range(len(q.facts))]

    odds = {"dev": (0.55, 0.45), "test": (0.35, 0.25)}
    odds |= {"held_out": odds["test"]} if "held_out" in of else {}
    views = {
        name: {
            split: {"edges": [shape(q, *odds[split]) for q in of[split]],
                    "chain": [edges(q, *odds[split]) for q in of[split]],
                    "ranking": [[*range(6)] for _ in of[split]]}
            for split in odds
        }
        for name, shape in {"forward-0": edges, "one_hop-0": star}.items()
    }  # fmt: skip
    views["two_towers-0"] = {split: [[*range(6)] for _ in of[split]] for split in odds}
    chains = [[(2, 5), (0.9, 0.8), 0.7], [(1,), (0.9,), 0.1]]
    views["path-0"] = {split: {"paths": [chains for _ in of[split]]} for split in odds}
    return lambda name, key, compute: views[name]


def test_thresholds_and_k_are_chosen_on_dev_alone(by_hand):
    questions, encoder = by_test_alone(by_hand), load_encoder("lex")
    methods = ("two_towers", "one_hop", "forward", "greedy")
    settings = paper.settings("tiny", methods=",".join(methods))
    ran = study.run(questions, settings, kept_by_hand(questions), encoder)
    networks = {method: ["τ 0.5"] for method in methods[1:]}
    assert ran.tuned == {"two_towers": ["k 2"]} | networks
    assert ran.predicted["two_towers"] == [[(0, 1)] * 3]
    assert ran.predicted["two_towers_oracle_k"] == [[(0, 1, 2, 3)] * 3]
    for method in methods[1:]:  # whatever would have been right on test lies below
        assert ran.predicted[method] == [[()] * 3]
    # Told test questions as if they were those of dev, it finds what is best there.
    told = questions | {"dev": questions["test"]}
    views = kept_by_hand(told | {"dev": questions["test"]})
    leak = study.run(
        told, settings,
        lambda name, key, compute: {s: views(name, key, compute)["test"] for s in ("dev", "test")},
        encoder,
    )  # fmt: skip
    networks = {method: ["τ 0.3"] for method in methods[1:]}
    assert leak.tuned == {"two_towers": ["k 4"]} | networks
    for method in methods[1:]:
        assert [s.exact for s in leak.scores[method][0]] == [1, 1, 1]
    assert leak.predicted["forward"][0] == [chain_of(q) for q in questions["test"]]


def test_a_path_is_the_best_of_its_beam(by_hand):
    questions = by_test_alone(by_hand) | {"held_out": by_hand("test", (2, 5))}
    settings = paper.settings("tiny", methods="path", beam=3)
    ran = study.run(questions, settings, kept_by_hand(questions))
    assert ran.predicted == {"path": [[(2, 5)] * 3]}
    assert ran.tuned == {"path": ["beam 3"]}
    assert [scores.chain_exact for scores in ran.unseen["path"][0]] == [1]


def test_a_forward_network_that_branches_is_scored_by_its_paths(by_hand):
    of = {"train": [], "dev": by_hand("dev", (0, 1)), "test": by_hand("test", (0, 1))}
    of["test"] = [replace(of["test"][0], edges=((-1, 0), (-1, 1)))]
    star = [[(-1, 0, 0.9), (-1, 1, 0.9)]]
    views = {split: {"edges": star, "chain": star, "ranking": [[0, 1]]} for split in of}
    settings = paper.settings("tiny", methods="forward,one_hop")
    ran = study.run(of, settings, lambda name, key, compute: views)
    assert [ran.scores[m][0][0].chain_f1 for m in settings.methods] == [1, 1]


def test_held_out_questions_are_the_first_of_test_in_other_words(made):
    test, held_out = made.questions["test"], made.study.held_out
    assert len(held_out) == 10
    assert [q.question for q in held_out] == [q.question for q in test[:10]]
    for known, new in zip(test, held_out, strict=False):
        assert (known.answer, known.program) == (new.answer, new.program)
        assert not {known.facts[v] for v in known.nodes} & {new.facts[v] for v in new.nodes}
    assert set(made.study.unseen) == {*paper.NETWORKS, *paper.ONE_QUERY}
    assert all(len(made.study.unseen[name]) == 2 for name in paper.NETWORKS)
    assert "held_out" not in presets.questions(replace(made.settings, held_out=0, train=4))


def test_splits_share_no_world_and_the_held_out_are_of_those_of_test(made):
    worlds = [{q.world for q in made.questions[split]} for split in ("train", "dev", "test")]
    assert not worlds[0] & worlds[1] | worlds[0] & worlds[2] | worlds[1] & worlds[2]
    names = {world.replace("-held-out", "") for world in (q.world for q in made.study.held_out)}
    assert names == worlds[2]


def test_figures_draw_it(made):
    names = [m for m in made.study.scores if "_oracle" not in m]
    drawn = figures.by_depth(made.study)
    assert [line.name for line in drawn.data] == names
    leading = figures.leading(made.study)
    assert {*leading} <= {*names}
    assert [line.name for line in figures.by_depth(made.study, "f1", leading).data] == leading
