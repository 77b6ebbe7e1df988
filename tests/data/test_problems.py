"""Every dataset reader against a second reading of the same record, written another way."""

import ast
import json
import logging
import operator
import re
import string
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.helpers import hub
from tests.helpers.rows import written
from workbench.data.problem_formats import DATASETS, split_question
from workbench.data.problems import Problem, read_problems
from workbench.errors import DatasetError

NAMES = (
    "gsm8k svamp aqua addsub singleeq multiarith commonsensqa bigbench_date strategyqa coin_flip"
    " last_letters object_tracking"
).split()
REAL = {
    "gsm8k": ("gsm8k_test_400.jsonl", 400),
    "svamp": ("SVAMP.json", 1000),
    "aqua": ("AQuA_test.json", 254),
}


def words(text):
    return text.split()


# ---- the real files


@pytest.fixture(scope="session")
def real(shared):
    """name → (raw records, problems), the records read without the code under test."""

    def load(name):
        path = shared / "selfverification" / REAL[name][0]
        text = path.read_bytes().decode()
        if name == "svamp":
            raw = json.loads(text)
        else:
            raw = [json.loads(line) for line in text.strip().split("\n")]
        return raw, read_problems(name, path)

    return {name: load(name) for name in REAL}


OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def evaluate(expression):
    """An arithmetic expression, exactly."""

    def value(node):
        match node:
            case ast.BinOp():
                return OPERATIONS[type(node.op)](value(node.left), value(node.right))
            case ast.UnaryOp(op=ast.UAdd()):
                return value(node.operand)
            case ast.Constant():
                return Fraction(str(node.value))
        raise AssertionError(ast.dump(node))

    return value(ast.parse(expression.strip(), mode="eval").body)


@pytest.mark.parametrize("name", REAL)
def test_every_real_record_keeps_its_wording(real, name):
    raw, problems = real[name]
    assert len(problems) == len(raw) == REAL[name][1]
    for record, p in zip(raw, problems, strict=True):
        whole = f"{record['Body']} {record['Question']}" if name == "svamp" else record["question"]
        assert words(f"{p.context} {p.question}") == words(whole)
        assert p.question == p.question.strip() != ""
        assert p.context == p.context.strip()
        assert (p.dataset, p.kind) == (name, "choice" if name == "aqua" else "number")
    assert len({p.id for p in problems}) == len(problems)


def test_gsm8k_golds_are_the_last_numbers_of_their_solutions(real):
    raw, problems = real["gsm8k"]
    agree = 0
    for number, (record, p) in enumerate(zip(raw, problems, strict=True)):
        gold = re.search(r"#### (-?[\d,]+)$", record["answer"])[1]
        assert re.fullmatch(r"-?\d+", p.answer)
        assert int(p.answer) == int("".join(c for c in gold if c != ","))
        assert p.id == str(number)
        assert p.options == p.labels == ()
        assert p.text == f"{p.context} {p.question}".strip()
        # A third reading: most solutions end in the calculation of the answer itself.
        calculations = re.findall(r"<<([^=]+)=", record["answer"])
        agree += bool(calculations) and evaluate(calculations[-1]) == int(p.answer)
    assert agree == 366  # 6 solutions hold no calculation, 28 end in a side remark
    commas = [p for r, p in zip(raw, problems, strict=True) if "," in r["answer"].split("####")[1]]
    assert len(commas) == 4  # the whole test set has 14
    assert all("," not in p.answer and int(p.answer) >= 1000 for p in commas)


def test_svamp_answers_solve_their_equations(real):
    raw, problems = real["svamp"]
    wrong = []
    for record, p in zip(raw, problems, strict=True):
        if evaluate(record["Equation"]) != Fraction(p.answer):
            wrong.append((p.id, record["Equation"], record["Answer"], p.answer))
        assert re.fullmatch(r"\d+", p.answer)
        assert (p.id, p.context) == (record["ID"], record["Body"].strip())
    # One published answer is not its equation's value; it is read as published.
    assert wrong == [("chal-680", "( ( 4.0 - 2.0 ) + 3.0 )", 1.0, "1")]
    spellings = [record["Type"] for record in raw]
    assert len(set(spellings)) == 5
    assert spellings.count("Common-Divison") == 1


def test_aqua_options_and_letters(real):
    raw, problems = real["aqua"]
    for record, p in zip(raw, problems, strict=True):
        assert p.labels == ("A", "B", "C", "D", "E")
        assert p.answer == record["correct"]
        for letter, text, option in zip("ABCDE", p.options, record["options"], strict=True):
            rest = option
            while rest.startswith(f"{letter})"):
                rest = rest[2:].strip()
            assert text == rest != ""
        tail = " ".join(f"({k}) {v}" for k, v in zip("ABCDE", p.options, strict=True))
        assert words(p.text) == words(f"{record['question']} Answer choices: {tail}")
    assert problems[0].options[0] == "5(√3 + 1)"
    assert sum(any("(" in o or ")" in o for o in p.options) for p in problems) == 9
    assert sum(len(set(p.options)) < 5 for p in problems) == 7
    doubled = [p for p, r in zip(problems, raw, strict=True) if r["options"][0] == "A)A)59"]
    assert [p.options for p in doubled] == [("59", "69", "79", "89", "99")]


def test_real_questions_ask_or_order(real):
    """A question of GSM8K asks in its last sentence; no sentence that asks is left behind."""
    for p in real["gsm8k"][1]:
        asks = p.question.endswith("?") or re.search(r"calculate|how much", p.question.lower())
        assert asks, p.question
        assert "?" not in p.context, p.context
        # One sentence: a full stop inside is part of a number or of an abbreviation.
        inner = set(re.findall(r"(\S+)\. +\S", p.question))
        assert inner <= {"Mr", "Mrs", "Ms", "Dr", "St", "a.m", "p.m"}, p.question


# ---- splitting


@pytest.mark.parametrize(
    ("context", "question"),
    [
        ("Apples cost $5.20 each.", "How much do 3.5 apples cost?"),
        ("He has 35.", "How many are left?"),
        ("", "How far is it?"),
        ("", "Find 25/12*5"),
        ("A man earns Rs. 500. He saves 2%.", "What does he save"),
        (
            "Bo met Mr. Ito and Mrs. Hilt at 5 p.m. sharp.",
            "How long did Dr. J. Kay wait for St. Ives?",
        ),
        ("The shop opens at 9 a.m.", "When does it close?"),
        ("The post is 6 ft. tall, i.e. 2 yd. high.", "How long is it in cm?"),
        ("A line ends at A.", "How far is B?"),
        ("Joan found 70 shells on the beach . she gave some away .", "How many are left ? "),
        ('Ann asked "why?" and left. She ran 3 km!', "How far did she run?"),
        ("A box holds 8 pens (or 9 pencils.)", "How many pens fill 2 boxes?"),
        (
            "A coin is heads up. Bo flips the coin.",
            'Is the coin still heads up? Note that "flip" here means "reverse".',
        ),
        ("He has 2. Why? He lost 3.", "Calculate what he had."),
        ("Why? He lost 3.", "How many has he? Note that none is hidden."),
        ("Bo has 3.", 'If Al cried "stop!" and took 1, how many are left?'),
        ("Jan. 5, 2020 is a Sunday.", "What is the date in MM/DD/YYYY?"),
        ("Pens come in sets of 3.", "If Bo buys 2 sets, how many pens has he (in all)?"),
        ("Alice has a red ball. \n\nThey swap.", "At the end of the game, Alice has the "),
    ],
)
def test_split_question_by_hand(context, question):
    assert split_question(f"  {context} \n{question}") == (context, question.strip())


PIECES = st.sampled_from(
    'Mr. He 5.20 $7.50 pens . ? ! "why?" (ok.) Rs. a.m. A. How Find 3. left? … " ” ) \n'.split(" ")
)  # fmt: skip


@given(st.one_of(st.text(max_size=12), st.lists(PIECES, max_size=12).map(" ".join)))
@example("")
@example("?")
@example(" \n ")
def test_split_question_loses_only_white_space(text):
    context, question = split_question(text)
    assert words(f"{context} {question}") == words(text)
    assert (question == "") == (not words(text))
    assert (context, question) == (context.strip(), question.strip())
    assert split_question(question) == ("", question)
    whole = text.strip()
    assert whole.startswith(context)
    assert whole.endswith(question)


# ---- miniature files in the published schemas

SUM = {"iIndex": 7, "lEquations": ["X = 70 - 27"]}
MINIATURES = {
    "gsm8k": (
        {"question": "Ida has 1,000 beads. How many in 2 bags?", "answer": "<<1=1>>1\n#### 2,125"},
        Problem("0", "gsm8k", "Ida has 1,000 beads.", "How many in 2 bags?", "2125"),
    ),
    "svamp": (
        {"ID": "chal-9", "Body": "Dan had $ 3 left", "Question": "How much was it?", "Answer": 51.0,
         "Equation": "( 4.0 - 3.0 )", "Type": "Common-Divison"},
        Problem("chal-9", "svamp", "Dan had $ 3 left", "How much was it?", "51"),
    ),
    "aqua": (
        {"question": "X is 3. Find (x + 1)", "rationale": "…", "correct": "B",
         "options": ["A)5(√3 + 1)", "B) 4", "C)4", "D)(99,10)", "E)E)None of these"]},
        Problem("0", "aqua", "X is 3.", "Find (x + 1)", "B",
                ("5(√3 + 1)", "4", "4", "(99,10)", "None of these"), "choice"),
    ),
    "addsub": (
        {**SUM, "lSolutions": ["0.8333333333333333"],
         "sQuestion": "Sam found 70 shells . he lost 27 . How many are left ? "},
        Problem("7", "addsub", "Sam found 70 shells . he lost 27 .", "How many are left ?",
                "0.8333333333333333"),
    ),
    "singleeq": (
        {**SUM, "lSolutions": [43.0], "grammarCheck": 0, "templateNumber": 0,
         "sQuestion": "Ida paid $5.20. How much is left ?"},
        Problem("7", "singleeq", "Ida paid $5.20.", "How much is left ?", "43"),
    ),
    "multiarith": (
        {**SUM, "lSolutions": [39.5], "lAlignments": [80], "iIndex": 0,
         "sQuestion": " Debby had 32 sweets. How many has she now? "},
        Problem("0", "multiarith", "Debby had 32 sweets.", "How many has she now?", "39.5"),
    ),
    "commonsensqa": (
        {"id": "1afa", "answerKey": "C", "question": {
            "question_concept": "farm", "stem": "Jim wants land.  Where might he look?",
            "choices": [{"label": k, "text": v} for k, v in
                        zip("BACDE", ("sea", "sky", "midwest", "sea", "moon"), strict=True)]}},
        Problem("1afa", "commonsensqa", "Jim wants land.", "Where might he look?", "C",
                ("sky", "sea", "midwest", "sea", "moon"), "choice"),
    ),
    "bigbench_date": (
        {"input": "Today is 5 May 1999. What is the date tomorrow in MM/DD/YYYY?",
         "target_scores": {"05/07/1999": 0, "05/06/1999": 1, "06/05/1999": 0}},
        Problem("0", "bigbench_date", "Today is 5 May 1999.",
                "What is the date tomorrow in MM/DD/YYYY?", "05/06/1999", (), "date"),
    ),
    "strategyqa": (
        {"input": "Would a pear sink in water?", "target_scores": {"Yes": 0, "No": 1},
         "target": "No. It floats."},
        Problem("0", "strategyqa", "", "Would a pear sink in water?", "no", (), "yesno"),
    ),
    "coin_flip": (
        {"question": 'A coin is heads up. Is it still? Note that "flip" means "reverse".',
         "answer": "yes"},
        Problem("0", "coin_flip", "A coin is heads up.",
                'Is it still? Note that "flip" means "reverse".', "yes", (), "yesno"),
    ),
    "last_letters": (
        {"question": 'Take the last letters of each words in "Bo Jj Kc" and concatenate them.',
         "answer": "ojc"},
        Problem("0", "last_letters", "",
                'Take the last letters of each words in "Bo Jj Kc" and concatenate them.', "ojc",
                (), "text"),
    ),
    "object_tracking": (
        {"input": "Al has a red ball. \n\nThey swap. At the end of the game, Al has the ",
         "target_scores": {"red ball.": 0, "tan ball.": 0, "blue ball.": 1}},
        Problem("0", "object_tracking", "Al has a red ball. \n\nThey swap.",
                "At the end of the game, Al has the", "C",
                ("red ball.", "tan ball.", "blue ball."), "choice"),
    ),
}  # fmt: skip


def test_the_sets_are_those_of_the_paper_and_the_embedded_sums():
    assert list(DATASETS) == ["sums", *NAMES]
    assert set(MINIATURES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", ["lines", "list", "indented list", "task", "compact task"])
def test_every_schema_in_every_shape(tmp_path, name, shape):
    record, expected = MINIATURES[name]
    rows = [record, record, record]
    line = json.dumps(record, ensure_ascii=False)
    content = {
        "lines": f"{line}\n\n{line}\r\n{line}",
        "list": json.dumps(rows),
        "indented list": json.dumps(rows, indent=4),
        "task": json.dumps({"name": name, "examples": rows}, indent=2),
        "compact task": f'{{"examples": [\n{line},\n{line},\n{line}\n]}}',
    }[shape]
    problems = read_problems(name, written(tmp_path, content))
    assert len(problems) == 3
    assert problems[0] == expected
    own = expected.id != "0" or name == "multiarith"
    assert [p.id for p in problems] == ([expected.id] * 3 if own else ["0", "1", "2"])


def test_a_single_line_a_byte_order_mark_and_odd_line_ends(tmp_path):
    record, expected = MINIATURES["last_letters"]
    assert read_problems("last_letters", written(tmp_path, json.dumps(record))) == [expected]
    odd = {**record, "question": "Take\u2028the \x85 letter of it."}
    text = "\ufeff" + "\n".join(json.dumps(r, ensure_ascii=False) for r in (odd, odd))
    assert [p.question for p in read_problems("last_letters", written(tmp_path, text))] == [
        odd["question"]
    ] * 2


@pytest.mark.parametrize(
    ("ids", "expected"),
    [([None, None, None], ["0", "1", "2"]), (["", " ", "b"], ["0", "1", "b"]),
     (["a", "a", "a"], ["a", "a at 1", "a at 2"]), ([1, None, 2.0], ["1", "1 at 1", "2"])],
)  # fmt: skip
def test_every_problem_has_an_id_of_its_own(tmp_path, ids, expected):
    """Intervals and McNemar's test take what has one id for one question."""
    rows = [
        {"ID": i, "Body": "Tom has 3 hats.", "Question": f"How many in {n} days?", "Answer": 3.0}
        for n, i in enumerate(ids)
    ]
    path = tmp_path / "svamp.json"
    path.write_text(json.dumps(rows))
    assert [p.id for p in read_problems("svamp", path)] == expected
    path.write_text(json.dumps([*rows, rows[-1] | {"ID": "q"}, rows[-1] | {"ID": "q"}]))
    assert [p.id for p in read_problems("svamp", path)] == [*expected, "q", "q"]


def test_text_shows_the_options():
    assert MINIATURES["object_tracking"][1].text == (
        "Al has a red ball. \n\nThey swap. At the end of the game, Al has the "
        "Answer choices: (A) red ball. (B) tan ball. (C) blue ball."
    )
    assert MINIATURES["strategyqa"][1].text == "Would a pear sink in water?"
    assert MINIATURES["coin_flip"][1].text == MINIATURES["coin_flip"][0]["question"]


# ---- golds


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("2,125", "2125"), (" 1,234,567 ", "1234567"), ("51.0", "51"), (51.0, "51"), (51, "51"),
        ("0.50", "0.5"), (".5", "0.5"), ("-3", "-3"), ("+3", "3"), (-0.0, "0"), ("007", "7"),
        ("100", "100"), (1e16, "10000000000000000"), (1e-5, "0.00001"), ("5.", "5"),
        (0.8333333333333333, "0.8333333333333333"), ("1/2", "0.5"), ("1/3", "1/3"),
        ("$2,125.00", "2125"), ("-$5", "-5"), ("25%", "25"), ("5 €", "5"), ("1.2e5", "120000"),
        ("1\u202f234\u202f567", "1234567"), ("\u22127", "-7"), ("–7", "-7"), ("2 1/2", "2.5"),
        ("1.234,5", "1234.5"), ("2 million", "2000000"), ("٣", "3"), ("１２", "12"), (1e-300, None),
    ],
)  # fmt: skip
def test_gold_numbers(tmp_path, gold, answer):
    record = {**MINIATURES["svamp"][0], "Answer": gold}
    (problem,) = read_problems("svamp", written(tmp_path, json.dumps([record])))
    assert problem.answer == (f"0.{'0' * 299}1" if answer is None else answer)


@given(st.integers(-(10**15), 10**15), st.floats(-1e9, 1e9))
def test_gold_numbers_keep_their_value(tmp_path_factory, whole, part):
    golds = [f"{whole:,}", whole, float(whole), part]
    assume(part == 0 or abs(part) > 1e-90)  # exponents of three digits are no golds
    rows = [{**MINIATURES["svamp"][0], "Answer": gold} for gold in golds]
    path = written(tmp_path_factory.mktemp("golds"), json.dumps(rows))
    for p, gold in zip(read_problems("svamp", path), golds, strict=True):
        assert Decimal(p.answer) == Decimal(str(gold).replace(",", ""))
        assert re.fullmatch(r"0|-?(0|[1-9]\d*)(\.\d*[1-9])?", p.answer)


@pytest.mark.parametrize(
    "gold",
    [
        "",
        "12,5",
        "1,0000",
        "five",
        "1/0",
        "3 km",
        "--1",
        "1 000",
        "3:30",
        "5-6",
        "5 or 6",
        "1e9999",
        "1.2.3",
        "0x10",
        "inf",
        "$",
        "72 eggs (6 dozen)",
        "x = 5",
        "5 + 1",
    ],
)
def test_golds_that_are_no_numbers(tmp_path, gold):
    path = written(tmp_path, json.dumps([{**MINIATURES["svamp"][0], "Answer": gold}]))
    with pytest.raises(DatasetError, match=r"set\.json row \d+: svamp chal-9: field 'Answer'"):
        read_problems("svamp", path)


@pytest.mark.parametrize("gold", ["true", "null", "NaN", "Infinity", "[]", "{}", "[1]"])
def test_golds_of_another_type(tmp_path, gold):
    text = json.dumps([MINIATURES["svamp"][0]]).replace("51.0", gold)
    with pytest.raises(DatasetError, match="svamp chal-9: field 'Answer'"):
        read_problems("svamp", written(tmp_path, text))


@pytest.mark.parametrize("shape", ["{}){}", "({}) {}", "{}. {}", "{}: {}", "[{}] {}", "{} ) {}"])
@pytest.mark.parametrize("case", [str.upper, str.lower])
@pytest.mark.parametrize("count", [2, 5, 7, 26])
def test_options_in_every_shape(tmp_path, shape, case, count):
    letters = string.ascii_uppercase[:count]
    texts = [f"{i} (of 9)" if i % 2 else "the same" for i in range(count)]
    options = [shape.format(case(k), v) for k, v in zip(letters, texts, strict=True)]
    for gold in (
        letters[-1],
        case(letters[-1]),
        f"({letters[-1]})",
        f"{letters[-1]})",
        f" {letters[-1]}.",
    ):
        row = {**MINIATURES["aqua"][0], "options": options[::-1], "correct": gold}
        (problem,) = read_problems("aqua", written(tmp_path, json.dumps([row])))
        assert (problem.answer, problem.options) == (letters[-1], tuple(texts))
        assert problem.labels == tuple(letters)


def test_solutions_that_are_one_number(tmp_path):
    for solutions in (["3.0"], [3, "3.0"], ["3", "3"]):
        row = {**MINIATURES["addsub"][0], "lSolutions": solutions}
        assert read_problems("addsub", written(tmp_path, json.dumps([row])))[0].answer == "3"


# ---- errors

FIELDS = {
    "gsm8k": ("question", "answer"),
    "svamp": ("Body", "Question", "Answer"),
    "aqua": ("question", "options", "correct"),
    "addsub": ("sQuestion", "lSolutions"),
    "singleeq": ("sQuestion", "lSolutions"),
    "multiarith": ("sQuestion", "lSolutions"),
    "commonsensqa": ("question", "answerKey"),
    "bigbench_date": ("input", "target_scores"),
    "strategyqa": ("input", "target_scores"),
    "coin_flip": ("question", "answer"),
    "last_letters": ("question", "answer"),
    "object_tracking": ("input", "target_scores"),
}


@pytest.mark.parametrize(("name", "field"), [(n, f) for n in NAMES for f in FIELDS[n]])
def test_a_missing_an_empty_and_a_misshapen_field(tmp_path, name, field):
    record, expected = MINIATURES[name]
    called = expected.id if expected.id != "0" or name == "multiarith" else "1"
    lacking = {k: v for k, v in record.items() if k != field}
    for broken in (lacking, *({**record, field: value} for value in ("", "  ", [], {}, None, []))):
        path = written(tmp_path, json.dumps([record, broken]))
        with pytest.raises(DatasetError) as caught:
            read_problems(name, path)
        assert f"set.json row 1: {name} {called}: field '" in str(caught.value)
        inside = ("choices", "stem") if name == "commonsensqa" else ()
        assert any(repr(f) in str(caught.value) for f in (field, *inside))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("gsm8k", {"answer": "So it is 5."}, "field 'answer': no number"),
        ("gsm8k", {"answer": "#### 5\n#### 6"}, "field 'answer': no number behind one '####'"),
        ("addsub", {"lSolutions": ["3", 4]}, "field 'lSolutions': 2 different solutions, 3, 4"),
        ("gsm8k", {"answer": "#### many"}, "field 'answer': no number: ' many'"),
        ("aqua", {"correct": "F"}, "field 'options': the gold 'F' is none of A, B, C, D, E"),
        ("aqua", {"correct": "AB"}, "the gold 'AB' is none of"),
        ("aqua", {"options": ["A)1", "A)2", "C)3"]}, "field 'options': labels A, A, C"),
        ("aqua", {"options": ["A)1", "C)3"]}, "labels A, C, not A, B, C"),
        ("aqua", {"options": ["A)1", "2"]}, "field 'options': labels"),
        ("aqua", {"options": ["A)1", "B) "]}, "field 'options': labels"),
        ("aqua", {"options": [1, 2]}, "field 'options': labels"),
        ("aqua", {"options": ["A)1", "twenty"]}, "'twenty' has no label such as 'A)'"),
        ("aqua", {"options": ["A)1", "a)2"]}, "labels A, A, not A, B, C"),
        ("aqua", {"options": ["1)1", "2)2"]}, "labels ?, ?, not A, B, C"),
        ("object_tracking", {"target_scores": {"a": 1, "a ": 0}}, "field 'target_scores': 2 tar"),
        ("object_tracking", {"target_scores": {f"b{i}": i // 26 for i in range(27)}}, "27 targets"),
        ("addsub", {"lSolutions": ["few"]}, "field 'lSolutions': no number: 'few'"),
        ("singleeq", {"lSolutions": [None]}, "field 'lSolutions': no number: None"),
        ("commonsensqa", {"answerKey": "G"}, "the gold 'G' is none of"),
        ("commonsensqa", {"question": {"stem": "Why?", "choices": "AB"}}, "field 'choices'"),
        ("commonsensqa", {"question": {"stem": "Why?", "choices": 5}}, "field 'choices'"),
        ("commonsensqa", {"question": {"stem": "Why?", "choices": ["A"]}}, "field 'label'"),
        (
            "commonsensqa",
            {"question": {"stem": "Why?", "choices": [{"label": "C", "text": "x"}] * 2}},
            "field 'choices': labels C, C",
        ),
        (
            "commonsensqa",
            {"question": {"stem": "Why?", "choices": [{"label": "A", "text": ""}]}},
            "field 'text' is empty",
        ),
        (
            "commonsensqa",
            {"question": {"choices": [{"label": "C", "text": "x"}]}},
            "field 'stem' is missing",
        ),
        (
            "bigbench_date",
            {"target_scores": {"05/06/1999": 0, "05/07/1999": 0}},
            "field 'target_scores': 0 true targets",
        ),
        (
            "bigbench_date",
            {"target_scores": {"05/06/1999": 1, "05/07/1999": 1}},
            "field 'target_scores': 2 true targets",
        ),
        ("bigbench_date", {"target_scores": {"05/06/1999": 0.5}}, "0 true targets"),
        ("bigbench_date", {"target_scores": {"May 6": 1}}, "field 'target_scores': time data 'May"),
        ("bigbench_date", {"target_scores": {"02/30/1999": 1}}, "field 'target_scores'"),
        (
            "strategyqa",
            {"target_scores": {"Maybe": 1}},
            "field 'target_scores': neither yes nor no",
        ),
        ("strategyqa", {"target_scores": {"Yes": 1, "No": 1}}, "2 true targets"),
        ("object_tracking", {"target_scores": {"a": 0, "b": 0}}, "0 true targets"),
        ("coin_flip", {"answer": "heads"}, "field 'answer': neither yes nor no: 'heads'"),
    ],
)
def test_records_that_contradict_themselves(tmp_path, name, change, message):
    record, _ = MINIATURES[name]
    path = written(tmp_path, json.dumps({"examples": [{**record, **change}]}))
    with pytest.raises(DatasetError) as caught:
        read_problems(name, path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path} row 0: {name} ")


def test_bad_lines_name_file_and_line(tmp_path):
    good = json.dumps(MINIATURES["gsm8k"][0])
    path = written(tmp_path, f"{good}\n\n{good[:-9]}\n{good}\n", "test.jsonl")
    with pytest.raises(DatasetError, match=r"test\.jsonl:3: \w+"):
        read_problems("gsm8k", path)
    path = written(tmp_path, f"{{oops\n{good}\n", "test.jsonl")
    with pytest.raises(DatasetError, match=r"test\.jsonl:1: Expecting property name"):
        read_problems("gsm8k", path)
    broken_list = json.dumps([MINIATURES["gsm8k"][0]], indent=2).replace('"answer"', "answer")
    with pytest.raises(DatasetError, match=r"set\.json:4: Expecting property name"):
        read_problems("gsm8k", written(tmp_path, broken_list))
    broken_task = f'{{"examples": [\n{good},\n{good},\n{good}\n}}'
    with pytest.raises(DatasetError, match=r"set\.json:5: "):
        read_problems("gsm8k", written(tmp_path, broken_task))


def test_skip_bad_counts_and_keeps_the_places(tmp_path, caplog):
    good = json.dumps(MINIATURES["gsm8k"][0])
    content = "\n".join([good, "{oops", '{"question": "Why?"}', good, "[1]", good])
    path = written(tmp_path, content, "test.jsonl")
    with caplog.at_level(logging.WARNING, logger="workbench.data.problems"):
        problems = read_problems("gsm8k", path, skip_bad=True)
    assert [p.id for p in problems] == ["0", "3", "5"]
    assert len(caplog.records) == 1
    assert "3 bad records skipped; the first:" in caplog.text
    assert "test.jsonl:2: Expecting property name" in caplog.text
    caplog.clear()
    read_problems("gsm8k", written(tmp_path, good), skip_bad=True)
    assert not caplog.records
    with pytest.raises(DatasetError, match="no problems for 'gsm8k'"):
        read_problems("gsm8k", written(tmp_path, '[{"question": "Why?"}]'), skip_bad=True)


def test_a_record_that_is_no_object(tmp_path):
    for name in NAMES:
        with pytest.raises(DatasetError, match=r"set\.json row 0: a list, not an object"):
            read_problems(name, written(tmp_path, "[[1, 2]]"))


@pytest.mark.parametrize("content", ["[]", '{"examples": []}'])
def test_files_without_problems(tmp_path, content):
    with pytest.raises(DatasetError, match="no problems for 'aqua'"):
        read_problems("aqua", written(tmp_path, content))


def test_files_that_are_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.json is no file; give a"):
        read_problems("aqua", tmp_path / "absent.json")
    with pytest.raises(FileNotFoundError, match="is no file"):
        read_problems("aqua", str(tmp_path))
    with pytest.raises(DatasetError, match=r"set\.json:1: Expecting value"):
        read_problems("aqua", written(tmp_path, ""))
    with pytest.raises(DatasetError, match="expected a list of rows"):
        read_problems("aqua", written(tmp_path, "5"))
    with pytest.raises(DatasetError, match="expected a list of rows"):
        read_problems("aqua", written(tmp_path, '{"examples": {"a": 1}}'))
    with pytest.raises(DatasetError, match=r"set\.json:1: no text in utf-8, .*byte 0xff"):
        read_problems("aqua", written(tmp_path, b"[\xff"))


@pytest.mark.parametrize(
    ("name", "near"),
    [("gsm8", "gsm8k"), ("commonsenseqa", "commonsensqa"), ("bigbench-date", "bigbench_date")],
)
def test_unknown_names_list_the_known_ones(name, near):
    with pytest.raises(ValueError, match="no dataset") as caught:
        read_problems(name)
    assert all(known in str(caught.value) for known in NAMES)
    assert f"nearest: {near!r}" in str(caught.value)
    with pytest.raises(ValueError, match="no dataset ''"):
        read_problems("")


# ---- the hub

HUB = {
    "gsm8k": (("openai/gsm8k", "main", "test"), MINIATURES["gsm8k"][0], "0"),
    "svamp": (
        ("ChilleD/SVAMP", None, "train+test"),
        {**MINIATURES["svamp"][0], "Answer": "51.0", "question_concat": "Dan had $ 3 left How"},
        "chal-9",
    ),
    "aqua": (("deepmind/aqua_rat", "raw", "test"), MINIATURES["aqua"][0], "0"),
    "multiarith": (
        ("ChilleD/MultiArith", None, "train+test"),
        {"question": " Debby had 32 sweets. How many has she now? ", "final_ans": "39.5"},
        "0",
    ),
    "commonsensqa": (
        ("tau/commonsense_qa", None, "validation"),
        {
            "id": "1afa",
            "question": "Jim wants land.  Where might he look?",
            "question_concept": "farm",
            "choices": {
                "label": ["A", "B", "C", "D", "E"],
                "text": ["sky", "sea", "midwest", "sea", "moon"],
            },
            "answerKey": "C",
        },
        "1afa",
    ),
    "strategyqa": (
        ("ChilleD/StrategyQA", None, "train+test"),
        {"qid": "b8b4", "question": "Would a pear sink in water?", "answer": False, "facts": "…"},
        "b8b4",
    ),
    "last_letters": (
        ("ChilleD/LastLetterConcat", None, "train+test"),
        MINIATURES["last_letters"][0],
        "0",
    ),
}


@pytest.mark.parametrize("name", HUB)
def test_hub_rows_give_the_published_problem(monkeypatch, name):
    where, row, called = HUB[name]
    asked = hub.serve(monkeypatch, [row])
    _, expected = MINIATURES[name]
    assert read_problems(name) == [
        Problem(called, name, expected.context, expected.question, expected.answer,
                expected.options, expected.kind)
    ]  # fmt: skip
    read_problems(name, "hub", "train")
    assert asked == [where, (*where[:2], "train")]


def test_bad_hub_rows_name_their_field(monkeypatch, caplog):
    row = HUB["commonsensqa"][1]
    # As the hidden test labels are.
    hub.serve(monkeypatch, [row, {**row, "id": "2b", "answerKey": ""}])
    with pytest.raises(
        DatasetError, match="hub row 1: commonsensqa 2b: field 'answerKey' is empty"
    ):
        read_problems("commonsensqa", split="test")
    assert len(read_problems("commonsensqa", skip_bad=True)) == 1
    assert "1 bad records skipped" in caplog.text
    hub.serve(monkeypatch, [{**row, "choices": {"label": ["A", "B"], "text": ["x"]}}])
    with pytest.raises(DatasetError, match="commonsensqa 1afa: "):
        read_problems("commonsensqa")


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(HUB)))
def test_sets_without_a_hub_home_say_so(name):
    with pytest.raises(DatasetError, match=f"'{name}' has no well-known hub copy.*original file"):
        read_problems(name)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ConnectionError("no route\nmore"), "reached.*network.*(no route more)"),
        (FileNotFoundError(), "reached.*network.*()"),
        (ValueError("Unknown split 'x'"), "read.*(Unknown split 'x')"),
    ],
)
def test_an_unreachable_hub_says_what_to_do(monkeypatch, failure, reason):
    hub.fail(monkeypatch, failure)
    reason = reason.replace("(", r".*local file.*\(").replace(")", r"\)")
    with pytest.raises(DatasetError, match=f"openai/gsm8k cannot be {reason}"):
        read_problems("gsm8k")


def test_the_real_client_offline():
    with pytest.raises(DatasetError, match="tau/commonsense_qa cannot be reached"):
        read_problems("commonsensqa")


def test_the_embedded_sums_are_read_by_default():
    problems = read_problems("sums")
    assert len(problems) == 630
    assert len({p.text for p in problems}) == 630
    for problem in problems[:20]:
        assert problem.question.startswith("How many")
        assert problem.answer.isdigit()
