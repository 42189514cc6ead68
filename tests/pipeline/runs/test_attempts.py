"""Counting starts and deaths: who is blamed, when, and who never is."""

from maskmill.pipeline.runs.attempts import (
    BLOCK_DEATHS,
    IMAGE_DEATHS,
    all_stages_here,
    begin_stage,
    release_all,
    under_way,
)
from maskmill.pipeline.runs.layout import RunLayout


def layout_in(tmp_path) -> RunLayout:
    return RunLayout(str(tmp_path))


def test_a_block_that_goes_through_was_started_once(tmp_path) -> None:
    layout = layout_in(tmp_path)
    for stage in ("load", "predict", "save"):
        attempt = begin_stage(layout, 3, stage, "s")
        assert attempt.starts == 1
        assert not attempt.one_by_one
        attempt.finish()


def test_deaths_lead_to_one_by_one_and_then_to_the_image(tmp_path) -> None:
    layout = layout_in(tmp_path)
    begin_stage(layout, 0, "load", "s").finish()
    for death in range(BLOCK_DEATHS):
        attempt = begin_stage(layout, 0, "predict", "s")
        assert attempt.starts == 1 + death
        attempt.mark(7)  # not one by one yet: leaves no trace
    for _ in range(IMAGE_DEATHS):
        attempt = begin_stage(layout, 0, "predict", "s")
        assert attempt.one_by_one
        assert not attempt.is_deadly(7)
        attempt.mark(6)
        attempt.mark(7)  # dies here
    attempt = begin_stage(layout, 0, "predict", "s")
    assert attempt.is_deadly(7)
    assert not attempt.is_deadly(6)


def test_a_killed_driver_blames_nobody(tmp_path) -> None:
    layout = layout_in(tmp_path)
    for session in range(10):
        attempt = begin_stage(layout, 0, "load", f"session {session}")
        assert not attempt.one_by_one
        assert attempt.starts == 1 + session


def test_a_stage_done_again_because_its_output_was_lost_is_no_death(tmp_path) -> None:
    layout = layout_in(tmp_path)
    for _ in range(5):
        attempt = begin_stage(layout, 0, "load", "s")
        assert not attempt.one_by_one
        attempt.finish()


def test_blocks_that_are_given_up_blame_nobody_however_often(tmp_path) -> None:
    layout = layout_in(tmp_path)
    begin_stage(layout, 9, "load", "s")
    for start in range(1, BLOCK_DEATHS + IMAGE_DEATHS + 2):
        attempts = [begin_stage(layout, block, "load", "s") for block in (0, 1)]
        assert [one.starts for one in attempts] == [start, start]
        assert not any(one.one_by_one for one in attempts)
        release_all(layout, range(5))
    assert under_way(layout, range(10)) == [9]


def test_blocks_do_not_mix(tmp_path) -> None:
    layout = layout_in(tmp_path)
    for _ in range(BLOCK_DEATHS + 1):
        begin_stage(layout, 1, "save", "s")
    assert not begin_stage(layout, 2, "save", "s").one_by_one


def test_where_one_thread_does_all_stages_the_first_note_stands_for_them(tmp_path) -> None:
    layout = layout_in(tmp_path)
    for death in range(BLOCK_DEATHS):
        with all_stages_here():
            assert begin_stage(layout, 0, "load", "s").starts == 1 + death
            begin_stage(layout, 0, "predict", "s")  # and dies here
        assert under_way(layout, [0]) == [0]
    for _ in range(IMAGE_DEATHS):
        with all_stages_here():
            load = begin_stage(layout, 0, "load", "s")
            assert load.one_by_one
            load.finish()
            predict = begin_stage(layout, 0, "predict", "s")
            assert not predict.is_deadly(7)
            predict.mark(7)  # dies here
    with all_stages_here():
        begin_stage(layout, 0, "load", "s").finish()
        predict = begin_stage(layout, 0, "predict", "s")
        assert predict.is_deadly(7)
        assert predict.stage_of_death(7) == "predict"


def test_a_note_that_is_none_counts_as_none(tmp_path) -> None:
    layout = layout_in(tmp_path)
    for torn in (b"", b"[" * 100_000, b'{"a": 1}', b"\xff"):
        begin_stage(layout, 0, "load", "s")
        layout.write(layout.attempts_path(0), torn)
        assert begin_stage(layout, 0, "load", "s").starts == 1
