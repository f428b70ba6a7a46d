#!/usr/bin/env python3
"""Nothing of the context leaves the device but what it says in the answer.

Contexts are random words that no text contains by chance. All that a device sends passes a recording proxy (plain ws, so that every byte can
be read); the frames are unmasked and decoded, token ids are turned into text with the vocabulary read from the model file, and the
context is looked for in all of it, in the audit file and in the logs, by words and by every run of six bytes.
"""
import json
import os
import pathlib
import random
import stat
import subprocess
import sys
import tempfile

import support
import wire
import ws

sys.path.insert(0, str(support.REPO / "tests" / "cli" / "helpers"))
import gguf  # noqa: E402  pylint: disable=wrong-import-position

RUN_BYTES = 6
QUERIES = ("Write a short bio of me.", "Write an invitation to my birthday.", "Plan my day.")
HEADERS = {
    "host", "upgrade", "connection", "pragma", "cache-control", "origin", "authorization",
    "sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol",
}  # fmt: skip
TOKEN = "qpwoeiru-zmxncbv-1029"

RUNS = [
    ("--cloud-mode", "streamed"),
    ("--cloud-mode", "lockstep"),
    ("--cloud-mode", "drafted"),
    ("--cloud-mode", "drafted", "--draft-length", 12, "--half-precision"),
    ("--cloud-mode", "streamed", "--base-top-k", 2),
    ("--cloud-mode", "streamed", "--base-top-k", 0),
    ("--cloud-mode", "streamed", "--temperature", 1.2, "--seed", 5),
    ("--cloud-mode", "lockstep", "--strength", 0.2),
    ("--cloud-mode", "streamed", "--template", "raw"),  # the prompt as tokens
    ("--method", "lightcosteer"),
    ("--method", "adacosteer", "--half-precision"),
    ("--method", "costeer-whole", "--half-precision"),
    ("--gate", "token", "--gate-threshold", 0.3, "--half-precision"),
]

# The SLM of another vocabulary: the LLM's is read from its file, for the device has nothing else that spells the answer.
OTHER_SLM = ("--llm", support.MODELS / "costeer-llm.gguf", "--slm", support.MODELS / "costeer-slm-other.gguf")
RUNS += [(*OTHER_SLM, "--vocab", mode) for mode in ("byte", "map", "map-intersect")]

# Methods that put the context into the LLM's prompt.
SHOWING = ("llm+context", "context-steering", "linear-alignment", "amulet")


class Canary:
    """A context of random words, in sentences that the models know how to use."""

    def __init__(self, seed):
        chance = random.Random(seed)
        self.words = ["".join(chance.choice("bcdfghjkqvwxz") for _ in range(chance.randrange(8, 14))) for _ in range(9)]
        w = self.words
        self.text = (
            f"name: {w[0].capitalize()}\ncity: {w[1].capitalize()}\njob: {w[2]}\nMy dog is called {w[3].capitalize()}.\n"
            f"I play the {w[4]}. {w[5]} {w[6]} {w[7]}, my password is {w[8]}.\n"
        )

    def found_in(self, data, emitted):
        """Words, and runs of bytes of them, that are in data though the answer does not say them. Letters count, not their case."""
        data, emitted = data.lower(), emitted.lower()
        runs = {word[i : i + RUN_BYTES].encode() for word in self.words for i in range(len(word) - RUN_BYTES + 1)}
        return [run for run in runs if run in data and run not in emitted]


class Vocabulary:
    def __init__(self):
        keys = gguf.read(str(support.MODELS / "costeer-slm.gguf"))[0]
        self.pieces = [self.piece(raw) for raw in keys["tokenizer.ggml.tokens"][1][1]]

    @staticmethod
    def piece(raw):
        text = raw.decode()
        if len(text) == 6 and text.startswith("<0x"):
            return bytes([int(text[3:5], 16)])
        return text.replace("\u2581", " ").encode()

    def text(self, tokens):
        return b"".join(self.pieces[token] for token in tokens)


class Sent:
    """What a recorder has seen leave a device."""

    def __init__(self, recorder):
        self.raw = b"".join(bytes(up) for up, _ in recorder.connections)
        self.heads, self.payloads, self.frames = [], [], []
        for up, _ in recorder.connections:
            head, messages, offsets = ws.split_stream(bytes(up))
            self.heads.append(head.decode())
            self.payloads += messages
            self.frames += [frame for message in messages for frame in wire.decode(message, support.N_VOCAB)]
            assert offsets[-1] == len(up), "bytes that are no frame"

    def tokens(self, *kinds):
        names = {"open": ("prompt", "accepted"), "correct": ("token",), "draft": ("tokens",)}
        out = []
        for frame in self.frames:
            for name in names.get(frame["type"], ()) if not kinds or frame["type"] in kinds else ():
                value = frame.get(name, [])
                out += value if isinstance(value, list) else [value]
        return out

    def messages(self):
        return "".join(text for frame in self.frames for _, text in frame.get("messages", ())).encode()


class CanaryTest(support.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.vocabulary = Vocabulary()
        cls.folder = tempfile.TemporaryDirectory()
        cls.token_file = pathlib.Path(cls.folder.name) / "token"
        cls.token_file.write_text(TOKEN)
        cls.token_file.chmod(0o600)
        cls.node = support.Node("--token-file", cls.token_file, "--log-level", "debug", token=TOKEN)

    @classmethod
    def tearDownClass(cls):
        cls.node.__exit__()
        cls.folder.cleanup()

    def device(self, canary, query, *options):
        """(answer, what was sent, lines of the audit)"""
        audit = pathlib.Path(self.folder.name) / "audit"
        audit.unlink(missing_ok=True)
        with ws.Recorder(self.node.port) as recorder:
            answer = support.generate(self.node.url(recorder.port), "--cloud-token-file", self.token_file, "--log-level", "debug", "--audit",
                                      audit, *options, query=query, notes=canary.text)  # fmt: skip
            self.assertEqual(answer.code, 0, answer)
            self.assertEqual(stat.S_IMODE(os.stat(audit).st_mode), 0o600)
            return answer, Sent(recorder), audit.read_text()

    def test_canary__the_search_finds_what_is_there(self):
        canary = Canary(1)
        self.assertEqual(len(canary.found_in(b"x" + canary.words[4][2:8].upper().encode(), b"")), 1)
        self.assertEqual(canary.found_in(canary.words[4].encode(), canary.words[4].encode()), [])
        _, sent, audit = self.device(canary, QUERIES[0])
        self.assertIn(b"short bio", sent.messages() + self.vocabulary.text(sent.tokens()))
        self.assertIn("short bio", audit)

    def test_canary__is_in_nothing_that_is_sent(self):
        n_secret = 0
        for seed, options in enumerate(RUNS):
            for query in QUERIES:
                canary = Canary(seed)
                with self.subTest(options=options, query=query):
                    answer, sent, audit = self.device(canary, query, *options)
                    n_secret += self.check(canary, query, answer, sent, audit, options)
        self.assertGreater(n_secret, 5 * len(RUNS) * len(QUERIES))  # most words are in no answer: the search had something to find

    def check(self, canary, query, answer, sent, audit, options):
        emitted = answer.text.encode() + self.vocabulary.text(answer.tokens)
        places = {
            "bytes": sent.raw,
            "payloads": b"".join(sent.payloads),
            "messages": sent.messages(),
            "tokens": self.vocabulary.text(sent.tokens()),
            "drafts": self.vocabulary.text(sent.tokens("draft")),
            "audit": audit.encode(),
            "log": answer.err.encode(),
        }
        for place, data in places.items():
            self.assertEqual(canary.found_in(data, emitted), [], place)
        self.check_log(answer, query)
        self.check_tokens(answer, sent, options)
        self.check_heads(sent)
        self.check_audit(sent, audit)
        return sum(word.encode() not in emitted.lower() for word in canary.words)

    def check_log(self, answer, query):
        self.assertNotIn(query, answer.err)
        self.assertNotIn(TOKEN, answer.err)
        for i in range(0, len(answer.text) - 20, 5):
            self.assertNotIn(answer.text[i : i + 20], answer.err)

    def check_tokens(self, answer, sent, options):
        """Corrections and accepted tokens are those of the answer, at their positions; drafts only where there are to be any."""
        for frame in sent.frames:
            if frame["type"] == "correct":
                self.assertEqual(frame["token"], answer.tokens[frame["position"]])
            elif frame["type"] == "open":
                self.assertEqual(frame["accepted"], answer.tokens[: len(frame["accepted"])])
        if "drafted" not in options:
            self.assertEqual(sent.tokens("draft"), [])
        self.assertLessEqual({f["type"] for f in sent.frames}, {"open", "commit", "correct", "draft", "deepen", "close", "ping"})

    def check_heads(self, sent):
        self.assertEqual(len(sent.heads), 1)
        first, *lines = sent.heads[0].strip().split("\r\n")
        self.assertRegex(first, r"^GET / HTTP/1\.1$")
        self.assertLessEqual({line.split(":")[0].lower() for line in lines}, HEADERS)

    def check_audit(self, sent, audit):
        """It has every frame, with its tokens."""
        lines = [json.loads(line) for line in audit.splitlines()]
        lines = [line for line in lines if line["kind"] in wire.NAMES]
        self.assertEqual([line["kind"] for line in lines], [frame["type"] for frame in sent.frames])
        for line, frame in zip(lines, sent.frames):
            if frame["type"] == "correct":
                self.assertEqual((line["tokens"], line["position"]), ([frame["token"]], frame["position"]))
            elif frame["type"] == "draft":
                self.assertEqual((line["tokens"], line["position"]), (frame["tokens"], frame["position"]))
            elif frame["type"] == "commit":
                self.assertEqual(line["position"], frame["position"])

    def test_canary__drafts_without_context_do_not_depend_on_it(self):
        """Two contexts that lead to the same answer lead to the same bytes: the drafts know the public text only."""
        options = ("--cloud-mode", "drafted", "--strength", 0, "--max-tokens", 40)
        payloads = []
        for seed in (21, 22):
            _, sent, _ = self.device(Canary(seed), QUERIES[0], *options)
            payloads.append(sent.payloads)
        self.assertEqual(payloads[0], payloads[1])

    def test_canary__compare_does_not_upload_the_context(self):
        canary = Canary(31)
        notes = pathlib.Path(self.folder.name) / "notes"
        notes.write_text(canary.text)
        with ws.Recorder(self.node.port) as recorder:
            run = subprocess.run(
                [support.COSTEER, "compare", "--cloud", self.node.url(recorder.port), "--cloud-token-file", str(self.token_file), "--context",
                 str(notes), "--max-tokens", "40", "--log-level", "debug", "--json", QUERIES[0]],
                check=True, capture_output=True, timeout=support.PATIENCE_S,
            )  # fmt: skip
            sent = Sent(recorder)
        methods = {m["name"]: m for m in json.loads(run.stdout)["methods"]}
        emitted = methods["costeer"]["text"].encode()
        self.assertNotIn("llm+context", methods)
        for data in (sent.raw, b"".join(sent.payloads), sent.messages(), self.vocabulary.text(sent.tokens()), run.stderr):
            self.assertEqual(canary.found_in(data, emitted), [])

    # ---- evaluations and uploads ----------------------------------------------------------------------------------------

    def evaluate(self, canary, *options, code=0):
        """(answers by method, what was sent, lines of the audit, all else that was written)"""
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            rows = [{"id": "whole", "query": QUERIES[0], "context": canary.text}, {"id": "bad", "context": canary.text, "query": [canary.text]}]
            lines = [json.dumps(row) for row in rows] + [canary.text.splitlines()[0]]
            (folder / "data").write_text("\n".join(lines) + "\n")
            with ws.Recorder(self.node.port) as recorder:
                run = subprocess.run(
                    [support.COSTEER, "eval", "--task", "generic", "--data", folder / "data", "--out", folder / "run", "--cloud",
                     self.node.url(recorder.port), "--cloud-token-file", self.token_file, "--audit", folder / "audit", "--max-tokens", "40",
                     "--log-level", "debug", *options],
                    capture_output=True, timeout=support.PATIENCE_S, check=False,
                )  # fmt: skip
                self.assertEqual(run.returncode, code, run.stderr)
                sent = Sent(recorder)
            if not (folder / "run").exists():
                return {}, sent, b"", run.stdout + run.stderr
            for file in (folder / "run").iterdir():
                self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600, file)
            self.assertEqual(sorted(file.name for file in folder.iterdir()), ["audit", "data", "run"])  # nothing else is left
            results = [json.loads(line) for line in (folder / "run" / "results.jsonl").read_text().splitlines()]
            told = b"".join((folder / "run" / file).read_bytes() for file in ("run.json", "bad_rows.jsonl"))
            return {r["label"]: r["answer"] for r in results}, sent, (folder / "audit").read_bytes(), told + run.stdout + run.stderr

    def sent_of(self, sent, audit):
        return (sent.raw, b"".join(sent.payloads), sent.messages(), self.vocabulary.text(sent.tokens()), audit)

    def test_canary__an_evaluation_sends_and_tells_none_of_it(self):
        """Of four methods one would show the context, and is left out; two rows are bad, and their reasons have none of them."""
        for seed, options in enumerate([(), ("--gate", "token"), ("--sweep", "strength=0:2:1"), ("--allow-context-upload", "--method", "costeer")]):
            canary = Canary(60 + seed)
            with self.subTest(options=options):
                answers, sent, audit, told = self.evaluate(canary, *options, code=3)
                self.assertNotIn("llm+context", answers)
                emitted = "".join(answers.values()).encode() + self.vocabulary.text(sent.tokens("correct"))
                for data in (*self.sent_of(sent, audit), told):
                    self.assertEqual(canary.found_in(data, emitted), [])
                self.assertIn(b"short bio", audit)

    def test_canary__goes_only_with_the_permission_and_the_audit_has_it(self):
        for seed, method in enumerate(SHOWING):
            canary = Canary(70 + seed)
            with self.subTest(method=method):
                answers, sent, audit, told = self.evaluate(canary, "--method", method, code=2)
                self.assertEqual((answers, sent.raw, audit), ({}, b"", b""))
                self.assertEqual(canary.found_in(told, b""), [])
                answers, sent, audit, told = self.evaluate(canary, "--method", method, "--allow-context-upload", code=3)
                word = canary.words[8].encode()  # the password, which no answer says by itself
                self.assertIn(word, sent.messages() + self.vocabulary.text(sent.tokens("open")))
                self.assertIn(word, audit)
                self.assertEqual(canary.found_in(told, answers[method].encode()), [])  # shown to the cloud, told nobody else

    def test_canary__is_in_no_error(self):
        """Not in what is said when the cloud fails, either."""
        canary = Canary(41)
        for at in (0, 100, 250, 330):
            with support.Proxy(self.node.port, "--direction", "up", "--cut-at", at) as proxy:
                answer = support.generate(self.node.url(proxy.port), "--cloud-token-file", self.token_file, "--log-level", "debug",
                                          "--cloud-mode", "lockstep", notes=canary.text, query=QUERIES[0], timeout_ms=700)  # fmt: skip
            self.assertEqual(answer.code, support.EXIT_CLOUD, answer)
            self.assertEqual(canary.found_in(answer.err.encode(), b""), [])
            self.check_log(support.Answer(0, json.dumps({"text": "", "tokens": []}), answer.err, 0), QUERIES[0])

    def test_canary__no_core_is_dumped(self):
        with support.Node("--bench-step-ms", 30) as node:
            device = support.Device(node.url())
            support.wait_until(lambda: node.metrics()["costeer_sessions"] == 1, "an answer is open")
            for pid in (device.process.pid, node.process.pid):
                limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
                line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
                # 1 byte, not 0: where cores are piped to a program, 0 is no limit to Linux, and 1 is none at all (core(5)).
                self.assertIn(line.split()[4:6], (["0", "0"], ["1", "1"]), line)
            self.assertEqual(device.wait().code, 0)

    def test_canary__the_node_logs_neither_query_nor_answer(self):
        canary = Canary(51)
        answer, _, _ = self.device(canary, QUERIES[1])
        log = self.node.stderr()
        self.assertNotIn(TOKEN, log)
        for text in (QUERIES[1], answer.text):
            for i in range(0, len(text) - 12, 4):
                self.assertNotIn(text[i : i + 12], log)
        self.assertEqual(canary.found_in(log.encode(), b""), [])


if __name__ == "__main__":
    support.main()
