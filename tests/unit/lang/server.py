"""A server that speaks OpenAI's protocol, without a network: the small model behind a transport."""

import json
import re

import httpx
import numpy as np

from refimpl.model.generate import generate, incremental
from refimpl.sampling import SamplingParams, log_softmax
from tests.unit.lang.models import LETTERS, MODEL


class Server:
    """Answers requests, and keeps their bodies.  `fault(body)` may answer or raise instead."""

    def __init__(self, fault=lambda body: None):
        self.fault = fault
        self.bodies = []

    @property
    def transport(self):
        return httpx.MockTransport(self.answer)

    async def answer(self, request):
        body = json.loads(request.content)
        self.bodies.append(body)
        if (response := self.fault(body)) is not None:
            return response
        is_chat = request.url.path.endswith("/chat/completions")
        told = chat_completion(body) if is_chat else completion(body)
        if body.get("stream"):
            return httpx.Response(200, text=events(told, is_chat))
        return httpx.Response(200, json=told)


def events(told, is_chat):
    """A stream: a piece for each letter, the finish, and at last the usage."""
    choice = told["choices"][0]
    text = choice["message"]["content"] if is_chat else choice["text"]
    pieces = [{"delta": {"content": c}} if is_chat else {"text": c} for c in text]
    pieces.append({"finish_reason": choice["finish_reason"], "logprobs": choice["logprobs"]})
    lines = [{"choices": [piece]} for piece in pieces] + [{"choices": [], "usage": told["usage"]}]
    return "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"


def sampled(prompt, body):
    steps = list(
        generate(
            incremental(MODEL, 512),
            LETTERS.encode(prompt),
            SamplingParams(temperature=body["temperature"], max_tokens=body["max_tokens"]),
            eog_ids=LETTERS.eog_ids,
            context_length=512,
        )
    )
    tokens = [LETTERS.token_text(s.sampled.token) for s in steps]
    text = "".join(tokens[:-1] if steps[-1].finish == "stop" else tokens)
    finish = steps[-1].finish
    for stop in body.get("stop", []):
        if stop in text:
            text, finish = text[: text.find(stop)], "stop"
    return text, tokens, [s.sampled.logprob for s in steps], finish


def usage(prompt):
    return {"prompt_tokens": len(prompt), "prompt_tokens_details": {"cached_tokens": 2}}


def echo(text):
    logits, ids = incremental(MODEL, 512), LETTERS.encode(text)
    rows = [np.asarray(logits(ids[:n]), np.float64) for n in range(1, len(ids))]
    numbers = [None, *(float(log_softmax(row)[token]) for row, token in zip(rows, ids[1:]))]
    return list(text), numbers


def completion(body):
    prompt = body["prompt"]
    text, tokens, logprobs, finish = sampled(prompt, body)
    if body.get("echo"):
        first, numbers = echo(prompt)
        text, tokens, logprobs = prompt + text, first + tokens, numbers + logprobs
    offsets = list(range(len(tokens)))  # one character a token
    told = {"tokens": tokens, "token_logprobs": logprobs, "text_offset": offsets}
    choice = {"text": text, "logprobs": told, "finish_reason": finish}
    return {"choices": [choice], "usage": usage(prompt)}


def chat_completion(body):
    messages = list(body["messages"])
    begun = messages.pop()["content"] if body.get("continue_final_message") else ""
    prompt = "".join(LETTERS.token_text(i) for i in LETTERS.encode_chat(messages)) + begun
    text, tokens, logprobs, finish = sampled(prompt, body)
    if "response_format" in body:
        text = '{"grade": 7}'
    if match := re.fullmatch(r"\((\w+)\|.*\)", body.get("regex", "")):
        text = match[1]
    content = [{"token": t, "logprob": lp} for t, lp in zip(tokens, logprobs)]
    choice = {
        "message": {"role": "assistant", "content": text},
        "logprobs": {"content": content},
        "finish_reason": finish,
    }
    return {"choices": [choice], "usage": usage(prompt)}
