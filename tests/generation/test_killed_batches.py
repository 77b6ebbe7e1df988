"""A batch that is killed goes on where it was: nothing stored is drawn again."""

from tests.benchmarks.floor_kills import redrawn
from workbench.generation.local import LocalBackend


def test_only_rows_that_had_not_ended_are_drawn_again():
    out = redrawn(kills=4, prompts=12, samples=5, longest=60)
    assert 0.1 < out.pop("share_stored_at_kill") < 0.9
    assert out.pop("ended_but_not_stored") <= 10  # those of the token at which it was killed
    assert out == {"redrawn_after_kill": 0, "texts_changed_after_kill": 0}


def test_storing_a_batch_at_its_end_would_be_seen(monkeypatch):
    draw = LocalBackend.draw

    def late(backend, requests, missing):
        yield [drawn for some in draw(backend, requests, missing) for drawn in some]

    monkeypatch.setattr(LocalBackend, "draw", late)
    out = redrawn(kills=1, prompts=4, samples=5, longest=40, seed=1)
    assert out["redrawn_after_kill"] > 0
    assert out["share_stored_at_kill"] == 0
