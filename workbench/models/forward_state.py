"""What a forward computes with besides its weights: config, attributes, versions, switches."""

import functools
import sys
import types
from collections.abc import Iterator
from enum import Enum
from importlib import metadata
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch.nn.modules import module as global_hooks
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from workbench.errors import ModelError
from workbench.hashing import checksum, digest, tensors_digest

# The name of code that transformers loads from a repository or a folder holds a digest of it.
_LIBRARIES = tuple(
    "torch transformers transformers_modules accelerate peft nnsight kernels trl liger_kernel "
    "deepspeed bitsandbytes torchao auto_gptq gptqmodel awq hqq optimum compressed_tensors "
    "tokenizers sentencepiece numpy builtins".split()
)
_STEERING = "workbench.steering"
_LEX = "workbench.models.lex_encoder"
version = functools.cache(metadata.version)
"""Of a library by name; what is loaded stays what it is, and asking takes milliseconds."""
_WHOLE = "the model itself"
# Names, plans and notes for loading, saving and training; what the run itself rewrites; the config
# and the forward, which are described by themselves.
_NO_MATTER = (set(vars(torch.nn.Module())) - {"training"}) | set(
    "config generation_config forward generate __nnsight__ name_or_path kernel_config loss_type "
    "loss_function all_tied_weights_keys warnings_issued model_tags hf_device_map hf_quantizer "
    "quantization_method is_parallelizable gradient_checkpointing max_seq_len_cached "
    "original_inv_freq peft_config _is_hf_initialized _hf_hook _old_forward "
    "_gradient_checkpointing_func _torchdynamo_orig_callable dynamo_ctx".split()
)
_NAMES = ("_name_or_path", "transformers_version", "dtype", "architectures", "auto_map")


def libraries() -> dict[str, str]:
    """Versions of the libraries whose code a forward runs, without the build's own part."""
    names = ("torch", "transformers", "tokenizers")
    return {name: version(name).partition("+")[0] for name in names}


def forward_state(hf: torch.nn.Module) -> Iterator[str]:
    """All that a forward of now depends on but for parameters and buffers, as text.

    Versions, autocast and precision; config; each module's class and plain attributes (epsilons,
    scalings, activation functions, adapters, `training`).

    Raises `ModelError` for what cannot be told from another of its kind: a hook, a forward, a
    module's class, an attention or any other function that is no library's.
    """
    yield repr([libraries(), _switches()])
    hooks = (global_hooks._global_forward_hooks, global_hooks._global_forward_pre_hooks)
    _require_known(chain(*(h.values() for h in hooks)), "every module", (_STEERING,))
    configs: dict[int, str] = {}
    kinds: dict[type, str] = {}
    places: dict[torch.nn.Module, str] = {}
    for name, module in hf.named_modules(remove_duplicate=False):
        if places.setdefault(module, name) != name:
            # Who steers the one steers the other.
            yield repr([name, "is", places[module]])
            continue
        kind = type(module)
        if kind not in kinds:
            _require_known([kind, kind.forward], name or _WHOLE, ())
            kinds[kind] = repr(described(kind))
        _check_code(name, module)
        attributes = vars(module)
        config = attributes.get("config")
        if isinstance(config, PreTrainedConfig) and id(config) not in configs:
            used = getattr(config, "_attn_implementation", None)
            functions = (ALL_ATTENTION_FUNCTIONS.get(used), ALL_MASK_ATTENTION_FUNCTIONS.get(used))
            _require_known(functions, f"attention {used!r}", ())
            configs[id(config)] = config_state(config)
            yield configs[id(config)]
        own = isinstance(module, PreTrainedModel)
        fields = {
            key: described(value)
            for key, value in attributes.items()
            if key not in _NO_MATTER and not (own and key.startswith("_"))
        }
        compiled = attributes.get("_compiled_call_impl") is not None
        has_config = id(config) in configs
        yield repr([name, kinds[kind], has_config, compiled, sorted(fields.items())])


def named_tensors(hf: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter and buffer by every name it goes by: which are tied matters.

    Two kinds of rotary frequencies are left out: they are rewritten as the model runs.
    """
    yield from hf.named_parameters(remove_duplicate=False)
    rope = getattr(hf.config.get_text_config(), "rope_parameters", None) or {}
    rewritten = rope.get("rope_type") in ("dynamic", "longrope")
    for name, buffer in hf.named_buffers(remove_duplicate=False):
        if not (rewritten and name.endswith("inv_freq")):
            yield name, buffer


def forward_digest(hf: torch.nn.Module) -> str:
    """16 hex digits of a plain model's weights and of all else its forward now depends on.

    Raises `ModelError` as `forward_state`.
    """
    # Buffers too that no checkpoint holds, as rotary frequencies.
    tensors = {**hf.state_dict(), **dict(named_tensors(hf))}
    return digest([tensors_digest(tensors), *forward_state(hf)])


def _switches() -> list[Any]:
    """What torch itself is set to in this thread."""
    devices = ("cpu", "cuda")
    autocast = [torch.is_autocast_enabled(d) and str(torch.get_autocast_dtype(d)) for d in devices]
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    precision = [getattr(backend, "fp32_precision", None) for backend in backends]
    return [autocast, str(torch.get_default_dtype()), precision]


def config_state(config: PreTrainedConfig) -> str:
    """A config and the attention that is used, without names, as text."""
    fields = {key: value for key, value in config.to_dict().items() if key not in _NAMES}
    # A saved config comes back in another order.
    return repr([described(fields), getattr(config, "_attn_implementation", None)])


def described(value: Any, depth: int = 12) -> Any:
    """Something with the same `repr` for equal values in every process.

    Raises `ModelError` for a function, or an object that is called as one, of no library.
    """
    if value is None or isinstance(value, bool | int | float | str | bytes | Enum | torch.dtype):
        return repr(value)
    if isinstance(value, torch.Tensor):
        content = "meta" if value.is_meta else checksum(value)
        return [tuple(value.shape), str(value.dtype), content]
    if isinstance(value, np.ndarray):
        content = digest(value.tobytes()) if not value.dtype.hasobject else value.tolist()
        return [value.shape, str(value.dtype), content]
    if isinstance(value, functools.partial):
        return [described(v, depth) for v in (value.func, value.args, value.keywords)]
    if isinstance(value, types.MethodType):
        return [described(value.__func__, depth), described(value.__self__, max(depth - 1, 0))]
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return _code(value)
    if callable(value):
        _code(type(value))
    if depth == 0:
        return _name(type(value))
    if isinstance(value, dict):
        rows = [[described(k, depth - 1), described(v, depth - 1)] for k, v in value.items()]
        return sorted(rows, key=repr)
    if isinstance(value, list | tuple):
        return [described(v, depth - 1) for v in value]
    if isinstance(value, set | frozenset):
        return sorted((described(v, depth - 1) for v in value), key=repr)
    if isinstance(value, torch.nn.Module):
        fields = dict(chain(value.named_parameters(), value.named_buffers()))
    elif not (fields := getattr(value, "__dict__", {})):
        text = repr(value)
        return _name(type(value)) if " at 0x" in text else text
    # What bitsandbytes keeps of its last forward: the columns of outliers.
    fields = {name: field for name, field in fields.items() if name != "idx"}
    return [_name(type(value)), described(fields, depth - 1)]


def _code(value: Any) -> str:
    """Name of a library's class or function: its code is the library's version."""
    if _top(value.__module__ or "builtins") not in sys.stdlib_module_names:
        _require_known([value], "an attribute", (_LEX,))
    return _name(value)


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _check_code(name: str, module: torch.nn.Module) -> None:
    """Raise `ModelError` where a hook, or a forward that took the place of the class's, is run."""
    where, attributes = name or _WHOLE, vars(module)
    if module._forward_hooks or module._forward_pre_hooks:
        hooks = chain(module._forward_hooks.values(), module._forward_pre_hooks.values())
        _require_known(hooks, where, (_STEERING,))
    forwards = [attributes[key] for key in ("forward", "_old_forward") if key in attributes]
    # nnsight's, which keeps the forward that it found.
    forwards += [attributes["__nnsight__"].original] if "__nnsight__" in attributes else []
    if forwards:
        _require_known(forwards, where, tuple(base.__module__ for base in type(module).__mro__))
    if "_hf_hook" in attributes:
        hook = attributes["_hf_hook"]
        _require_known([type(h) for h in getattr(hook, "hooks", [hook])], where, ())


def _require_known(functions: Any, where: str, modules: tuple[str, ...]) -> None:
    for function in functions:
        for module, qualname in _sources(function):
            if _top(module) in _LIBRARIES or any(
                module == known or module.startswith(f"{known}.") for known in modules
            ):
                continue
            raise ModelError(
                f"{where} runs {module}.{qualname}, which is no library's: its code cannot be "
                "identified, so nothing made with it can be kept. Remove it (wb.capture and "
                "model.trace look without a hook), or call without store=, out= or a cache"
            )


def _sources(function: Any) -> Iterator[tuple[str, str]]:
    """(module, name) of a function and of all that it wraps. `__module__` is copied by wrappers."""
    while function is not None:
        function = getattr(function, "__func__", function)
        if isinstance(function, functools.partial):
            function = function.func
            continue
        if isinstance(function, types.FunctionType):
            yield function.__globals__.get("__name__", "?"), function.__qualname__
            # nnsight binds an instance's own forward so.
            if function.__qualname__.startswith("module_body.<locals>"):
                function = function.__closure__[0].cell_contents
                continue
        else:
            kind = function if isinstance(function, type) else type(function)
            yield kind.__module__ or "builtins", kind.__qualname__
        function = getattr(function, "__wrapped__", None)


def _top(module: str) -> str:
    return module.partition(".")[0]
