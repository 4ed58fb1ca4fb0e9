"""Every example runs on the embedded model, says what it should, and leaves nothing behind."""

import asyncio
import json
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

from refimpl.lang import Local, run_batch
from refimpl.model.find import find_model
from refimpl.model.load import load
from tests.laws.engines import shapes_unchecked
from tests.unit.lang.models import assert_at_rest

ROOT = Path(__file__).parents[2]


@cache
def performed(name):
    """An example's results, what it shows, and the engine it ran on."""
    example = import_module(f"examples.{name}")
    engine = Local(load(find_model("tiny")))

    async def inside():
        async with engine:
            return await run_batch(example.jobs(), engine)

    with shapes_unchecked():
        done = asyncio.run(inside())
    assert_at_rest(engine)
    return done, example.show(done), engine.counts


def test_summaries_in_two_languages():
    done, shown, counts = performed("summaries")
    assert done[0].result["lines"] == "person: Henry\nplace: Cairo\nprice: 22"
    assert '{"person": "Henry", "place": "Cairo", "price": 22}' in shown
    assert counts.hit_rate > 0.5


def test_a_tree_of_thought_finds_the_answers():
    done, _, counts = performed("tree_of_thought")
    assert [one.result for one in done] == ["452", "96"]
    assert counts.hit_rate > 0.95


def test_a_majority_is_right():
    done, shown, _ = performed("self_consistency")
    assert [one.result.most_common(1)[0][0] for one in done] == ["198", "96"]
    assert all(sum(one.result.values()) == 7 for one in done) and "votes: 198 x" in shown


def test_a_skeleton_becomes_a_story():
    done, shown, _ = performed("skeleton_of_thought")
    assert len(done[0].result) == 3 and shown.startswith("Once upon a time, there was a")


def test_a_judge_fills_in_forms_and_grades_by_them():
    done, shown, counts = performed("judge")
    assert [given.points for given in done[0].result] == [1, 2 / 3, 1 / 3]
    assert done[0].result[1].form.place == "Lima" and "0.67 (person, price)" in shown
    assert counts.hit_rate > 0.3


def test_a_chat_finds_its_own_past_in_the_cache():
    done, shown, _ = performed("chat")
    answers = done[0].result
    assert [str(answers[1]), str(answers[2])] == ["42", "92"]
    before = 0
    for answer in answers:  # everything up to the last answer, but perhaps its last token
        assert answer.n_cached >= before - 1
        before = answer.n_prompt + len(answer.tokens) - 1
    assert "tokens were cached" in shown


def test_few_shots_are_computed_once():
    _, shown, counts = performed("few_shot")
    assert "5 of 6 right" in shown
    assert counts.hit_rate > 0.85


def test_the_page_is_made_of_what_was_measured():
    made = subprocess.run([sys.executable, "docs/make_programs.py", "--check"], cwd=ROOT)
    assert made.returncode == 0


def test_the_program_on_the_page_runs(capsys):
    code = (ROOT / "docs/programs.md").read_text().split("```python\n")[1].split("```")[0]
    with shapes_unchecked():
        exec(compile(code, "docs/programs.md", "exec"), {})
    lines, document = capsys.readouterr().out.split("\n---\n")
    assert lines.endswith("person: Olga\nplace: Lima\nprice: 5") and json.loads(
        document.removeprefix("<think>\n\n</think>\n")
    ) == {"person": "Olga", "place": "Lima", "price": 5}
