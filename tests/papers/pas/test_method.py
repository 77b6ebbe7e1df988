"""PAS against slow loops: prompts word for word, rows spelled out, hooks by hand."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tokenizers import Regex, normalizers

import workbench as wb
from tests.helpers.pas import INVENTORY, TEST, TOKENIZER, TRAIN, build, respondents
from workbench.data.inventories import Inventory, Item, read_inventory
from workbench.data.respondents import read_respondents
from workbench.errors import DatasetError, ModelError, RunError
from workbench.papers.pas import answer, prompts
from workbench.papers.pas import personas as people_directions
from workbench.papers.pas import search as searching
from workbench.papers.pas.answer import check_collapse, distribution, parse, written
from workbench.papers.pas.contrast import AnswerContrast, contrast_answers
from workbench.papers.pas.paper import Settings
from workbench.papers.pas.personas import personas, probes, stability
from workbench.papers.pas.search import everyone, folds, search, system_prompts

BOTH = ("forward", "reversed")
FEW = Settings(heads=4, alphas=(0.0, 3.0), folds=2, orders=("forward",), portrait_tokens=4)


@pytest.fixture(scope="module")
def model():
    one = build()
    before = one.fingerprint()
    yield one
    assert one.fingerprint() == before


@pytest.fixture(scope="module")
def captured(model):
    return contrast_answers(model, INVENTORY)


# ---- prompts


def test_the_question_word_for_word():
    forward = prompts.question("like order")
    assert forward == (
        'Given a statement of you: "You like order." Choose the option that says how accurately '
        "this describes you.\nOptions:\n(A). Very Accurate\n(B). Moderately Accurate\n"
        "(C). Neither Accurate Nor Inaccurate\n(D). Moderately Inaccurate\n(E). Very Inaccurate"
    )
    head = forward.partition("Options:\n")[0]
    assert prompts.question("like order", "reversed") == head + (
        "Options:\n(A). Very Inaccurate\n(B). Moderately Inaccurate\n"
        "(C). Neither Accurate Nor Inaccurate\n(D). Moderately Accurate\n(E). Very Accurate"
    )
    assert prompts.chat("Be kind.", "like order", "Option (") == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": forward},
        {"role": "assistant", "content": "Option ("},
    ]


def test_statements_and_the_fewshot_prompt_word_for_word():
    three = Inventory(
        "three",
        (
            Item("1", "Am fond of Mara.", "A", "f", 1, "train"),
            Item("2", "Lose my temper.", "A", "f", -1, "train", second="lose your Temper"),
            Item("3", "Like order.", "C", "f", 1, "train"),
        ),
    )
    second = ["are fond of Mara", "lose your Temper", "like order"]
    assert prompts.texts(three, [0, 1, 2], "second", lower=False) == second
    assert prompts.texts(three, [2, 0], "second", lower=True) == ["like order", "are fond of mara"]
    assert prompts.texts(three, [1], "paper", lower=False) == ["Lose my temper."]
    with pytest.raises(ValueError, match="wording 'third'"):
        prompts.texts(three, [0], "third", lower=False)
    assert prompts.fewshot(three, [0, 1, 2], np.array([5, 0, 2]), "second") == (
        "Here are some of your behaviors and your level of recognition towards them;"
        "are fond of Mara:Very Accurate;lose your Temper:Unknown;like order:Moderately Inaccurate"
    )
    request = prompts.portrait_request("Known.")
    assert [m["role"] for m in request] == ["system", "user"]
    assert request[0]["content"] == "Known."
    assert "second person" in request[1]["content"]
    assert "accurate and inaccurate" in request[1]["content"]


# ---- extraction


def head_of_chat(tokenizer, system, text, order):
    """Token ids up to the reply, from the tokenizer's own template."""
    messages = prompts.chat(system, text, "", order)[:2]
    written = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return tokenizer(written, add_special_tokens=False)["input_ids"]


@torch.no_grad()
def at_the_letter(model, text, letter, order):
    """o_proj's input at the answer letter, `[L, H, d_head]`, of one plain forward."""
    ids = head_of_chat(model.tokenizer, prompts.SYSTEM, text, order)
    ids += model.tokenizer(letter, add_special_tokens=False)["input_ids"]
    seen = []
    hooks = [
        layer.self_attn.o_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        for layer in model.hf.model.layers
    ]
    model.hf(torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    return torch.stack([z[0, -1].view(model.n_heads, model.d_head) for z in seen])


@pytest.mark.parametrize("orders", [("forward",), ("reversed",), BOTH])
def test_extraction_equals_one_plain_forward_each(model, orders):
    items = TRAIN[::7]
    contrast = contrast_answers(model, INVENTORY, items=items, orders=orders)
    assert contrast.items == tuple(items)
    letters = {"forward": ("A", "E"), "reversed": ("E", "A")}
    for place, item in enumerate(items):
        text = INVENTORY.items[item].text
        agree, disagree = (
            torch.stack([at_the_letter(model, text, letters[o][side], o) for o in orders]).mean(0)
            for side in (0, 1)
        )
        torch.testing.assert_close(contrast.agree[place], agree, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(contrast.disagree[place], disagree, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(contrast.delta[place], agree - disagree, atol=4e-5, rtol=1e-4)
        assert (agree - disagree).abs().max() > 0.01


def test_extraction_takes_the_train_items_in_the_papers_order(captured):
    assert captured.items == tuple(TRAIN)
    assert [INVENTORY.items[i].trait for i in captured.items] == sorted(
        INVENTORY.items[i].trait for i in captured.items
    )
    assert captured.delta.shape == (len(TRAIN), 2, 8, 8)


def test_a_template_that_drops_replies_changes_nothing(captured):
    tokenizer = copy.deepcopy(TOKENIZER)
    kept = "{% for m in messages if m['role'] != 'assistant' %}"
    tokenizer.chat_template = TOKENIZER.chat_template.replace("{% for m in messages %}", kept)
    messages = prompts.chat("s", "t", "A")
    assert tokenizer.apply_chat_template(messages, tokenize=False).count("<assistant>") == 0
    again = contrast_answers(build(tokenizer), INVENTORY)
    torch.testing.assert_close(again.acts.values, captured.acts.values)


@pytest.mark.parametrize(
    ("pattern", "instead", "message"),
    [
        ("^[AE]$", "X", "the same tokens, so that there is no direction"),
        ("^A$", "AA", "an answer letter is not one token"),
        ("^E$", "EE", "an answer letter is not one token"),
    ],
)
def test_letters_that_cannot_be_read_are_refused(pattern, instead, message):
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace(Regex(pattern), instead)
    with pytest.raises(ModelError, match=message):
        contrast_answers(build(tokenizer), INVENTORY, items=TRAIN[:2])


# ---- directions of everybody


def contrast_of(items=15, layers=(3, 7), heads=3, width=5, seed=0, offset=0.0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2 * items, 1, len(layers), heads, width, generator=generator)
    # Agreement differs from disagreement by something common to all items.
    values[0::2] += torch.randn(1, len(layers), heads, width, generator=generator)
    acts = wb.Activations(
        (values + offset,), torch.ones(2 * items, dtype=torch.long), layers, "heads", wb.last(),
        "m", {"n_heads": heads},
    )  # fmt: skip
    return AnswerContrast(acts, tuple(range(items)))


def some_answers(subjects=6, items=15, seed=0):
    values = np.random.default_rng(seed).integers(0, 6, (subjects, items))
    values[:, 0], values[:, 1] = 5, 2  # both sides for everybody
    return values


def by_hand(contrast, answers, kind, layer, head):
    """(direction, unit, scale, share) of one subject and head from rows with labels, float64."""
    one = contrast.acts.values[:, 0, layer, head].double().numpy()
    x, labels, weight = [], [], []
    for item, value in enumerate(answers.tolist()):
        if value in (0, 3):
            continue
        x += [one[2 * item], one[2 * item + 1]]
        labels += [value > 3, value < 3]
        weight += 2 * [abs(value - 3) if kind == "weighted" else 1]
    x, labels, weight = np.array(x), np.array(labels), np.array(weight)[:, None]
    n = len(x) / 2
    difference = (weight * x)[labels].sum(0) / n - (weight * x)[~labels].sum(0) / n
    deltas = [one[2 * i] - one[2 * i + 1] for i in range(len(answers))]
    common = sum(deltas) / len(deltas)
    used = [v - 3 for v in answers.tolist() if v not in (0, 3)]
    lean = sum(v if kind == "weighted" else np.sign(v) for v in used) / n
    share = abs(lean) * np.linalg.norm(common) / np.linalg.norm(difference)
    direction = difference - lean * common if kind == "centered" else difference
    unit = direction / np.linalg.norm(direction)
    return direction, unit, (x @ unit).std(), share, lean


@pytest.mark.parametrize("kind", ["paper", "centered", "weighted"])
@pytest.mark.parametrize("block", [1, 2**20])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_everybodys_directions_equal_the_slow_loop(kind, block, offset, monkeypatch):
    monkeypatch.setattr(people_directions, "_BLOCK", block)
    contrast, answers = contrast_of(offset=offset), some_answers()
    found = personas(contrast, answers, kind)
    assert found.unit.shape == (6, 2, 3, 5)
    close = {"atol": 1e-5, "rtol": 1e-4} if not offset else {"atol": 1e-4, "rtol": 1e-3}
    for s, layer, head in np.ndindex(6, 2, 3):
        raw, unit, scale, share, lean = by_hand(contrast, answers[s], kind, layer, head)
        np.testing.assert_allclose(found.raw[s, layer, head], raw, **close)
        np.testing.assert_allclose(found.unit[s, layer, head], unit, **close)
        np.testing.assert_allclose(found.scale[s, layer, head], scale, **close)
        np.testing.assert_allclose(found.share[s, layer, head], share, **close)
        assert found.lean[s] == pytest.approx(lean, abs=1e-6)


def test_paper_direction_is_what_everybody_shares_and_the_rest():
    """μ1 − μ0 = s̄ δ̄ + mean(s (δ − δ̄)), the sum over used items written out."""
    contrast, answers = contrast_of(), some_answers()
    paper, centered = (personas(contrast, answers, kind) for kind in ("paper", "centered"))
    common = contrast.delta.mean(0)
    for s, row in enumerate(answers):
        used = [i for i, v in enumerate(row.tolist()) if v not in (0, 3)]
        sign = [1.0 if row[i] > 3 else -1.0 for i in used]
        rest = sum(x * (contrast.delta[i] - common) for x, i in zip(sign, used, strict=True)) / len(
            used
        )
        lean = sum(sign) / len(used)
        torch.testing.assert_close(centered.raw[s], rest, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(paper.raw[s], lean * common + rest, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(paper.share, centered.share)
    assert (paper.unit - centered.unit).abs().max() > 0.1


def test_one_subjects_lock_equals_the_contrast_of_the_labelled_rows():
    contrast, answers = contrast_of(), some_answers()
    heads = [(7, 2), (3, 0)]
    found = personas(contrast, answers)
    lock = found.direction(4, heads, contrast, person="Mara")
    used = [i for i, v in enumerate(answers[4]) if v not in (0, 3)]
    rows = [r for i in used for r in (2 * i, 2 * i + 1)]
    labels = [int(x) for i in used for x in (answers[4][i] > 3, answers[4][i] < 3)]
    acts = replace(
        contrast.acts, shards=(contrast.acts.values[rows],), lengths=contrast.acts.lengths[rows]
    )
    expected = wb.HeadDirections.contrast(acts, labels, heads)
    assert lock.heads == expected.heads == heads
    torch.testing.assert_close(lock.unit, expected.unit, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(lock.scale, expected.scale, atol=1e-5, rtol=1e-4)
    assert lock.provenance["person"] == "Mara"
    assert lock.provenance["method"] == "pas paper"
    shares = [by_hand(contrast, answers[4], "paper", *cell)[3] for cell in ((1, 2), (0, 0))]
    assert lock.provenance["share_common"] == pytest.approx(np.mean(shares), abs=1e-5)


def test_missing_and_neutral_answers_count_for_nothing():
    contrast, answers = contrast_of(), some_answers()
    skipped = (answers == 0) | (answers == 3)
    assert (answers == 0).any()
    assert (answers == 3).any()
    same = personas(contrast, np.where(skipped, 3 - answers, answers))
    torch.testing.assert_close(same.unit, personas(contrast, answers).unit)
    torch.testing.assert_close(same.scale, personas(contrast, answers).scale)
    # Nor do their activations.
    unused = np.flatnonzero(answers[2] % 3 == 0)
    other = contrast_of()
    other.acts.values[[r for i in unused for r in (2 * i, 2 * i + 1)]] += 5
    for kind in ("paper", "weighted"):
        a, b = (personas(c, answers[2:3], kind) for c in (contrast, other))
        torch.testing.assert_close(a.unit, b.unit)
        torch.testing.assert_close(a.scale, b.scale, atol=1e-5, rtol=1e-5)


def test_a_dead_head_has_no_direction_and_harms_no_other():
    contrast, answers = contrast_of(), some_answers()
    before = personas(contrast, answers)
    contrast.acts.values[:, :, 1, 2] = 4.0
    found = personas(contrast, answers)
    assert found.unit[:, 1, 2].abs().max() == 0
    assert found.scale[:, 1, 2].abs().max() == 0
    assert found.share.isfinite().all()
    torch.testing.assert_close(found.scale[:, 0], before.scale[:, 0])


def test_answers_all_on_one_side(caplog):
    contrast, answers = contrast_of(), some_answers()
    personas(contrast, answers)
    assert not caplog.records
    answers[3] = [5, 4, 0, 3, 5] * 3
    found = personas(contrast, answers)
    assert "1 of 6 subjects are on one side" in caplog.text
    used = [i for i, v in enumerate(answers[3]) if v > 3]
    letter = contrast.delta[used].mean(0)
    torch.testing.assert_close(found.raw[3], letter, atol=1e-5, rtol=1e-4)
    assert found.lean[3] == 1
    personas(contrast, answers, "weighted")
    with pytest.raises(DatasetError, match="answers of subject 3 are on one side"):
        personas(contrast, answers, "centered")


def test_unusable_answers_and_kinds():
    contrast, answers = contrast_of(), some_answers()
    answers[1] = [0, 3, 3] * 5
    with pytest.raises(DatasetError, match="subject 1 has no usable answer"):
        personas(contrast, answers)
    with pytest.raises(ValueError, match="direction 'lda'; use one of paper"):
        personas(contrast, answers, "lda")


def test_probes_agree_with_sklearn_on_a_split_by_items():
    contrast = contrast_of(items=40, width=6, seed=3)
    answers = some_answers(1, 40, seed=1)[0]
    contrast.acts.values[0::2] += (
        0.7 * torch.tensor(np.sign(answers - 3))[:, None, None, None, None]
    )
    found = probes(contrast, answers, seed=5)
    used = [i for i, v in enumerate(answers.tolist()) if v not in (0, 3)]
    order = torch.randperm(len(used), generator=torch.Generator().manual_seed(5)).tolist()
    train = {used[k] for k in order[: round(0.6 * len(used))]}
    sides = {True: ([], []), False: ([], [])}
    for item in used:
        rows, labels = sides[item in train]
        rows += [2 * item, 2 * item + 1]
        labels += [int(answers[item] > 3), int(answers[item] < 3)]
    for layer, head in np.ndindex(2, 3):
        x = contrast.acts.values[:, 0, layer, head].double().numpy()
        fit = LogisticRegression(tol=1e-10, max_iter=10000).fit(x[sides[True][0]], sides[True][1])
        for side, ours in ((True, found.train_accuracy), (False, found.validation_accuracy)):
            expected = fit.score(x[sides[side][0]], sides[side][1])
            assert ours[layer, head] == pytest.approx(expected)
        np.testing.assert_allclose(found.weight[layer, head], fit.coef_[0], atol=1e-3)
    assert found.layers == (3, 7)
    assert not torch.equal(
        found.validation_accuracy, probes(contrast, answers, 6).validation_accuracy
    )


def test_stability_by_hand():
    def chosen(*cells):
        return SimpleNamespace(top=lambda k, by: list(cells)[:k] if by == "paper" else [])

    a, b, c = chosen((0, 0), (0, 1), (5, 5)), chosen((0, 1), (0, 0)), chosen((0, 1), (1, 1))
    assert stability([a, b], 2, "paper") == 1
    assert stability([a, c], 2, "paper") == pytest.approx(1 / 3)
    assert stability([a, b, c], 2, "paper") == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)


def test_released_values_lean_further_than_raw_ones(shared):
    folder = shared / "papi"
    inventory = read_inventory(folder)
    train = inventory.split("train")
    contrast = contrast_of(items=len(train), layers=(0,), heads=1, width=4)
    lean, share = {}, {}
    for targets in ("raw", "released"):
        everybody = read_respondents(folder / "subjects_50.json", inventory, targets=targets)
        assert len(everybody) == 50
        found = personas(contrast, everybody.values[:, train])
        for s, row in enumerate(everybody.values[:, train].tolist()):
            signs = [1 if v > 3 else -1 for v in row if v not in (0, 3)]
            assert found.lean[s] == pytest.approx(sum(signs) / len(signs), abs=1e-6)
        lean[targets] = found.lean.abs().mean().item()
        share[targets] = found.share.mean().item()
    assert lean["released"] > lean["raw"] + 0.15
    assert share["released"] > share["raw"]


# ---- answers


def lock_of(model, k=6, scale=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randperm(model.n_layers * model.n_heads, generator=generator)[:k]
    unit = torch.nn.functional.normalize(torch.randn(k, model.d_head, generator=generator), dim=1)
    return wb.HeadDirections(
        cells // model.n_heads, cells % model.n_heads, unit, torch.full((k,), scale)
    )


@torch.no_grad()
def letters_by_hand(model, system, text, order, lock=None, alpha=0.0):
    """Probabilities of the values 1..5 from one plain forward, shifted at o_proj's input."""
    ids = head_of_chat(model.tokenizer, system, text, order)
    ids += model.tokenizer("Option (", add_special_tokens=False)["input_ids"]
    hooks = []
    for layer, module in enumerate(model.hf.model.layers):

        def shifted(_, args, layer=layer):
            z = args[0].clone()
            for (at, head), unit, scale in zip(lock.heads, lock.unit, lock.scale, strict=True):
                if at == layer:
                    here = slice(head * model.d_head, (head + 1) * model.d_head)
                    z[..., here] += alpha * scale * unit
            return (z, *args[1:])

        if lock is not None:
            hooks.append(module.self_attn.o_proj.register_forward_pre_hook(shifted))
    logits = model.hf(torch.tensor([ids])).logits[0, -1].double()
    for hook in hooks:
        hook.remove()
    letters = model.tokenizer.convert_tokens_to_ids(list("ABCDE"))
    probabilities = logits[letters].softmax(0)
    # What each letter means is read off the question itself.
    lines = prompts.question(text, order).splitlines()[-5:]
    out = np.zeros(5)
    for line, p in zip(lines, probabilities.tolist(), strict=True):
        out[prompts.LABELS.index(line.partition(". ")[2]) - 1] = p
    return out


@pytest.mark.parametrize("orders", [("forward",), ("reversed",), BOTH])
def test_answers_equal_a_plain_forward(model, orders):
    statements = [INVENTORY.items[i].text for i in TEST[:5]]
    got = distribution(model, "You are kind.", statements, orders)
    assert got.shape == (1, 5, 5)
    for row, text in zip(got[0], statements, strict=True):
        expected = np.mean(
            [letters_by_hand(model, "You are kind.", text, order) for order in orders], 0
        )
        np.testing.assert_allclose(row, expected, atol=1e-5)
    np.testing.assert_allclose(got.sum(-1), 1)
    assert got.std(1).max() > 0.01


def test_all_alphas_at_once_one_by_one_and_by_hand(model):
    lock, alphas = lock_of(model), (0.0, 1.0, 4.0)
    statements = [INVENTORY.items[i].text for i in TEST[:4]]
    together, folded = (
        distribution(
            model, prompts.SYSTEM, statements, BOTH, direction=lock, alphas=alphas, together=way
        )
        for way in (True, False)
    )
    assert together.shape == (3, 4, 5)
    np.testing.assert_allclose(together, folded, atol=1e-5)
    for a, alpha in enumerate(alphas):
        for t, text in enumerate(statements):
            expected = np.mean(
                [letters_by_hand(model, prompts.SYSTEM, text, o, lock, alpha) for o in BOTH], 0
            )
            np.testing.assert_allclose(together[a, t], expected, atol=1e-5)
    plain = distribution(model, prompts.SYSTEM, statements, BOTH)
    np.testing.assert_allclose(together[0], plain[0], atol=1e-5)
    assert np.abs(together[2] - together[0]).max() > 0.02
    assert answer.values(np.array([[0.1, 0.2, 0.4, 0.1, 0.2], [0, 0, 0, 0, 1]])).tolist() == [3, 5]


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        (" (A). Very Accurate", 5),
        (" (b)", 4),
        ("c.", 3),
        ("Sure, I can", 1),  # the word ends in e
        ("I would say: A)", 2),  # would
        ("Bad: A)", 2),
        ("\n\nOption (A)", 5),
        ("\n\n Option (A)", 0),  # the closing bracket is the 13th character
        ("12345678901A)", 0),
        ("1234567890A)", 5),
        ("xA)", 5),
        ("A1", 5),
        ("A\n", 5),
        ("A", 0),
        ("AB", 0),
        ("AB.", 4),
        ("F) G) 1", 0),
        ("(ä) (B)", 4),
        ("", 0),
    ],
)
def test_parse(reply, value):
    assert parse(reply) == value
    assert parse(reply, "reversed") == (6 - value if value else 0)


def test_parse_knows_every_letter_in_both_cases():
    for place, letter in enumerate("ABCDE"):
        for form in (f"({letter})", f" {letter.lower()}.", f"{letter}:"):
            assert parse(form) == 5 - place
            assert parse(form, "reversed") == 1 + place


def scripted(after):
    """A model that knows the last token only: `after` names what follows which token."""
    model = build(num_hidden_layers=1)
    hf, ids = model.hf, TOKENIZER.convert_tokens_to_ids
    layer = hf.model.layers[0]
    weights = (layer.self_attn.o_proj, layer.mlp.down_proj, hf.model.embed_tokens, hf.lm_head)
    for module in weights:
        module.weight.data.zero_()
    hf.model.norm.weight.data.fill_(1.0)
    for place, (token, following) in enumerate(after.items()):
        hf.model.embed_tokens.weight.data[ids(token), place] = 1.0
        hf.lm_head.weight.data[ids(following), place] = 10.0
    return model


@pytest.mark.parametrize("letter", list("ABCDE"))
def test_written_answers_are_read_from_what_the_model_writes(letter):
    model = scripted({"Option": " (", " (": letter, letter: ")", ")": "<eos>"})
    statements = [INVENTORY.items[i].text for i in TEST[:3]]
    assert wb.generate(model, [prompts.chat("s", "t", "Option")], max_new_tokens=15) == [
        [f" ({letter})"]
    ]
    forward = 5 - "ABCDE".index(letter)
    assert written(model, prompts.SYSTEM, statements).tolist() == 3 * [forward]
    assert written(model, prompts.SYSTEM, statements, "reversed").tolist() == 3 * [6 - forward]


@pytest.mark.parametrize("order", BOTH)
def test_the_model_is_asked_to_write_with_the_order_it_is_read_by(order, monkeypatch):
    seen = []
    monkeypatch.setattr(answer, "generate", lambda _, chats, **__: seen.extend(chats) or [["(A)"]])
    assert written(None, "Be kind.", ["like order"], order).tolist() == [prompts.ORDERS[order][0]]
    assert seen == [prompts.chat("Be kind.", "like order", "Option", order)]


def test_what_is_written_unreadably_is_unknown():
    model = scripted({"Option": " (", " (": ")", ")": " ("})
    assert written(model, prompts.SYSTEM, ["like order"] * 2).tolist() == [0, 0]


def test_collapse():
    check_collapse(np.array([[1, 2, 3, 4, 5], [3, 3, 4, 2, 3]]), "pas")
    check_collapse(np.array([0] * 15 + [4, 5] * 42 + [4]), "15 % exactly")
    with pytest.raises(RunError, match=r"pas: .* collapsed \(0.00 bits, 0% .*\{5: 40\}"):
        check_collapse(np.full((4, 10), 5), "pas")
    with pytest.raises(RunError, match=r"collapsed \(0.14 bits"):
        check_collapse(np.array([5] * 98 + [4] * 2), "pas")
    with pytest.raises(RunError, match="16% unreadable"):
        check_collapse(np.array([0] * 16 + [4, 5] * 42), "pas")
    with pytest.raises(RunError, match="100% unreadable"):
        check_collapse(np.zeros(9, int), "pas")


# ---- search


@pytest.mark.parametrize("seed", [0, 1])
def test_folds_part_the_train_items_and_spread_every_facet(seed):
    everybody = respondents()
    parts = folds(everybody, 5, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(TRAIN)))
    facets = {}
    for place, item in enumerate(TRAIN):
        one = INVENTORY.items[item]
        facets.setdefault((one.trait, one.facet), set()).add(place)
    for members in facets.values():
        counts = [len(members & set(part.tolist())) for part in parts]
        assert max(counts) - min(counts) <= 1
    for a, b in zip(folds(everybody, 2, seed), parts, strict=False):
        assert a.tolist() == b.tolist()
    assert any(
        a.tolist() != b.tolist() for a, b in zip(parts, folds(everybody, 5, seed + 2), strict=True)
    )


def asked(model, contrast, everybody, mode, monkeypatch):
    """(direction, system prompt, statements) of every batch that one subject's search asks."""
    seen = []
    real = distribution

    def spy(model, system, statements, orders, **rest):
        seen.append((rest["direction"], system, statements))
        return real(model, system, statements, orders, **rest)

    monkeypatch.setattr(searching, "distribution", spy)
    found, held = everyone(contrast, everybody, FEW)
    systems = system_prompts(model, mode, everybody, held, FEW)
    search(model, contrast, everybody, 1, found, held, systems[1], FEW, mode)
    monkeypatch.undo()
    return seen


@pytest.mark.parametrize("mode", ["pas", "fewshot+pas", "p2+pas"])
def test_validation_never_sees_the_answers_it_is_scored_on(model, captured, mode, monkeypatch):
    everybody = respondents()
    held = folds(everybody, FEW.folds)
    turned = everybody.values.copy()
    for place in held[0]:
        turned[1, TRAIN[place]] = 6 - turned[1, TRAIN[place]]
    other = replace(everybody, values=turned)
    assert (turned != everybody.values).any()
    before, after = (asked(model, captured, r, mode, monkeypatch) for r in (everybody, other))
    assert len(before) == FEW.folds + 1
    a, b = before[0], after[0]
    assert a[0].heads == b[0].heads
    assert torch.equal(a[0].unit, b[0].unit)
    assert torch.equal(a[0].scale, b[0].scale)
    assert a[1:] == b[1:]
    texts = [INVENTORY.items[i].text for i in TRAIN]
    assert a[2] == [texts[p] for p in held[0]]
    if mode == "fewshot+pas":
        assert not any(f";{texts[p]}:" in a[1] for p in held[0])
        assert all(f";{texts[p]}:" in a[1] for p in range(len(TRAIN)) if p not in held[0])
    # What the other fold and the final one are told does change.
    for a, b in zip(before[1:], after[1:], strict=True):
        assert a[0].heads != b[0].heads or not torch.equal(a[0].unit, b[0].unit)
        assert mode != "fewshot+pas" or a[1] != b[1]
    assert before[-1][2] == [INVENTORY.items[i].text for i in TEST]


def test_statements_are_scored_in_lower_case(model, captured, monkeypatch):
    capital = Inventory(
        "capital", tuple(replace(i, text=f"trust Mara: {i.text}") for i in INVENTORY.items)
    )
    everybody = replace(respondents(), inventory=capital)
    *_, last = asked(model, captured, everybody, "pas", monkeypatch)
    assert last[2] == [f"trust mara: {INVENTORY.items[i].text}" for i in TEST]


def test_system_prompts(model):
    everybody = respondents(2, missing=0.1)
    held = folds(everybody, 1)
    plain = system_prompts(model, "pas", everybody, held, FEW)
    assert plain == [[prompts.SYSTEM] * 2] * 2
    told = system_prompts(model, "fewshot+pas", everybody, held, FEW)
    for s, row in enumerate(told):
        shown = [i for p, i in enumerate(TRAIN) if p not in held[0]]
        for items, system in zip((shown, TRAIN), row, strict=True):
            pairs = [
                f"{INVENTORY.items[i].text}:{prompts.LABELS[everybody.values[s, i]]}" for i in items
            ]
            assert system == prompts.OPENING + ";".join(pairs)
    assert any(":Unknown" in row[1] for row in told)
    described = system_prompts(model, "p2+pas", everybody, held, FEW)
    for row, systems in zip(described, told, strict=True):
        for text, system in zip(row, systems, strict=True):
            one = wb.generate(model, [prompts.portrait_request(system)], max_new_tokens=4)
            assert [[text]] == one
    with pytest.raises(ValueError, match="mode 'dpo'; use one of pas"):
        system_prompts(model, "dpo", everybody, held, FEW)


@pytest.mark.parametrize("mode", ["pas", "fewshot+pas"])
def test_a_search_equals_one_alpha_and_one_fold_at_a_time(model, captured, mode):
    everybody = respondents(missing=0.08)
    mine = everybody.values[2]
    mine[[TRAIN[folds(everybody, FEW.folds)[0][0]], TEST[3]]] = 0
    found, held = everyone(captured, everybody, FEW)
    systems = system_prompts(model, mode, everybody, held, FEW)
    got = search(model, captured, everybody, 2, found, held, systems[2], FEW, mode)

    def said(fold, items, alpha):
        known = np.array([0 if p in fold else mine[i] for p, i in enumerate(TRAIN)])
        heads = probes(captured, known, 0).top(FEW.heads, FEW.selection)
        lock = personas(captured, known[None]).direction(0, heads, captured)
        system = systems[2][[*(f.tolist() for f in held), []].index(fold)]
        texts = [INVENTORY.items[i].text.lower() for i in items]
        with wb.steer(model, lock, alpha):
            plain = distribution(model, system, texts, FEW.orders)
        return answer.values(plain)[0].tolist(), heads

    def errors(pairs):
        total = 0.0
        for trait in INVENTORY.traits:
            gaps = [
                abs(a - mine[i]) for i, a in pairs if mine[i] and INVENTORY.items[i].trait == trait
            ]
            total += sum(gaps) / len(gaps) if gaps else 0.0
        return total

    for a, alpha in enumerate(FEW.alphas):
        pairs = []
        for fold in held:
            items = [TRAIN[p] for p in fold]
            pairs += zip(items, said(fold.tolist(), items, alpha)[0], strict=True)
        assert got["validation"][a] == pytest.approx(errors(pairs))
        replies, heads = said([], TEST, alpha)
        assert got["answers"][a] == replies
        assert got["test"][a] == pytest.approx(errors(list(zip(TEST, replies, strict=True))))
    assert got["heads"] == heads
    assert got["answers"][0] != got["answers"][1]
    assert (got["id"], got["mode"], got["alphas"]) == ("p2", mode, list(FEW.alphas))
    assert got["prompts"] == 2 * sum(len(f) for f in held)
    unsteered = distribution(
        model, systems[2][-1], [INVENTORY.items[i].text for i in TEST], FEW.orders
    )
    assert got["answers"][0] == answer.values(unsteered)[0].tolist()
    assert got["share"] == pytest.approx(
        np.mean([found[-1].share[2, layer, head] for layer, head in heads]), abs=1e-6
    )
    assert min(got["seconds_fit"], got["seconds_search"], got["seconds_test"]) > 0


def test_alphas_hold_zero_and_stability_needs_two_splits():
    with pytest.raises(ValueError, match="must hold 0"):
        Settings(alphas=(1.0, 2.0))
    with pytest.raises(ValueError, match="1 given, at least 2"):
        stability([object()], 3, "paper")
