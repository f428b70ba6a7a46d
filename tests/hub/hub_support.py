"""What the tests with the hub share: the server of tests/support/hub.py with the built-in pair as its files, a cache, and the program.

Environment: COSTEER (the program), COSTEER_MODELS_DIR, LLAMA_HUB (tests/hub/llama_hub.cpp).
"""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
COSTEER = os.environ.get("COSTEER", str(REPO / "build" / "costeer"))
MODELS = pathlib.Path(os.environ.get("COSTEER_MODELS_DIR", str(REPO / "models")))
LLM = MODELS / "costeer-llm.gguf"
SLM = MODELS / "costeer-slm.gguf"
NAME = "tiny/pair-GGUF"
FOLDER = "models--tiny--pair-GGUF"
PATIENCE_S = 600  # ends a hang


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"after {PATIENCE_S} s still not: {what}")
        time.sleep(0.01)
    return value


class HubTest(unittest.TestCase):
    """A server and an empty cache for each test."""

    def setUp(self):
        self.tmp = pathlib.Path(tempfile.mkdtemp(prefix="costeer-hub-"))
        self.addCleanup(shutil.rmtree, self.tmp)
        self.served, self.state, self.home = self.tmp / "served", self.tmp / "state", self.tmp / "home"
        self.cache = self.home / "hub"
        self.state.mkdir()
        self.serve("pair-llm-Q4_K_M.gguf", LLM)
        self.serve("pair-slm-Q8_0.gguf", SLM)
        self.serve("parts/big-Q5_K_M-00001-of-00002.gguf", LLM)
        self.serve("parts/big-Q5_K_M-00002-of-00002.gguf", SLM)
        self.server = subprocess.Popen([sys.executable, str(REPO / "tests" / "support" / "hub.py"), str(self.served), str(self.state)],
                                       stdin=subprocess.PIPE)
        self.addCleanup(self.server.communicate)
        wait_until((self.state / "endpoint").exists, "the hub listens")
        self.endpoint = (self.state / "endpoint").read_text()
        self.environment = {k: v for k, v in os.environ.items()
                            if not k.startswith(("HF_", "HUGGING", "LLAMA_")) and k.lower() not in ("http_proxy", "https_proxy", "all_proxy")}
        self.environment |= {"HF_HOME": str(self.home), "HF_ENDPOINT": self.endpoint}

    def serve(self, name, source):
        path = self.served / NAME / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, path)

    def faults(self, **faults):
        (self.state / "faults.json").write_text(json.dumps(faults))

    def requests(self, server=None):
        if not (self.state / "requests").exists():
            return []
        lines = [json.loads(line) for line in (self.state / "requests").read_text().splitlines()]
        return [x for x in lines if server in (None, x["server"])]

    def run_program(self, *command, code=0, **environment):
        done = subprocess.run([str(c) for c in command], env=self.environment | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=PATIENCE_S, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout.rstrip("\n") if code == 0 else done.stderr

    def costeer(self, *arguments, code=0, **environment):
        return self.run_program(COSTEER, *arguments, code=code, **environment)

    def layout(self):
        """What a cache holds for its readers: links with their targets, blobs with their hashes, references with their commits."""
        folder = self.cache / FOLDER
        found = {}
        for below in ("snapshots", "blobs", "refs"):
            for path in sorted((folder / below).rglob("*")):
                if path.is_symlink():
                    found[str(path.relative_to(folder))] = os.readlink(path)
                elif path.is_file():
                    found[str(path.relative_to(folder))] = sha256(path) if below == "blobs" else path.read_text()
        return found
