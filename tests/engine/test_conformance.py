#!/usr/bin/env python3
"""`costeer generate` against the conformance servers: the same answer as with the LLM in its own process, whatever the engine.

Also what is found out about an engine before the first token, and what of it is refused. Environment: see engine_support.py.
"""
import contextlib
import json
import pathlib
import tempfile
import unittest

import byte_level
import engine_device
from engine_device import EXIT_CLOUD, EXIT_UNCERTIFIED, EXIT_USAGE, Device, generate
from engine_support import Engine

EXIT_PAIR = 4
EXIT_TOO_LONG = 3

# Engines whose answers need no certificate to be the LLM's: they give as many entries as are asked for.
ENGINES = {
    "vllm": ("vllm", "--max-logprobs", -1),
    "vllm, a model with a repetition penalty": ("vllm", "--max-logprobs", -1, "--default-repetition-penalty", 1.5),
    "vllm, before return_token_ids": ("vllm", "--max-logprobs", -1, "--no-token-ids-field"),
    "vllm, wider than its vocabulary": ("vllm", "--max-logprobs", -1, "--output-padding", 72),
    "vllm, that tells cached tokens": ("vllm", "--max-logprobs", -1, "--enable-prompt-tokens-details"),
    "sglang": ("sglang",),
    "sglang, incremental": ("sglang", "--stream-shape", "incremental"),
    "sglang, mixed": ("sglang", "--stream-shape", "mixed"),
    "sglang, several tokens an event": ("sglang", "--stream-interval", 4),
    "sglang, incremental, several tokens an event": ("sglang", "--stream-shape", "incremental", "--stream-interval", 3),
    "sglang, before output_ids": ("sglang", "--no-output-ids", "--disable-radix-cache"),
    "openai, with ids": ("openai", "--openai-logprobs", "content_ids", "--openai-max-logprobs", 1024),
}

# What a stream's framing may be without anything being wrong.
FRAMINGS = {
    "several tokens an event": [{"fault": "merge", "n": 4}],
    "tiny writes": [{"fault": "tiny_writes", "n": 13}],
    "comments and CRLF": [{"fault": "comments"}, {"fault": "crlf"}],
    "CR alone": [{"fault": "crlf", "cr": True}],
    "fields, data without a space": [{"fault": "event_field"}],
    "data over two lines": [{"fault": "split_data"}, {"fault": "merge", "n": 2}],
    "no chunks": [{"fault": "to_the_end"}],
    "a connection an answer": [{"fault": "close_after"}],
    "no [DONE]": [{"fault": "no_done"}],
}

references = {}


def reference(n, *options):
    """Of the nth prompt."""
    if (n, options) not in references:
        query, notes = engine_device.eval_prompts()[n]
        references[n, options] = engine_device.Reference(*options, query=query, notes=notes)
    return references[n, options]


def ask(engine, n, *options, api=None, **how):
    query, notes = engine_device.eval_prompts()[n]
    return generate(f"{api}+{engine.url}" if api else engine.url, *options, query=query, notes=notes, **how)


def modes_of(api):
    return ("streamed", "lockstep") + (("drafted",) if api != "openai" else ())


class SameAnswerTest(engine_device.TestCase):
    def compare(self, name, prompts):
        api, *options = ENGINES[name]
        with Engine(api, *options) as engine:
            for mode in modes_of(api):
                for n in prompts:
                    with self.subTest(engine=name, mode=mode, prompt=n):
                        answer = ask(engine, n, "--cloud-mode", mode, api=api)
                        self.assert_same(reference(n), answer)
                        self.assertEqual(answer.json["uncertified"], 0)

    def test_vllm_gives_the_answer_of_the_llm_in_this_process(self):
        self.compare("vllm", range(4))

    def test_sglang_gives_the_answer_of_the_llm_in_this_process(self):
        self.compare("sglang", range(4))

    def test_openai_gives_the_answer_of_the_llm_in_this_process(self):
        self.compare("openai, with ids", range(4))

    def test_other_settings_of_the_server_do_not_change_the_answer(self):
        for at, name in enumerate(ENGINES):
            if name not in ("vllm", "sglang", "openai, with ids"):
                self.compare(name, [at % 4])

    def test_framing_does_not_change_the_answer(self):
        for api in ("vllm", "sglang"):
            with Engine(*ENGINES[api]) as engine:
                for name, faults in FRAMINGS.items():
                    with self.subTest(api=api, framing=name):
                        engine.reset()
                        engine.arm(*({**fault, "times": 0} for fault in faults))
                        self.assert_same(reference(1), ask(engine, 1, api=api))

    def test_windows_and_draft_lengths_do_not_change_the_answer(self):
        for api in ("vllm", "sglang"):
            with Engine(*ENGINES[api]) as engine:
                for options in (("--window", 1), ("--window", 7), ("--cloud-mode", "drafted", "--draft-length", 1),
                                ("--cloud-mode", "drafted", "--draft-length", 16)):  # fmt: skip
                    with self.subTest(api=api, options=options):
                        self.assert_same(reference(0), ask(engine, 0, *options, api=api))

    def test_other_k_does_not_change_the_answer(self):
        for api in ("vllm", "sglang"):
            with Engine(*ENGINES[api]) as engine:
                for k in (1, 2, 0):
                    for mode in ("streamed", "drafted"):
                        with self.subTest(api=api, k=k, mode=mode):
                            self.assert_same(reference(2), ask(engine, 2, "--base-top-k", k, "--cloud-mode", mode, api=api))

    def test_ids_that_pad_the_output_take_no_tokens_place(self):
        """All that is asked for is all of the vocabulary, and known to be."""
        with Engine(*ENGINES["vllm, wider than its vocabulary"]) as engine, tempfile.TemporaryDirectory() as folder:
            trace = pathlib.Path(folder, "trace")
            self.assert_same(reference(0), ask(engine, 0, "--base-top-k", 0, "--trace", trace, api="vllm"))
            lines = [json.loads(line) for line in trace.read_text().splitlines()]
            self.assertEqual({(line["n_entries"], line["certified"]) for line in lines}, {(1024, True)})

    def test_temperature_draws_the_same_tokens(self):
        options = ("--temperature", "0.9", "--seed", 7)
        with Engine(*ENGINES["vllm"]) as engine:
            self.assert_same(reference(3, *options), ask(engine, 3, *options, api="vllm"))

    def test_slow_steps_overlap_with_nothing_lost(self):
        for api in ("vllm", "sglang"):
            with Engine(*ENGINES[api], "--step-ms", 5) as engine:
                for mode in modes_of(api):
                    with self.subTest(api=api, mode=mode):
                        self.assert_same(reference(1), ask(engine, 1, "--cloud-mode", mode, api=api))

    def test_several_devices_share_a_server(self):
        for api in ("vllm", "sglang"):
            with Engine(*ENGINES[api]) as engine:
                devices = []
                for n in range(4):
                    query, notes = engine_device.eval_prompts()[n]
                    mode = modes_of(api)[n % 3]
                    devices.append(Device(f"{api}+{engine.url}", "--cloud-mode", mode, query=query, notes=notes))
                for n, device in enumerate(devices):
                    with self.subTest(api=api, device=n):
                        self.assert_same(reference(n), device.wait())

    def test_a_limit_of_64_proves_less_and_says_so(self):
        with Engine("vllm", "--max-logprobs", 64) as engine:
            answer = ask(engine, 0, api="vllm")
            self.assertEqual(answer.code, 0, answer)
            self.assertEqual(len(answer.tokens), len(reference(0).answer.tokens))
            self.assertEqual(answer.json["certified"] + answer.json["uncertified"], answer.json["n_tokens"])
            self.assertLessEqual(sum(k > 64 for k in self.asked(engine)), 1, "it asks again and again for what it was refused")

    @staticmethod
    def asked(engine, is_stream=None):
        """How many entries the requests for positions asked for, in order."""
        bodies = [json.loads(body["body"] or "{}") for body in engine.stats()["bodies"]]
        return [b["logprobs"] for b in bodies if "logprobs" in b and is_stream in (None, b["stream"])]

    def test_a_refused_depth_settles_for_the_limit_that_is_named(self):
        """300 lies between the two depths that are asked for, 64 and 512."""
        for mode in modes_of("vllm"):
            with self.subTest(mode), Engine("vllm", "--max-logprobs", 300) as engine:
                answer = ask(engine, 0, "--cloud-mode", mode, api="vllm")
                self.assertEqual(answer.code, 0, answer)
                asked = self.asked(engine)
                self.assertEqual(len([k for k in asked if k > 300 or k == -1]), 1, asked)
                self.assertIn(300, asked)
                self.assertEqual(set(asked[asked.index(512) + 1 :]), {64, 300})

    def test_a_stream_that_is_refused_goes_on_with_the_limit_that_is_named(self):
        """As from another replica, after the checks: status 200, and an event that refuses."""
        with Engine(*ENGINES["vllm"], "--max-logprobs-of-streams", 40) as engine:
            answer = ask(engine, 0, api="vllm")
            self.assertEqual(answer.code, 0, answer)
            self.assertEqual(len(answer.tokens), len(reference(0).answer.tokens))
            asked = self.asked(engine, is_stream=True)
            self.assertEqual((asked[0], set(asked[1:])), (64, {40}))

    def test_depth_is_never_a_streams(self):
        for engine in ("vllm", "sglang"):
            with self.subTest(engine), Engine(*ENGINES[engine]) as server:
                self.assert_same(reference(0), ask(server, 0, "--base-top-k", 4, api=engine))
                bodies = [json.loads(body["body"] or "{}") for body in server.stats()["bodies"]]
                depth = "logprobs" if engine == "vllm" else "top_logprobs_num"
                self.assertEqual({body[depth] for body in bodies if body.get("stream")}, {4})
                self.assertLess(4, max(body.get(depth, 0) for body in bodies))


class FindingOutTest(engine_device.TestCase):
    def test_a_plain_url_finds_out_what_it_is(self):
        for api, name in (("vllm", "vLLM"), ("sglang", "SGLang"), ("openai", "OpenAI-compatible")):
            options = ENGINES["openai, with ids"][1:] if api == "openai" else ENGINES[api][1:]
            with self.subTest(api), Engine(api, *options) as engine:
                answer = ask(engine, 0)
                self.assert_same(reference(0), answer)
                self.assertIn(f'the cloud is {name} with the model "costeer-llm"', answer.err)
                self.assertEqual(answer.json["cloud"]["engine"], name)

    def test_a_named_engine_needs_no_word(self):
        with Engine(*ENGINES["sglang"]) as engine:
            self.assertEqual(ask(engine, 0, api="sglang").err, "")

    def test_an_old_sglang_is_known_by_its_own_path(self):
        with Engine(*ENGINES["sglang"]) as engine:
            engine.arm({"fault": "status", "status": 404, "path": "/v1/models", "times": 0})
            answer = ask(engine, 0)
            self.assert_same(reference(0), answer)
            self.assertIn("the cloud is SGLang", answer.err)
            self.assertIn("GET /get_model_info", engine.stats()["paths"])

    def test_engines_without_tokenize_are_asked_to_spell(self):
        for api in ("vllm", "sglang"):
            with self.subTest(api), Engine(*ENGINES[api], "--no-tokenize") as engine:
                answer = ask(engine, 0, api=api)
                self.assert_same(reference(0), answer)
                self.assertEqual(answer.err, "")

    def test_what_cannot_be_checked_is_told(self):
        with Engine(*ENGINES["openai, with ids"], "--openai-no-echo") as engine:
            self.assertIn("no way to tell whether its vocabulary", ask(engine, 0, api="openai").err)
        with Engine(*ENGINES["vllm"], "--enable-prompt-tokens-details") as engine:
            self.assertNotIn("prefix cache", ask(engine, 0, api="vllm").err)
        told = ("--enable-prompt-tokens-details", "--block-size", 128)
        with Engine(*ENGINES["vllm"], *told) as engine:
            self.assertEqual("", ask(engine, 0, api="vllm").err, "the cache is on, and its blocks are longer than the check's text")
        with Engine(*ENGINES["vllm"], *told, "--no-metrics") as engine:
            self.assertEqual("", ask(engine, 0, api="vllm").err, "nothing is known")
        with Engine(*ENGINES["vllm"], *told, "--no-enable-prefix-caching") as engine:
            self.assertIn("prefix cache seems to be off", ask(engine, 0, api="vllm").err)
        with Engine("sglang", "--disable-radix-cache") as engine:
            self.assertIn("prefix cache seems to be off", ask(engine, 0, api="sglang").err)

    def test_one_model_of_several_is_named(self):
        card = {"object": "model", "owned_by": "vllm"}
        two = {"fault": "replace", "key": "data", "value": [{**card, "id": "other"}, {**card, "id": "costeer-llm"}],
               "path": "/v1/models", "times": 0}  # fmt: skip
        with Engine(*ENGINES["vllm"]) as engine:
            self.assert_refused(ask(engine, 0, "--cloud-model", "third"), 'no model "third" .*it has "costeer-llm"')
            self.assert_same(reference(0), ask(engine, 0, "--cloud-model", "costeer-llm"))
            engine.arm(two)
            self.assert_refused(ask(engine, 0), "has 2 models.*--cloud-model", EXIT_USAGE)
            self.assert_refused(ask(engine, 0, "--cloud-model", "third"), 'no model "third"')
            self.assert_same(reference(0), ask(engine, 0, "--cloud-model", "costeer-llm"))

    def test_a_service_without_a_list_of_models_needs_a_name(self):
        options = ENGINES["openai, with ids"][1:]
        with Engine("openai", *options, "--openai-no-models") as engine:
            self.assert_refused(ask(engine, 0, api="openai"), "--cloud-model")
            self.assert_same(reference(0), ask(engine, 0, "--cloud-model", "costeer-llm", api="openai"))
            self.assert_refused(ask(engine, 0, "--cloud-model", "costeer-llm"), "no engine that is known.*openai[+]https")

    def test_keys(self):
        with tempfile.TemporaryDirectory() as folder:
            right, wrong = pathlib.Path(folder, "right"), pathlib.Path(folder, "wrong")
            right.write_text("sk-first-secret\n")
            wrong.write_text("sk-other-secret\n")
            for api in ("vllm", "sglang", "openai"):
                name = "openai, with ids" if api == "openai" else api
                with self.subTest(api), Engine(*ENGINES[name], key="sk-first-secret") as engine:
                    self.assert_same(reference(0), ask(engine, 0, "--cloud-key-file", right, api=api))
                    refused = ask(engine, 0, "--cloud-key-file", wrong, api=api)
                    self.assert_refused(refused, "does not accept the key .HTTP 401.*--cloud-key-file")
                    self.assertNotIn("secret", refused.err + refused.out)
                    self.assert_refused(ask(engine, 0, api=api), "wants a key .HTTP 401.*--cloud-key-file")
                    self.assert_refused(ask(engine, 0), "wants a key")

    def test_certificates(self):
        with tempfile.TemporaryDirectory() as folder:
            ca, certificate, key = engine_device.init_tls(pathlib.Path(folder, "ours"))
            other = engine_device.init_tls(pathlib.Path(folder, "other"))[0]
            with Engine(*ENGINES["vllm"], tls=(certificate, key), ca=ca) as engine:
                for mode in modes_of("vllm"):
                    self.assert_same(reference(0), ask(engine, 0, "--cloud-ca", ca, "--cloud-mode", mode, api="vllm"))
                self.assert_refused(ask(engine, 0, "--cloud-ca", other, api="vllm"), "certificate is not accepted.*--cloud-ca")
                self.assert_refused(ask(engine, 0, api="vllm"), "certificate is not accepted")
                plain = engine.url.replace("https", "http")
                self.assert_refused(generate(f"vllm+{plain}"), "engine with TLS is reached with https://")
            with Engine(*ENGINES["vllm"]) as engine:
                url = engine.url.replace("http", "https")
                self.assert_refused(generate(f"vllm+{url}", "--cloud-ca", ca), "TLS handshake failed; an engine without TLS is reached with http://")


class RefusedTest(engine_device.TestCase):
    """Before the first token, with what is to be changed."""

    def refuse(self, pattern, *engine, api=None, options=(), code=EXIT_CLOUD, **how):
        with Engine(*engine, **how) as server:
            answer = ask(server, 0, *options, api=api or engine[0])
            self.assert_refused(answer, pattern, code)
            self.assertEqual(answer.out, "")
            return server.stats()["paths"]

    def test_another_vocabulary(self):
        for engine in (("vllm", "--max-logprobs", -1), ("sglang",), ("vllm", "--max-logprobs", -1, "--no-tokenize"),
                       ("sglang", "--no-tokenize"), ("openai", "--openai-logprobs", "content_ids")):  # fmt: skip
            with self.subTest(engine):
                granted = "no request of token ids is granted: .*(out of vocab|Invalid token|input_ids)"
                with Engine(*engine, model="costeer-slm-other.gguf") as server:
                    answer = ask(server, 0, api=engine[0])
                    self.assertIn(answer.code, (EXIT_PAIR, EXIT_CLOUD), answer)
                    self.assertRegex(answer.err, f"another vocabulary than the SLM|{granted}")
                    self.assertEqual(answer.out, "")

    def test_a_k_that_is_not_granted(self):
        self.refuse("K = 64 is not granted: .*greater than max allowed: 20.*--max-logprobs.*--base-top-k", "vllm")
        self.refuse("K = 1024 is not granted: .*--max-logprobs", "vllm", options=("--base-top-k", 0))
        with Engine("vllm") as engine:
            self.assertEqual(ask(engine, 0, "--base-top-k", 20, api="vllm").code, 0)

    def test_logits_in_the_place_of_log_probabilities(self):
        for mode in ("raw_logits", "processed_logits"):
            with self.subTest(mode):
                self.refuse("--logprobs-mode raw_logprobs", "vllm", "--max-logprobs", -1, "--logprobs-mode", mode)

    def test_processed_log_probabilities_are_the_raw_ones_where_nothing_is_processed(self):
        """At temperature 0 and with penalties that are told to be none."""
        penalty = ("--default-repetition-penalty", 1.5)
        with Engine(*ENGINES["vllm"], "--logprobs-mode", "processed_logprobs", *penalty) as engine:
            self.assert_same(reference(0), ask(engine, 0, api="vllm"))

    def test_text_only(self):
        self.refuse("text only, and cannot be steered", "openai", "--openai-logprobs", "none")

    def test_prompts_must_be_text(self):
        pattern = "no request of token ids is granted: .*expected a string"
        self.refuse(pattern, *ENGINES["openai, with ids"], "--openai-refuse-ids")

    def test_tokens_by_text_where_texts_are_not_unique(self):
        for shape in ("legacy", "token_ids", "content"):
            for strings in ("replace", "bytes"):
                with self.subTest(shape=shape, strings=strings):
                    engine = ("openai", "--openai-logprobs", shape, "--openai-strings", strings, "--openai-max-logprobs", 20)
                    self.refuse("tells? ids? is needed|that tells ids", *engine)

    def test_drafts_need_an_engine_that_scores(self):
        drafted = ("--cloud-mode", "drafted")
        self.refuse("cannot score drafts.*streamed", *ENGINES["openai, with ids"], options=drafted, code=EXIT_USAGE)

    def test_a_server_that_is_no_engine(self):
        with Engine("vllm") as engine:
            for path in ("/v1/models", "/props", "/get_model_info"):
                engine.arm({"fault": "status", "status": 404, "path": path, "times": 0, "body": "<html>not here</html>"})
            self.assert_refused(ask(engine, 0), "no engine that is known.*--cloud openai")
        self.assert_refused(generate("vllm+http://127.0.0.1:9"), "cannot be reached")

    def test_redirects_are_not_followed(self):
        with Engine(*ENGINES["vllm"]) as server, Engine(*ENGINES["vllm"]) as elsewhere:
            for path in ("/v1/models", "/v1/completions"):
                server.reset()
                server.arm({"fault": "redirect", "path": path, "times": 0, "location": elsewhere.url + path})
                self.assert_refused(ask(server, 0, api="vllm"), "redirect .HTTP 307.*not followed")
            self.assertEqual(elsewhere.stats()["requests"], 0)

    def test_too_long_for_the_engine(self):
        pattern = "no request of token ids is granted: .*maximum context length is 40"
        self.refuse(pattern, *ENGINES["vllm"], "--max-model-len", 40)
        with Engine(*ENGINES["vllm"], "--max-model-len", 130) as engine:
            refused = ask(engine, 0, api="vllm", n_tokens=120)
            self.assert_refused(refused, "120 of answer do not fit the engine's 130: shorten", EXIT_TOO_LONG)


class TextTest(engine_device.TestCase):
    """Services that name tokens by their text, with a vocabulary in which that says which."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.models = byte_level.make_pair(folder.name)
        cls.reference = engine_device.Reference(models=cls.models)

    def engine(self, shape, strings):
        return Engine("openai", "--openai-logprobs", shape, "--openai-strings", strings, "--openai-max-logprobs", 1024,
                      model=self.models / "costeer-llm.gguf")  # fmt: skip

    def test_tokens_named_by_bytes_or_text_give_the_same_answer(self):
        for shape, strings in (("legacy", "bytes"), ("token_ids", "bytes"), ("content", "replace"), ("content_ids", "replace")):
            with self.engine(shape, strings) as engine:
                for mode in modes_of("openai"):
                    with self.subTest(shape=shape, mode=mode):
                        answer = generate(f"openai+{engine.url}", "--cloud-mode", mode, models=self.models)
                        self.assert_same(self.reference, answer)
                        self.assertEqual(answer.json["uncertified"], 0)

    def test_a_text_that_was_cut_inside_a_character_is_refused(self):
        for shape in ("legacy", "token_ids"):
            with self.subTest(shape), self.engine(shape, "replace") as engine:
                answer = generate(f"openai+{engine.url}", models=self.models)
                self.assert_refused(answer, "cut inside a character.*that tells ids is needed")


class FewEntriesTest(engine_device.TestCase):
    """Hosted services give 5 or 20 entries a token."""

    def test_what_cannot_be_proved_is_counted(self):
        for limit in (20, 5):
            for over in ("cut", "refuse"):
                options = ("--openai-logprobs", "content_ids", "--openai-max-logprobs", limit, "--openai-over", over)
                with self.subTest(limit=limit, over=over), Engine("openai", *options) as engine:
                    answer = ask(engine, 0, "-v", api="openai")
                    self.assertEqual(answer.code, 0, answer)
                    self.assertGreater(answer.json["uncertified"], 0)
                    self.assertEqual(answer.json["certified"] + answer.json["uncertified"], answer.json["n_tokens"])
                    self.assertIn(f"gives {limit} entries a token, not 64", answer.err)
                    self.assertRegex(answer.err, rf"{answer.json['uncertified']} unproved")

    def test_who_requires_certificates_gets_no_other_token(self):
        for limit in (20, 5):
            options = ("--openai-logprobs", "content_ids", "--openai-max-logprobs", limit)
            with self.subTest(limit), Engine("openai", *options) as engine:
                all_of_it = ask(engine, 0, api="openai")
                answer = ask(engine, 0, "--require-certified", api="openai")
                self.assertEqual(answer.code, EXIT_UNCERTIFIED, answer)
                self.assertRegex(answer.err, "certif")
                self.assertLess(len(answer.tokens or []), len(all_of_it.tokens))
                self.assertEqual((answer.tokens or []), all_of_it.tokens[: len(answer.tokens or [])])
                self.assertEqual((answer.json or {}).get("uncertified", 0), 0)

    def test_all_that_is_certified_is_the_llms(self):
        """Up to the first token without a certificate the answer is the one of the LLM in this process."""
        for limit in (20, 5):
            options = ("--openai-logprobs", "content_ids", "--openai-max-logprobs", limit)
            with self.subTest(limit), Engine("openai", *options) as engine, tempfile.TemporaryDirectory() as folder:
                trace = pathlib.Path(folder, "trace")
                ask(engine, 1, "--trace", trace, api="openai")
                lines = [json.loads(line) for line in trace.read_text().splitlines()]
                n = next((i for i, line in enumerate(lines) if not line["certified"]), len(lines))
                with contextlib.suppress(StopIteration):
                    first = next(i for i, line in enumerate(lines[:n]) if line["token"] != reference(1).answer.tokens[i])
                    self.assertLess(reference(1).gaps[first], engine_device.net.CLOSE_NATS)


if __name__ == "__main__":
    unittest.main(verbosity=2)
