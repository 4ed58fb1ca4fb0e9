"""The same programs on a server: the same texts, or an error that says what went wrong."""

import asyncio
import json
import re
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

httpx = pytest.importorskip("httpx")

from refimpl.errors import UnsupportedError
from refimpl.lang import ProgramError, Remote, ServerError, ServerGoneError, program, run_sync
from tests.unit.lang.models import local, run
from tests.unit.lang.server import Server, completion
from tests.unit.lang.test_local import branch_out, chat, twice

URL = "http://server/v1"


def serve(server, job, **options):
    options = {"dialect": "vllm", **options}
    return run_sync(Remote(URL, transport=server.transport, **options), job)


@program
async def choose(p, method):
    p += "the"
    return await p.select(["x", "quick", "brown"], "animal", method=method)


@program
async def listen(p):
    p += "once"
    return [piece async for piece in p.stream("x", max_tokens=6, stop="zq")]


@program
async def listen_in_a_chat(p):
    p.user("once")
    return [piece async for piece in p.stream("x", max_tokens=6)]


JOBS = [
    twice.on("once"),
    chat.on(),
    branch_out.on(3),
    listen.on(),
    listen_in_a_chat.on(),
    *(choose.on(method) for method in ("token_length", "greedy", "unconditional")),
]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_a_program_says_the_same_here_and_there(job):
    here = run(local(), lambda engine: job.run(engine))
    there = serve(Server(), job)
    assert here.text == there.text
    assert list(here.state.handles) == list(there.state.handles)
    for name, mine in here.state.handles.items():
        theirs = there.handle(name)
        assert (mine.text, mine.finish, mine.n_prompt) == (
            theirs.text,
            theirs.finish,
            theirs.n_prompt,
        )
        assert mine.logprobs == theirs.logprobs
        assert [t.text for t in mine.tokens] == [t.text for t in theirs.tokens]
        assert theirs.n_cached == 2


@dataclass
class Verdict:
    grade: int


@program
async def judge(p):
    p.user("grade")
    return (await p.gen("verdict", schema=Verdict)).value


def test_a_schema_goes_as_response_format_and_comes_back_as_a_value():
    server = Server()
    assert serve(server, judge.on(), dialect="openai").result == Verdict(grade=7)
    sent = server.bodies[0]["response_format"]["json_schema"]["schema"]
    assert sent["properties"] == {"grade": {"type": "integer"}}


@program
async def pick(p, **asked):
    p.user("pick")
    return await p.gen("x", max_tokens=4, **asked)


def test_each_dialect_has_its_own_words_for_constraints():
    server = Server()
    assert serve(server, pick.on(choices=["red", "blue"]), dialect="sglang")["x"] == "red"
    serve(server, pick.on(choices=["red", "blue"]), dialect="vllm")
    serve(server, pick.on(regex="a+"), dialect="vllm", template={"enable_thinking": False})
    assert server.bodies[1]["structured_outputs"] == {"choice": ["red", "blue"]}
    assert server.bodies[2]["structured_outputs"] == {"regex": "a+"}
    assert server.bodies[2]["chat_template_kwargs"] == {"enable_thinking": False}


def test_branches_send_seeds_of_their_own():
    server = Server()
    serve(server, branch_out.on(3))
    assert len({body["seed"] for body in server.bodies}) == 3


@program
async def choose_in_a_chat(p):
    p.user("the")
    await p.select(["x", "y"])


@pytest.mark.parametrize(
    ("job", "says"),
    [(pick.on(regex="a"), "no regex"), (chat.on(), "begun"), (choose_in_a_chat.on(), "plain text")],
    ids=["regex", "continue", "select"],
)
def test_what_the_protocol_cannot_say_is_refused_by_name(job, says):
    with pytest.raises(ProgramError, match=says) as caught:
        serve(Server(), job, dialect="openai")
    assert isinstance(caught.value.cause, UnsupportedError)


def refuse_connection(body):
    raise httpx.ConnectError("connection refused")


def too_slow(body):
    raise httpx.ReadTimeout("")


def cut_stream(body):
    return httpx.Response(200, text='data: {"choices": [{"text": "a"}]}\n\n')


def answer(**options):
    return lambda body: httpx.Response(**{"status_code": 200, **options})


FAULTS = [
    (refuse_connection, ServerGoneError, "does not answer .ConnectError: connection refused"),
    (too_slow, ServerGoneError, "does not answer .ReadTimeout"),
    (answer(status_code=503, text="overloaded"), ServerError, "refuses .503.: overloaded"),
    (answer(text="<html>"), ServerError, "no JSON"),
    (answer(text="[" * 100_000), ServerError, "no JSON"),
    (answer(text="[]"), ServerError, "no JSON object"),
    (answer(json={"error": {"message": "no such model"}}), ServerError, "no such model"),
    (answer(json={"choices": 3}), ServerError, "no completion"),
    (
        answer(json={"choices": [{"text": "a", "logprobs": {"tokens": ["a"]}}]}),
        ServerError,
        "no com",
    ),
    (answer(json={}), ServerError, "no completion"),
]


@pytest.mark.parametrize(("fault", "kind", "says"), FAULTS)
@pytest.mark.parametrize("job", [twice.on("once"), listen.on()], ids=lambda job: job.name)
def test_a_server_that_fails_is_one_clear_error(fault, kind, says, job):
    with pytest.raises(ProgramError) as caught:
        serve(Server(fault), job)
    assert isinstance(caught.value.cause, ServerError)
    if job.name == "twice":  # as a stream some of these look like one that was cut
        assert isinstance(caught.value.cause, kind) and re.search(says, str(caught.value))
    assert f"program {job.name!r}, test_" in str(caught.value)


def test_a_stream_that_is_cut_is_a_server_gone():
    with pytest.raises(ProgramError, match="in the middle") as caught:
        serve(Server(cut_stream), listen.on())
    assert isinstance(caught.value.cause, ServerGoneError)


def test_a_server_without_echo_cannot_score():
    def no_echo(body):
        return httpx.Response(200, json={"choices": [{"text": "a", "logprobs": None}]})

    with pytest.raises(ProgramError, match="use gen"):
        serve(Server(no_echo), choose.on("greedy"))


def test_a_server_that_goes_away_ends_all_branches():
    """The third request finds nobody; nothing of the others is left."""
    server = Server()
    server.fault = lambda body: refuse_connection(body) if len(server.bodies) > 2 else None

    async def work():
        async with Remote(URL, transport=server.transport) as engine:
            with pytest.raises(ProgramError, match=r"in branch 2: ServerGoneError"):
                await branch_out.run(engine, 3)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(work())


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        data = json.dumps(completion(body)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


def test_a_real_socket_and_a_port_with_nobody_behind_it():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        there = run_sync(Remote(url), twice.on("once"))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert there.text == run(local(), lambda engine: twice.run(engine, "once")).text
    for nobody in (url, "http://", "no url at all"):
        with pytest.raises(ProgramError, match="is a server running there"):
            run_sync(Remote(nobody), twice.on("once"))
