"""What the tests with real weights share: the models, the programs as processes, near ties, texts.

Environment: COSTEER_REAL_MODELS (the models' folder), COSTEER_REAL (quick: the part that CI runs), COSTEER (the program), LLAMA_SERVER.
Without the models everything is skipped, by name. All programs compute with one thread: what several threads
do on a busy machine is a matter of speed, and no test here depends on it.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "net"))

import support  # noqa: E402

REPO = support.REPO
COSTEER = support.COSTEER
LLAMA_SERVER = os.environ.get("LLAMA_SERVER", "")
QUICK = os.environ.get("COSTEER_REAL", "quick") == "quick"
PATIENCE_S = 1800  # ends a hang; a long context on one busy core takes minutes
TIMEOUT_MS = 600000
support.PATIENCE_S = PATIENCE_S

EXIT_USAGE, EXIT_DATA, EXIT_MODEL = 2, 3, 4

FILES = {
    "qwen-1.5b": "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    "qwen-0.5b": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    "smollm2": "smollm2-135m-instruct-q4_1.gguf",
    "gemma": "gemma-3-270m-q4_k_m.gguf",
}

# Notes with facts, one of which each query asks for; short, so that answers come fast.
NOTES = ("My name is Marta Lindqvist. I live in Gothenburg with my partner Jonas and our dog Biscuit.\n"
         "I turn 40 on Saturday 14 March and want to celebrate at the boathouse in Saltholmen from six in the evening.\n"
         "I am vegetarian; Jonas bakes the cake, hazelnut with pear. The tram is line 11.\n")
QUERIES = ("Write a short invitation to my birthday party.",
           "Write a short introduction of me for a new colleague.",
           "What should a guest bring to my party? Answer in two sentences.")


# Set by scripts/test-real; empty where the packages are not available.
MODELS = pathlib.Path(os.environ["COSTEER_REAL_MODELS"]) if os.environ.get("COSTEER_REAL_MODELS") else None


def model(name):
    return MODELS / FILES[name]


def need_models():
    """For setUpModule()."""
    if MODELS is None:
        raise unittest.SkipTest("the packages with real weights are not here: scripts/get-test-models")


def need_llama_server():
    if not LLAMA_SERVER:
        raise unittest.SkipTest("LLAMA_SERVER is not set")


# ---- answers -----------------------------------------------------------------------------------------------------------


def run(*arguments, stdin=None):
    """The program to its end: an Answer."""
    start = time.monotonic()
    done = subprocess.run([COSTEER, *map(str, arguments)], input=stdin, stdin=subprocess.DEVNULL if stdin is None else None,
                          capture_output=True, text=True, timeout=PATIENCE_S, check=False)  # fmt: skip
    assert done.returncode >= 0, f"{arguments[0]} was killed by signal {-done.returncode}: {done.stderr[-2000:]}"
    return support.Answer(done.returncode, done.stdout, done.stderr, time.monotonic() - start)


def generate(*options, query=QUERIES[0], notes=NOTES, max_tokens=40):
    """`costeer generate` with a context, all of it unless told otherwise; the trace is in .trace."""
    use = () if "--use" in options else ("--use", "all")
    with tempfile.TemporaryDirectory() as name:
        path, trace = pathlib.Path(name) / "notes.txt", pathlib.Path(name) / "trace"
        path.write_text(notes, encoding="utf-8")
        answer = run("generate", "--json", "--max-tokens", max_tokens, "--context", path, "--trace", trace, *use, *options, query)
        answer.trace = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()] if trace.exists() else []
    return answer


def local(llm, slm, *options, **how):
    """LLM and SLM in one process, a thread each."""
    return generate("--llm", model(llm), "--slm", model(slm), "--threads-llm", 1, *options, **how)


def over(url, slm, *options, **how):
    """The same with the LLM across the network."""
    return generate("--cloud", url, "--slm", model(slm), "--timeout-ms", TIMEOUT_MS, *options, **how)


class Node(support.Node):
    """`costeer node` with a real model, one thread."""

    def __init__(self, llm, *options, max_context=1024, parallel=1):
        super().__init__("--model", model(llm), "--threads", 1, "--max-context", max_context, "--parallel", parallel, *options)


# ---- comparison --------------------------------------------------------------------------------------------------------


def parting(ours, theirs):
    """The first position where two answers have different tokens, or one ends; None where there is none."""
    for position, (mine, other) in enumerate(zip(ours, theirs)):
        if mine != other:
            return position
    return None if len(ours) == len(theirs) else min(len(ours), len(theirs))


class TestCase(unittest.TestCase):
    maxDiff = 2000

    def assert_answers(self, answer):
        self.assertEqual(answer.code, 0, answer)
        self.assertGreater(len(answer.tokens), 0, answer)
        return answer

    def assert_same(self, reference, answer, note=""):
        self.assert_answers(answer)
        self.assert_same_tokens(reference, answer.tokens, note)

    def assert_same_tokens(self, reference, tokens, note):
        """The reference's tokens, or they part at a near tie (docs/mathematics.md), and that is printed."""
        position = parting(reference.tokens, tokens)
        if position is None:
            return
        line = reference.trace[min(position, len(reference.trace) - 1)]
        if not line["near_tie"]:
            self.fail(f"{note}: another answer from token {position} on, where the margin is {line['margin']} nats: {tokens} instead of "
                      f"{reference.tokens}, {reference.text!r}")
        print(f"near tie: {note}: token {position}, margin {line['margin']} nats")

    def assert_refused(self, answer, code, pattern):
        """One line that says what is wrong, and the exit code."""
        self.assertEqual(answer.code, code, answer)
        lines = [line for line in answer.err.splitlines() if line]
        self.assertEqual(len(lines), 1, answer)
        self.assertRegex(lines[0], pattern)

    def path(self, text, name="text"):
        found = tempfile.TemporaryDirectory()
        self.addCleanup(found.cleanup)
        path = pathlib.Path(found.name) / name
        path.write_text(text, encoding="utf-8")
        return path


def main():
    unittest.main(module=sys.modules["__main__"], verbosity=2)
