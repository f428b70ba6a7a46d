#!/usr/bin/env python3
"""Write recorded/: a few answers, streams and errors of each API, small, with the built-in LLM's values.

    ENGINE_LOGITS=... make_recorded.py

Not recorded from the engines themselves: the conformance servers' output, whose shapes are those of the engines' sources. What
changes from run to run (names of requests, times) is made the same.
"""
import json
import re

import engine_support

OUT = engine_support.HERE / "recorded"
CHANGING = [(rb'"created":\d+', b'"created":1700000000'), (rb"(cmpl|modelperm)-[0-9a-f]{32}", rb"\1-" + b"0" * 32),
            (rb'"id":"[0-9a-f]{32}"', b'"id":"' + b"0" * 32 + b'"')]  # fmt: skip


def write(name, data):
    for pattern, same in CHANGING:
        data = re.sub(pattern, same, data)
    (OUT / name).write_bytes(data)
    print(f"{name}: {len(data)} bytes")


def record(api, options, requests):
    with engine_support.Engine(api, *options) as engine:
        prompt = engine.prompt()
        for name, method, path, body in requests(prompt):
            write(f"{api}_{name}", engine.ask(method, path, body)[2])


def vllm(prompt):
    body = {"model": "costeer-llm", "prompt": prompt, "max_tokens": 3, "temperature": 0, "logprobs": 4,
            "return_tokens_as_token_ids": True, "return_token_ids": True}  # fmt: skip
    yield "models.json", "GET", "/v1/models", None
    yield "tokenize.json", "POST", "/tokenize", {"prompt": "Hello, world", "add_special_tokens": False}
    yield "answer.json", "POST", "/v1/completions", body
    yield "answer_strings.json", "POST", "/v1/completions", {**body, "return_tokens_as_token_ids": False, "return_token_ids": False}
    batch = [prompt, prompt + [300], prompt + [300, 625]]
    yield "batch.json", "POST", "/v1/completions", {**body, "prompt": batch, "max_tokens": 1}
    yield "stream.sse", "POST", "/v1/completions", {**body, "stream": True, "stream_options": {"include_usage": True}}
    yield "error_logprobs.json", "POST", "/v1/completions", {**body, "logprobs": 64}
    yield "error_model.json", "POST", "/v1/completions", {**body, "model": "other"}
    yield "error_length.json", "POST", "/v1/completions", {**body, "max_tokens": 100000}


def sglang(prompt):
    body = {"input_ids": prompt, "sampling_params": {"max_new_tokens": 3, "temperature": 0}, "return_logprob": True,
            "top_logprobs_num": 4}  # fmt: skip
    drafts = {**body, "input_ids": prompt + [300, 625], "logprob_start_len": len(prompt) - 1,
              "sampling_params": {"max_new_tokens": 1, "temperature": 0}}  # fmt: skip
    yield "models.json", "GET", "/v1/models", None
    yield "model_info.json", "GET", "/get_model_info", None
    yield "tokenize.json", "POST", "/tokenize", {"prompt": "Hello, world", "add_special_tokens": False}
    yield "answer.json", "POST", "/generate", body
    yield "drafts.json", "POST", "/generate", drafts
    yield "batch.json", "POST", "/generate", {**body, "input_ids": [prompt, prompt + [300]], "top_logprobs_num": 3}
    yield "stream.sse", "POST", "/generate", {**body, "stream": True}
    yield "error_start.json", "POST", "/generate", {**body, "logprob_start_len": len(prompt)}
    yield "error_ids.sse", "POST", "/generate", {**body, "input_ids": [1 << 20], "stream": True}
    yield "error_body.json", "POST", "/generate", {**body, "input_ids": ["a", 1]}


def sglang_incremental(prompt):
    body = {"input_ids": prompt, "sampling_params": {"max_new_tokens": 3, "temperature": 0}, "return_logprob": True,
            "top_logprobs_num": 4, "stream": True}  # fmt: skip
    yield "stream_incremental.sse", "POST", "/generate", body


def openai(prompt):
    body = {"model": "costeer-llm", "prompt": prompt, "max_tokens": 3, "temperature": 0, "logprobs": 5}
    yield "models.json", "GET", "/v1/models", None
    yield "answer.json", "POST", "/v1/completions", body
    yield "stream.sse", "POST", "/v1/completions", {**body, "stream": True}
    yield "error_logprobs.json", "POST", "/v1/completions", {**body, "logprobs": 64}
    yield "error_model.json", "POST", "/v1/completions", {**body, "model": "other"}


def openai_shape(name):
    def requests(prompt):
        body = {"model": "costeer-llm", "prompt": prompt, "max_tokens": 2, "temperature": 0, "logprobs": 3}
        yield f"answer_{name}.json", "POST", "/v1/completions", body

    return requests


def main():
    OUT.mkdir(exist_ok=True)
    record("vllm", [], vllm)
    record("sglang", [], sglang)
    record("sglang", ["--stream-shape", "incremental"], sglang_incremental)
    record("openai", ["--openai-over", "refuse"], openai)
    for shape in ("none", "token_ids", "content", "content_ids"):
        record("openai", ["--openai-logprobs", shape], openai_shape(shape))
    for path in OUT.glob("*.json"):
        json.loads(path.read_text())


if __name__ == "__main__":
    main()
