"""The picture: every state and arrow is there once, and a walk stays on the arrows."""

import json
import re

import pytest
from click.testing import CliRunner

from refimpl.commands.show_fsm import fsm as command
from refimpl.grammar.drawing import Stop, page, svg, targets
from refimpl.grammar.fsm import minimal
from refimpl.grammar.regex import Regexes


@pytest.mark.parametrize("pattern", ["(ab|c)*d", "a", "[a-z]+<&", "(x|yz)(y|zz)"])
def test_every_state_and_arrow_is_drawn_once(pattern: str):
    machine = minimal(Regexes(), pattern)
    drawn = svg(machine)
    states = re.findall(r'id="s(\d+)"', drawn)
    arrows = re.findall(r'id="m(\d+)-(\d+)"', drawn)
    assert sorted(map(int, states)) == list(range(len(machine.moves)))
    assert sorted(arrows) == sorted(
        (str(s), str(t)) for s in range(len(machine.moves)) for t in targets(machine, s)
    )


def test_a_page_carries_its_walk_and_escapes_it():
    machine = minimal(Regexes(), "<a>")
    stop = Stop(token="</script>", states=[0, 1], n_allowed=1, allowed=["<"])
    text = page("<a>", machine, [stop], "")
    assert "&lt;a&gt;" in text
    assert text.count("</script>") == 2, "only the page's own scripts end"


def test_the_command_draws_a_walk_of_the_embedded_model():
    result = CliRunner().invoke(command, ["(ab|ac)+", "-n", "4", "-o", "-"])
    assert result.exit_code == 0, result.output
    data = re.search(r'id="data">(.*?)</script>', result.stdout, re.S)
    assert data
    machine = minimal(Regexes(), "(ab|ac)+")
    for stop in json.loads(data[1]):
        for source, target in zip(stop["states"], stop["states"][1:], strict=False):
            assert target in targets(machine, source)
