"""A graph of evidence from an encoder as it comes: the nearest facts to what was read so far."""

import re
from collections.abc import Sequence

import torch

from workbench import arguments
from workbench.models.encoders import Encoder
from workbench.retrieval.graphs import ROOT, ScoredEdge
from workbench.retrieval.lexical import texts
from workbench.retrieval.steps import Step

TEMPERATURE, END, RISE, LEAST, HOPS = 0.03, 0.4, 0.1, 0.05, 3
"""Of MiniLM: chosen on the questions of several hops among 120 development questions of invented
worlds, by F1 of facts. Of 240, whose decoys are complete: .50, .51 of all, and 2 % are exactly the
gold facts. A rise of .3 hardly hops (.42), and suits questions that one fact answers: .58 of all,
23 % exactly; of the questions of one fact it answers 79 % right, not 1 %."""
MOST = 5
"""Facts that share in the probabilities of a query, and that are read on from at one level."""
_DIGITS = 5


class Nearest:
    """Scored edges of a question over facts, as `explain` takes them; facts are encoded once.

    A query is the question with the facts on the way so far. The probability of a fact is a softmax
    of cosines / `temperature` over the `MOST` best facts that no earlier level has read, and an
    end. That says how far a fact stands out from these; it is not calibrated. The end's cosine is
    `end`, and `rise` more with each hop: a longer query is nearer to everything. A fact is read
    while the probabilities on its way multiply to `least`, for `hops` facts at most and the `MOST`
    best of a level, each behind its best edge. So no number of gold facts is asked for. Raises
    `ValueError` for numbers out of range.

    >>> Nearest(wb.load_encoder("minilm"))("Who mends gates?", ["Ada mends gates.", "A door."])
    """

    def __init__(
        self, encoder: Encoder, *, temperature: float = TEMPERATURE, end: float = END,
        rise: float = RISE, least: float = LEAST, hops: int = HOPS,
    ) -> None:  # fmt: skip
        self.encoder = encoder
        self.temperature = arguments.finite("temperature", temperature, above=0)
        self.end = arguments.finite("end", end, -1, 1)
        self.rise = arguments.finite("rise", rise, 0, 1)
        self.least = arguments.finite("least", least, 0, 1)
        self.hops = arguments.whole("hops", hops, 1)
        self._last: tuple[list[str], torch.Tensor] = [], torch.empty(0, encoder.width)

    def __call__(self, question: str, facts: Sequence[str]) -> list[ScoredEdge]:
        """The edges, sorted. Raises `ValueError` for a blank question, no facts or a blank one."""
        (question,), facts = texts("question", [question]), texts("facts", facts)
        vectors = self._encoded(facts)
        edges: list[ScoredEdge] = []
        read: set[int] = set()
        level: list[tuple[tuple[int, ...], float]] = [((), 1.0)]
        for hop in range(min(self.hops, len(facts))):
            queries = [" ".join([question, *(facts[v] for v in path)]) for path, _ in level]
            cosines = self.encoder.encode(queries) @ vectors.T
            rows = self._probabilities(cosines, sorted(read), hop)[:, :-1]
            new: list[tuple[float, int, tuple[int, ...]]] = []
            for (path, weight), row in zip(level, rows.tolist(), strict=True):
                for less, v in sorted((-round(p, _DIGITS), v) for v, p in enumerate(row))[:MOST]:
                    if -less * weight >= self.least and v not in read:
                        edges.append((path[-1] if path else ROOT, v, -less))
                        new.append((less * weight, v, path))
            best: dict[int, tuple[tuple[int, ...], float]] = {}
            for less, v, path in sorted(new):
                best.setdefault(v, ((*path, v), -less))
            read |= {*best}
            level = [*best.values()][:MOST]
            if not level or len(read) == len(facts):
                break
        return sorted(edges)

    def step(self, question: str, facts: Sequence[str], read: Sequence[int]) -> Step:
        """One step of a chain, as `steps.follow` takes it: a query, and its end as the stop.

        `read`: the places read so far, in order. Raises as a call, and for a place out of range.
        """
        (question,), facts = texts("question", [question]), texts("facts", facts)
        read = [arguments.whole(f"read[{j}]", v, 0, len(facts) - 1) for j, v in enumerate(read)]
        query = " ".join([question, *(facts[v] for v in read)])
        vectors = self._encoded(facts)
        row = self._probabilities(self.encoder.encode([query]) @ vectors.T, read, len(read))[0]
        return Step(row[:-1].double().numpy(), row[-1].item())

    def words(self, way: Sequence[str], fact: str) -> list[tuple[str, float]]:
        """The words of a query (the question and facts), and what each adds to a fact's cosine.

        The mean of token states is a sum, so that these and `""`, all the rest, add up to the
        cosine exactly: of the states as they are, which have read the other words.
        """
        query = " ".join(way)
        states = self.encoder.states([query])[0]
        parts = states @ self.encoder.encode([fact])[0] / states.sum(0).norm().clamp(min=1e-12)
        shares = [0.0] * (len(query.split()) + 1)
        for owner, part in zip(self._owners(query, len(parts)), parts.tolist(), strict=True):
            shares[owner] += part
        return [*zip([*query.split(), ""], shares, strict=True)]

    def _probabilities(self, cosines: torch.Tensor, read: Sequence[int], hop: int) -> torch.Tensor:
        """`[queries, facts + 1]`, the last of the end; 0 for the facts `read`."""
        scores = cosines.round(decimals=_DIGITS) / self.temperature
        scores[:, read] = -torch.inf
        last = torch.full((len(scores), 1), (self.end + self.rise * hop) / self.temperature)
        best = scores.topk(min(MOST, scores.shape[1]), dim=1).values
        among = torch.cat([best, last], 1).logsumexp(1, keepdim=True)
        return (torch.cat([scores, last], 1) - among).exp().clamp(max=1)

    def _encoded(self, facts: list[str]) -> torch.Tensor:
        """`[facts, width]`; of those asked for last only what is new is encoded."""
        # Another thread may ask meanwhile: what was there last is read once, and replaced whole.
        last, vectors = self._last
        if facts != last:
            place = {text: i for i, text in enumerate(last)}
            new = [text for text in dict.fromkeys(facts) if text not in place]
            place |= {text: len(last) + i for i, text in enumerate(new)}
            rows = torch.cat([vectors, self.encoder.encode(new)]) if new else vectors
            vectors = rows[[place[text] for text in facts]]
            self._last = list(facts), vectors
        return vectors

    def _owners(self, query: str, count: int) -> list[int]:
        """Which word of the query each of `count` tokens is of; -1 for special ones."""
        tokenizer = self.encoder.tokenizer
        if not tokenizer.is_fast:
            counts = [len(tokenizer.tokenize(word)) for word in query.split()]
            owners = [i for i, size in enumerate(counts) for _ in range(size)][:count]
            return owners + [-1] * (count - len(owners))
        starts = [match.start() for match in re.finditer(r"\S+", query)]
        spans = tokenizer(
            query, return_offsets_mapping=True, truncation=True, max_length=self.encoder.max_tokens
        )["offset_mapping"]
        return [sum(start <= a for start in starts) - 1 if b > a else -1 for a, b in spans]
