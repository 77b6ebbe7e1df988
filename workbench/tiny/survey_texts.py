"""Training texts of the embedded model `survey`: a persona, then questions that it answers.

A text packs several questions behind one persona. In nine texts of ten they see of what precedes
them only its last token, so that whatever is known of a person has to gather there; that is what
makes a persona a state that can be steered, and it was built in for that purpose.
"""

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerFast

from workbench.data.inventories import TRAITS, Inventory
from workbench.papers.pas import prompts
from workbench.tiny.training import byte_level_tokenizer
from workbench.training.supervised import IGNORED
from workbench.worlds.population import Population, trait_means

TRAIT_WORDS = {
    "A": ("kind", "blunt"),
    "C": ("tidy", "careless"),
    "E": ("outgoing", "reserved"),
    "N": ("nervous", "calm"),
    "O": ("curious", "conventional"),
}

QUESTIONS = 16
"""Questions per text, beside the request to describe oneself."""
OPEN = 0.1
"""Share of texts whose questions see the whole persona, as they do when the model is used."""
WHOLE = 0.15
"""Share of questions that go on after their letter; the others break off, to save time."""


def degree(trait: str, mean: float) -> str:
    """Words for a trait mean (1 to 5): `very blunt` … `very kind`."""
    high, low = TRAIT_WORDS[trait]
    steps = (f"very {low}", f"rather {low}", f"neither {high} nor {low}")
    steps += (f"rather {high}", f"very {high}")
    return steps[int(np.digitize(mean, (1.8, 2.6, 3.4, 4.2)))]


DESCRIBED, TOLD, GIVEN = range(3)
"""Personas: described, by answers told in the system prompt, by answers given in the chat."""


@dataclass(frozen=True)
class Mixture:
    """Kinds of texts and their shares.

    `shares` of personas `DESCRIBED`, `TOLD` and `GIVEN`; `turned`, of questions with reversed
    options; `focus`, of chats about one trait, so that few answers tell much. `counts`: numbers of
    answers told, one drawn for each batch; `turns`: numbers of turns of the chat before the
    questions, one drawn for each text.
    """

    shares: tuple[float, float, float] = (0.15, 0.4, 0.45)
    turned: float = 0.5
    focus: float = 0.7
    counts: tuple[int, ...] = (1, 2, 4, 8, 12, 20, 40)
    turns: tuple[int, ...] = (0, 1, 1, 2)


def phrases(inventory: Inventory) -> list[str]:
    """All pieces of text that are one token each: questions, answers told, fixed sentences."""
    fixed = [
        prompts.SYSTEM,
        prompts.OPENING[:-1],
        prompts.DESCRIBE,
        "Option",
        " (",
        "You are ",
        ", ",
    ]
    asked = [prompts.question(i.text, order) for i in inventory.items for order in prompts.ORDERS]
    told = [f";{i.text}:{label}" for i in inventory.items for label in prompts.LABELS]
    degrees = [degree(t, m) for t in TRAITS for m in range(1, 6)]
    return list(dict.fromkeys([*fixed, *asked, *told, *degrees]))


def build_tokenizer(inventory: Inventory) -> PreTrainedTokenizerFast:
    """Bytes, and one token for each of `phrases`."""
    tokenizer = byte_level_tokenizer([], chat=True)
    tokenizer.add_tokens(phrases(inventory))
    return tokenizer


class Writer:
    """Texts as token ids, equal to what the tokenizer makes of the same chat (a test compares).

    `letter`: ids of the answers' letters. `asked[order][item]`: ids of the questions. `learned`: of
    a question's turn, the fixed tokens that a reply continues with; the letter has its `odds`.
    """

    def __init__(self, inventory: Inventory, tokenizer: PreTrainedTokenizerFast) -> None:
        self.inventory = inventory
        self.id = tokenizer.get_vocab()
        self.letter = [self.id[x] for x in prompts.LETTERS]
        self.asked = {
            order: [self.id[prompts.question(i.text, order)] for i in inventory.items]
            for order in prompts.ORDERS
        }
        self.start = [self.id["<bos>"], self.id["<system>"]]
        self.learned = {self.id[" ("], self.id[")"], self.id["<eos>"]}

    def system(self, answers: list[tuple[int, int]]) -> list[int]:
        """Ids of the system prompt that tells (item, value) answers; of the usual one for none."""
        if not answers:
            return [*self.start, self.id[prompts.SYSTEM]]
        told = [f";{self.inventory.items[i].text}:{prompts.LABELS[v]}" for i, v in answers]
        return [*self.start, self.id[prompts.OPENING[:-1]], *(self.id[text] for text in told)]

    def words(self, levels: np.ndarray) -> list[int]:
        """Ids of a description, trait means in the order of TRAITS."""
        ids = [self.id["You are "]]
        for trait, mean in zip(TRAITS, levels, strict=True):
            ids += [self.id[degree(trait, mean)], self.id[", "]]
        return [*ids[:-1], self.id["."]]

    def described(self, levels: np.ndarray) -> list[int]:
        """Ids of a system prompt that describes a person."""
        return [*self.start, *self.words(levels)]

    def portrait(self, levels: np.ndarray) -> tuple[list[int], int]:
        """(ids of the request to describe oneself and the reply, where the reply begins)."""
        head = [self.id["<user>"], self.id[prompts.DESCRIBE], self.id["<assistant>"]]
        return [*head, *self.words(levels), self.id["<eos>"]], len(head)

    def turn(self, item: int, value: int, order: str, filled: bool) -> tuple[list[int], int]:
        """(ids of one question with its answer, place of the letter).

        A `filled` answer is `Option (a)`, another the letter alone.
        """
        head = [self.id["<user>"], self.asked[order][item], self.id["<assistant>"]]
        letter = self.letter[prompts.ORDERS[order].index(value)]
        if filled:
            head += [self.id["Option"], self.id[" ("]]
        tail = [self.id[")"]] if filled else []
        return [*head, letter, *tail, self.id["<eos>"]], len(head)


def batch(
    writer: Writer, population: Population, rng: np.random.Generator, size: int, mixture: Mixture
) -> dict[str, np.ndarray]:
    """`input_ids, position_ids, labels` int64 `[text, T]`, `visible` bool `[text, T, T]`.

    And, for every question, `at` int64 `[text * QUESTIONS, 2]` (text, place before the letter) with
    `odds` float32 `[text * QUESTIONS, 5]`, the exact probability of each letter given the person.
    """
    people = population.draw(rng, size)
    count = int(rng.choice(mixture.counts))
    texts = [
        _text(writer, answers, exact, count, mixture, rng)
        for answers, exact in zip(people.answers, people.odds, strict=True)
    ]
    width = max(len(t.ids) for t in texts)
    arrays = {name: np.full((size, width), fill) for name, fill in
              (("input_ids", 0), ("position_ids", 0), ("labels", IGNORED))}  # fmt: skip
    visible = np.zeros((size, width, width), bool)
    for row, text in enumerate(texts):
        n = len(text.ids)
        arrays["input_ids"][row, :n] = text.ids
        arrays["position_ids"][row, :n] = text.places
        arrays["labels"][row, :n] = text.labels
        visible[row, :n, :n] = text.visible
    # A padded place that saw nothing, not even itself, would be NaN.
    visible |= np.eye(width, dtype=bool)
    at = np.array([(row, place) for row, text in enumerate(texts) for place in text.at])
    odds = np.array([o for text in texts for o in text.odds], np.float32)
    return {**arrays, "visible": visible, "at": at, "odds": odds}


@dataclass
class _Text:
    """One row of a batch; `visible` bool `[n, n]`."""

    ids: list[int]
    places: list[int]
    labels: list[int]
    visible: np.ndarray
    at: list[int]
    odds: list[np.ndarray]


def _text(
    writer: Writer,
    answers: np.ndarray,
    exact: np.ndarray,
    count: int,
    mixture: Mixture,
    rng: np.random.Generator,
) -> _Text:
    """One person, `QUESTIONS` questions and the request to describe oneself."""
    kind = rng.choice(3, p=mixture.shares)
    items = rng.permutation(len(answers))
    turns = int(rng.choice(mixture.turns)) if kind == GIVEN else 0
    if turns and rng.random() < mixture.focus:
        items = _focused(writer.inventory, items, answers, turns, rng)
    asked, rest = items[:QUESTIONS], items[QUESTIONS:]
    known = rest[: turns if kind == GIVEN else count]
    ids, state = _persona(writer, answers, kind, known, mixture, rng)
    prefix = len(ids)
    sees_all = rng.random() < OPEN
    labels, spans, at, odds = [IGNORED] * prefix, [], [], []
    for item in asked:
        order = _order(mixture, rng)
        turn, letter = writer.turn(item, answers[item], order, rng.random() < 0.7)
        at.append(len(ids) + letter - 1)
        odds.append(exact[item][[v - 1 for v in prompts.ORDERS[order]]])
        part = turn if rng.random() < WHOLE else turn[:letter]
        spans.append((len(ids), len(ids) + len(part)))
        ids += part
        labels += [i if i in writer.learned else IGNORED for i in part]
    turn, reply = writer.portrait(trait_means(writer.inventory, answers))
    spans.append((len(ids), len(ids) + len(turn)))
    ids += turn
    labels += [IGNORED] * reply + turn[reply:]
    visible = np.zeros((len(ids), len(ids)), bool)
    visible[:prefix, :prefix] = np.tri(prefix, dtype=bool)
    places = list(range(prefix))
    for start, stop in spans:
        visible[start:stop, start:stop] = np.tri(stop - start, dtype=bool)
        visible[start:stop, : prefix if sees_all else 0] = True
        visible[start:stop, state] = True
        places += range(prefix, prefix + stop - start)
    return _Text(ids, places, labels, visible, at, odds)


def _focused(
    inventory: Inventory,
    items: np.ndarray,
    answers: np.ndarray,
    turns: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Items in an order in which the `turns` known are clear and about one trait.

    Most questions, which come first, are about it, too.
    """
    own = inventory.trait_of(items) == rng.integers(len(inventory.traits))
    clearest = items[own][np.argsort(-np.abs(answers[items[own]] - 3.0), kind="stable")]
    others = np.concatenate([clearest[turns:], items[~own]])
    return np.concatenate([others[:QUESTIONS], clearest[:turns]])


def _order(mixture: Mixture, rng: np.random.Generator) -> str:
    return "reversed" if rng.random() < mixture.turned else "forward"


def _persona(
    writer: Writer,
    answers: np.ndarray,
    kind: int,
    known: np.ndarray,
    mixture: Mixture,
    rng: np.random.Generator,
) -> tuple[list[int], int]:
    """(ids before the questions, place of the token that the questions see).

    `known`: the items whose answers are told or given.
    """
    if kind == DESCRIBED:
        ids = writer.described(trait_means(writer.inventory, answers))
        return ids, len(ids) - 1
    told = known if kind == TOLD else []
    ids = writer.system([(int(i), int(answers[i])) for i in told])
    state = len(ids) - 1
    for item in known if kind == GIVEN else []:
        turn, letter = writer.turn(item, answers[item], _order(mixture, rng), False)
        state = len(ids) + (letter if rng.random() < 0.7 else len(turn) - 1)
        ids += turn
    return ids, state
