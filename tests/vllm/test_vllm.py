#!/usr/bin/env python3
"""The program with an unmodified vLLM as its cloud, on real weights. scripts/test-vllm gets all that it needs and runs it.

Starting a server takes minutes, so each class below is one server, with a limit (--max-logprobs) and other options of its own. What is
compared is an answer with the same LLM in the program's own process, on the very numbers that vLLM has (convert.py). Another token than
there is allowed where the two best tokens are closer than the two programs' sums can be (CLOSE_NATS), and nothing is compared behind it.

Environment: server.py's, REAL_MODELS (scripts/get-test-models), COSTEER.
"""
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "net"))
import support as net  # noqa: E402  pylint: disable=wrong-import-position
from server import MODELS, Vllm, stop_all  # noqa: E402  pylint: disable=wrong-import-position

REAL = pathlib.Path(os.environ.get("REAL_MODELS", "."))
SLMS = {"smollm2": REAL / "smollm2-135m-instruct-q4_1.gguf", "qwen-0.5b": REAL / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"}
MODES = ("streamed", "lockstep", "drafted")
PATIENCE_S = 600  # a busy machine; it only ends what hangs
TIMEOUT_MS = 120000
N_TOKENS = int(os.environ.get("TOKENS", "32"))
EXIT_PAIR, EXIT_CLOUD, EXIT_SIGINT = 4, 6, 130

QUERY = "Write a short bio of me."
NOTES = "My name is Soraya Lindqvist. I live in Gothenburg and work as a bridge engineer. My dog is called Rufus, and I bake on Sundays.\n"

# Two programs, two orders of summation: in float32 the sums differ by some 1e-4; bfloat16 keeps 8 bits of every activation, and the
# base moves by up to 0.11 nats with the batch (docs/engines.md), either way, and for both tokens.
CLOSE_NATS = {"float32": 5e-3, "bfloat16": 0.25}


def run(*arguments, patience=PATIENCE_S):
    start = time.monotonic()
    done = subprocess.run(list(map(str, arguments)), stdin=subprocess.DEVNULL, capture_output=True, timeout=patience)
    out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    return net.Answer(done.returncode, out, err, time.monotonic() - start)


def write(folder, name, text):
    path = pathlib.Path(folder) / name
    path.write_text(text, encoding="utf-8")
    return path


class TestCase(unittest.TestCase):
    """One server for the tests of a class."""

    model, slm, dtype, options = "smollm2", "smollm2", "float32", ()
    tls = ca = key = None

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.notes = write(cls.folder, "notes.txt", NOTES)
        cls.prepare()
        cls.server = Vllm(cls.model, *cls.options, dtype=cls.dtype, tls=cls.tls, ca=cls.ca, key=cls.key)
        cls.addClassCleanup(cls.server.stop)
        print(f"\n{cls.__name__}: {cls.model} {cls.dtype} {' '.join(map(str, cls.options))}: up after {cls.server.start_s:.0f} s", flush=True)
        cls.references = {}

    @classmethod
    def prepare(cls):
        pass

    def url(self):
        return f"vllm+{self.server.url}"

    def command(self, *options, query=QUERY, n_tokens=N_TOKENS, slm=None):
        return [net.COSTEER, "generate", "--slm", slm or SLMS[self.slm], "--context", self.notes, "--json", "--max-tokens", n_tokens,
                *options, query]  # fmt: skip

    def generate(self, *options, **how):
        return run(*self.command("--cloud", self.url(), "--timeout-ms", TIMEOUT_MS, *options, **how))

    def local(self, *options, **how):
        """The answer without a cloud, and how close the two best tokens were at each position."""
        key = (options, tuple(sorted(how.items())))
        if key not in self.references:
            trace = self.folder / "trace"
            answer = run(*self.command("--llm", MODELS / self.model / "same.gguf", "--trace", trace, *options, **how))
            self.assertEqual(answer.code, 0, answer)
            lines = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
            self.references[key] = answer.tokens, [net.Reference.gap(line["best_after"]) for line in lines], answer.text
        return self.references[key]

    def assert_same(self, reference, tokens, note=""):
        ours, gaps, text = reference
        for position, (wanted, got) in enumerate(zip(ours, tokens)):
            if wanted != got:
                print(f"{note}: position {position} parts at a gap of {gaps[position]:.4f} nats", flush=True)
                self.assertLess(gaps[position], CLOSE_NATS[self.dtype], f"{note}: another token at {position} than in {text!r}")
                return
        self.assertEqual(len(ours), len(tokens), note)

    def assert_answer(self, answer, note=""):
        self.assertEqual(answer.code, 0, f"{note}: {answer}")
        self.assertEqual(answer.json["certified"] + answer.json["uncertified"], answer.json["n_tokens"], note)

    def assert_refused(self, answer, pattern, code=EXIT_CLOUD):
        self.assertEqual(answer.code, code, answer)
        lines = [line for line in answer.err.splitlines() if line.startswith("costeer:")]
        self.assertEqual(len(lines), 1, answer)
        self.assertRegex(lines[0], pattern)

    def asked(self, audit):
        """(path, K, whether for one token) of the requests that an audit has."""
        lines = [json.loads(line) for line in audit.read_text(encoding="utf-8").splitlines()]
        return [(line.get("path"), line.get("top_k"), line.get("max_tokens")) for line in lines]

    def count_tracebacks(self):
        return len(re.findall(r"Traceback \(most recent call last\)", self.server.log()))


class LimitTest(TestCase):
    """What each of the servers with a limit between the depths of 64, 512 and 4,096 must do."""

    limit = 0

    def settles(self, mode):
        """Asked once for more than it gives, then for exactly what its refusal names."""
        audit = self.folder / f"audit-{mode}"
        answer = self.generate("--cloud-mode", mode, "--audit", audit)
        self.assert_answer(answer, mode)
        asked = [k for path, k, _ in self.asked(audit) if path == "/v1/completions" and k is not None]
        over = [i for i, k in enumerate(asked) if k > self.limit]
        self.assertLessEqual(len(over), 1, asked)
        if over:
            self.assertIn(self.limit, asked[over[0] :], asked)
        for _, k, n in self.asked(audit):
            self.assertTrue(k is None or k <= 64 or n == 1, "depth is never a stream's")
        return answer

    def check_limit(self):
        n_tracebacks = self.count_tracebacks()
        for mode in MODES:
            with self.subTest(mode):
                answer = self.settles(mode)
                print(f"{type(self).__name__} {mode}: {answer.json['certified']} proved, {answer.json['uncertified']} not", flush=True)
        self.assertEqual(self.count_tracebacks(), n_tracebacks, "a refusal inside a stream costs the server a traceback")


# ---- one server each ---------------------------------------------------------------------------------------------------


class Limit20Test(LimitTest):
    """vLLM's default limit; with TLS and a key; the blocks of its prefix cache are longer than the checks' text."""

    limit = 20
    key = "sk-the-right-key"
    options = ("--max-logprobs", 20, "--enable-prompt-tokens-details")

    @classmethod
    def prepare(cls):
        cls.ca, *cls.tls = net.init_tls(cls.folder / "ours")
        cls.other_ca = net.init_tls(cls.folder / "other")[0]
        cls.right = write(cls.folder, "right", cls.key + "\n")
        cls.wrong = write(cls.folder, "wrong", "sk-some-other-key\n")
        for file in (cls.right, cls.wrong):
            file.chmod(0o600)

    def secured(self, *options, **how):
        return self.generate("--cloud-ca", self.ca, "--cloud-key-file", self.right, *options, **how)

    def test_64_entries_are_refused_before_the_first_token(self):
        answer = self.secured()
        self.assert_refused(answer, "K = 64 is not granted: .*max allowed: 20.*--max-logprobs.*--base-top-k")
        self.assertEqual(answer.out, "")

    def test_20_entries_serve_in_every_mode(self):
        lengths = []
        for mode in MODES:
            with self.subTest(mode):
                answer = self.secured("--cloud-mode", mode, "--base-top-k", 20)
                self.assert_answer(answer)
                self.assertEqual(answer.err, "", "its cache is on")
                lengths.append(answer.tokens)
        self.assertEqual(len(lengths), len(MODES))

    def test_keys(self):
        self.assert_refused(self.generate("--cloud-ca", self.ca, "--cloud-key-file", self.wrong), "does not accept the key .HTTP 401")
        self.assert_refused(self.generate("--cloud-ca", self.ca), "wants a key .HTTP 401.*--cloud-key-file")

    def test_certificates(self):
        options = ("--cloud-key-file", self.right, "--base-top-k", 20)
        self.assert_refused(self.generate("--cloud-ca", self.other_ca, *options), "certificate is not accepted.*--cloud-ca")
        self.assert_refused(self.generate(*options), "certificate is not accepted")

    def test_another_model(self):
        self.assert_refused(self.secured("--cloud-model", "other"), 'no model "other" .*it has "smollm2"')

    def test_another_vocabulary(self):
        answer = self.secured("--base-top-k", 20, slm=SLMS["qwen-0.5b"])
        self.assertEqual(answer.code, EXIT_PAIR, answer)
        self.assertRegex(answer.err, "another vocabulary than the SLM")
        self.assertEqual(answer.out, "")

    def test_too_long(self):
        answer = self.secured("--base-top-k", 20, n_tokens=2048)
        self.assertEqual(answer.code, 3, answer)
        self.assertRegex(answer.err, "do not fit the engine's 2048")


class Limit64Test(LimitTest):
    """Several tokens in an event."""

    limit = 64
    options = ("--max-logprobs", 64, "--stream-interval", 4)

    def test_limit(self):
        self.check_limit()

    def test_events_of_several_tokens(self):
        _, events = self.server.complete(list(range(100, 140)), max_tokens=9, logprobs=2, stream=True)
        sizes = [len(e["choices"][0]["logprobs"]["tokens"]) for e in events if e and e["choices"][0].get("logprobs")]
        self.assertGreater(max(sizes), 1, "the server sends one token an event")
        plain = ("--method", "llm")  # no context: nothing is corrected, so that whole events are used
        for method in (plain, ()):
            with self.subTest(method):
                first = self.generate("--cloud-mode", "lockstep", *method)
                second = self.generate("--cloud-mode", "streamed", *method)
                self.assert_answer(second)
                self.assert_same((first.tokens, [1.0] * len(first.tokens), first.text), second.tokens)


class Limit512Test(LimitTest):
    limit = 512
    options = ("--max-logprobs", 512)

    def test_limit(self):
        self.check_limit()


class Limit1024Test(LimitTest):
    """A vocabulary of 151,665 in an output of 151,936; float32, so that answers are the local run's."""

    limit = 1024
    model = slm = "qwen-0.5b"
    options = ("--max-logprobs", 1024, "--block-size", 32)

    def test_limit(self):
        self.check_limit()

    def test_the_answer_is_the_local_runs(self):
        """As far as 1,024 entries go: what they do not prove is the best of them, there and here."""
        local = self.local("--base-top-k", 1024, "--constant-k")
        for mode in MODES:
            with self.subTest(mode):
                self.assert_same(local, self.generate("--cloud-mode", mode).tokens, mode)

    def test_a_server_on_this_machine_gets_no_idle_requests(self):
        audit = self.folder / "audit"
        answer = self.generate("--audit", audit)
        self.assertGreater(answer.json["cloud"]["corrections"], 0)
        self.assertEqual([path for path, _, _ in self.asked(audit)].count("/v1/models"), 1)


class UnlimitedTest(TestCase):
    """The pair that people use, and as many entries as there are."""

    model, slm, dtype = "qwen-1.5b", "qwen-0.5b", "bfloat16"
    options = ("--max-logprobs", -1, "--block-size", 32)

    def test_every_mode_gives_the_local_runs_answer(self):
        for mode in MODES:
            with self.subTest(mode):
                answer = self.generate("--cloud-mode", mode)
                self.assert_answer(answer)
                self.assertEqual(answer.json["uncertified"], 0, "all of the vocabulary was to be had")
                cloud = answer.json["cloud"]
                print(f"{mode}: {answer.json['n_tokens']} tokens, {cloud['corrections']} corrections, {cloud['deepenings']} deepenings, "
                      f"{cloud['bytes_down'] // answer.json['n_tokens']} bytes a token, {answer.json['tokens_per_second']:.2f} tokens/s",
                      flush=True)  # fmt: skip
                self.assert_same(self.local(), answer.tokens, mode)

    def test_all_of_the_vocabulary_is_recognised_as_all(self):
        """Depth 4,096 at once, so that what that does not prove takes the whole output: padding ids are in it."""
        trace = self.folder / "trace-all"
        answer = self.generate("--base-top-k", 0, "--trace", trace, n_tokens=3)
        self.assert_answer(answer)
        lines = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
        self.assertEqual({line["n_entries"] for line in lines}, {151665})
        self.assertEqual(answer.json["uncertified"], 0)

    def test_temperature_draws_the_same_tokens_in_every_mode(self):
        answers = [self.generate("--temperature", "0.7", "--seed", 5, "--cloud-mode", mode, n_tokens=12) for mode in MODES]
        for answer in answers:
            self.assert_answer(answer)
        same = sum(a.tokens == answers[0].tokens for a in answers)
        print(f"temperature 0.7: {same} of {len(answers)} modes drew the same", flush=True)  # a draw may part where the base moves

    def test_compare(self):
        done = run(net.COSTEER, "compare", "--cloud", self.url(), "--timeout-ms", TIMEOUT_MS, "--slm", SLMS[self.slm], "--context",
                   self.notes, "--json", "--max-tokens", N_TOKENS, QUERY)  # fmt: skip
        self.assertEqual(done.code, 0, done)
        methods = {method["name"]: method for method in done.json["methods"]}
        self.assertEqual(list(methods), ["llm", "slm+context", "costeer"])
        self.assertEqual(methods["costeer"]["cloud"]["engine"], "vLLM")
        self.assert_same(self.local(), methods["costeer"]["token_ids"], "compare")

    def test_eval(self):
        rows = [{"query": QUERY, "context": NOTES, "reference": "Soraya"}, {"query": "Who am I?", "context": NOTES, "reference": "Soraya"}]
        data = write(self.folder, "data.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        done = run(net.COSTEER, "eval", "--task", "generic", "--data", data, "--max-tokens", 12, "--method", "llm", "--method", "costeer",
                   "--jobs", 2, "--cloud", self.url(), "--timeout-ms", TIMEOUT_MS, "--slm", SLMS[self.slm], "--out",
                   self.folder / "eval")  # fmt: skip
        self.assertEqual(done.code, 0, done)
        results = [json.loads(line) for line in (self.folder / "eval" / "results.jsonl").read_text().splitlines()]
        self.assertEqual([r["label"] for r in results], ["llm", "costeer"] * 2)
        self.assertTrue(all(r["answer"] for r in results))

    def test_ctrl_c_ends_the_answer_and_the_servers_work(self):
        for mode in MODES:
            with self.subTest(mode):
                method = () if mode == "drafted" else ("--method", "llm")  # who drafts is the SLM, for the methods that use it
                command = self.command("--cloud", self.url(), "--cloud-mode", mode, "--timeout-ms", TIMEOUT_MS, *method,
                                       query="Write a complete chess program in Python, with comments in every line.", n_tokens=600)  # fmt: skip
                # whoever starts these tests in the background has SIGINT ignored, which programs inherit
                process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # fmt: skip
                before = self.server.metric("vllm:generation_tokens_total")
                net.wait_until(lambda b=before: self.server.metric("vllm:generation_tokens_total") > b + 6 or process.poll() is not None,
                               "an answer", PATIENCE_S)  # fmt: skip
                self.assertIsNone(process.poll(), "the answer is too short for this test")
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=PATIENCE_S)
                self.assertEqual(process.returncode, EXIT_SIGINT, err)
                self.assertEqual(json.loads(out)["finish"], "cancelled")
                self.assertLess(json.loads(out)["n_tokens"], 590)
                net.wait_until(lambda: self.server.metric("vllm:num_requests_running") == 0, "the server has stopped", PATIENCE_S)

    def test_four_devices_at_once(self):
        queries = [QUERY, "Introduce me in two sentences.", "Who am I?", "What should a guest know about me?"]
        devices = []
        for n, query in enumerate(queries):
            command = self.command("--cloud", self.url(), "--cloud-mode", MODES[n % 3], "--timeout-ms", TIMEOUT_MS, "--threads-slm", 1,
                                   query=query, n_tokens=16)  # fmt: skip
            devices.append(subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                            stderr=subprocess.PIPE))  # fmt: skip
        for n, device in enumerate(devices):
            with self.subTest(device=n):
                out, err = device.communicate(timeout=PATIENCE_S)
                self.assertEqual(device.returncode, 0, err)
                alone = self.local(query=queries[n], n_tokens=16)
                self.assert_same(alone, json.loads(out)["tokens"], f"device {n}, {MODES[n % 3]}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop_all)
    with contextlib.suppress(KeyboardInterrupt):
        unittest.main(verbosity=2)
