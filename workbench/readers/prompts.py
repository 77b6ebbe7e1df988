"""A language model as it comes, as the reader: what it is asked, and its answer (§4, reader iii).

Sections are those of arXiv 2305.14211.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from workbench.generation.complete import Completer, complete
from workbench.generation.requests import GenRequest
from workbench.generation.sample_store import SampleStore
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


def replies(
    model: Completer,
    questions: Sequence[Evidence],
    evidence: Mapping[str, Sequence[Sequence[Edge]]],
    *,
    chat: bool = True,
    store: SampleStore | str | Path | None = None,
) -> dict[str, list[str]]:
    """Kind of evidence → what the model says of each question, of a reply its first line.

    `evidence`: kind → a graph for each question. With a `store` nothing is asked twice. Raises as
    `complete`.

    >>> replies(model, test, {"none": [[] for _ in test], "gold": [q.edges for q in test]})
    """
    requests = [
        GenRequest(prompt(question, edges, chat), max_new_tokens=NEW, stage=name)
        for name, graphs in evidence.items()
        for question, edges in zip(questions, graphs, strict=True)
    ]
    texts = [first_line(result.texts[0]) for result in complete(model, requests, store=store)]
    count = len(questions)
    return {name: texts[i * count : (i + 1) * count] for i, name in enumerate(evidence)}


def first_line(reply: str) -> str:
    """The first line that is not blank; empty of none."""
    return next((line.strip() for line in reply.splitlines() if line.strip()), "")
