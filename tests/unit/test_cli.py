"""The command line, as a user meets it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from click.testing import CliRunner
from safetensors.numpy import save_file

from cli import main
from refimpl.formats.gguf import GGUF, write_gguf

ROOT = Path(__file__).parents[2]


def run(*args, input=None):
    return CliRunner().invoke(main, [str(a) for a in args], input=input)


@pytest.fixture(scope="session")
def stories(shared, tmp_path_factory):
    """stories260K, converted by our command."""
    path = tmp_path_factory.mktemp("models") / "stories260K.gguf"
    result = run("convert", shared / "models" / "stories260K.bin", path)
    assert result.exit_code == 0, result.output
    return path


def test_stories260k_continues_with_exactly_the_published_sample(shared, stories):
    page = (shared / "models" / "stories260K.md").read_text()
    sample = page.split("-t 0.0\n")[1].split("\n```")[0]
    prompt = "Once upon a time"
    result = run("generate", "-m", stories, "-t", 0, "-n", 256, prompt)
    assert result.exit_code == 0
    # the sample ends where llama2.c's 256 steps end; ours goes on from there
    assert (prompt + result.stdout).startswith(sample)
    assert len(sample) > 500


@pytest.mark.parametrize(
    "model, tokenizer",
    [("llama2xs_280K.bin", "tok512.bin"), ("babyllama_tok105_model5000.bin", "tok105.model")],
)
def test_other_llama2c_models_run(shared, model, tokenizer):
    folder = shared / "models"
    args = ("-m", folder / model, "--tokenizer", folder / tokenizer, "-t", 0, "-n", 60)
    result = run("generate", *args, "Once upon")
    assert result.exit_code == 0
    assert "there was a" in result.stdout


def test_json_has_everything_a_script_wants(stories):
    args = ("-m", stories, "-n", 5, "-s", 7, "--logprobs", 2, "--json")
    first, again = (run("generate", *args, "Once") for _ in range(2))
    told = json.loads(first.stdout)
    assert told["text"] == json.loads(again.stdout)["text"]
    assert told["seed"] == 7
    assert told["finish_reason"] == "length"
    assert len(told["tokens"]) == 5
    assert all(len(t["top"]) == 2 and t["logprob"] <= 0 for t in told["tokens"])


def test_the_prompt_comes_from_an_argument_a_file_or_standard_input(stories, tmp_path):
    (tmp_path / "prompt.txt").write_text("Once upon a time")
    args = ("generate", "-m", stories, "-t", 0, "-n", 8)
    told = {
        run(*args, "Once upon a time").stdout,
        run(*args, "--file", tmp_path / "prompt.txt").stdout,
        run(*args, input="Once upon a time").stdout,
        run(*args, "-", input="Once upon a time").stdout,
    }
    assert len(told) == 1


def test_several_prompts_and_samples_are_what_each_is_alone(stories):
    args = ("generate", "-m", stories, "-s", 5, "-n", 8, "--json")
    told = run(*args, "--samples", 2, "Once upon a time", "The cat").stdout.splitlines()
    together = [json.loads(line) for line in told]
    assert [(t["prompt"], t["sample"]) for t in together] == [
        ("Once upon a time", 0), ("Once upon a time", 1), ("The cat", 0), ("The cat", 1),
    ]  # fmt: skip
    for prompt, first in (("Once upon a time", together[0]), ("The cat", together[2])):
        assert first["tokens"] == json.loads(run(*args, prompt).stdout)["tokens"]
    assert together[0]["text"] != together[1]["text"]
    assert "--- The cat\n" in run(*args[:-1], "Once upon a time", "The cat").stdout


@pytest.mark.parametrize("draft", ["ngram", "suffix", "tiny-draft"])
def test_guessing_ahead_changes_no_token(draft):
    args = ("generate", "-t", 0.7, "-s", 3, "-n", 24, "--json", "Once upon a time")
    plain, guessed = (json.loads(run(*a).stdout) for a in (args, (*args, "--draft", draft)))
    assert guessed["tokens"] == plain["tokens"]


def test_a_draft_model_with_other_words_is_refused(stories):
    told = run("generate", "--draft", stories, "Once")
    assert told.exit_code == 1 and "another vocabulary" in told.stderr


def test_one_prompt_that_cannot_be_served_does_not_stop_the_others(stories):
    args = ("generate", "-m", stories, "-t", 0, "-n", 3, "--context", 5)
    result = run(*args, "Once", "Once upon a time there was a cat")
    assert result.exit_code == 1
    assert "shorten it" in result.stderr and "--- Once\n" in result.stdout


def test_a_stop_string_only_truncates(stories):
    args = ("generate", "-m", stories, "-t", 0, "-n", 40, "Once upon a time")
    whole, cut = run(*args).stdout, run(*args, "--stop", "Lily").stdout
    assert "Lily" in whole
    assert cut == whole[: whole.index("Lily")] + "\n"


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_every_dtype_tells_a_story(stories, dtype):
    result = run("generate", "-m", stories, "-t", 0, "-n", 12, "--dtype", dtype, "Once upon a time")
    assert result.stdout.startswith(", there was a")


def test_tokenize_and_inspect(stories):
    assert json.loads(run("tokenize", "-m", stories, "--json", "Once upon a time").stdout) == [
        1, 403, 407, 261, 378,
    ]  # fmt: skip
    assert "▁Once" in run("tokenize", "-m", stories, "Once").stdout
    report = json.loads(run("inspect", stories, "--json").stdout)
    assert report["n_weights"] == 260_032
    assert report["cache_bytes_per_token"] == 2 * 4 * 5 * 4 * 8
    assert "260,032" in run("inspect", stories, "--no-tensors").stdout


def test_a_block_is_shown_field_by_field():
    told = run("inspect", "tiny", "--blocks", "blk.0.attn_q.weight", "--index", 3)
    assert "blk.0.attn_q.weight, block 3 of 2048" in told.stdout
    assert "Q8_0: 32 weights in 34 bytes" in told.stdout
    plain = run("inspect", "tiny", "--blocks", "output_norm.weight")
    assert "no blocks" in plain.stderr
    view = json.loads(run("inspect", "tiny", "--blocks", "blk.0.attn_q.weight", "--json").stdout)
    assert view["weights"] == [view["fields"]["d"] * q for q in view["fields"]["qs"]]


def test_quantize_makes_a_smaller_file_that_still_tells_a_story(stories, tmp_path):
    small = tmp_path / "small.gguf"
    told = run("quantize", stories, small, "--type", "Q8_0")
    assert told.exit_code == 0, told.output
    assert small.stat().st_size < stories.stat().st_size / 2
    again = run("generate", "-m", small, "-t", 0, "-n", 12, "Once upon a time")
    assert again.stdout.startswith(", there was a")
    assert "already quantised" in run("quantize", small, small, "--type", "Q4_0").stderr
    assert run("quantize", stories, small, "--type", "nonsense").exit_code == 1


def test_quantize_with_an_importance_matrix(stories, tmp_path):
    names = [n for n in GGUF.open(stories).tensors if ".ffn_up." in n]
    sums = {f"{n}.in_sum2": np.full((1, 64), 8.0, np.float32) for n in names}
    counts = {f"{n}.counts": np.full((1, 1), 4.0, np.float32) for n in names}
    write_gguf(tmp_path / "imatrix.gguf", {"general.type": "imatrix"}, {**sums, **counts})
    args = ("--type", "Q4_0", "--imatrix", tmp_path / "imatrix.gguf")
    assert run("quantize", stories, tmp_path / "out.gguf", *args).exit_code == 0
    wrong = ("--type", "Q4_0", "--imatrix", stories)
    assert "llama-imatrix" in run("quantize", stories, tmp_path / "out.gguf", *wrong).stderr


def test_chat_keeps_its_history(stories):
    # a model without a chat template says so, in one line
    result = run("chat", "-m", stories, input="hello\n")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "chat template" in result.stderr


@pytest.mark.parametrize(
    "args, words",
    [
        (("generate", "-m", "nosuch"), "give tiny or tiny-draft, a path"),
        (("generate", "-m", "hf:nonsense", "x"), "hf:ORG/REPO"),
        (("generate", "-m", "STORIES", "--backend", "abacus", "x"), "choose numpy, numba, cupy"),
        (("generate", "-m", "STORIES", "--backend", "json:loads", "x"), "json:loads"),
        (("generate", "-m", "STORIES", "--regex", "(", "x"), "a group is not closed"),
        (("generate", "-m", "STORIES", "--top-p", "2", "x"), "top_p is 2.0"),
        (("generate", "-m", "STORIES", "--context", "4", "Once upon a time"), "shorten it"),
        (("convert", "STORIES", "out.bin"), "should end in .gguf"),
        (("inspect", "CLI"), "not a GGUF file"),
    ],
)
def test_an_error_is_one_line_and_exit_status_1(stories, args, words):
    names = {"STORIES": str(stories), "CLI": __file__}
    result = run(*(names.get(a, a) for a in args), input="")
    assert result.exit_code == 1
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_input_that_is_not_text(stories):
    result = CliRunner().invoke(main, ["generate", "-m", str(stories)], input=b"\xff\xfe")
    assert result.exit_code == 1
    assert "not UTF-8" in result.stderr


def test_ctrl_c_keeps_what_was_told(stories):
    command = [
        sys.executable,
        "cli.py",
        "generate",
        "-m",
        str(stories),
        "-n",
        "500",
        "--ignore-eos",
    ]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*command, "Once"], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    told = process.stdout.read(20)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert len(told) == 20
    assert rest.endswith(b"\n")
    assert b"new; first after" in errors
    assert b"Traceback" not in errors


def test_help_is_quick_and_complete():
    began = time.perf_counter()
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "cli.py", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert time.perf_counter() - began < 30  # a hang, not a benchmark: bench/start.py measures
    for command in ("chat", "convert", "generate", "inspect", "tokenize"):
        assert command in told.stdout
    assert "numpy" not in told.stderr  # nothing heavy was imported


class Hub(SimpleHTTPRequestHandler):
    """A stand-in for the hub: what its client asks for, with the headers it wants."""

    def do_GET(self):
        if not self.path.startswith("/api/models/"):
            return super().do_GET()
        names = sorted(p.name for p in Path(self.directory).iterdir() if p.is_file())
        tree = [{"type": "file", "path": n, "size": 1, "oid": "b" * 40} for n in names]
        info = {"id": "x/y", "sha": "a" * 40, "siblings": [{"rfilename": n} for n in names]}
        body = json.dumps(tree if "/tree/" in self.path else info).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def translate_path(self, path):
        return str(Path(self.directory) / path.rsplit("/", 1)[-1])

    def end_headers(self):
        self.send_header("X-Repo-Commit", "a" * 40)
        self.send_header("ETag", '"' + Path(self.path).name.encode().hex() + '"')
        super().end_headers()

    def log_message(self, *args):
        pass


@contextmanager
def hub(directory):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, directory=str(directory)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def from_hub(address, model, cache):
    env = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "cli.py", "generate", "-m", model, "-t", "0", "-n", "8", "the cat"]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)


def test_a_file_comes_from_the_hub_and_is_kept(stories, tmp_path):
    name = "hf:someone/stories/stories260K.gguf"
    with hub(stories.parent) as address:
        first = from_hub(address, name, tmp_path)
    again = from_hub(address, name, tmp_path)  # the hub is gone; the file is not
    assert first.returncode == 0, first.stderr
    assert again.stdout == first.stdout == run("generate", "-m", stories, *GREEDY).stdout


def test_a_folder_comes_from_the_hub(folder, tmp_path):
    with hub(folder) as address:
        told = from_hub(address, "hf:someone/model", tmp_path / "cache")
    assert told.returncode == 0, told.stderr
    assert told.stdout == run("generate", "-m", folder, *GREEDY).stdout


def test_a_model_the_hub_does_not_have(stories, tmp_path):
    with hub(stories.parent) as address:
        result = from_hub(address, "hf:someone/stories/other.gguf", tmp_path)
    assert result.returncode == 1
    assert "could not fetch someone/stories/other.gguf" in result.stderr
    assert "Traceback" not in result.stderr


GREEDY = ("-t", "0", "-n", "8", "the cat")


@pytest.fixture
def folder(tmp_path):
    """A Hugging Face folder as `save_pretrained` leaves one: a random qwen2 and a trained BPE."""
    words = tokenizers.Tokenizer(tokenizers.models.BPE())
    words.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words.train_from_iterator(["the cat and the hat on the mat " * 5], trainer)
    words.save(str(tmp_path / "tokenizer.json"))
    config = {
        "model_type": "qwen2",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "eos_token_id": 0,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(0)
    shapes = {
        "embed_tokens.weight": (words.get_vocab_size() + 3, 16),
        "norm.weight": (16,),
        "layers.0.input_layernorm.weight": (16,),
        "layers.0.post_attention_layernorm.weight": (16,),
        "layers.0.self_attn.q_proj.weight": (16, 16),
        "layers.0.self_attn.k_proj.weight": (8, 16),
        "layers.0.self_attn.v_proj.weight": (8, 16),
        "layers.0.self_attn.q_proj.bias": (16,),
        "layers.0.self_attn.k_proj.bias": (8,),
        "layers.0.self_attn.v_proj.bias": (8,),
        "layers.0.self_attn.o_proj.weight": (16, 16),
        "layers.0.mlp.gate_proj.weight": (32, 16),
        "layers.0.mlp.up_proj.weight": (32, 16),
        "layers.0.mlp.down_proj.weight": (16, 32),
    }
    weights = {f"model.{k}": rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
    save_file(weights, tmp_path / "model.safetensors")
    return tmp_path


def test_a_hugging_face_folder_and_its_gguf_tell_the_same(folder, tmp_path):
    assert run("convert", folder, tmp_path / "out.gguf").exit_code == 0
    args = ("-t", 0, "-n", 12, "the cat")
    told = run("generate", "-m", folder, *args)
    assert told.exit_code == 0, told.output
    assert run("generate", "-m", tmp_path / "out.gguf", *args).stdout == told.stdout
    ids = run("tokenize", "-m", folder, "--json", "the cat").stdout
    assert run("tokenize", "-m", tmp_path / "out.gguf", "--json", "the cat").stdout == ids
    tokens = GGUF.open(tmp_path / "out.gguf").metadata["tokenizer.ggml.tokens"]
    assert (
        len(tokens) == json.loads(run("inspect", folder, "--json").stdout)["tensors"][0]["shape"][0]
    )
    for type_name in ("F16", "BF16", "Q8_0", "Q4_0"):
        assert run("convert", folder, tmp_path / "o.gguf", "--type", type_name).exit_code == 0
        assert run("generate", "-m", tmp_path / "o.gguf", *args).exit_code == 0


def test_a_backend_whose_library_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    result = run("generate", "--backend", "numba", "x")
    assert result.exit_code == 1
    assert 'pip install "refimpl[numba]"' in result.stderr and result.stderr.count("\n") == 1


def test_layers_on_two_backends_tell_the_same_story():
    pytest.importorskip("numba")
    told = {
        run("generate", "--backend", "numpy", *divided, "-t", 0, "-n", 8, "Once upon a time").stdout
        for divided in ((), ("-ngl", 0), ("-ngl", 1), ("--gpu-layers", 2), ("-ngl", 99))
    }
    assert len(told) == 1 and told != {""}


@pytest.mark.parametrize(
    "args, words",
    [
        (("-ngl", 2), 'pip install "refimpl[cuda13]"'),
        (("-ngl", 2, "--backend", "cupy"), 'pip install "refimpl[cuda13]"'),
        (("-ngl", 2, "--backend", "abacus"), "choose numpy, numba, cupy"),
        (("-ngl", 2, "--dtype", "float16"), "--dtype float16 is the reference's"),
    ],
)
@pytest.mark.parametrize("command", ["generate", "chat", "conform"])
def test_layers_that_cannot_go_there_say_why_in_one_line(monkeypatch, command, args, words):
    pytest.importorskip("numba")
    monkeypatch.setitem(sys.modules, "cupy", None)
    result = run(command, *args, input="")
    assert result.exit_code == 1
    assert words in result.stderr and result.stderr.count("\n") == 1


def test_fewer_layers_than_none_are_refused():
    result = run("generate", "-ngl", -1, "x")
    assert result.exit_code == 2 and "-1 is not in the range" in result.stderr


@pytest.mark.parametrize(
    "args", [("simulate", "waste"), ("inspect", "tiny"), ("bench", "throughput")]
)
def test_ctrl_c_ends_any_command_in_one_line(monkeypatch, args):
    def interrupted(*_):
        raise KeyboardInterrupt

    command = getattr(import_module(f"refimpl.commands.{args[0]}"), args[0])
    monkeypatch.setattr(command, "invoke", interrupted)
    result = run(*args)
    assert result.exit_code == 130
    assert result.stderr == "Interrupted.\n" and result.stdout == ""
