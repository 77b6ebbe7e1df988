"""Questions in KQA Pro's form rebuilt: evidence by hand, what pools may hold, every drop."""

import itertools
import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.kopl.town import content, program
from workbench.errors import DatasetError
from workbench.kopl.knowledge import Knowledge
from workbench.kopl.rebuild import rebuilt
from workbench.kopl.sentences import sentence
from workbench.retrieval.chains import chain_of
from workbench.retrieval.evidence_files import read_evidence, write_evidence
from workbench.retrieval.graphs import ROOT, checked, depth

TOWN = Knowledge(content())
TEXTS = {sentence(TOWN, fact): fact for fact in TOWN.facts}
BORN = "Find(Arnby) Relate(place of birth, backward)"
ASKED = {
    "Where was the author of Salt born?": (
        "Find(Salt) Relate(author, forward) Relate(place of birth, forward) What()", "Arnby",
        ["Salt was written by Ada Brandt.", "Ada Brandt was born in Arnby."], [(ROOT, 0), (0, 1)],
    ),
    "How many people were born in Arnby?": (
        f"{BORN} Count()", "2", ["Ada Brandt was born in Arnby.", "Dag Ek was born in Arnby."],
        [(ROOT, 0), (ROOT, 1)],
    ),
    "Who is taller than 180 centimetres, of those born in Arnby?": (
        f"{BORN} FilterNum(height, 180 centimetre, >) What()", "Dag Ek",
        ["Dag Ek was born in Arnby.", "The height of Dag Ek is 190 centimetre."],
        [(ROOT, 0), (0, 1)],
    ),
    "How many pages has Second Salt?": (
        "Find(Second Salt) QueryAttr(pages)", "1,234", ["The pages of Second Salt is 1234."],
        [(ROOT, 0)],
    ),
    "To whom was Bo Castell married?": (
        "Find(Bo Castell) Relate(spouse, forward) What()", "Ada Brandt",
        ["Bo Castell is married to Ada Brandt, from 1973 until 1980."], [(ROOT, 0)],
    ),
}  # fmt: skip
ROUND = "Find(Elvik) " + "Relate(link, forward) " * 8 + "What()"
DROPPED = {
    "unknown function": ("Find(Salt) Write()", "x"),
    "malformed dependencies": ("Find(Salt) Count() Count()", "1"),
    "missing entity": ("Find(Nobody) What()", "Nobody"),
    "empty result at Relate": ("Find(Salt) Relate(publisher, forward) What()", "x"),
    "ambiguous": ("Find(Arnby) QueryAttr(population)", "15000"),
    "answer differs": (f"{BORN} Count()", "3"),
    "no facts": ("FindAll() FilterConcept(river) Count()", "3"),
    "too many facts": ("FindAll() FilterNum(size, 0, >) Count()", "21"),
    "too deep": (ROUND, "e8"),
    "two facts read alike": ("Find(Twins) Relate(colour, forward) What()", "red"),
}


def row(question, text, answer):
    return {"question": question, "program": program(text), "answer": answer, "choices": []}


def town():
    """The base with what the dropped questions need: many sizes, a long line, two of one name."""
    raw = content()
    for i in range(21):
        size = {"key": "size", "value": {"type": "quantity", "value": i + 1, "unit": "1"}}
        raw["entities"][f"e{i}"] = {"name": f"e{i}", "attributes": [size], "relations": []}
    line = ["t5", *(f"e{i}" for i in range(1, 9))]
    for head, tail in itertools.pairwise(line):
        link = {"predicate": "link", "object": tail, "direction": "forward"}
        raw["entities"][head]["relations"].append(link)
    for i in ("e19", "e20"):
        link = {"predicate": "colour", "object": "red", "direction": "forward"}
        raw["entities"][i] |= {"name": "Twins", "relations": [link]}
    raw["concepts"]["red"] = {"name": "red"}
    return raw


@pytest.fixture
def folder(tmp_path):
    rows = [row(question, text, answer) for question, (text, answer, *_) in ASKED.items()]
    (tmp_path / "kb.json").write_text(json.dumps(content()), encoding="utf-8")
    (tmp_path / "val.json").write_text(json.dumps(rows), encoding="utf-8")
    train = [row(f"{text} #{i}", "Find(Gro Holm) QueryAttr(height)", "165.5 centimetre")
             for i, text in enumerate(["How tall is Gro Holm?"] * 180)]  # fmt: skip
    (tmp_path / "train.json").write_text(json.dumps(train), encoding="utf-8")
    return tmp_path


def test_evidence_is_that_written_by_hand(folder, tmp_path):
    questions, tally = rebuilt(folder, "test")
    assert not tally
    assert [q.id for q in questions] == [f"val-{i}" for i in range(len(ASKED))]
    for question, (asked, expected) in zip(questions, ASKED.items(), strict=True):
        text, answer, sentences, edges = expected
        at = [question.facts.index(told) for told in sentences]
        assert (question.question, question.answer) == (asked, answer)
        assert question.chain == chain_of(question) == tuple(at)
        assert question.edges == tuple(sorted((u if u == ROOT else at[u], at[v]) for u, v in edges))
        assert [*question.program] == program(text)
    assert [q.answer_kind for q in questions] == ["entity", "count", "entity", "number", "entity"]
    path = tmp_path / "out.jsonl"
    write_evidence(path, questions)
    assert read_evidence(path) == questions


@pytest.mark.parametrize("pool", [25, 50, 100, 1000])
def test_pools_are_full_of_different_facts_of_the_base(folder, pool):
    for question in rebuilt(folder, "test", pool=pool)[0]:
        assert len(question.facts) == len({*question.facts}) <= pool
        assert {*question.facts} <= {*TEXTS}
        gold = [TEXTS[question.facts[i]] for i in question.nodes]
        joined = [{f.head, f.tail} for f in gold]
        facts = [TEXTS[text] for text in question.facts]
        others = [fact for fact in facts if fact not in gold]
        assert not any({f.head, f.tail} in joined for f in others)
        allowed = sum(f in gold or {f.head, f.tail} not in joined for f in TOWN.facts)
        assert len(facts) == min(pool, allowed)
        ends = {end for f in gold for end in (f.head, f.tail) if isinstance(end, str)}
        relations = {f.relation for f in gold}
        near = [f for f in TOWN.facts if f not in gold and {f.head, f.tail} & ends]
        alike = [f for f in TOWN.facts if f not in gold and f.relation in relations]
        for kind in (near, alike):
            usable = [f for f in kind if {f.head, f.tail} not in joined]
            least = min(pool // 4 - len(gold), len(usable))
            assert sum(fact in usable for fact in others) >= least


def test_a_relation_the_other_way_round_is_in_no_pool(folder):
    asked = "Which city is the capital of Norland?"
    text = "Find(Norland) Relate(capital, forward) What()"
    (folder / "val.json").write_text(json.dumps([row(asked, text, "Boholm")]), encoding="utf-8")
    raw = content()
    for relation, years in (
        ("capital of", {}),
        ("chief town of", {}),
        ("country", {}),
        ("country", {"start time": [{"type": "year", "value": 1990}]}),
    ):
        link = {"predicate": relation, "object": "n1", "direction": "forward", "qualifiers": years}
        raw["entities"]["t2"]["relations"].append(link)
    (question,), _ = rebuilt(folder, "test", pool=1000, knowledge=Knowledge(raw))
    assert [text for text in question.facts if "Boholm" in text and "Norland" in text] == [
        "The capital of Norland is Boholm."
    ]
    assert "Arnby" in "".join(question.facts)


def test_every_question_of_train_is_in_one_split_and_a_ninth_is_of_dev(folder):
    train, dev = ({q.id: q for q in rebuilt(folder, split)[0]} for split in ("train", "dev"))
    assert not train.keys() & dev.keys()
    assert len(train) + len(dev) == 180
    assert 8 <= len(dev) <= 35  # 20 expected, 4.2 standard deviation
    assert len(rebuilt(folder, "train", count=7)[0]) == 7
    gold = Counter(q.nodes[0] for q in train.values())
    assert len(gold) == 25
    assert max(gold.values()) < 20


def test_what_falls_out_is_counted_by_its_reason_and_the_rest_stays(folder):
    rows = [row(reason, *given) for reason, given in DROPPED.items()]
    rows += ["no row", {"question": "x", "answer": "y"}, row(" ", "FindAll() Count()", "1"),
             {**row("x", "FindAll() Count()", "1"), "answer": True}]  # fmt: skip
    rows += [row(question, text, answer) for question, (text, answer, *_) in ASKED.items()]
    (folder / "val.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "kb.json").write_text(json.dumps(town()), encoding="utf-8")
    questions, tally = rebuilt(folder, "test")
    assert len(questions) == len(ASKED)
    assert tally == Counter({**dict.fromkeys(DROPPED, 1), "unusable row": 4})


def test_seven_in_a_line_and_twenty_facts_stay(folder):
    rows = [
        row("Seven?", ROUND.replace("Relate(link, forward) ", "", 1), "e7"),
        row("Twenty?", "FindAll() FilterNum(size, 1, >) Count()", "20"),
    ]
    (folder / "val.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "kb.json").write_text(json.dumps(town()), encoding="utf-8")
    first, second = rebuilt(folder, "test")[0]
    assert depth(first.edges) == len(first.chain) == 7
    assert depth(second.edges) == 1
    assert len(second.chain) == 20
    for question in (first, second):
        assert checked(question.edges, len(question.facts), "") == question.edges


def test_other_sentences_are_taken_and_a_base_that_is_read_already(folder):
    (folder / "kb.json").unlink()
    write = lambda text: f"It is known: {text}"  # noqa: E731
    for question in rebuilt(folder, "test", knowledge=TOWN, write=write)[0]:
        assert all(text.startswith("It is known: ") for text in question.facts)
    told = rebuilt(folder, "test", knowledge=TOWN, templates={"author": "{o} wrote {s}"})[0][0]
    assert told.facts[told.chain[0]] == "Ada Brandt wrote Salt."


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"split": "val"}, "split='val'"),
        ({"pool": 20}, "pool=20"),
        ({"pool": 25.0}, "pool=25.0"),
        ({"count": 0}, "count=0"),
    ],
)
def test_arguments_out_of_range_are_refused_before_files_are_read(changed, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        rebuilt(**{"folder": tmp_path, "split": "test", **changed})


def test_files_that_cannot_be_read_are_named(folder):
    (folder / "kb.json").write_text("{", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"kb\.json"):
        rebuilt(folder, "test")
    (folder / "val.json").write_text('[{"question":', encoding="utf-8")
    with pytest.raises(DatasetError, match=r"val\.json"):
        rebuilt(folder, "test", knowledge=TOWN)
    (folder / "val.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"val\.json"):
        rebuilt(folder, "test")


def test_no_question_at_all_is_refused_with_the_reasons(folder):
    (folder / "val.json").write_text(json.dumps([row("x", "Find(No) What()", "No")]))
    with pytest.raises(DatasetError, match=r"no question stays|'missing entity': 1"):
        rebuilt(folder, "test")


def test_pools_are_the_same_in_every_process(folder):
    code = (
        "import hashlib, sys; from workbench.kopl.rebuild import rebuilt; "
        f"print(hashlib.sha256(repr(rebuilt({str(folder)!r}, 'test')).encode()).hexdigest())"
    )
    outs = {
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed},
                       capture_output=True, text=True, check=True).stdout
        for seed in ("0", "1", "2")
    }  # fmt: skip
    assert len(outs) == 1
