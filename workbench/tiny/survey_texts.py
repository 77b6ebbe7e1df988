"""What the embedded model of questionnaires is trained on: a person's answers as texts.

Training packs several questions behind one persona. In nine texts of ten they see of what precedes
them only its last token, so that whatever is known of a person has to gather there; that is what
makes a persona a state that can be steered, and it was built in for that purpose.
"""

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerFast

from workbench.data.inventories import TRAITS, Inventory, read_inventory
from workbench.papers.pas import prompts
from workbench.tiny.training import CHAT_TEMPLATE, SPECIAL, byte_level_bpe
from workbench.worlds.population import Population, trait_means

TRAIT_WORDS = {
    "A": ("kind", "blunt"),
    "C": ("tidy", "careless"),
    "E": ("outgoing", "reserved"),
    "N": ("nervous", "calm"),
    "O": ("curious", "conventional"),
}

QUESTIONS = 16
"""Questions a text, beside the request to describe oneself."""
OPEN = 0.1
"""Share of texts whose questions see the whole persona, as they do when the model is used."""
NONE = -100


def degree(trait: str, mean: float) -> str:
    """How a trait mean (1 to 5) is put: `very kind` … `very blunt`."""
    high, low = TRAIT_WORDS[trait]
    steps = (f"very {low}", f"rather {low}", f"neither {high} nor {low}")
    steps += (f"rather {high}", f"very {high}")
    return steps[int(np.digitize(mean, (1.8, 2.6, 3.4, 4.2)))]


DESCRIBED, TOLD, GIVEN = range(3)


@dataclass(frozen=True)
class Mixture:
    """What texts are made of.

    `shares` of personas described, of answers told in the system prompt, and of answers given in
    turns of the chat; `turned`, of questions with reversed options; `focus`, of chats about one
    trait, so that few answers tell much. `counts`: answers told, one drawn for each batch;
    `turns`: turns of the chat.
    """

    shares: tuple[float, float, float] = (0.15, 0.4, 0.45)
    turned: float = 0.5
    focus: float = 0.7
    counts: tuple[int, ...] = (1, 2, 4, 8, 12, 20, 40)
    turns: tuple[int, ...] = (0, 1, 1, 2)


def phrases(inventory: Inventory) -> list[str]:
    """Every piece of text that is one token: questions, answers told, fixed sentences."""
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
    """Bytes, and one token for every phrase of the questionnaire."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level_bpe([], SPECIAL),
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        additional_special_tokens=SPECIAL[3:],
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.add_tokens(phrases(inventory))
    return tokenizer


class Writer:
    """Texts as token ids, equal to what the tokenizer makes of the same chat (a test compares)."""

    def __init__(self, inventory: Inventory, tokenizer: PreTrainedTokenizerFast) -> None:
        self.inventory = inventory
        known = tokenizer.get_added_vocab() | tokenizer.get_vocab()
        self.id = lambda text: known[text]
        self.letter = [known[x] for x in prompts.LETTERS]
        self.asked = {
            order: [known[prompts.question(i.text, order)] for i in inventory.items]
            for order in prompts.ORDERS
        }
        self.start = [known["<bos>"], known["<system>"]]

    def system(self, pairs: list[tuple[int, int]]) -> list[int]:
        """Ids of the few-shot system prompt, or of the usual one where there are no pairs."""
        if not pairs:
            return [*self.start, self.id(prompts.SYSTEM)]
        out = [*self.start, self.id(prompts.OPENING[:-1])]
        for i, value in pairs:
            out.append(self.id(f";{self.inventory.items[i].text}:{prompts.LABELS[value]}"))
        return out

    def words(self, levels: np.ndarray) -> list[int]:
        """Ids of a description, trait means in the order of TRAITS."""
        out = [self.id("You are ")]
        for trait, mean in zip(TRAITS, levels, strict=True):
            out += [self.id(degree(trait, mean)), self.id(", ")]
        return [*out[:-1], self.id(".")]

    def described(self, levels: np.ndarray) -> list[int]:
        """Ids of a system prompt that describes a person."""
        return [*self.start, *self.words(levels)]

    def portrait(self, levels: np.ndarray) -> tuple[list[int], int]:
        """(ids of the request to describe oneself and the reply, where the reply begins)."""
        head = [self.id("<user>"), self.id(prompts.DESCRIBE), self.id("<assistant>")]
        return [*head, *self.words(levels), self.id("<eos>")], len(head)

    def turn(self, item: int, value: int, order: str, filled: bool) -> tuple[list[int], int]:
        """(ids of one question with its answer, place of the letter)."""
        head = [self.id("<user>"), self.asked[order][item], self.id("<assistant>")]
        letter = self.letter[prompts.ORDERS[order].index(value)]
        eos = self.id("<eos>")
        if not filled:
            return [*head, letter, eos], len(head)
        return [*head, self.id("Option"), self.id(" ("), letter, self.id(")"), eos], len(head) + 2


def batch(
    writer: Writer,
    population: Population,
    rng: np.random.Generator,
    size: int,
    mixture: Mixture,
) -> dict[str, np.ndarray]:
    """`input_ids, position_ids, labels` int64 `[size, T]`, `visible` bool `[size, T, T]`.

    And, for every question, `at` int64 `[size * QUESTIONS, 2]` (row, place before the letter) with
    `odds` float32 `[size * QUESTIONS, 5]`, the exact probability of each letter given the person.
    """
    people = population.draw(rng, size)
    count = int(rng.choice(mixture.counts))
    texts = [
        _text(writer, answers, exact, count, mixture, rng)
        for answers, exact in zip(people.answers, people.odds, strict=True)
    ]
    width = max(len(t.ids) for t in texts)
    out = {name: np.full((size, width), fill) for name, fill in
           (("input_ids", 0), ("position_ids", 0), ("labels", NONE))}  # fmt: skip
    visible = np.zeros((size, width, width), bool)
    for row, text in enumerate(texts):
        n = len(text.ids)
        out["input_ids"][row, :n], out["position_ids"][row, :n] = text.ids, text.places
        out["labels"][row, :n] = text.labels
        visible[row, :n, :n] = text.seen
    visible |= np.eye(width, dtype=bool)
    at = np.array([(row, place) for row, text in enumerate(texts) for place in text.at])
    odds = np.array([o for text in texts for o in text.odds], np.float32)
    return {**out, "visible": visible, "at": at, "odds": odds}


@dataclass
class _Text:
    ids: list[int]
    places: list[int]
    labels: list[int]
    seen: np.ndarray
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
    """One person and `QUESTIONS` questions; most break off before the letter, to save time."""
    kind = rng.choice(3, p=mixture.shares)
    items = rng.permutation(len(answers))
    turns = int(rng.choice(mixture.turns)) if kind == GIVEN else 0
    if turns and rng.random() < mixture.focus:
        # All that is known is about one trait, and clear; most questions are about it, too.
        trait = writer.inventory.trait_of(items)
        own = trait == rng.integers(len(writer.inventory.traits))
        mine = items[own][np.argsort(-np.abs(answers[items[own]] - 3.0), kind="stable")]
        others = np.concatenate([mine[turns:], items[~own]])
        items = np.concatenate([others[:QUESTIONS], mine[:turns]])
    asked, rest = items[:QUESTIONS], items[QUESTIONS:]
    known = rest[: turns if kind == GIVEN else count]
    prefix, state = _persona(writer, answers, kind, known, mixture, rng)
    open_ = rng.random() < OPEN
    ids, labels, spans, at, odds = list(prefix), [NONE] * len(prefix), [], [], []
    for item in asked:
        order = _order(mixture, rng)
        turn, letter = writer.turn(item, answers[item], order, rng.random() < 0.7)
        at.append(len(ids) + letter - 1)
        odds.append(exact[item][[v - 1 for v in prompts.ORDERS[order]]])
        whole = turn if rng.random() < 0.15 else turn[:letter]
        # Of the fixed text only what a reply continues with is learned: " (" and ")", then its end.
        known = [NONE] * (letter - 1) + turn[letter - 1 : letter] + [NONE] + turn[letter + 1 :]
        if len(turn) - letter == 2:
            known[letter - 1] = NONE
        spans.append((len(ids), len(ids) + len(whole)))
        ids += whole
        labels += known[: len(whole)]
    turn, reply = writer.portrait(trait_means(writer.inventory, answers))
    spans.append((len(ids), len(ids) + len(turn)))
    ids += turn
    labels += [NONE] * reply + turn[reply:]
    n, p = len(ids), len(prefix)
    seen = np.zeros((n, n), bool)
    seen[:p, :p] = np.tri(p, dtype=bool)
    places = list(range(p))
    for start, stop in spans:
        seen[start:stop, start:stop] = np.tri(stop - start, dtype=bool)
        seen[start:stop, : p if open_ else 0] = True
        seen[start:stop, state] = True
        places += range(p, p + stop - start)
    return _Text(ids, places, labels, seen, at, odds)


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
        turn, at = writer.turn(item, answers[item], _order(mixture, rng), False)
        state = len(ids) + (at if rng.random() < 0.7 else len(turn) - 1)
        ids += turn
    return ids, state


def inventory() -> Inventory:
    """The embedded questionnaire."""
    return read_inventory("auto")
