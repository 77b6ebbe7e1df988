"""Capture beside its peers on the same prompts, their activations compared."""

from tests.benchmarks import peers, timing

COUNTS = {"toy": 4, "tiny": 96, "100m": 24, "8b": 192}
PAIRED = {"tiny": 96, "100m": 12}
"""Prompts, and sequences of pairs, which are longer."""
ROUNDS = {"toy": 1, "tiny": 7, "100m": 3, "8b": 5}
OURS = {"workbench": peers.workbench_resid, "workbench, heads": peers.workbench_heads}
FLOORS = {"bare forward": peers.bare, "official, 1": peers.official_heads}


def beside(name: str) -> str:
    """Which of ours does what this one does."""
    return "workbench, heads" if "official" in name else "workbench"


def timed(
    name: str, makers: dict[str, peers.Maker], prompts: list[str], *, one_model: bool = False
) -> tuple[dict[str, list[float]], dict[str, float], dict[str, str]]:
    """Seconds of ours and the others by round, the others' differences from ours, those left out.

    Each has a model of its own, since several change the one they are given; `one_model`: for
    those that do not, where the model is large. `SystemExit` where a peer's activations are others.
    """
    shared = timing.make(name) if one_model else None
    calls, reference, differences, left_out = {}, {}, {}, {}
    for method, maker in {**OURS, **makers}.items():
        try:
            calls[method] = maker(shared or timing.make(name), timing.tokenizer(), prompts)
            got = calls[method]()
        except (ImportError, AttributeError, RuntimeError, TypeError, ValueError) as error:
            if method not in peers.PEERS:
                raise
            calls.pop(method, None)
            left_out[method] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        if method in OURS:
            reference[method] = got
        elif got.numel():
            # The last of the hidden states is after the norm.
            end = None if method in {*peers.EXACT_LAST_LAYER, "official, 1"} else -1
            ours = reference[beside(method)]
            differences[method] = timing.require_close(method, got[:, :end], ours[:, :end])
    return timing.interleaved(calls, ROUNDS[name], warm=False), differences, left_out


def capture(name: str) -> tuple[dict[str, float], dict[str, str]]:
    """Ratios (ours over theirs in tokens per second) for one model, and the peers left out."""
    prompts = timing.prompts(COUNTS[name])
    times, _, left_out = timed(name, {**FLOORS, **peers.PEERS}, prompts)
    ratios = {p: timing.ratio(times, p, beside(p)) for p in times if p not in OURS}
    tokens = sum(map(len, timing.tokenizer()(prompts)["input_ids"]))
    print(f"\ncapture, {name}: {len(prompts)} prompts, {tokens} tokens, all layers, last token")
    print(f"  {'':<34}{'time over ours':>15}")
    for peer, value in sorted(ratios.items(), key=lambda item: item[1]):
        print(f"  {peer:<34}{value:>15.2f}")
    return ratios, left_out


def official_pairs(name: str) -> float:
    """Ratio to the official extraction on its own kind of data: pairs under one system prompt."""
    official = {"official, 1": FLOORS["official, 1"]}
    times, _, _ = timed(name, official, timing.pairs(PAIRED[name]))
    return timing.ratio(times, "official, 1", "workbench, heads")
