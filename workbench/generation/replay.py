"""Replay: a store of samples in place of the model that drew them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from workbench.errors import GenerationError, StoreError
from workbench.generation.requests import Drawn, GenRequest, prompt_text
from workbench.generation.rules import Rule, rule_identity
from workbench.generation.sample_store import SampleStore
from workbench.hashing import digest


@dataclass
class Replay:
    """A store in place of the model that filled it, for `mode="replay"` without any model.

    Raises `StoreError` where the store holds samples of several models (or of none).

    >>> store = wb.SampleStore("samples.sqlite")
    >>> wb.complete(wb.Replay(store), requests, store=store, mode="replay")
    """

    store: SampleStore
    by_place: bool = False
    rule: Rule | None = None

    @property
    def name(self) -> str:
        """Where the samples lie."""
        return str(self.store.path)

    @property
    def device(self) -> str:
        """Nowhere: nothing is computed."""
        return "none"

    def identity(self) -> dict[str, str]:
        """The one identity all samples of the store share, and the rule's."""
        identities = self.store.identities()
        if len(identities) != 1:
            raise StoreError(
                f"{self.store.path} holds samples of {len(identities)} models or steerings; give "
                "the model itself, or a store that holds its samples alone"
            )
        return identities[0] | rule_identity(self.rule)

    def rendered(self, requests: Sequence[GenRequest]) -> list[str | None]:
        """Digest of how each request was read, as `LocalBackend.rendered`, where that is kept.

        Raises `StoreError` where it became something else on another day.
        """
        stored = self.store.renderings()
        keys = [(digest(prompt_text(r.prompt), 64), r.stop) for r in requests]
        digests = [stored.get(key, set()) for key in keys]
        for place, different in enumerate(digests):
            if len(different) > 1:
                raise StoreError(
                    f"{self.store.path}: the chat template made {len(different)} different texts "
                    f"of prompt {place} (on several days); replay needs the model itself"
                )
        return [next(iter(different), None) for different in digests]

    def check(self, requests: Sequence[GenRequest]) -> None:
        """Nothing can be drawn, so nothing can be wrong with a request."""

    def draw(
        self, requests: Sequence[GenRequest], missing: Sequence[Sequence[int]]
    ) -> Iterator[list[Drawn]]:
        """Raise `GenerationError`: there is no model here."""
        raise GenerationError("samples are missing from the store, and there is no model to draw")
