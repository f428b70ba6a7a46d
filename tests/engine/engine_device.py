"""The device's side of the tests: `costeer generate` as a process, and the answer that it gives without a network.

Another token than the undisturbed answer's is allowed at a tie only: see tests/net/support.py.
"""
import contextlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from engine_support import COSTEER, MODELS, PATIENCE_S, QUERY, REPO

sys.path.insert(0, str(REPO / "tests" / "net"))
import support as net  # noqa: E402  pylint: disable=wrong-import-position

N_TOKENS = 60
EXIT_USAGE, EXIT_CLOUD, EXIT_UNCERTIFIED = 2, 6, 8
NOTES = net.NOTES

# What is told of an engine that is taken all the same.
NOTE = re.compile("costeer: (the cloud is|the engine has no way|the engine gives|the engine's prefix cache)")

# Prompts of models/eval/prompts.jsonl whose answers need corrections and deepening.
EVAL_PROMPTS = (0, 1, 2, 3)


def eval_prompts(which=EVAL_PROMPTS):
    """(query, notes)"""
    with open(REPO / "models" / "eval" / "prompts.jsonl", encoding="utf-8") as lines:
        prompts = [json.loads(line) for _, line in zip(range(max(which) + 1), lines)]
    return [(prompts[i]["query"], prompts[i]["context"]) for i in which]


class Answer(net.Answer):
    def lines(self):
        return [line for line in self.err.splitlines() if line.startswith("costeer:")]


class Device:
    """`costeer generate` running; url None: with the LLM in its own process."""

    def __init__(self, url, *options, query=QUERY, notes=NOTES, n_tokens=N_TOKENS, timeout_ms=net.TIMEOUT_MS, models=MODELS):
        self.folder = tempfile.TemporaryDirectory()
        path = pathlib.Path(self.folder.name) / "notes.txt"
        path.write_text(notes, encoding="utf-8")
        cloud = ["--cloud", url, "--timeout-ms", str(timeout_ms)] if url else ["--llm", models / "costeer-llm.gguf"]
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


class Reference(net.Reference):
    """The answer of the LLM in the same process, with the distance of the two best tokens at each position."""

    def __init__(self, *options, **how):
        super().__init__(None, *options, **how)

    @staticmethod
    def generate(url, *options, **how):
        return generate(url, *options, **how)


class TestCase(net.TestCase):
    def assert_refused(self, answer, pattern, code=EXIT_CLOUD, at_once=False):
        """One line that says what happened, after what is told of the engine. At once: not after having tried until the time-out."""
        self.assertEqual(answer.code, code, answer)
        lines = [line for line in answer.lines() if not NOTE.match(line)]
        self.assertEqual(len(lines), 1, answer)
        self.assertRegex(lines[0], pattern)
        if at_once:
            self.assertNotRegex(lines[0], r"within \d+ ms|said nothing for")


def init_tls(folder):
    """(ca, certificate, key) of a development CA."""
    subprocess.run([COSTEER, "node", "--init-tls", str(folder)], check=True, capture_output=True)
    folder = pathlib.Path(folder)
    return folder / "ca.pem", folder / "node.pem", folder / "node-key.pem"
