"""docs/cuda.md says what the device's record says (the profiler's table is by hand)."""

import json

from docs.make_cuda import PAGE, RECORD, page


def test_the_page_is_the_records():
    assert page(json.loads(RECORD.read_text())) == PAGE.read_text(), "run: python docs/make_cuda.py"
