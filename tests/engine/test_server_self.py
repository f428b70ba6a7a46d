#!/usr/bin/env python3
"""The conformance servers themselves: shapes, refusals, the same text from all of them and from `costeer generate`, faults.

What a test of an adapter may rely on. Environment: see engine_support.py.
"""
import contextlib
import json
import math
import socket
import subprocess
import time
import unittest

import engine_device
import engine_support
import faults
from engine_support import Engine

N = 40
CLOSE_NATS = 1e-3  # a prompt in one batch, as costeer computes it, changes the last bits


class VllmTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.engine = Engine("vllm")
        cls.addClassCleanup(cls.engine.__exit__)
        cls.prompt = cls.engine.prompt()
        cls.body = {"model": "costeer-llm", "prompt": cls.prompt, "temperature": 0, "max_tokens": 4, "logprobs": 5,
                    "return_tokens_as_token_ids": True, "return_token_ids": True}  # fmt: skip

    def setUp(self):
        self.engine.reset()

    def complete(self, **changes):
        return self.engine.post("/v1/completions", {**self.body, **changes})["choices"]

    def refusal(self, **changes):
        status, _, data = self.engine.ask("POST", "/v1/completions", {**self.body, **changes})
        return status, json.loads(data)["error"]

    def test_values_are_the_dense_base(self):
        """With as many entries as there are tokens, and each value to the bit."""
        with Engine("vllm", "--max-logprobs", -1) as engine:
            choice = engine.post("/v1/completions", {**self.body, "logprobs": -1, "max_tokens": 1})["choices"][0]
            base = engine.base(self.prompt)
        told = {int(key[9:]): value for key, value in choice["logprobs"]["top_logprobs"][0].items()}
        self.assertEqual([told[i] for i in range(len(base))], base)
        self.assertAlmostEqual(math.fsum(map(math.exp, base)), 1, places=5)

    def test_stream_is_the_whole_answer(self):
        whole = self.complete()[0]
        *events, done = self.engine.events("/v1/completions", self.body)
        self.assertIsNone(done)
        parts = [event["choices"][0] for event in events]
        self.assertEqual("".join(part["text"] for part in parts), whole["text"])
        self.assertEqual([part["token_ids"][0] for part in parts], whole["token_ids"])
        self.assertEqual([part["logprobs"]["top_logprobs"][0] for part in parts], whole["logprobs"]["top_logprobs"])
        self.assertEqual([part["finish_reason"] for part in parts], [None, None, None, "length"])
        self.assertEqual([part["prompt_token_ids"] for part in parts], [self.prompt, None, None, None])

    def test_batch_of_growing_prefixes_is_the_answer(self):
        ids = self.complete()[0]["token_ids"]
        batch = self.complete(prompt=[self.prompt + ids[:n] for n in range(4)], max_tokens=1)
        self.assertEqual([choice["index"] for choice in batch], [0, 1, 2, 3])
        self.assertEqual([choice["token_ids"][0] for choice in batch], ids)

    def test_strings_fall_together(self):
        with Engine("vllm", "--max-logprobs", -1) as engine:
            body = {**self.body, "logprobs": -1, "max_tokens": 1, "return_tokens_as_token_ids": False}
            top = engine.post("/v1/completions", body)["choices"][0]["logprobs"]["top_logprobs"][0]
        self.assertLess(len(top), len(self.engine.base(self.prompt)))
        self.assertIn("\ufffd", top)

    def test_own_token_is_told_beside_the_best(self):
        bias = {"700": 100}
        choice = self.complete(logit_bias=bias, logprobs=3, max_tokens=1)[0]
        self.assertEqual(choice["token_ids"], [700])
        self.assertEqual(list(choice["logprobs"]["top_logprobs"][0])[0], "token_id:700")
        self.assertEqual(len(choice["logprobs"]["top_logprobs"][0]), 4)

    def test_generation_config_changes_the_own_choice(self):
        with Engine("vllm", "--default-repetition-penalty", 2) as engine:
            body = {**self.body, "max_tokens": N}
            default = engine.post("/v1/completions", body)["choices"][0]
            told = engine.post("/v1/completions", {**body, "repetition_penalty": 1.0})["choices"][0]
        self.assertNotEqual(default["token_ids"], told["token_ids"])
        self.assertEqual(told["text"], self.complete(max_tokens=N)[0]["text"])

    def test_refusals(self):
        status, error = self.refusal(logprobs=64)
        self.assertEqual((status, error["type"], error["param"]), (400, "BadRequestError", "logprobs"))
        self.assertIn("Requested sample logprobs of 64, which is greater than max allowed: 20", error["message"])
        self.assertEqual(self.refusal(model="other")[0], 404)
        self.assertEqual(self.refusal(max_tokens=2000)[1]["param"], "input_tokens")
        self.assertEqual(self.refusal(prompt=[1 << 20])[0], 400)

    def test_tokenize(self):
        answer = self.engine.post("/tokenize", {"prompt": "Hello", "add_special_tokens": False})
        self.assertEqual(answer["count"], len(answer["tokens"]))
        self.assertEqual(self.engine.post("/detokenize", {"tokens": answer["tokens"]})["prompt"].strip(), "Hello")

    def test_key_guards_v1_only(self):
        with Engine("vllm", key="secret") as engine:
            self.assertEqual(engine.ask("GET", "/v1/models", key="wrong")[0], 401)
            self.assertEqual(engine.ask("GET", "/v1/models")[0], 200)
            self.assertEqual(engine.ask("POST", "/tokenize", {"prompt": "a"}, key="wrong")[0], 200)

    def test_cached_tokens_are_told_with_a_switch(self):
        with Engine("vllm", "--enable-prompt-tokens-details") as engine:
            usages = [engine.post("/v1/completions", self.body)["usage"] for _ in range(2)]
        self.assertEqual([usage["prompt_tokens_details"]["cached_tokens"] for usage in usages], [0, 16])

    def test_a_client_that_goes_away_stops_the_generation(self):
        with Engine("vllm", "--step-ms", 20) as engine, contextlib.closing(engine.connect()) as connection:
            answer = engine.send(connection, "POST", "/v1/completions", {**self.body, "max_tokens": 500, "stream": True})
            answer.readline()
            connection.sock.close() if connection.sock else None
            answer.close()
            engine.wait(lambda stats: stats["cancelled"] == 1, "cancelled")
            self.assertLess(engine.stats()["tokens"], 100)

    def test_bodies_are_kept(self):
        self.complete()
        (seen,) = [seen for seen in self.engine.stats()["bodies"] if seen["path"] == "/v1/completions"]
        self.assertEqual(json.loads(seen["body"]), self.body)


class SglangTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.engine = Engine("sglang")
        cls.addClassCleanup(cls.engine.__exit__)
        cls.prompt = cls.engine.prompt()
        cls.body = {"input_ids": cls.prompt, "return_logprob": True, "top_logprobs_num": 3,
                    "sampling_params": {"temperature": 0, "max_new_tokens": 4}}  # fmt: skip

    def test_drafts_are_scored_in_one_request(self):
        plain = self.engine.post("/generate", self.body)
        ids, one = plain["output_ids"], {"temperature": 0, "max_new_tokens": 1}
        drafts = {**self.body, "input_ids": self.prompt + ids[:3], "logprob_start_len": len(self.prompt) - 1, "sampling_params": one}
        meta = self.engine.post("/generate", drafts)["meta_info"]
        self.assertIsNone(meta["input_top_logprobs"][0])
        self.assertEqual(meta["input_token_logprobs"][0], [None, self.prompt[-1], None])
        self.assertEqual(meta["input_top_logprobs"][1:] + meta["output_top_logprobs"], plain["meta_info"]["output_top_logprobs"])
        self.assertEqual(meta["cached_tokens"], len(self.prompt) - 1)

    def test_streams(self):
        whole = self.engine.post("/generate", self.body)
        *events, done = self.engine.events("/generate", self.body)
        self.assertIsNone(done)
        self.assertEqual([len(event["output_ids"]) for event in events], [1, 2, 3, 4])
        self.assertEqual(events[-1]["meta_info"]["output_top_logprobs"], whole["meta_info"]["output_top_logprobs"])
        for shape, n_logprobs in (("incremental", [1, 1, 1, 1]), ("mixed", [1, 2, 3, 4])):
            with self.subTest(shape), Engine("sglang", "--stream-shape", shape) as engine:
                *parts, _ = engine.events("/generate", self.body)
                self.assertEqual("".join(part["text"] for part in parts), whole["text"])
                self.assertEqual([len(part["meta_info"]["output_top_logprobs"]) for part in parts], n_logprobs)
                self.assertEqual([len(part["output_ids"]) for part in parts], [1, 1, 1, 1])

    def test_end_is_matched(self):
        body = {**self.body, "sampling_params": {"temperature": 0, "max_new_tokens": 400}}
        out = self.engine.post("/generate", body)
        self.assertEqual(out["meta_info"]["finish_reason"], {"type": "stop", "matched": out["output_ids"][-1]})
        self.assertNotIn("<|im_end|>", out["text"])

    def test_logprobs_are_after_the_temperature(self):
        body = {**self.body, "sampling_params": {"temperature": 0.5, "max_new_tokens": 1}}
        raw = self.engine.post("/generate", self.body)["meta_info"]["output_top_logprobs"][0][0][0]
        self.assertGreater(self.engine.post("/generate", body)["meta_info"]["output_top_logprobs"][0][0][0], raw)
        with Engine("sglang", "--return-original-logprob") as engine:
            self.assertAlmostEqual(engine.post("/generate", body)["meta_info"]["output_top_logprobs"][0][0][0], raw, places=5)

    def test_refusals(self):
        status, _, data = self.engine.ask("POST", "/generate", {**self.body, "logprob_start_len": len(self.prompt)})
        self.assertEqual((status, list(json.loads(data))), (400, ["error"]))
        event, done = self.engine.events("/generate", {**self.body, "input_ids": [1 << 20]})
        self.assertEqual((list(event), done), (["error"], None))
        self.assertEqual(self.engine.get("/v1/models")["data"][0]["owned_by"], "sglang")
        with Engine("sglang", key="secret") as engine:
            self.assertEqual(engine.ask("GET", "/get_model_info", key="wrong")[0], 401)
            self.assertEqual(engine.ask("GET", "/health", key="wrong")[0], 200)

    def test_batch(self):
        out = self.engine.post("/generate", {**self.body, "input_ids": [self.prompt, self.prompt[:9]]})
        self.assertEqual([answer["meta_info"]["prompt_tokens"] for answer in out], [len(self.prompt), 9])
        *events, _ = self.engine.events("/generate", {**self.body, "input_ids": [self.prompt, self.prompt[:9]]})
        self.assertEqual({event["index"] for event in events}, {0, 1})


class OpenAiTest(unittest.TestCase):
    def body(self, engine, **changes):
        return {"model": "costeer-llm", "prompt": engine.prompt(), "temperature": 0, "max_tokens": 3, "logprobs": 20, **changes}

    def test_limit_cuts_or_refuses(self):
        with Engine("openai") as engine:
            logprobs = engine.post("/v1/completions", self.body(engine))["choices"][0]["logprobs"]
            self.assertEqual([len(top) for top in logprobs["top_logprobs"]], [5, 5, 5])
            self.assertEqual(set(logprobs), {"text_offset", "token_logprobs", "tokens", "top_logprobs"})
        with Engine("openai", "--openai-over", "refuse", "--openai-refuse-ids") as engine:
            self.assertEqual(engine.ask("POST", "/v1/completions", self.body(engine, prompt="Hello"))[0], 400)
            self.assertEqual(engine.ask("POST", "/v1/completions", self.body(engine, logprobs=5))[0], 400)
            self.assertEqual(engine.ask("POST", "/v1/completions", self.body(engine, logprobs=5, prompt="Hello"))[0], 200)

    def test_echo_spells_the_prompt(self):
        for api in ("openai", "vllm"):
            with self.subTest(api), Engine(api) as engine:
                body = self.body(engine, echo=True, logprobs=1, max_tokens=1)
                choice = engine.post("/v1/completions", body)["choices"][0]
                self.assertEqual(len(choice["logprobs"]["tokens"]), len(body["prompt"]) + 1)
                self.assertIsNone(choice["logprobs"]["top_logprobs"][0])
                self.assertIn(engine_support.QUERY, choice["text"])

    def test_strict_services_refuse_what_they_do_not_know(self):
        with Engine("openai", "--openai-strict", "--openai-no-echo") as engine:
            self.assertEqual(engine.ask("POST", "/v1/completions", self.body(engine, return_token_ids=True))[0], 400)
            self.assertEqual(engine.ask("POST", "/v1/completions", self.body(engine, echo=True))[0], 400)
            self.assertEqual(engine.ask("POST", "/v1/completions", self.body(engine))[0], 200)

    def test_shapes(self):
        for shape, fields in (("none", None), ("content_ids", {"content"}), ("content", {"content"}),
                              ("token_ids", {"text_offset", "token_logprobs", "tokens", "top_logprobs", "token_ids"})):  # fmt: skip
            with self.subTest(shape), Engine("openai", "--openai-logprobs", shape) as engine:
                logprobs = engine.post("/v1/completions", self.body(engine))["choices"][0]["logprobs"]
                self.assertEqual(logprobs and set(logprobs), fields)


class SameTextTest(unittest.TestCase):
    def test_all_apis_and_the_program_say_the_same(self):
        texts = []
        for api in ("vllm", "openai"):
            with Engine(api) as engine:
                body = {"model": "costeer-llm", "prompt": engine.prompt(), "temperature": 0, "max_tokens": N}
                texts.append(engine.post("/v1/completions", body)["choices"][0]["text"])
        with Engine("sglang") as engine:
            body = {"input_ids": engine.prompt(), "sampling_params": {"temperature": 0, "max_new_tokens": N}}
            answer = engine.post("/generate", body)
            bases = [engine.base(engine.prompt() + answer["output_ids"][:n]) for n in range(N)]
        self.assertEqual(texts, [answer["text"]] * 2)
        command = [engine_support.COSTEER, "generate", "--method", "llm", "--max-tokens", str(N), "--json", engine_support.QUERY]
        said = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        for position, (ours, theirs) in enumerate(zip(answer["output_ids"], said["tokens"])):
            if ours != theirs:
                self.assertLess(abs(bases[position][ours] - bases[position][theirs]), CLOSE_NATS)
                return
        self.assertEqual(answer["text"], said["text"])


class FaultTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.engine = Engine("vllm")
        cls.addClassCleanup(cls.engine.__exit__)
        cls.body = {"model": "costeer-llm", "prompt": cls.engine.prompt(), "temperature": 0, "max_tokens": 4, "logprobs": 5,
                    "return_tokens_as_token_ids": True}  # fmt: skip

    def setUp(self):
        self.engine.reset()

    def stream(self, *armed):
        """The bytes of a stream, as much as comes of it, and whether it ended in order."""
        self.engine.arm(*armed)
        with contextlib.closing(self.engine.connect()) as connection:
            try:
                answer = self.engine.send(connection, "POST", "/v1/completions", {**self.body, "stream": True})
                return answer.status, answer.headers, answer.read(200000), True
            except (OSError, engine_support.http.client.HTTPException, ValueError):
                return 0, {}, b"", False

    def test_statuses(self):
        status, headers, _, _ = self.stream({"fault": "status", "status": 429, "retry_after": "1"})
        self.assertEqual((status, headers["Retry-After"]), (429, "1"))
        _, headers, _, _ = self.stream({"fault": "status", "status": 503, "retry_after": "date"})
        self.assertRegex(headers["Retry-After"], "GMT$")
        self.assertEqual(self.stream({"fault": "redirect", "location": "http://127.0.0.1:1/"})[0], 307)
        self.assertEqual(self.stream()[0], 200)

    def test_values(self):
        for name, pattern in (("nan", b":NaN"), ("infinity", b":-Infinity"), ("null_value", b":null"), ("string_value", b':"-0.5"'),
                              ("positive", b":0.5"), ("id_range", b"token_id:1048576")):  # fmt: skip
            with self.subTest(name):
                first, second = self.stream({"fault": name})[2].split(b"data: ")[1:3]
                self.assertNotIn(pattern, first.split(b"top_logprobs")[1].split(b"}")[0])
                self.assertIn(pattern, second)

    def test_a_key_comes_twice(self):
        second = self.stream({"fault": "id_twice"})[2].split(b"data: ")[2]
        pairs = json.loads(second, object_pairs_hook=list)
        keys = [key for key, _ in dict(dict(dict(pairs)["choices"][0])["logprobs"])["top_logprobs"][0]]
        self.assertEqual(len(keys), len(set(keys)) + 1)

    def test_objects_and_texts(self):
        self.assertNotIn(b'"logprobs"', self.stream({"fault": "drop", "key": "logprobs", "at": 0})[2].split(b"data: ")[1])
        self.assertIn(b'"choices":[]', self.stream({"fault": "replace", "key": "choices", "value": [], "at": 2})[2])
        with self.assertRaises(ValueError):
            json.loads(self.stream({"fault": "truncated_json"})[2].split(b"data: ")[2])

    def test_streams_that_end(self):
        self.assertEqual(self.stream({"fault": "early_end", "at": 2})[2].count(b"data: "), 2)
        self.assertNotIn(b"DONE", self.stream({"fault": "no_done"})[2])
        self.assertIn(b"CUDA", self.stream({"fault": "error_event"})[2])
        for name in ("cut_event", "cut_chunk", "bad_chunk", "no_answer", "not_http"):
            with self.subTest(name):
                self.assertFalse(self.stream({"fault": name})[3])

    def test_framing_does_not_change_what_is_said(self):
        usual = events_of(self.stream()[2])
        for name in ("comments", "crlf", "event_field", "split_data", "tiny_writes", "to_the_end"):
            with self.subTest(name):
                self.assertEqual(events_of(self.stream({"fault": name})[2]), usual)
        self.assertEqual(len(events_of(self.stream({"fault": "merge", "n": 3})[2])), 3)

    def test_endless_event(self):
        self.assertEqual(len(self.stream({"fault": "endless"})[2]), 200000)
        self.engine.wait(lambda stats: stats["cancelled"] == 1, "the server stops")

    def test_delays_and_skips(self):
        def attempt(ms):
            self.engine.arm({"fault": "delay", "ms": ms, "skip": 1, "times": 2})
            was_delayed = []
            for _ in range(4):
                start = time.monotonic()
                self.engine.post("/v1/completions", self.body)
                was_delayed.append(time.monotonic() - start >= ms / 1000)
            self.assertEqual(was_delayed, [False, True, True, False])

        engine_device.net.with_patience(attempt, 200)

    def test_unknown_names_are_refused(self):
        self.assertEqual(self.engine.ask("POST", "/_test/faults", {"fault": "nonsense"})[0], 400)

    def test_every_fault_leaves_the_server_alive(self):
        for name in sorted(faults.NAMES - {"hang", "endless"}):
            for body in (self.body, {**self.body, "stream": True}):
                self.engine.arm({"fault": name, "key": "logprobs", "ms": 1})
                with contextlib.suppress(OSError, engine_support.http.client.HTTPException):
                    self.engine.ask("POST", "/v1/completions", body)
        self.assertEqual(self.engine.ask("POST", "/v1/completions", self.body)[0], 200)
        with socket.create_connection(("127.0.0.1", self.engine.port)) as raw:
            raw.sendall(b"nonsense\r\n\r\n")
        self.assertEqual(self.engine.ask("POST", "/v1/completions", self.body)[0], 200)


def events_of(data):
    """Server-sent events, by the standard's rules."""
    events, lines = [], []
    for line in data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
        if line.startswith(b"data:"):
            lines.append(line[5:].removeprefix(b" "))
        elif not line and lines:
            event = b"\n".join(lines)
            events.append(None if event == b"[DONE]" else json.loads(event)["choices"])
            lines = []
    return events


if __name__ == "__main__":
    unittest.main(verbosity=2)
