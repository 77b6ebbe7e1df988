"""The few-shot exemplars of self-verification, checked without the code that uses them."""

import ast
import json
import operator
import re
from collections import Counter
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

import workbench
from workbench.evaluation.answers import extract_answer, same_answer

FOLDER = Path(workbench.__file__).parent / "papers" / "self_verification" / "exemplars"
COUNTS = {
    ("math", "forward"): 8,
    ("math", "backward"): 8,
    ("math", "truefalse"): 8,
    ("aqua", "forward"): 4,
    ("aqua", "backward"): 4,
    ("aqua", "truefalse"): 4,
    ("commonsense", "forward"): 7,
    ("commonsense", "yesno"): 7,
    ("date", "forward"): 6,
    ("date", "backward"): 6,
    ("yesno", "forward"): 6,
    ("yesno", "truefalse"): 6,
    ("coin", "forward"): 4,
    ("coin", "truefalse"): 4,
    ("letters", "forward"): 4,
    ("letters", "truefalse"): 4,
    ("tracking", "forward"): 3,
    ("tracking", "truefalse"): 4,
}
FORWARD_KINDS = {
    "math": "number",
    "aqua": "choice",
    "commonsense": "choice",
    "date": "date",
    "yesno": "yesno",
    "coin": "yesno",
    "letters": "text",
    "tracking": "choice",
}
KINDS = {"backward": "number", "truefalse": "truefalse", "yesno": "yesno"}
QUESTIONS = {
    "backward": " What is the answer of 'X'?",
    "truefalse": " Do it is correct (True or False)?",
    "yesno": " Judge whether this statement is normal (yes or no)?",
}
WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split() + [""] * 7
WORDS += ["twenty"]
NUMBER = re.compile(rf"\d+(?:\.\d+)?|\b(?:{'|'.join(filter(None, WORDS))})\b", re.IGNORECASE)
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
EQUATION = re.compile(r"(?<![\w.])[\dX(][\dX.+\-*/() ]*=[\dX.+\-*/()= ]*[\dX)]")


def load(task, direction):
    text = (FOLDER / f"{task}_{direction}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["items"]


def every(*directions):
    for task, direction in COUNTS:
        if not directions or direction in directions:
            for item in load(task, direction):
                yield task, direction, item


def quoted(item, direction):
    """What stands between the quotes of a backward, true/false or yes/no question."""
    assert item["q"].startswith('"')
    assert item["q"].endswith('"' + QUESTIONS[direction])
    return item["q"].removesuffix('"' + QUESTIONS[direction])[1:]


def sentences(text):
    return re.split(r"(?<=[.?]) (?=[A-Z0-9(])", text)


def context(forward):
    """The sentences in front of the question, and the question with what follows."""
    parts = sentences(forward["q"])
    place = next(i for i, part in enumerate(parts) if part.endswith("?"))
    return " ".join(parts[:place]), " ".join(parts[place:])


def split(text):
    """Context and declarative, which is the last sentence."""
    *story, declarative = sentences(text)
    return " ".join(story), declarative


def value(text):
    return Fraction(WORDS.index(text.lower()) if text.lower() in WORDS else text)


def evaluate(expression):
    def walk(node):
        match node:
            case ast.BinOp():
                return OPERATORS[type(node.op)](walk(node.left), walk(node.right))
            case ast.Constant():
                return Fraction(repr(node.value))
        raise AssertionError(f"{expression} is not plain arithmetic")

    return walk(ast.parse(re.sub(r"\b0+(?=\d)", "", expression.strip()), mode="eval").body)


def equations(rationale):
    """Every `a = b = ...`, as a list of its sides; none may be overlooked."""
    found = [
        m[0].split("=")
        for part in re.split(r"[.,;:](?=\s|$)", rationale)
        for m in EQUATION.finditer(part)
    ]
    assert sum(len(sides) - 1 for sides in found) == rationale.count("=")
    return found


def holds(sides, x=""):
    return len({evaluate(side.replace("X", f"({x})")) for side in sides}) == 1


def masked(task):
    """(backward item, its forward item, start and text of the masked span, declarative)."""
    forwards = load(task, "forward")
    for item in load(task, "backward"):
        story, declarative = split(quoted(item, "backward"))
        pattern = re.escape(story).replace(re.escape("'X'"), "(.+?)")
        fits = [(f, m) for f in forwards if (m := re.fullmatch(pattern, context(f)[0]))]
        assert len(fits) == 1, f"no forward story for {item['q']}"
        (forward, match) = fits[0]
        yield item, forward, match.start(1), match[1], declarative


def test_the_files_are_those_of_the_list_and_complete():
    assert {path.name for path in FOLDER.iterdir()} == {f"{t}_{d}.yaml" for t, d in COUNTS}
    for (task, direction), count in COUNTS.items():
        path = FOLDER / f"{task}_{direction}.yaml"
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert set(data) == {"task", "direction", "items"}
        assert (data["task"], data["direction"]) == (task, direction)
        assert len(data["items"]) == count
        for item in data["items"]:
            assert set(item) == {"q", "rationale", "answer"}
            assert all(isinstance(part, str) for part in item.values())


def test_every_text_fits_the_rendering():
    seen = Counter()
    for _, direction, item in every():
        for part in item.values():
            assert part == part.strip()
            assert "\n" not in part
            assert "  " not in part
            assert "The answer is" not in part
            assert not part.startswith(("Q:", "A:"))
        assert item["rationale"].endswith(".")
        assert 1 <= len(sentences(item["rationale"])) <= 5
        if direction == "forward":
            assert len(sentences(item["rationale"])) <= 4
        seen[item["q"]] += 1
    assert set(seen.values()) == {1}


@pytest.mark.parametrize("style", ["official", "robust"])
def test_every_answer_is_read_back_from_the_rendered_exemplar(style):
    for task, direction, item in every():
        kind = FORWARD_KINDS[task] if direction == "forward" else KINDS[direction]
        text = f"{item['rationale']} The answer is {item['answer']}."
        assert same_answer(extract_answer(text, kind, style=style), item["answer"])


def test_every_equation_holds():
    for _, direction, item in every():
        x = item["answer"] if direction == "backward" else ""
        for sides in equations(item["rationale"]):
            assert holds(sides, x), (sides, x)


@pytest.mark.parametrize("task", ["math", "aqua"])
def test_arithmetic_ends_in_the_answer(task):
    for item in load(task, "forward"):
        chains = equations(item["rationale"])
        assert chains
        said = item["answer"]
        if task == "aqua":
            said = options(item)[said].strip("$").split(" ")[0]
        assert evaluate(chains[-1][-1]) == Fraction(said)


def options(item):
    return dict(re.findall(r"\(([A-E])\) (.+?)(?= \([A-E]\) |$)", context(item)[1]))


def test_letters_are_options():
    for task, count in (("aqua", 5), ("commonsense", 5), ("tracking", 3)):
        letters = Counter()
        for item in load(task, "forward"):
            found = options(item)
            assert "".join(found) == "ABCDE"[:count]
            assert len(set(found.values())) == count
            assert item["answer"] in found
            letters[item["answer"]] += 1
        assert max(letters.values()) <= 2


@pytest.mark.parametrize("task", ["math", "aqua", "date"])
def test_one_number_of_the_story_is_masked_and_the_declarative_is_the_right_answer(task):
    for item, forward, start, span, declarative in masked(task):
        assert quoted(item, "backward").count("'X'") == 1
        assert item["q"].count("'X'") == 2
        assert value(span) == Fraction(item["answer"])
        if not (task == "date" and "/" in context(forward)[0]):
            # A whole number of the text, never a part of one.
            assert start in [m.start() for m in NUMBER.finditer(context(forward)[0])]
        answer = forward["answer"]
        expected = options(forward)[answer] if task == "aqua" else answer
        assert re.search(rf"(?<!\w){re.escape(expected)}(?![\w/])(?!\.\d)", declarative)


@pytest.mark.parametrize("task", ["math", "aqua", "date"])
def test_the_equations_of_a_backward_item_determine_the_masked_value(task):
    for item in load(task, "backward"):
        restatement, lines = item["rationale"].rsplit(". ", 1)
        assert "X" in restatement
        assert "=" not in restatement
        lines = lines.removesuffix(".").split(", ")
        assert all(set(line) <= set("X0123456789.+-*/()= ") for line in lines)
        assert lines[-1].startswith("X = ")
        assert evaluate(lines[-1].removeprefix("X = ")) == Fraction(item["answer"])
        for line in lines:
            assert "X" in line
            assert holds(line.split("="), item["answer"])
            assert not holds(line.split("="), Fraction(item["answer"]) + 1)


@pytest.mark.parametrize(("task", "at_least"), [("math", 2), ("aqua", 1)])
def test_masked_positions_are_balanced(task, at_least):
    places = Counter()
    for _, forward, start, _, _ in masked(task):
        starts = [m.start() for m in NUMBER.finditer(context(forward)[0])]
        place = {starts[0]: "first", starts[-1]: "last"}.get(start, "middle")
        places[place] += 1
    assert set(places) == {"first", "middle", "last"}
    assert min(places.values()) >= at_least
    assert max(places.values()) <= sum(places.values()) / 2


def test_some_numbers_are_words_and_one_of_them_is_masked():
    in_words = [
        item
        for item in load("math", "forward")
        if any(not m[0][0].isdigit() for m in NUMBER.finditer(context(item)[0]))
    ]
    assert 2 <= len(in_words) <= 5
    assert any(not span[0].isdigit() for _, _, _, span, _ in masked("math"))


def test_dates_lose_days_months_and_years():
    parts = Counter()
    for item in load("date", "backward"):
        masked_date = re.search(r"\d\d/'X'/\d{4}|July 'X'|'X'/\d\d|June 'X'|Eve 'X'", item["q"])[0]
        parts[re.sub(r"\d", "0", masked_date)] += 1
    days = parts["00/'X'/0000"] + parts["July 'X'"]
    assert days == parts["'X'/00"] == parts["June 'X'"] + parts["Eve 'X'"] == 2


def test_true_false_and_yes_no_are_balanced():
    for task, direction in COUNTS:
        answers = Counter(item["answer"] for item in load(task, direction))
        if direction == "truefalse":
            assert set(answers) == {"True", "False"}
            assert answers["True"] == answers["False"]
    assert Counter(i["answer"] for i in load("commonsense", "yesno")) == {"yes": 4, "no": 3}
    assert Counter(i["answer"] for i in load("yesno", "forward")) == {"yes": 3, "no": 3}
    assert Counter(i["answer"] for i in load("coin", "forward")) == {"yes": 2, "no": 2}


@pytest.mark.parametrize("task", ["math", "aqua"])
def test_true_conclusions_are_the_right_ones_and_false_ones_show_the_mismatch(task):
    right = {context(f)[0]: (f, declarative) for _, f, _, _, declarative in masked(task)}
    for item in load(task, "truefalse"):
        story, declarative = split(quoted(item, "truefalse"))
        forward, true_declarative = right[story]
        assert (declarative == true_declarative) == (item["answer"] == "True")
        said = numbers(declarative)
        wanted = numbers(true_declarative)
        assert len(said) == len(wanted)
        shown = set(numbers(item["rationale"].split("The conclusion")[0]))
        assert set(wanted) - set(said) <= shown
        if item["answer"] == "False":
            (stated,) = set(said) - set(wanted)
            assert stated in numbers(item["rationale"].split("The conclusion")[1])
        last = equations(item["rationale"])[-1][-1]
        assert evaluate(last) == evaluate(equations(forward["rationale"])[-1][-1])


def numbers(text):
    return [Fraction(found) for found in re.findall(r"\d+(?:\.\d+)?", text)]


def test_statements_of_common_sense_use_the_right_option_exactly_when_normal():
    forwards = load("commonsense", "forward")
    used = set()
    for item in load("commonsense", "yesno"):
        statement = quoted(item, "yesno")
        words = set(re.findall(r"\w+", statement.lower()))
        forward = max(
            forwards,
            key=lambda f: len(words & set(re.findall(r"\w+", f["q"].split("Answer")[0].lower()))),
        )
        used.add(forward["q"])
        named = {
            letter
            for letter, text in options(forward).items()
            if re.search(rf"\b{text}\b", statement)
        }
        assert len(named) == 1
        assert (named == {forward["answer"]}) == (item["answer"] == "yes")
    assert len(used) == len(forwards)


def test_facts_keep_their_verdict():
    for forward, item in zip(load("yesno", "forward"), load("yesno", "truefalse"), strict=True):
        assert item["rationale"].startswith(forward["rationale"])
        assert (forward["answer"] == "yes") == (item["answer"] == "True")


def heads_at_the_end(story):
    heads = "coin lies on the table heads up." in story
    for name in re.findall(r"([A-Z][a-z]+) (?:flips|does not flip) the coin\.", story):
        heads ^= f"{name} flips the coin." in story
    return heads


def test_coins_are_flipped_as_told():
    for item in load("coin", "forward"):
        assert item["q"].endswith("Is the coin still heads up?")
        assert heads_at_the_end(item["q"]) == (item["answer"] == "yes")
        count = len(re.findall(r" flips the coin", item["q"]))
        assert re.search(rf"makes {count} flips?\b", item["rationale"])
    for item in load("coin", "truefalse"):
        text = quoted(item, "truefalse")
        claim = text.endswith("The coin is still heads up.")
        assert claim or text.endswith("The coin is no longer heads up.")
        assert (claim == heads_at_the_end(text)) == (item["answer"] == "True")


def test_last_letters_are_the_last_letters():
    for direction in ("forward", "truefalse"):
        for item in load("letters", direction):
            words = re.search(r"in [\"']([A-Za-z ]+)[\"'] and write", item["q"])[1].split(" ")
            letters = "".join(word[-1] for word in words)
            for word in words:
                assert f'"{word[-1]}" of "{word}"' in item["rationale"]
            assert f'make "{letters}"' in item["rationale"]
            if direction == "forward":
                assert item["answer"] == letters
            else:
                said = re.search(r"You get '([a-z]+)'", item["q"])[1]
                assert (said == letters) == (item["answer"] == "True")


def swapped(story):
    """Who holds what after each swap."""
    hold = dict(re.findall(r"([A-Z]\w+) has the ([a-z ]+)(?=, |\.)", story.split(" First ")[0]))
    swaps = re.findall(r"([A-Z]\w+) and ([A-Z]\w+) swap", story.replace("First ", ""))
    assert len(hold) == len(swaps) == 3
    for a, b in swaps:
        hold[a], hold[b] = hold[b], hold[a]
        yield a, b, dict(hold)


def test_things_end_where_the_swaps_take_them():
    for direction in ("forward", "truefalse"):
        for item in load("tracking", direction):
            for (a, b, hold), line in zip(
                swapped(item["q"]), sentences(item["rationale"]), strict=direction == "forward"
            ):
                assert line.endswith(f" swap {a} has the {hold[a]} and {b} has the {hold[b]}.")
            if direction == "forward":
                name = re.search(r"What does (\w+) have in the end\?", item["q"])[1]
                assert options(item)[item["answer"]] == hold[name]
            else:
                _, declarative = split(quoted(item, "truefalse"))
                name, thing = re.fullmatch(r"(\w+) has the (.+) in the end\.", declarative).groups()
                assert (hold[name] == thing) == (item["answer"] == "True")


def test_dates_are_those_of_the_calendar():
    day = timedelta(days=1)
    meeting = date(2003, 11, 5) + 2 * day
    monday = date(1987, 7, 31) + 3 * day
    assert date(1987, 7, 31).strftime("%w") == "5"
    assert monday.strftime("%w") == "1"
    expected = {
        "parcel": date(2011, 3, 28) + day + 7 * day,
        "bakery": date(1994 + 25, 6, 1) + day,
        "fireworks": date(2015, 12, 31) + day - 10 * day,
        "ticket": date(2012, 2, 27) + 3 * day,
        "meeting": meeting.replace(month=meeting.month - 1),
        "Monday": monday,
    }
    for item in load("date", "forward"):
        (key,) = [key for key in expected if key in item["q"]]
        assert item["answer"] == expected[key].strftime("%m/%d/%Y")
        assert re.search(r"What is the date .+ in MM/DD/YYYY\?$", item["q"])


def test_the_forward_prompt_has_the_size_the_method_counts_with():
    prompt = "\n\n".join(
        f"Q: {item['q']}\nA: {item['rationale']} The answer is {item['answer']}."
        for item in load("math", "forward")
    )
    assert 1500 <= len(prompt) <= 3500


def test_no_exemplar_is_a_question_of_the_real_data(shared):
    folder = shared / "selfverification"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    questions = [
        json.loads(line)["question"]
        for name in ("gsm8k_test_400.jsonl", "AQuA_test.json")
        for line in (folder / name).read_text(encoding="utf-8").splitlines()
    ]
    questions += [
        f"{row['Body']} {row['Question']}"
        for row in json.loads((folder / "SVAMP.json").read_text(encoding="utf-8"))
    ]
    assert len(questions) > 1000

    def runs(text, length=8):
        words = re.findall(r"\w+", text.lower())
        return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}

    real = {" ".join(re.findall(r"\w+", question.lower())) for question in questions}
    phrases = set().union(*map(runs, questions))
    for _, _, item in every():
        assert " ".join(re.findall(r"\w+", item["q"].lower())) not in real
        # Eight words in a row would be a borrowed sentence.
        assert not runs(item["q"]) & phrases
