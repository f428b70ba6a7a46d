"""The device's side of the tests: `costeer generate` as a process, and the answer that it gives without a network.

Another token than the undisturbed answer's is allowed at a tie only: see CLOSE_NATS.
"""
import contextlib
import json
import pathlib
import re
import subprocess
import tempfile
import time
import unittest

from engine_support import COSTEER, MODELS, PATIENCE_S, QUERY, REPO

N_TOKENS = 60
N_VOCAB = 1024
EXIT_USAGE, EXIT_CLOUD, EXIT_UNCERTIFIED = 2, 6, 8
NOTES = "name: Soraya\ncity: Gothenburg\nMy dog is called Rufus.\n"
SLOW = PATIENCE_S / 30
CLOSE_NATS = 1e-3  # two best scores so close may change places: other batch sizes change the last bits

# What is told of an engine that is taken all the same.
NOTE = re.compile("costeer: (the cloud is|the engine has no way|the engine gives|the engine's prefix cache)")

# Prompts of models/eval/prompts.jsonl whose answers need corrections and deepening.
EVAL_PROMPTS = (0, 1, 2, 3)


def eval_prompts(which=EVAL_PROMPTS):
    """(query, notes)"""
    with open(REPO / "models" / "eval" / "prompts.jsonl", encoding="utf-8") as lines:
        prompts = [json.loads(line) for _, line in zip(range(max(which) + 1), lines)]
    return [(prompts[i]["query"], prompts[i]["context"]) for i in which]


class Answer:
    """How a device ended."""

    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.err, self.seconds, self.json = code, out, err, seconds, None
        with contextlib.suppress(ValueError):
            self.json = json.loads(out)

    @property
    def tokens(self):
        return self.json["tokens"] if self.json else None

    def lines(self):
        return [line for line in self.err.splitlines() if line.startswith("costeer:")]

    def __repr__(self):
        return f"exit code {self.code} after {self.seconds:.1f} s; {self.err.strip()[:600]}; {self.out[:200]}"


class Device:
    """`costeer generate` running; url None: with the LLM in its own process."""

    def __init__(self, url, *options, query=QUERY, notes=NOTES, n_tokens=N_TOKENS, timeout_ms=20000, models=MODELS):
        self.folder = tempfile.TemporaryDirectory()
        path = pathlib.Path(self.folder.name) / "notes.txt"
        path.write_text(notes, encoding="utf-8")
        cloud = ["--cloud", url, "--timeout-ms", str(int(timeout_ms * SLOW))] if url else ["--llm", models / "costeer-llm.gguf"]
        command = [COSTEER, "generate", *cloud, "--slm", models / "costeer-slm.gguf", "--json", "--max-tokens", n_tokens,
                   "--context", path, *options, query]  # fmt: skip
        self.start = time.monotonic()
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)  # fmt: skip

    def peak_kib(self):
        """The most memory that it has held so far; 0: it has ended."""
        with contextlib.suppress(OSError):
            status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
            return int((re.search(r"VmHWM:\s+(\d+)", status) or [0, 0])[1])
        return 0

    def wait(self, patience=PATIENCE_S):
        """A device that hangs is a failure of the test."""
        try:
            out, err = self.process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"the device hangs: {err.decode('utf-8', 'replace')}") from None
        finally:
            self.folder.cleanup()
        err = err.decode("utf-8", "replace")
        if "Sanitizer" in err or "runtime error" in err or self.process.returncode < 0:
            raise AssertionError(f"the device crashed ({self.process.returncode}): {err}")
        return Answer(self.process.returncode, out.decode("utf-8", "replace"), err, time.monotonic() - self.start)


def generate(url, *options, **how):
    return Device(url, *options, **how).wait()


class Reference:
    """The answer of the LLM in the same process, with the distance of the two best tokens at each position."""

    def __init__(self, *options, **how):
        with tempfile.TemporaryDirectory() as folder:
            trace = pathlib.Path(folder) / "trace"
            self.answer = generate(None, "--trace", trace, *options, **how)
            assert self.answer.code == 0, self.answer
            lines = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
        self.gaps = [self.gap(line["best_after"]) for line in lines]

    @staticmethod
    def gap(best):
        values = [float(entry["logprob"]) for entry in best[:2]]
        return values[0] - values[1] if len(values) == 2 else float("inf")

    def explains(self, tokens):
        """True when tokens are the reference's, up to the first position where two tokens were as good as each other."""
        for position, (ours, other) in enumerate(zip(self.answer.tokens, tokens)):
            if ours != other:
                return self.gaps[position] < CLOSE_NATS
        return len(tokens) == len(self.answer.tokens)


class TestCase(unittest.TestCase):
    def assert_same(self, reference, answer, note=""):
        self.assertEqual(answer.code, 0, f"{note}: {answer}")
        if not reference.explains(answer.tokens):
            self.fail(f"{note}: another answer: {answer.json['text']!r} instead of {reference.answer.json['text']!r}")

    def assert_refused(self, answer, pattern, code=EXIT_CLOUD, seconds=PATIENCE_S):
        """One line that says what happened, in time; what is told of the engine comes before it."""
        self.assertEqual(answer.code, code, answer)
        lines = [line for line in answer.lines() if not NOTE.match(line)]
        self.assertEqual(len(lines), 1, answer)
        self.assertRegex(lines[0], pattern)
        self.assertLess(answer.seconds, seconds, answer)


def init_tls(folder):
    """(ca, certificate, key) of a development CA."""
    subprocess.run([COSTEER, "node", "--init-tls", str(folder)], check=True, capture_output=True)
    folder = pathlib.Path(folder)
    return folder / "ca.pem", folder / "node.pem", folder / "node-key.pem"
