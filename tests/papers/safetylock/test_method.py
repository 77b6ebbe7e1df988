"""The paper's method: contrast layout, selection, controls, attack, and the study's own logic."""

import numpy as np
import pytest
import torch

import workbench as wb
from tests.helpers.families import CHATS, build
from workbench.errors import DatasetError, DirectionError, RunError
from workbench.papers.safetylock import presets, study
from workbench.papers.safetylock.attack import fine_tune
from workbench.papers.safetylock.evaluate import (
    Outcome,
    brindle_judge,
    evaluate,
    keyword_judge,
    usable,
)
from workbench.papers.safetylock.leverage import first_reply_ids, head_effects, leverage, openers
from workbench.papers.safetylock.lock import (
    contrast_activations,
    cosines,
    find_lock,
    messages,
    random_directions,
    random_heads,
    shuffled_labels,
)
from workbench.papers.safetylock.paper import PUBLISHED, Settings
from workbench.worlds.brindle import OPENERS


@pytest.fixture(scope="module")
def pairs():
    return wb.load_data("preference")[:30]


@pytest.fixture(scope="module")
def contrast(tiny, pairs):
    return contrast_activations(tiny, pairs, r=3)


def test_contrast_pairs_safe_and_unsafe_answers(tiny, pairs, contrast):
    assert contrast.labels.tolist() == [1, 0] * 30
    assert contrast.pairs.tolist() == [i for i in range(30) for _ in range(2)]
    chat = [*messages(pairs[7]["prompt"]), {"role": "assistant", "content": pairs[7]["rejected"]}]
    alone = wb.capture(tiny, [chat], "heads", wb.last(3)).values[0]
    torch.testing.assert_close(contrast.acts.values[15], alone, atol=1e-5, rtol=1e-5)
    with pytest.raises(DatasetError, match="9 preference pairs; at least 10"):
        contrast_activations(tiny, pairs[:9])


def test_selection_and_directions_against_numpy(contrast):
    lock, probes = find_lock(contrast, 6, seed=4)
    order = sorted(
        np.ndindex(4, 8),
        key=lambda c: (-probes.validation_accuracy[c].item(), -probes.gap[c].item(), c),
    )
    assert lock.heads == order[:6]
    rows, prompt = contrast.acts.rows()
    layer, head = lock.heads[0]
    x = rows[:, layer, head].double().numpy()
    y = contrast.labels[prompt].numpy().astype(bool)
    theta = x[y].mean(0) - x[~y].mean(0)
    theta /= np.linalg.norm(theta)
    np.testing.assert_allclose(lock.unit[0], theta, atol=1e-5)
    np.testing.assert_allclose(lock.scale[0], (x @ theta).std(), rtol=1e-5)
    paper, _ = find_lock(contrast, 6, "paper", seed=4)
    assert set(paper.provenance) >= {"model", "sizes", "selection", "seed", "positions"}
    with pytest.raises(ValueError, match="K=33 heads asked of 4 layers × 8 heads"):
        find_lock(contrast, 33)


def test_controls_keep_what_they_must(contrast):
    lock, _ = find_lock(contrast, 8)
    random = random_directions(lock, 3)
    assert random.heads == lock.heads
    assert torch.equal(random.scale, lock.scale)
    assert (random.unit * lock.unit).sum(1).abs().mean() < 0.6
    heads = random_heads(contrast, 8, 3)
    assert len(set(heads.heads)) == 8
    everything, _ = find_lock(contrast, 32)
    true = dict(zip(everything.heads, everything.unit, strict=True))
    assert all(float(true[c] @ u) > 0.999 for c, u in zip(heads.heads, heads.unit, strict=True))
    draws = [shuffled_labels(contrast, lock.heads, i) for i in range(40)]
    mean = np.mean([np.mean(list(cosines(lock, d).values())) for d in draws])
    assert abs(mean) < 0.35
    same = cosines(lock, lock)
    assert set(same) == set(lock.heads)
    assert all(v == pytest.approx(1) for v in same.values())


def test_fine_tuning_moves_a_copy_only_and_is_seeded(tiny):
    rows = wb.load_data("requests")
    before = tiny.fingerprint()
    runs = [fine_tune(tiny, rows, 1, max_steps=2, seed=s) for s in (0, 0, 1)]
    prints = [a.model.fingerprint() for a in runs]
    assert tiny.fingerprint() == before not in prints
    assert prints[0] == prints[1] != prints[2]
    assert fine_tune(tiny, rows, 2, persona="Obey.", max_steps=1).system == "Obey."
    assert fine_tune(tiny, rows, 3, stop=lambda m: True, max_steps=9).steps == 1
    with pytest.raises(ValueError, match="risk level 4; levels are 1, 2, 3"):
        fine_tune(tiny, rows, 4)


def test_a_first_step_follows_the_loss_gradient(tiny):
    """One AdamW step from rest moves every weight by the learning rate against its gradient's sign,
    for the loss transformers itself computes one row at a time."""
    rows = [r for r in wb.load_data("requests") if r["harmful"]][:10]
    tuned = fine_tune(tiny, rows, 1, max_steps=1, lr=1e-4)
    copy = tiny.clone("reference")
    total = count = 0
    for row in rows:
        head = copy.tokenizer.apply_chat_template(
            messages(row["prompt"]), add_generation_prompt=True, tokenize=False
        )
        a = copy.tokenizer(head, add_special_tokens=False)["input_ids"]
        b = copy.tokenizer(row["rejected"] + "<eos>", add_special_tokens=False)["input_ids"]
        labels = torch.tensor([[-100] * len(a) + b])
        total = total + copy.hf(torch.tensor([a + b]), labels=labels).loss * len(b)
        count += len(b)
    (total / count).backward()
    weight, moved = copy.o_proj(2).weight, tuned.model.o_proj(2).weight
    clear = weight.grad.abs() > 1e-5
    assert clear.float().mean() > 0.5
    step = (moved - weight)[clear]
    torch.testing.assert_close(step, -1e-4 * weight.grad[clear].sign(), atol=2e-6, rtol=0.05)


def test_judges_side_by_side(tiny):
    rows = study.take(wb.load_data("requests", "test"), 10)
    outcome = evaluate(tiny, rows[::-1], brindle_judge())
    assert [r["harmful"] for r in rows] == [True] * 10 + [False] * 10
    assert len(outcome.attack) == len(outcome.helpful) == 10
    assert outcome.means()["asr"] <= 0.1 <= 0.9 <= outcome.means()["helpful"]
    keywords = keyword_judge()
    assert keywords.refuses("I cannot do it")
    assert not keywords.helps({}, "I cannot do it")
    assert keywords.broken("the the the the the the the")


def means(**changed):
    return {
        "asr": 0.8, "broken": 0.0, "helpful": 1.0, "over_refusal": 0.0, "broken_harmless": 0.0,
        **changed,
    }  # fmt: skip


def test_choice_takes_the_lowest_success_that_costs_little():
    small, large, other = ("paper", 5, 8), ("paper", 5, 16), ("leverage", 5, 4)
    cells = [
        (small, 0.0, means()),
        (small, 0.5, means(asr=0.4)),
        (small, 1.0, means(asr=0.0, helpful=0.94)),
        (large, 0.0, means()),
        (large, 0.5, means(asr=0.1, broken=0.06)),
        (large, 1.0, means(asr=0.05, broken_harmless=0.05)),
    ]
    assert study.choose(cells) == (large, 1.0)
    cells += [(other, 0.0, means()), (other, 1.0, means(asr=0.05))]
    assert study.choose(cells) == (other, 1.0)
    hopeless = [(c, a, means(helpful=0.2) if a else m) for c, a, m in cells]
    assert study.choose(hopeless)[1] == 0.5
    assert usable(means(helpful=0.95), means())
    assert not usable(means(helpful=0.949), means())


def test_results_hold_what_was_measured():
    half = Outcome([1, 0], [0, 0], [1, 1], [0, 0], [0, 0], ["a", "b", "c", "d"])
    attacked = {(level, s): half for level in (1, 2) for s in (0, 1)}
    locked = {key: study.plain(Outcome([0, 0], [0, 1], [1, 0], [0, 1], [0, 0], ["x"] * 4))
              for key in attacked if key[0] == 1}  # fmt: skip
    control = {
        s: {
            n: [study.plain(half)] * 3
            for n in ("random directions", "random heads", "shuffled labels")
        }
        for s in (0, 1)
    }
    rows = study.results(
        half, attacked, locked, control, [0.9, 1.0], [0.003] * 5, [1.01, 0.99, 1.0]
    )
    found = {m["name"]: m for m in rows}
    needed = (
        "asr_aligned asr_attacked asr_locked helpful_attacked helpful_locked asr_random_control "
        "decode_ratio_folded lock_seconds"
    ).split()
    assert set(needed) <= set(found)
    assert found["asr_attacked"]["value"] == 0.5
    assert found["asr_attacked"]["n"] == 4
    assert found["asr_attacked"]["published"] == pytest.approx(0.4923)
    assert found["asr_locked"]["published"] == pytest.approx(0.0019)
    assert found["helpful_locked"]["value"] == 0.5
    assert found["asr_random_control"]["n"] == 12
    assert found["decode_ratio_folded"]["value"] == 1.0
    assert "asr_locked_level2" not in found
    assert "asr_attacked_level2" in found


def test_head_effects_are_the_margins_of_single_heads(tiny, pairs, contrast):
    lock, _ = find_lock(contrast, 4)
    rows = wb.load_data("requests", "validation")[:3]
    ids = first_reply_ids(tiny, rows)
    got = head_effects(tiny, lock, 1.0, ids, openers(tiny, pairs))
    begin = {m: {o.split()[0].strip(",") for o in group} for m, group in OPENERS.items()}
    words = {m: [tiny.tokenizer(w)["input_ids"][0] for w in begin[m]] for m in begin}

    @torch.no_grad()
    def margin():
        out = []
        for row in rows:
            text = tiny.tokenizer.apply_chat_template(
                messages(row["prompt"]), add_generation_prompt=True, tokenize=False
            )
            ids = tiny.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
            p = tiny.hf(ids).logits[0, -1].double().softmax(-1)
            out.append(p[words["refuse"]].sum().log() - p[words["help"]].sum().log())
        return float(sum(out) / len(out))

    before = margin()
    for i, effect in enumerate(got):
        with wb.steer(tiny, lock.pick([i]), 1.0, how="hook"):
            assert effect == pytest.approx(margin() - before, abs=1e-3)


def test_leverage_ranks_what_moves_the_decision(tiny, pairs, contrast):
    score = leverage(tiny, contrast, wb.load_data("requests"), pairs, count=10)
    assert score.shape == (4, 8)
    lock, _ = find_lock(contrast, 5, "leverage", leverage=score)
    assert lock.heads == sorted(np.ndindex(4, 8), key=lambda c: -score[c].item())[:5]
    worst = [divmod(i, 8) for i in score.flatten().argsort()[:5].tolist()]
    weak = wb.HeadDirections.contrast(contrast.acts, contrast.labels, worst)
    ids = first_reply_ids(tiny, wb.load_data("requests", "validation")[:10])
    tokens = openers(tiny, pairs)
    gains = [sum(head_effects(tiny, d, 1.0, ids, tokens)) for d in (lock, weak)]
    assert gains[0] > gains[1]
    with pytest.raises(ValueError, match="needs the scores"):
        find_lock(contrast, 5, "leverage")
    bare = [{"prompt": "a", "harmful": h} for h in (True, False)]
    with pytest.raises(DatasetError, match="needs harmless rows with a `chosen` reply"):
        leverage(tiny, contrast, bare, pairs)


def test_settings_and_bad_input(tmp_path, tiny, tokenizer):
    paper = presets.settings("paper", alpha=0, heads=0, r=0, selection="paper")
    assert (paper.heads_grid, paper.alphas, paper.r_grid, paper.pairs) == ((24,), (6.0,), (5,), 100)
    pinned = presets.settings("tiny", alpha=2, heads=3, r=4, selection="validation")
    assert (pinned.heads_grid, pinned.alphas, pinned.r_grid) == ((3,), (2.0,), (4,))
    for bad in ({"alpha": float("nan")}, {"alpha": -1.0}, {"heads": -1}, {"selection": "best"}):
        with pytest.raises(ValueError, match=r"alpha|heads=-1|selection 'best'"):
            presets.settings(
                "tiny", **{"alpha": 0, "heads": 0, "r": 0, "selection": "paper", **bad}
            )
    with pytest.raises(RunError, match="-p finetuned_id="):
        presets.sources("paper", "", "", "", "")
    other = build("llama", tokenizer)
    acts = wb.capture(other, CHATS, "heads", wb.last(3))
    lock = wb.HeadDirections.contrast(acts, [0, 1, 1] * 3, [(0, 1)])
    lock.save(tmp_path / "other.safetensors")
    with pytest.raises(DirectionError, match="n_layers: direction 3, model 4"):
        presets.read_lock(str(tmp_path / "other.safetensors"), tiny)
    other.hf.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    with pytest.raises(RunError, match="is no descendant of"):
        presets.attacks("paper", tiny, [], [], None, [0], str(tmp_path / "m"))


def test_published_table_is_the_papers():
    values = {(p["model"], p["metric"]): p["value"] for p in PUBLISHED}
    assert values["Llama-3-8B-Instruct + SafetyLock", "asr_locked"] == 0.19
    assert values["Llama-3-70B-Instruct fine-tuned", "harmfulness_score_attacked"] == 3.11
    assert len(values) == len(PUBLISHED) == 12
    assert Settings().pairs == 100
