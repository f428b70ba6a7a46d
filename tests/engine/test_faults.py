#!/usr/bin/env python3
"""`costeer generate` with engines that fail: a clear line and exit code 6, or a bounded retry and the right answer; never a wrong
token, never a hang. Environment: see engine_support.py.
"""
import collections
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import engine_device
from engine_device import EXIT_CLOUD, EXIT_UNCERTIFIED, Device, generate
from engine_support import COSTEER, MODELS, REPO, Engine

sys.path.insert(0, str(REPO / "tests" / "cli" / "helpers"))
import gguf  # noqa: E402  pylint: disable=wrong-import-position

TIMEOUT_MS = engine_device.net.TIMEOUT_MS
N_TOKENS = 30
APIS = {
    "vllm": ("vllm", "--max-logprobs", -1),
    "sglang": ("sglang",),
    "openai": ("openai", "--openai-logprobs", "content_ids", "--openai-max-logprobs", 1024, "--openai-no-echo"),
}
MODES = ("streamed", "lockstep", "drafted")

# Completion requests before those of the answer; a service without /tokenize is asked to spell.
N_CHECKS = {"vllm": 2, "sglang": 2, "openai": 3}

# Where: the checks, the first position, in the middle. In a stream the event is the second, which some request reaches.
PLACES = ("check", "first", "middle")


def place_of(api, place):
    skip = {"check": N_CHECKS[api] - 2, "first": N_CHECKS[api], "middle": N_CHECKS[api] + 4}[place]
    return {"skip": skip, "at": 1 if place == "middle" else 0}



NO_JSON = "is no JSON: it is broken or cut off at byte"
TWICE = "is no JSON: a key comes twice"
MISSING = "the engine's answer: |an engine that tells ids is needed"

# Answers that no engine should give: told at once, for trying again would bring the same.
FATAL = {
    "NaN": ({"fault": "nan"}, NO_JSON),
    "-Infinity": ({"fault": "infinity"}, NO_JSON),
    "Infinity": ({"fault": "plus_infinity"}, NO_JSON),
    "null for a value": ({"fault": "null_value"}, "no number"),
    "a text for a value": ({"fault": "string_value"}, "no number"),
    "a positive value": ({"fault": "positive"}, "is no log-probability"),
    "a sum above 1": ({"fault": "sum"}, "add up to .* more than 1"),
    "an id out of range": ({"fault": "id_range"}, "sent token 1048576, which is not one of the vocabulary's 1024"),
    "a negative id": ({"fault": "id_range", "id": -5}, "sent token -5|without a number|out of range"),
    "an id twice": ({"fault": "id_twice"}, f"token [0-9]+ twice for one position|{TWICE}"),
    "cut JSON": ({"fault": "truncated_json"}, NO_JSON),
    "malformed JSON": ({"fault": "malformed_json"}, NO_JSON),
    "bytes that are no UTF-8": ({"fault": "not_utf8"}, NO_JSON),
    "100,000 arrays in each other": ({"fault": "deep_json"}, NO_JSON),
    "a page": ({"fault": "not_json"}, NO_JSON),
    "an array around it": ({"fault": "array"}, "not in an object"),
}

# Fields by engine: without them, or with something else there, nothing can be known.
FIELDS = {
    "vllm": ("choices", "logprobs", "top_logprobs", "tokens"),
    "openai": ("choices", "logprobs", "content", "top_logprobs", "token_id"),
    "sglang": ("meta_info", "output_top_logprobs", "output_token_logprobs", "completion_tokens"),
}
WRONG = (None, 7, "text", [], {}, [None], [[]], [{}], {"0": []}, -1)

# What is wrong without any harm.
HARMLESS = {
    "unsorted entries": {"fault": "unsorted"},
    "another content type": {"fault": "content_type", "value": "text/html"},
    "no content type": {"fault": "content_type", "value": ""},
    "a connection that ends": {"fault": "close_after"},
    "a delay": {"fault": "delay", "ms": 30},
}

# What passes: made by one request, then not again.
PASSING = {
    "fewer entries": {"fault": "fewer", "keep": 3},
    "one entry": {"fault": "fewer"},
    "429": {"fault": "status", "status": 429},
    "500": {"fault": "status", "status": 500},
    "502 with a page": {"fault": "status", "status": 502, "body": "<html>Bad gateway</html>"},
    "503": {"fault": "status", "status": 503},
    "503 with nonsense to wait": {"fault": "status", "status": 503, "retry_after": "soon"},
    "no answer": {"fault": "no_answer"},
    "an event that is cut": {"fault": "cut_event"},
    "a chunk that is cut": {"fault": "cut_chunk"},
    "a chunk without length": {"fault": "bad_chunk"},
    "an early end": {"fault": "early_end"},
    "an error in the stream": {"fault": "error_event"},
    "no [DONE]": {"fault": "no_done"},
}

STATUSES = {
    401: "wants a key .HTTP 401.: give one with --cloud-key-file",
    403: "wants a key .HTTP 403.",
    404: "HTTP 404.*--cloud-model",
    400: "(refuses the request|granted).*HTTP 400",
    418: "refuses the request .HTTP 418",
}

reference = None


def setUpModule():
    global reference
    reference = engine_device.Reference(n_tokens=N_TOKENS)


class FaultTest(engine_device.TestCase):
    def setUp(self):
        self.engines = {}

    def engine(self, api):
        if api not in self.engines:
            self.engines[api] = Engine(*APIS[api])
            self.addCleanup(self.engines[api].__exit__)
        self.engines[api].reset()
        return self.engines[api]

    def ask(self, api, *faults, mode="streamed", timeout_ms=TIMEOUT_MS, options=()):
        engine = self.engine(api)
        engine.arm(*faults)
        answer = generate(f"{api}+{engine.url}", "--cloud-mode", mode, *options, timeout_ms=timeout_ms, n_tokens=N_TOKENS)
        self.assert_nothing_wrong(answer)
        return answer

    def assert_nothing_wrong(self, answer):
        """Whatever was given of the answer is the beginning of the right one."""
        tokens = answer.tokens or []
        for position, (ours, other) in enumerate(zip(reference.answer.tokens, tokens)):
            if ours != other:
                self.assertLess(reference.gaps[position], engine_device.net.CLOSE_NATS, f"position {position}: {answer}")
                return

    def assert_given_up(self, pattern, *what, **how):
        """When its time-out is over."""
        engine_device.net.with_patience(lambda ms: self.assert_refused(self.ask(*what, timeout_ms=ms, **how), pattern), 400)

    def modes(self, api):
        return MODES if api != "openai" else MODES[:2]

    def each(self, table, check, modes=("streamed", "lockstep")):
        """check(api, place, mode, what the table has): each with each engine and mode, the places in turn."""
        for at, (name, value) in enumerate(table.items()):
            for shift, api in enumerate(APIS):
                for mode in set(modes) & set(self.modes(api)):
                    place = PLACES[(at + shift) % 3] if mode == "streamed" else "middle"
                    with self.subTest(api=api, place=place, mode=mode, fault=name):
                        check(api, place, mode, value)

    # ---- answers that cannot be used -------------------------------------------------------------------------------

    def test_nonsense_is_told_at_once(self):
        def check(api, place, mode, entry):
            fault, pattern = entry
            at = {} if mode == "lockstep" else {"at": place_of(api, place)["at"]}
            answer = self.ask(api, {**fault, **at, "skip": place_of(api, place)["skip"], "times": 0}, mode=mode)
            self.assert_refused(answer, pattern, at_once=True)

        self.each(FATAL, check)

    def test_nonsense_about_drafts_is_told_at_once(self):
        for api in ("vllm", "sglang"):
            for shift, (name, (fault, pattern)) in enumerate(FATAL.items()):
                with self.subTest(api=api, fault=name):
                    answer = self.ask(api, {**fault, "at": shift % 2, "skip": N_CHECKS[api] + 3, "times": 0}, mode="drafted")
                    self.assertIn(answer.code, (0, EXIT_CLOUD), answer)
                    self.assertTrue(answer.code == 0 or pattern, answer)

    def test_missing_fields_are_told(self):
        for api, keys in FIELDS.items():
            for key in keys:
                for mode in self.modes(api):
                    with self.subTest(api=api, mode=mode, key=key):
                        fault = {"fault": "drop", "key": key, "skip": N_CHECKS[api] + 2, "at": 1, "times": 0}
                        self.assert_refused(self.ask(api, fault, mode=mode), MISSING, at_once=True)

    def test_wrong_types_are_never_believed(self):
        for api, keys in FIELDS.items():
            for at, key in enumerate(keys):
                for value in WRONG[at % 2 :: 2]:
                    with self.subTest(api=api, key=key, value=value):
                        fault = {"fault": "replace", "key": key, "value": value, "skip": N_CHECKS[api] + 2, "at": 1, "times": 0}
                        answer = self.ask(api, fault, timeout_ms=1000)
                        self.assertIn(answer.code, (0, EXIT_CLOUD), answer)
                        if answer.code == 0:
                            self.assert_same(reference, answer)

    def test_an_answer_that_is_given_up_for_what_was_asked_is_told_at_once(self):
        reason = {"type": "abort", "message": "the request\nis too long", "status_code": 400, "err_type": "BadRequestError"}
        abort = {"fault": "replace", "key": "finish_reason", "value": reason}
        error = {"fault": "error_event", "value": {"error": {"message": "the request\nis too long", "code": 400}}}
        cases = [("sglang", mode, abort) for mode in MODES] + [(api, "streamed", error) for api in APIS]
        for api, mode, fault in cases:
            with self.subTest(api=api, mode=mode, fault=fault["fault"]):
                answer = self.ask(api, {**fault, "skip": N_CHECKS[api] + 2, "at": 0, "times": 0}, mode=mode)
                self.assert_refused(answer, "gave the answer up: the request is too long", at_once=True)

    def test_an_answer_that_is_given_up_for_lack_of_something_is_asked_for_again(self):
        reason = {"type": "abort", "message": "no memory", "status_code": 503, "err_type": None}
        abort = {"fault": "replace", "key": "finish_reason", "value": reason, "skip": N_CHECKS["sglang"] + 2, "at": 0}
        for mode in MODES:
            with self.subTest(mode):
                self.assert_same(reference, self.ask("sglang", {**abort, "times": 2}, mode=mode))
                self.assert_given_up("no answer within [0-9]+ ms .*gave the answer up: no memory", "sglang",
                                     {**abort, "times": 0}, mode=mode)  # fmt: skip

    def test_messages_of_any_shape_are_shown_in_one_line(self):
        shapes = ({"error": {"message": "out of\nmemory \x1b[31m"}}, {"error": "out of\nmemory"}, {"message": "out of\nmemory"},
                  {"object": "error", "message": "out of\nmemory", "code": 400}, {"detail": "out of\nmemory"})  # fmt: skip
        for api in APIS:
            for shape in shapes:
                with self.subTest(api=api, shape=shape):
                    answer = self.ask(api, {"fault": "status", "status": 422, "body": shape, "skip": N_CHECKS[api], "times": 0})
                    self.assert_refused(answer, "HTTP 422.*out of memory")
                    self.assertNotIn("\x1b", answer.err)

    # ---- what does no harm, and what passes ------------------------------------------------------------------------

    def test_what_does_no_harm_does_none(self):
        def check(api, place, mode, fault):
            answer = self.ask(api, {**fault, **place_of(api, place), "times": 0, "each": True}, mode=mode)
            self.assert_same(reference, answer)

        self.each(HARMLESS, check, ("streamed", "drafted"))

    def test_an_engine_that_gives_fewer_entries_than_it_is_asked_for_proves_less(self):
        for api in APIS:
            for mode in self.modes(api):
                with self.subTest(api=api, mode=mode):
                    fault = {"fault": "fewer", "keep": 3, "each": True, "skip": N_CHECKS[api] + 2, "times": 0}
                    engine = self.engine(api)
                    engine.arm(fault)
                    answer = generate(f"{api}+{engine.url}", "--cloud-mode", mode, "--require-certified")
                    self.assertEqual(answer.code, EXIT_UNCERTIFIED, answer)
                    self.assert_nothing_wrong(answer)

    def test_an_engine_that_misreports_its_own_choice_changes_nothing(self):
        for api in APIS:
            for mode in self.modes(api):
                with self.subTest(api=api, mode=mode):
                    answer = self.ask(api, {"fault": "own_token", "skip": N_CHECKS[api], "times": 0, "each": True}, mode=mode)
                    if api != "vllm":  # of which the sum of the probabilities is then above 1
                        self.assert_same(reference, answer)
                        self.assertEqual(answer.json["n_steered"], reference.answer.json["n_steered"])

    def test_what_passes_is_tried_again(self):
        def check(api, place, mode, fault):
            if place == "check" and fault["fault"] == "fewer":
                return  # there it is the engine's limit
            answer = self.ask(api, {**fault, **place_of(api, place)}, mode=mode)
            self.assert_same(reference, answer)

        self.each(PASSING, check)

    def test_retry_after_is_waited_for(self):
        for api in APIS:
            for retry_after in ("1", "date"):
                for place in ("check",) if retry_after == "1" else ("middle",):
                    with self.subTest(api=api, retry_after=retry_after, place=place):
                        fault = {"fault": "status", "status": 429, "retry_after": retry_after, **place_of(api, place)}
                        answer = self.ask(api, fault)
                        self.assert_same(reference, answer)
                        paths = self.engines[api].stats()["bodies"]
                        times = [seen["time"] for seen in paths if seen["path"] in ("/v1/completions", "/generate")]
                        longest = max(later - earlier for earlier, later in zip(times, times[1:]))
                        self.assertGreater(longest, 0.9 if retry_after == "1" else 0, "it did not wait")

    def test_a_wait_beyond_the_timeout_is_not_waited_for(self):
        fault = {"fault": "status", "status": 429, "retry_after": "3600", "times": 0}
        for place in PLACES:
            with self.subTest(place):
                self.assert_given_up("takes no more requests now .HTTP 429", "vllm", {**fault, **place_of("vllm", place)})

    # ---- what does not pass ----------------------------------------------------------------------------------------

    def test_refusals_are_final(self):
        for api in APIS:
            for status, pattern in STATUSES.items():
                for place in PLACES:
                    with self.subTest(api=api, status=status, place=place):
                        answer = self.ask(api, {"fault": "status", "status": status, "times": 0, **place_of(api, place)})
                        self.assert_refused(answer, pattern, at_once=True)

    def test_an_engine_that_never_recovers_is_given_up_in_time(self):
        faults = (({"fault": "status", "status": 503}, "HTTP 503"), ({"fault": "status", "status": 500}, "HTTP 500"),
                  ({"fault": "no_answer"}, "connection was lost"), ({"fault": "hang", "at": 0}, "said nothing for"),
                  ({"fault": "error_event", "at": 0}, "gave the answer up: CUDA out of memory"),
                  ({"fault": "early_end", "at": 0}, "ended the stream before its end"),
                  ({"fault": "cut_event", "at": 0}, "connection was lost"),
                  ({"fault": "cut_chunk", "at": 0}, "connection was lost"),
                  ({"fault": "delay", "ms": 60000}, "said nothing for"),
                  ({"fault": "not_http"}, "does not speak HTTP"))  # fmt: skip
        for n, (fault, pattern) in enumerate(faults):
            api = ("vllm", "sglang", "openai")[n % 3]
            for skip in (0, N_CHECKS[api], N_CHECKS[api] + 5):
                if skip == 0 and fault["fault"] in ("error_event", "early_end"):
                    continue  # these are of streams
                with self.subTest(api=api, fault=fault, skip=skip):
                    self.assert_given_up(pattern, api, {**fault, "skip": skip, "times": 0})

    def test_an_event_without_end_takes_bounded_memory(self):
        plain = self.peak("vllm")
        for api in APIS:
            for mode, skip in (("streamed", N_CHECKS[api] + 2), ("lockstep", N_CHECKS[api] + 2), ("streamed", 0)):
                with self.subTest(api=api, mode=mode, skip=skip):
                    fault = {"fault": "endless", "skip": skip, "at": 0, "times": 0}
                    peak = self.peak(api, fault, mode=mode, pattern="of more than [0-9]+ bytes, which none should have")
                    self.assertLess(peak, plain + 32 * 1024)

    def peak(self, api, *faults, mode="streamed", pattern=None):
        engine = self.engine(api)
        engine.arm(*faults)
        device = Device(f"{api}+{engine.url}", "--cloud-mode", mode, timeout_ms=TIMEOUT_MS)
        peak = 0
        while device.process.poll() is None:
            peak = max(peak, device.peak_kib())
        answer = device.wait()
        self.assert_nothing_wrong(answer)
        if pattern:
            self.assert_refused(answer, pattern)
        return peak

    def test_the_slm_goes_on_alone_where_that_is_asked_for(self):
        engine_device.net.with_patience(self.goes_on_alone, 500)

    def goes_on_alone(self, timeout_ms):
        fault = {"fault": "status", "status": 503, "skip": N_CHECKS["vllm"] + 4, "times": 0}
        engine = self.engine("vllm")
        engine.arm(fault)
        answer = generate(f"vllm+{engine.url}", "--on-cloud-failure", "local", timeout_ms=timeout_ms)
        self.assertEqual(answer.code, 0, answer)
        self.assertGreater(answer.json["n_local"], 0)
        n = answer.json["local_from"]
        self.assertEqual(answer.tokens[:n], reference.answer.tokens[:n])


class PrivacyTest(engine_device.TestCase):
    WORDS = ("qvorxbim", "zhwkfjod", "gwixqpuh", "bzkvhdqo")

    @classmethod
    def setUpClass(cls):
        keys = gguf.read(str(MODELS / "costeer-slm.gguf"))[0]
        cls.pieces = [raw.decode().replace("\u2581", " ").lower() for raw in keys["tokenizer.ggml.tokens"][1][1]]

    def test_no_request_holds_anything_of_the_context_but_what_the_answer_says(self):
        name, city, dog, secret = self.WORDS
        notes = f"name: {name}\ncity: {city}\nMy dog is called {dog}. My password is {secret}.\n"
        for api in APIS:
            for mode in MODES if api != "openai" else MODES[:2]:
                with self.subTest(api=api, mode=mode), Engine(*APIS[api]) as engine, tempfile.TemporaryDirectory() as folder:
                    audit = pathlib.Path(folder, "audit")
                    answer = generate(f"{api}+{engine.url}", "--cloud-mode", mode, "--audit", audit, notes=notes)
                    self.assertEqual(answer.code, 0, answer)
                    posts = [seen for seen in engine.stats()["bodies"] if seen["body"]]
                    lines = [json.loads(line) for line in audit.read_text(encoding="utf-8").splitlines()]
                    self.assertGreater(len(posts), 5)
                    self.assert_no_canary(posts, answer.json["text"].lower())
                    self.assert_all_is_told(posts, lines)

    def test_a_later_request_may_repeat_an_answer_and_nothing_else(self):
        with Engine(*APIS["openai"]) as engine, tempfile.TemporaryDirectory() as folder:
            audit, said = pathlib.Path(folder, "audit"), pathlib.Path(folder, "said")
            costeer = [str(COSTEER)]
            chat = subprocess.run([*costeer, "chat", "--cloud", f"openai+{engine.url}", "--max-tokens", "30", "--audit", str(audit)],
                                  input="Write a short bio of me.\nShorter, please.\n", capture_output=True, text=True, check=True)
            for text, code in ((chat.stdout[:24], 0), ("Shorter, please. My own words.", 3)):
                said.write_text(text, encoding="utf-8")
                report = subprocess.run([*costeer, "audit", "--json", "--context", str(said), str(audit)], capture_output=True, text=True, check=False)
                self.assertEqual(report.returncode, code, report)
                places = {run["place"] for run in json.loads(report.stdout)["context_runs"]}
                self.assertEqual(places, {"earlier", "emitted"} if code == 0 else {"request"})

    def assert_no_canary(self, posts, said):
        runs = {word[i : i + 5] for word in self.WORDS for i in range(len(word) - 4)}
        for seen in posts:
            body = json.loads(seen["body"])
            prompts = body.get("prompt", body.get("input_ids", ""))
            prompts = prompts if prompts and isinstance(prompts[0], list) else [prompts]
            texts = [ids if isinstance(ids, str) else "".join(self.pieces[i] for i in ids) for ids in prompts]
            for text in (seen["body"].lower(), str(seen["headers"]).lower(), *texts):
                self.assertEqual([run for run in runs if run in text and run not in said], [], text)

    def assert_all_is_told(self, posts, lines):
        """Every body is a line, with its length. A request that was cancelled at once may have been told of and never arrived."""
        sent = collections.Counter((seen["path"], len(seen["body"].encode())) for seen in posts)
        told = collections.Counter((line["path"], line["bytes"]) for line in lines if line["kind"] in ("request", "check"))
        self.assertEqual(sent - told, collections.Counter(), (sent, told))
        self.assertLessEqual(sum(n for (_, size), n in (told - sent).items() if size > 0), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
