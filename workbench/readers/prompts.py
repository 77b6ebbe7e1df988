"""A language model as it comes, as the reader: what it is asked, and its answer (§4, reader iii).

Sections are those of arXiv 2305.14211.
"""

from collections.abc import Sequence

from workbench.models.prompts import Prompt, messages
from workbench.readers import marks
from workbench.retrieval.graphs import Edge, Evidence

NEW = 16
"""Tokens of an answer."""
_ASKED = "Answer with a name, a number, yes or no, and nothing else."


def prompt(question: Evidence, edges: Sequence[Edge], chat: bool = True) -> Prompt:
    """The facts in order of reading, numbered, and the question; plain text without `chat`.

    >>> prompt(question, question.edges, chat=False)
    'Facts:\\nf1 Ada was born in Dorla.\\n\\nQuestion: Where …?\\nAnswer with …\\nAnswer:'
    """
    facts = marks.lines(question, edges)
    told = "Facts:\n" + "\n".join(facts) + "\n\n" if facts else ""
    text = f"{told}Question: {question.question}\n{_ASKED}"
    return messages(text) if chat else f"{text}\nAnswer:"


def first_line(reply: str) -> str:
    """The first line that is not blank; empty of none."""
    return next((line.strip() for line in reply.splitlines() if line.strip()), "")
