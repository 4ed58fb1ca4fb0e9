"""Stop strings across token boundaries, and a stream that loses nothing."""

from hypothesis import given
from hypothesis import strategies as st

from refimpl.model.stream import StopWatch

pieces = st.lists(st.text("ab ", max_size=4), max_size=12)
stops = st.lists(st.text("ab ", min_size=1, max_size=4), max_size=3).map(tuple)


def streamed(watch, parts):
    out = [watch.push(part) for part in parts]
    return "".join(out) + watch.flush()


@given(pieces, stops)
def test_the_text_is_cut_where_the_first_stop_string_begins(parts, stop):
    watch = StopWatch(stop)
    whole = "".join(parts)
    found = [at for s in stop if (at := whole.find(s)) >= 0]
    if not found:
        assert streamed(watch, parts) == whole
        assert not watch.stopped
        return
    # the stream stops at the first piece that completes a stop string: what it can know by then
    known = ""
    for part in parts:
        known += part
        if any(s in known for s in stop):
            break
    expected = known[: min(at for s in stop if (at := known.find(s)) >= 0)]
    assert streamed(watch, parts) == expected
    assert watch.stopped


@given(pieces, stops)
def test_law_18_a_stop_string_only_truncates(parts, stop):
    assert "".join(parts).startswith(streamed(StopWatch(stop), parts))


@given(pieces, stops)
def test_nothing_is_held_back_that_cannot_begin_a_stop_string(parts, stop):
    watch = StopWatch(stop)
    for part in parts:
        watch.push(part)
        assert not watch.held or any(s.startswith(watch.held) for s in stop)
