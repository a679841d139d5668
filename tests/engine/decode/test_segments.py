"""Tokens cut into segments at their timestamps."""

from asr_service.engine.decode.segments import TimedTokens, split_at_timestamps

BEGIN = 1000


def at(seconds: float) -> int:
    return BEGIN + round(seconds * 50)


def test_two_segments_that_end_with_the_window():
    """A single timestamp at the end says that nothing follows: the window is done."""
    tokens = [at(0), 1, 2, at(2.5), at(3), 3, at(5)]
    window = split_at_timestamps(tokens, BEGIN, 10.0)
    assert window.segments == (TimedTokens(0.0, 2.5, (at(0), 1, 2, at(2.5))), TimedTokens(3.0, 5.0, (at(3), 3, at(5))))
    assert window.consumed_s == 10.0


def test_what_was_begun_and_not_ended_is_left_for_later():
    """The window is transcribed up to where the last whole segment ended."""
    tokens = [at(0), 1, at(4), at(4), 2, 3]
    window = split_at_timestamps(tokens, BEGIN, 10.0)
    assert [segment.tokens for segment in window.segments] == [(at(0), 1, at(4))]
    assert window.consumed_s == 4.0
    assert window.unfinished == TimedTokens(4.0, 10.0, (2, 3))


def test_what_was_begun_later_begins_when_the_model_says():
    """Not where the segment before it ended; past the window's end it lasts no time."""
    window = split_at_timestamps([at(0), 1, at(4), at(6), 2], BEGIN, 10.0)
    assert (window.consumed_s, window.unfinished) == (4.0, TimedTokens(6.0, 10.0, (2,)))
    assert split_at_timestamps([at(0), 1, at(4), at(12), 2], BEGIN, 10.0).unfinished == TimedTokens(12.0, 12.0, (2,))


def test_a_window_may_break_off_between_two_segments():
    """Nothing was begun, and the rest is still to be heard."""
    window = split_at_timestamps([at(0), 1, at(4), at(4)], BEGIN, 10.0)
    assert ([segment.tokens for segment in window.segments], window.consumed_s) == ([(at(0), 1, at(4))], 4.0)
    assert window.unfinished is None


def test_text_without_inner_timestamps_is_one_segment():
    """Its end is the last timestamp, or the window's end where there is none after the text: the model may end without
    one, and that text has been said too.
    """
    assert split_at_timestamps([at(1), 1, 2, at(3)], BEGIN, 10.0).segments == (
        TimedTokens(1.0, 3.0, (at(1), 1, 2, at(3))),
    )
    assert split_at_timestamps([1, 2], BEGIN, 10.0).segments == (TimedTokens(0.0, 10.0, (1, 2)),)
    assert split_at_timestamps([at(0.4), 1, 2], BEGIN, 10.0).segments == (TimedTokens(0.4, 10.0, (at(0.4), 1, 2)),)


def test_no_tokens_at_all():
    """A model that says nothing gives one segment without text, and the window is done."""
    window = split_at_timestamps([], BEGIN, 10.0)
    assert window.segments == (TimedTokens(0.0, 10.0, ()),)
    assert window.consumed_s == 10.0
