"""The gate simulated on servers of which only the text is seen."""

import pytest

from workbench.errors import GenerationError
from workbench.papers.neural_comprehension.repair import repair_text
from workbench.papers.neural_comprehension.rules import SymbolicRule

RULES = ["addition", "subtraction"]


class Scripted:
    """A server that has one mind: behind each text it knows, what it says; else nothing."""

    def __init__(self, says):
        self.says, self.asked = says, []

    def __call__(self, text):
        self.asked.append(text)
        return next((more for end, more in self.says.items() if text.endswith(end)), "")


@pytest.mark.parametrize(
    ("says", "text", "calls", "wrongs"),
    [
        ({"12+34=": "46."}, "46.", 1, []),
        ({"12+34=": "47."}, "46", 2, ["47."]),
        ({"12+34=": "47.", "46": " So 46-6=39.", "46-6=40": ", done"},
         "46 So 46-6=40, done", 3, ["47.", "39."]),
        ({"12+34=": " 47", "= 46": " and"}, " 46 and", 2, ["47"]),
        ({"12+34=": ""}, "46", 2, [""]),
        ({"12+34=": "4"}, "46", 2, ["4"]),
        ({"12+34=": "467 is", "46": "7 is"}, "46 is", 2, ["467"]),
        ({"12+34=": "46.5", "46": ".5 or so"}, "46 or so", 2, ["46.5"]),
        ({"12+34=": "46 and 1,000+1=1,002, 2+2=5", "2+2=4": "!"},
         "46 and 1,000+1=1,002, 2+2=4!", 2, ["5"]),
        ({"12+34=": "46, and a = b"}, "46, and a = b", 1, []),
    ],
)  # fmt: skip
def test_the_first_wrong_result_is_replaced_and_the_text_sent_again(says, text, calls, wrongs):
    server = Scripted(says)
    repaired = repair_text(server, "Q: 12+34=", RULES)
    assert (repaired.text, repaired.calls, repaired.finished) == (text, calls, True)
    assert [r.was for r in repaired.log] == wrongs
    assert server.asked[0] == "Q: 12+34="
    for sent, repair in zip(server.asked[1:], repaired.log, strict=True):
        assert sent.endswith(repair.answer)


def test_only_what_the_server_wrote_is_looked_at():
    server = Scripted({"so": " 1+1=2"})
    repaired = repair_text(server, "2+2=5, so", RULES)
    assert (repaired.text, repaired.log) == (" 1+1=2", [])
    assert repair_text(Scripted({"2": "+2=5"}), "2", RULES).text == "+2=4"
    # A result that the prompt has begun is what the server ends.
    for says, text in (("7", "6"), ("6", "6"), ("67 so", "6")):
        assert repair_text(Scripted({"=4": says}), "12+34=4", RULES).text == text
    assert repair_text(Scripted({"=46": "7 so"}), "12+34=46", RULES).text == " so"
    assert repair_text(Scripted({"=5": "7 so"}), "12+34=5", RULES).text == "7 so"


@pytest.mark.parametrize("says", [None, b"46", ["46"]])
def test_a_server_that_says_no_text(says):
    with pytest.raises(GenerationError, match="in place of a text, call 1"):
        repair_text(lambda text: says, "1+1=", RULES)


def test_a_server_that_never_ends():
    repaired = repair_text(lambda text: " 1+1=3", "Q:", RULES, limit=5)
    assert (repaired.calls, repaired.finished, len(repaired.log)) == (5, False, 5)
    assert repaired.text == " 1+1=2" * 5


def test_what_no_rule_answers_stays_and_is_said():
    def run(given):
        raise OSError("gone")

    rules = [*RULES, SymbolicRule("up", r"up (\w+)=", run)]
    repaired = repair_text(Scripted({"Q: ": "1.5+1=3, up it=8"}), "Q: ", rules)
    assert (repaired.text, repaired.finished) == ("1.5+1=3, up it=8", True)
    assert [(a, why.partition(":")[0]) for a, why in repaired.abstained] == [
        ("1.5+1=", "no_input"), ("up it=", "raised"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([{"role": "user", "content": "1+1="}], RULES), "no server goes on with a chat's reply"),
        (("1+1=", []), "no rules"), (("1+1=", "addition"), "not one string"),
    ],
)  # fmt: skip
def test_bad_arguments(arguments, match):
    with pytest.raises(ValueError, match=match):
        repair_text(lambda text: "", *arguments)
    with pytest.raises(ValueError, match="limit=0"):
        repair_text(lambda text: "", "1+1=", RULES, limit=0)
