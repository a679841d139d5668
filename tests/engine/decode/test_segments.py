"""How a window's tokens are cut into segments at their timestamps."""

from asr_service.engine.decode.segments import TimedTokens, split_at_timestamps

BEGIN = 1000


def at(seconds: float) -> int:
    return BEGIN + round(seconds * 50)


def test_a_single_timestamp_at_the_end_ends_the_window():
    """The model says with it that nothing follows."""
    tokens = [at(0), 1, 2, at(2.5), at(3), 3, at(5)]
    window = split_at_timestamps(tokens, BEGIN, 10.0)
    assert window.segments == (TimedTokens(0.0, 2.5, (at(0), 1, 2, at(2.5))), TimedTokens(3.0, 5.0, (at(3), 3, at(5))))
    assert window.consumed_s == 10.0


def test_a_segment_without_an_end_is_unfinished():
    """The window is transcribed up to the end of the last whole segment."""
    tokens = [at(0), 1, at(4), at(4), 2, 3]
    window = split_at_timestamps(tokens, BEGIN, 10.0)
    assert [segment.tokens for segment in window.segments] == [(at(0), 1, at(4))]
    assert window.consumed_s == 4.0
    assert window.unfinished == TimedTokens(4.0, 10.0, (2, 3))


def test_an_unfinished_segment_starts_at_its_own_timestamp():
    """It does not start at the end of the segment before it. After the end of the window it has no length."""
    window = split_at_timestamps([at(0), 1, at(4), at(6), 2], BEGIN, 10.0)
    assert (window.consumed_s, window.unfinished) == (4.0, TimedTokens(6.0, 10.0, (2,)))
    assert split_at_timestamps([at(0), 1, at(4), at(12), 2], BEGIN, 10.0).unfinished == TimedTokens(12.0, 12.0, (2,))


def test_the_model_may_stop_between_two_segments():
    """There is no unfinished segment, and the rest of the window is not transcribed."""
    window = split_at_timestamps([at(0), 1, at(4), at(4)], BEGIN, 10.0)
    assert ([segment.tokens for segment in window.segments], window.consumed_s) == ([(at(0), 1, at(4))], 4.0)
    assert window.unfinished is None


def test_text_without_inner_timestamps_is_one_segment():
    """It ends at its last timestamp. Without a timestamp after the text it lasts until the window ends."""
    assert split_at_timestamps([at(1), 1, 2, at(3)], BEGIN, 10.0).segments == (
        TimedTokens(1.0, 3.0, (at(1), 1, 2, at(3))),
    )
    assert split_at_timestamps([1, 2], BEGIN, 10.0).segments == (TimedTokens(0.0, 10.0, (1, 2)),)
    assert split_at_timestamps([at(0.4), 1, 2], BEGIN, 10.0).segments == (TimedTokens(0.4, 10.0, (at(0.4), 1, 2)),)


def test_no_tokens_are_one_segment_without_text():
    """The window is transcribed to its end."""
    window = split_at_timestamps([], BEGIN, 10.0)
    assert window.segments == (TimedTokens(0.0, 10.0, ()),)
    assert window.consumed_s == 10.0


def test_a_segment_that_would_begin_after_the_window_has_no_length():
    """Its start would be after its end."""
    window = split_at_timestamps([at(29), 1], BEGIN, 5.0)
    assert window.segments == (TimedTokens(5.0, 5.0, (at(29), 1)),)
