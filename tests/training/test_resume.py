"""Which checkpoint a killed training goes on from."""

from workbench.training.resume import last_checkpoint


def test_the_last_checkpoint_is_the_newest_whole_one(tmp_path):
    assert last_checkpoint(tmp_path / "absent") is None
    for step, state in (
        (9, '{"epoch": 1}'),
        (10, '{"epoch": 2}'),
        (11, ""),
        (12, '{"epoch"'),
        (13, None),
    ):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    (tmp_path / "checkpoint-10/trainer_state.json").unlink()
    (tmp_path / "checkpoint-9/trainer_state.json").write_text("{")
    assert last_checkpoint(tmp_path) is None
