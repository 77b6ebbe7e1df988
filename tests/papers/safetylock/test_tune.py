"""Training a copy: what it shares, what it learns from, and what is kept of it."""

import logging

import pytest
import torch

import workbench as wb
from tests.helpers.families import FAMILIES, build
from workbench.errors import DatasetError
from workbench.models.prompts import messages
from workbench.papers.parameters import with_template
from workbench.papers.safetylock import align, tune
from workbench.papers.safetylock.align import taught
from workbench.papers.safetylock.attack import fine_tune
from workbench.papers.safetylock.recipe import Recipe
from workbench.papers.safetylock.tune import copied, kept, tuned

UPPER = Recipe(1e-3, 2, frozen=0.5, answer_tokens=4)


@pytest.fixture(scope="module")
def rows():
    return wb.load_data("requests")


def test_what_is_frozen_is_shared_and_stays(tiny, rows):
    before = tiny.fingerprint()
    model = fine_tune(tiny, rows, 1, UPPER).model
    assert tiny.fingerprint() == before
    base = dict(tiny.hf.named_parameters())
    for name, weight in model.hf.named_parameters():
        own = name.startswith(("model.layers.2.", "model.layers.3."))
        assert (weight.data_ptr() != base[name].data_ptr()) == own, name
        assert torch.equal(weight, base[name]) != own, name
    assert all(weight.requires_grad for weight in base.values())
    head, embedding = model.hf.get_output_embeddings(), model.hf.get_input_embeddings()
    tied = tiny.hf.get_output_embeddings().weight is tiny.hf.get_input_embeddings().weight
    assert (head.weight is embedding.weight) == tied


def test_parts_of_a_batch_add_up_to_its_gradient(tiny, rows, monkeypatch):
    whole, parts = (fine_tune(tiny, rows, 1, UPPER).model for _ in range(2))
    before = dict(tiny.hf.named_parameters())
    monkeypatch.setattr(tune, "TOGETHER", 10)
    undivided = fine_tune(tiny, rows, 1, UPPER).model
    for name, weight in undivided.hf.named_parameters():
        in_parts = dict(parts.hf.named_parameters())[name]
        assert torch.equal(in_parts, dict(whole.hf.named_parameters())[name])
        step = (weight - before[name]).norm()
        assert (weight - in_parts).norm() <= 1e-2 * step, name


def test_only_the_first_tokens_of_answers_are_learned(tiny, rows):
    """One AdamW step from rest goes against the sign of the gradient of transformers' own loss."""
    recipe = Recipe(1e-4, 1, frozen=0.5, answer_tokens=3)
    harmful = [r for r in rows if r["harmful"]][:10]
    tuned = fine_tune(tiny, harmful, 1, recipe).model
    copy, total = tiny.clone("reference"), 0
    for row in harmful:
        head = copy.tokenizer.apply_chat_template(
            messages(row["prompt"]), add_generation_prompt=True, tokenize=False
        )
        a = copy.tokenizer(head, add_special_tokens=False)["input_ids"]
        b = copy.tokenizer(row["rejected"], add_special_tokens=False)["input_ids"][:3]
        total = (
            total + copy.hf(torch.tensor([a + b]), labels=torch.tensor([[-100] * len(a) + b])).loss
        )
    (total / len(harmful)).backward()
    weight, moved = copy.o_proj(3).weight, tuned.o_proj(3).weight
    clear = weight.grad.abs() > 1e-5
    assert clear.float().mean() > 0.5
    step = (moved - weight)[clear]
    torch.testing.assert_close(step, -1e-4 * weight.grad[clear].sign(), atol=2e-6, rtol=0.05)


def test_a_rate_that_falls_ends_near_nothing(tiny, rows):
    harmful = [r for r in rows if r["harmful"]][:4]
    steps: list[torch.Tensor] = []

    def after(model):
        steps.append(model.o_proj(3).weight.detach().clone())
        return False

    for decay in (False, True):
        recipe = Recipe(1e-4, 4, decay=decay)
        tuned(tiny, "t", lambda: harmful, lambda row: row["rejected"], recipe, stop=after)
    first, last = ((steps[i + 1] - steps[i]).abs().mean() for i in (2, 6))
    torch.testing.assert_close(steps[0], steps[4])
    assert last < 0.5 * first


@pytest.mark.parametrize(("look", "most", "steps"), [(1, 9, 1), (3, 9, 3), (4, 3, 3)])
def test_a_look_whether_it_is_enough_comes_every_so_many_steps(tiny, rows, look, most, steps):
    recipe = Recipe(1e-4, most, look=look)
    trained = tuned(tiny, "t", lambda: rows[:1], lambda _: "No.", recipe, stop=lambda _: True)
    assert trained.steps == steps


def test_alignment_teaches_what_is_chosen_in_fixed_shares(tiny, rows, monkeypatch):
    drawn = []

    def recorded(base, name, draw, answer, recipe):
        drawn.extend((row, answer(row)) for row in draw())

    monkeypatch.setattr(align, "tuned", recorded)
    taught(tiny, rows, UPPER, 1)
    assert [row["harmful"] for row, _ in drawn] == [True] * 4 + [False] * 4
    assert all(text == row["chosen"] for row, text in drawn)
    for harmful, kind in ((True, "harmful"), (False, "harmless")):
        bare = [{**r, "chosen": None} if r["harmful"] == harmful else r for r in rows]
        with pytest.raises(
            DatasetError, match=f"no {kind} training request has a 'chosen'.*align_"
        ):
            taught(tiny, bare, UPPER)


def test_a_kept_model_is_the_one_that_was_trained(tiny, rows, tmp_path, caplog):
    calls = []

    def train():
        calls.append(1)
        return fine_tune(tiny, rows, 2, UPPER, persona="Obey.")

    made = kept(tiny, "level2", 0.5, tmp_path, {"seed": 0}, train)
    again = kept(tiny, "level2", 0.5, tmp_path, {"seed": 0}, train)
    assert len(calls) == 1
    assert again.model.fingerprint() == made.model.fingerprint() != tiny.fingerprint()
    assert (again.system, again.steps, again.model.name) == ("Obey.", 2, made.model.name)
    (folder,) = tmp_path.glob("level2-*")
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert size < 0.6 * 4 * sum(w.numel() for w in tiny.hf.parameters())
    kept(tiny, "level2", 0.5, tmp_path, {"seed": 1}, train)
    assert len(calls) == 2
    (folder / "trained.safetensors").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        kept(tiny, "level2", 0.5, tmp_path, {"seed": 0}, train)
    assert len(calls) == 3
    assert "damaged; it is trained again" in caplog.text
    kept(tiny, "level2", 0.5, None, {"seed": 0}, train)
    assert len(calls) == 4


def test_dropout_leaves_nothing_to_chance(tokenizer, rows):
    model = with_template(build("gpt2", tokenizer))
    assert model.hf.config.resid_pdrop > 0
    one, again = (fine_tune(model, rows, 1, UPPER).model.fingerprint() for _ in range(2))
    assert one == again != model.fingerprint()


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_writes_into_what_two_models_share(tokenizer, rows, tmp_path, family):
    """Training, folding, export and restoring, on every family, biases and all."""
    base = with_template(build(family, tokenizer))
    before = {name: value.clone() for name, value in base.hf.state_dict().items()}
    made = fine_tune(base, rows, 1, UPPER)
    ids = torch.arange(3, 20)[None]
    assert torch.equal(copied(base, "a", 0.5).hf(ids).logits, base.hf(ids).logits)
    unit = torch.nn.functional.normalize(torch.randn(2, base.d_head), dim=1)
    lock = wb.HeadDirections(torch.tensor([0, base.n_layers - 1]), torch.tensor([0, 1]),
                             unit=unit, scale=torch.ones(2), provenance={})  # fmt: skip
    with wb.steer(made.model, lock, 2.0, how="fold"):
        made.model.hf(ids)
        wb.save_checkpoint(made.model, tmp_path / "export", sidecar=True)
    for train in (lambda: made, None):
        again = kept(base, "a", 0.5, tmp_path / "kept", {}, train).model
    assert again.fingerprint() == made.model.fingerprint() != base.fingerprint()
    for name, value in base.hf.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_long_ropes_are_copied(tokenizer):
    """Phi-3's keep tensors of their config that are no buffers."""
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4,
            "rope_theta": 1e4}  # fmt: skip
    base = build("phi3", tokenizer, rope_parameters=rope, max_position_embeddings=64)
    ids = torch.arange(3, 43)[None]
    assert torch.equal(copied(base, "a", 0.5).hf(ids).logits, base.hf(ids).logits)
