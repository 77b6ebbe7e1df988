"""Model: an nnsight model with the same names and sizes for every family."""

import copy
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from nnsight import TransformersModel
from transformers import PreTrainedModel

from workbench.arguments import whole
from workbench.errors import ModelError
from workbench.hashing import DIGITS, checksums, pieces_digest
from workbench.models.anatomy import Anatomy, kv_heads, projection_sizes
from workbench.models.forward_state import described, forward_state, named_tensors
from workbench.models.tokenizer_state import prompt_state

_NOTES = ("persistent", "module", "CB", "SCB")
"""What libraries hang on a tensor that changes no forward, or moves as the model runs."""


@dataclass(frozen=True)
class InFlight:
    """The batch now in the model, for steering that differs by prompt or by token.

    `prompt`: int64 `[row]`, each row's place in the caller's list of `total` prompts. `start`:
    int64 `[row]`, the column of each row's first response token in the batch, where it is known.
    """

    prompt: torch.Tensor
    total: int
    start: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class SteeringHook:
    """One direction that steers through hooks now.

    `label` names direction, alpha and mode. `per_prompt`: whether it has one alpha per prompt.
    `thread`: the background thread that steers itself alone; None for the main thread, which steers
    every thread.
    """

    label: str
    per_prompt: bool
    thread: int | None

    @property
    def acts_here(self) -> bool:
        """Whether it acts in the calling thread."""
        return self.thread in (None, threading.get_ident())


class Model(TransformersModel):
    """An nnsight model with standard names: `model.layers[i].attn.o_proj`, `.mlp`.

    >>> with model.trace("Hello."):
    ...     resid = model.layers[2].output.save()

    Sizes: `n_layers`, `n_heads` (query heads), `n_kv_heads`, `d_head` (width of one head at
    `o_proj`'s input, not hidden/heads), `d_model` (residual stream), `context_length` (tokens, None
    where the family has no limit). `hf` is the plain transformers model underneath, `tokenizer` a
    left-padding copy of its tokenizer. `refused_sites`: why a site is not what its name says, by
    site.

    State: `in_flight` is the batch this thread now runs, `hooks` all that steers through hooks now,
    `folds` the folds in place, `not_for_export` why `save_checkpoint` refuses now. `lock` is held
    while our own calls run the model, batch by batch, so that a widget and a cell do not run it at
    once.
    """

    def __init__(self, hf: PreTrainedModel, tokenizer: Any, anatomy: Anatomy, name: str) -> None:
        # nnsight switches the tokenizer it is given to left padding; the caller's stays as it was.
        super().__init__(
            hf,
            task="text-generation",
            tokenizer=copy.deepcopy(tokenizer),
            rename=anatomy.rename,
        )
        config = hf.config.get_text_config()
        self.anatomy = anatomy
        self.name = name
        self.n_layers = len(hf.get_submodule(anatomy.layers))
        self.n_heads = config.num_attention_heads
        self.n_kv_heads = kv_heads(config)
        self.d_model = config.hidden_size
        self.d_head = projection_sizes(self.o_proj(0))[0] // self.n_heads
        self.context_length: int | None = getattr(config, "max_position_embeddings", None)
        self.refused_sites: dict[str, str] = {}
        self.lock = threading.RLock()
        self.hooks: list[SteeringHook] = []
        self._of_thread = threading.local()
        self.not_for_export: list[str] = []
        self.folds: list[Any] = []

    @property
    def in_flight(self) -> InFlight | None:
        """The batch this thread now runs."""
        return getattr(self._of_thread, "batch", None)

    @in_flight.setter
    def in_flight(self, batch: InFlight | None) -> None:
        self._of_thread.batch = batch

    @property
    def hooked(self) -> list[str]:
        """Labels of the directions that steer this thread through hooks."""
        return [hook.label for hook in self.hooks if hook.acts_here]

    @property
    def per_prompt(self) -> bool:
        """Whether this thread is steered with one alpha per prompt."""
        return any(hook.per_prompt for hook in self.hooks if hook.acts_here)

    def require_site(self, site: str) -> None:
        """Raise `ModelError` where the site was found not to be what its name says."""
        if site in self.refused_sites:
            raise ModelError(f"{self.name}: no site {site!r}: {self.refused_sites[site]}")

    @property
    def hf(self) -> PreTrainedModel:
        """The plain transformers model underneath, as nnsight itself calls it."""
        return self._module

    def layer(self, index: int) -> torch.nn.Module:
        """The plain module of one transformer block; `ValueError` for one there is not."""
        blocks = self.hf.get_submodule(self.anatomy.layers)
        return blocks[whole("layer", index, 0, len(blocks) - 1)]

    def o_proj(self, index: int) -> torch.nn.Module:
        """The plain attention output projection of one layer."""
        return self.layer(index).get_submodule(f"{self.anatomy.attn}.{self.anatomy.o_proj}")

    def resid(self, index: int) -> torch.nn.Module:
        """The plain module of one layer whose output enters the residual stream last."""
        return self.layer(index).get_submodule(self.anatomy.resid or self.anatomy.mlp)

    @property
    def input_device(self) -> torch.device:
        """Where token ids go: the embedding's device, also when the layers are spread out."""
        return self.hf.get_input_embeddings().weight.device

    @property
    def n_tokens(self) -> int:
        """How many token ids the model embeds, which may be more than its tokenizer knows."""
        embedding = self.hf.get_input_embeddings()
        return getattr(embedding, "num_embeddings", None) or len(embedding.weight)

    @property
    def pad_id(self) -> int:
        """A token to fill rows with where nothing reads it: the tokenizer's, if it is embedded."""
        pad = self.tokenizer.pad_token_id
        return pad if pad in range(self.n_tokens) else 0

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes a head direction depends on."""
        return {
            "n_layers": self.n_layers,
            "n_heads": self.n_heads,
            "n_kv_heads": self.n_kv_heads,
            "d_head": self.d_head,
            "d_model": self.d_model,
        }

    def _sharing(self, shared: Callable[[str], bool]) -> PreTrainedModel:
        """A copy of the module, never all of whose weights are in memory twice."""
        with torch.device("meta"):
            hf = type(self.hf)(copy.deepcopy(self.hf.config))
        state = self.hf.state_dict()
        own = {name: w if shared(name) else w.clone() for name, w in state.items()}
        hf.load_state_dict(own, assign=True)
        hf.tie_weights()
        for name, weight in hf.named_parameters():
            weight.requires_grad_(not shared(name))
        return hf.eval()

    def clone(self, name: str, shared: Callable[[str], bool] | None = None) -> "Model":
        """An independent copy with its own weights, say to fine-tune. Undo folds before.

        `shared(weight)`: whether the weight of that name lies in one place of memory for both; it
        then asks for no gradient in the copy, and must not be changed in place.

        Raises `ModelError` under a fold, and where more was changed after loading than weights: an
        epsilon, a module, hooks of your own. The copy is built from the config, and would be
        another function.
        """
        if self.folds:
            raise ModelError(
                f"{self.name} cannot be copied while a fold is in place: undo it first"
            )
        # Not deepcopy: nnsight binds each module's forward to the instance it wraps.
        if shared is None:
            hf = type(self.hf)(copy.deepcopy(self.hf.config))
            hf = hf.to(self.hf.device, self.hf.dtype).eval()
            hf.load_state_dict(self.hf.state_dict())
        else:
            hf = self._sharing(shared)
        # Rotary frequencies are in no state dict, and stay float32 in a half-precision model.
        for path, buffer in self.hf.named_buffers():
            owner, _, leaf = path.rpartition(".")
            setattr(hf.get_submodule(owner), leaf, buffer.clone())
        for new, old in zip(hf.modules(), self.hf.modules(), strict=False):
            new.training = old.training
            # What a module made of its config, and calls no buffer, may be on the meta device.
            tensors = {k: v for k, v in vars(old).items() if isinstance(v, torch.Tensor)}
            vars(new).update({k: v.clone() for k, v in tensors.items()})
        for new, old in zip(forward_state(hf), forward_state(self.hf), strict=False):
            if new != old:
                raise ModelError(
                    f"{self.name} cannot be copied: it is not as its config makes it, at "
                    f"{old[:200]}. Change it back, or copy first and change both"
                )
        hf.eval()
        hf.generation_config = copy.deepcopy(self.hf.generation_config)
        copied = Model(hf, self.tokenizer, self.anatomy, name)
        copied.refused_sites = self.refused_sites
        return copied

    def fingerprint(self) -> str:
        """16 hex digits that change with all that a forward of now depends on, but for its input.

        Every byte of the weights: all parameters and buffers are read, once, where they lie, at
        every call; weights that are offloaded are not. Then steering, config, the modules' plain
        attributes and classes, adapters, autocast, and the versions of torch and transformers.

        Raises `ModelError` for what has no identity: hooks of your own, a forward replaced by hand,
        edits through nnsight.
        """
        return pieces_digest(self._identity(), DIGITS)

    def identity(self) -> dict[str, str]:
        """What a result depends on besides the prompts and settings it is asked for with.

        `weights` (fingerprint), and the tokenizer, template and date of `prompt_state`. Raises as
        `fingerprint`.
        """
        return {"weights": self.fingerprint(), **prompt_state(self.tokenizer)}

    def _identity(self) -> Iterator[bytes]:
        """The bytes of which the fingerprint is taken."""
        if self._edits:
            raise ModelError(
                f"{self.name} has edits (model.edit), which have no identity that anything could "
                "be kept by: model.clear_edits() first, or call without store=, out= or a cache"
            )
        # Where a hook or a bias acts, and which module a site is, the anatomy says.
        yield "|".join([type(self.hf).__name__, repr(self.anatomy), *self.hooked]).encode()
        for part in forward_state(self.hf):
            yield part.encode("utf-8", "surrogatepass")
        # Not state_dict(): quantised layers repack their weights when asked for it.
        tensors = dict(named_tensors(self.hf))
        read = list({id(t): t for t in tensors.values() if not t.is_meta}.values())
        contents = dict(zip(map(id, read), checksums(read), strict=True))
        for name, tensor in tensors.items():
            content = contents.get(id(tensor), "offloaded")
            yield f"{name}{tuple(tensor.shape)}{tensor.dtype}{content}".encode()
            notes = {k: v for k, v in vars(tensor).items() if k[0] != "_" and k not in _NOTES}
            # Quantised weights carry their scales so.
            if notes:
                yield repr(described(notes)).encode("utf-8", "surrogatepass")
