"""What the fault tests share: the node and the device as processes, the proxy, comparison of answers.

Environment: COSTEER (the program), NET_PROXY (tests/net/proxy_main.c), COSTEER_MODELS_DIR, COSTEER_SANITIZE (set for a
sanitizer's build, which takes more memory). No test depends on how fast the machine is: a limit is there to end a hang, and what must
time out gets more time where the machine needs it (with_patience).
"""
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import wire
import ws

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
COSTEER = os.environ.get("COSTEER", str(REPO / "build" / "costeer"))
NET_PROXY = os.environ.get("NET_PROXY", str(REPO / "build" / "tests" / "net_proxy"))
MODELS = pathlib.Path(os.environ.get("COSTEER_MODELS_DIR", str(REPO / "models")))
IS_SANITIZED = bool(os.environ.get("COSTEER_SANITIZE"))
PATIENCE_S = 600  # ends a hang
TIMEOUT_MS = 120000  # of a device whose cloud answers; no test waits for it

EXIT_CLOUD = 6
N_VOCAB = 1024
NOTES = "name: Soraya\ncity: Gothenburg\nMy dog is called Rufus.\n"
QUERY = "Write a short bio of me."
CLOSE_NATS = 1e-3  # two best scores so close may change places: other batch sizes change the last bits

os.environ["COSTEER_MODELS_DIR"] = str(MODELS)
os.environ["LC_ALL"] = "C.UTF-8"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def wait_until(condition, what, patience=PATIENCE_S):
    end = time.monotonic() + patience
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"after {patience:.0f} s still not: {what}")
        time.sleep(0.01)
    return value


def with_patience(attempt, timeout_ms):
    """attempt(timeout in ms): something that ends by a time-out. Where the machine was too busy to get that far in time, with more of it."""
    for factor in (1, 6):
        try:
            return attempt(timeout_ms * factor)
        except AssertionError as error:
            print(f"with {timeout_ms * factor} ms: {error}; again with more", file=sys.stderr)
    return attempt(timeout_ms * 40)


# ---- processes ---------------------------------------------------------------------------------------------------------


class Node:
    """`costeer node` on a port of its own; a context manager that kills what is left."""

    def __init__(self, *options, tls=None, token=None, ca=None):
        self.port = 0  # any free one, the first time
        self.ca = ca
        self.tls = ws.tls_client(ca) if tls else None
        self.token = token
        self.command = [COSTEER, "node", "--json", *map(str, options)]
        if tls:
            self.command += ["--tls-cert", str(tls[0]), "--tls-key", str(tls[1])]
        self.errors = tempfile.TemporaryFile()
        self.process = None
        self.start()

    def start(self):
        command = [*self.command, "--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors)
        with self.process.stdout as out:
            line = out.readline()
        assert line, f"the node ended with {self.process.wait()}: {self.stderr()}"
        self.port = json.loads(line)["port"]
        wait_until(self.is_healthy, "the node is up")

    def is_healthy(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the node ended with {self.process.returncode}: {self.stderr()}")
        try:
            return ws.http_get("127.0.0.1", self.port, "/health", tls=self.tls)[0] == 200
        except (OSError, ws.Closed):
            return False

    def stderr(self):
        self.errors.seek(0)
        return self.errors.read().decode("utf-8", "replace")

    def url(self, port=None):
        return f"ws{'s' if self.tls else ''}://127.0.0.1:{port or self.port}"

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def rss_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    def connect(self, **how):
        """A device of our own, after its hello: (stream, hello)."""
        stream = ws.connect("127.0.0.1", self.port, tls=self.tls, token=self.token, timeout=PATIENCE_S, **how)
        hello = wire.decode(stream.recv(), N_VOCAB)[0]
        assert hello["type"] == "hello", hello
        return stream, hello

    def metrics(self):
        body = ws.http_get("127.0.0.1", self.port, "/metrics", tls=self.tls, token=self.token)[2].decode()
        lines = [line.rsplit(" ", 1) for line in body.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()
        log = self.stderr()
        if "Sanitizer" in log or "runtime error" in log:
            raise AssertionError(log)


class Proxy:
    """net_proxy in front of a port; tell() gives it commands."""

    def __init__(self, target_port, *options):
        command = [NET_PROXY, "--control", "--target", f"127.0.0.1:{target_port}", *map(str, options)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def tell(self, command):
        """(connections, bytes up, bytes down) so far."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return tuple(map(int, self.process.stdout.readline().split()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(PATIENCE_S)
        self.process.stdout.close()


class Answer:
    """How a device ended."""

    def __init__(self, code, out, err, seconds):
        self.code, self.err, self.seconds, self.out = code, err, seconds, out
        self.json = None
        with contextlib.suppress(ValueError):
            self.json = json.loads(out)

    @property
    def text(self):
        return self.json["text"] if self.json else None

    @property
    def tokens(self):
        return self.json["tokens"] if self.json else None

    def __repr__(self):
        return f"exit code {self.code} after {self.seconds:.1f} s; {self.err.strip()[:600]}; {self.out[:200]}"


class Device:
    """`costeer generate --cloud` running."""

    def __init__(self, url, *options, query=QUERY, notes=NOTES, folder=None, timeout_ms=TIMEOUT_MS):
        self.folder = tempfile.TemporaryDirectory() if folder is None else None
        path = pathlib.Path(folder or self.folder.name) / "notes.txt"
        path.write_text(notes)
        self.start = time.monotonic()
        self.process = subprocess.Popen(
            [COSTEER, "generate", "--cloud", url, "--timeout-ms", str(int(timeout_ms)), "--json", "--max-tokens", "60",
             "--context", str(path), *map(str, options), query],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def wait(self, patience=PATIENCE_S):
        """A device that hangs is a failure of the test."""
        try:
            out, err = self.process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"the device hangs: {err.decode('utf-8', 'replace')}") from None
        finally:
            if self.folder:
                self.folder.cleanup()
        seconds = time.monotonic() - self.start
        err = err.decode("utf-8", "replace")
        if "Sanitizer" in err or "runtime error" in err or self.process.returncode < 0:
            raise AssertionError(f"the device crashed ({self.process.returncode}): {err}")
        return Answer(self.process.returncode, out.decode("utf-8", "replace"), err, seconds)


def generate(url, *options, patience=PATIENCE_S, **how):
    return Device(url, *options, **how).wait(patience)


def init_tls(folder):
    """(ca, certificate, key) of a development CA."""
    subprocess.run([COSTEER, "node", "--init-tls", str(folder)], check=True, capture_output=True)
    folder = pathlib.Path(folder)
    return folder / "ca.pem", folder / "node.pem", folder / "node-key.pem"


def vocab_hash():
    out = subprocess.run([COSTEER, "model", "--json", str(MODELS / "costeer-slm.gguf")], check=True, capture_output=True)
    return bytes.fromhex(json.loads(out.stdout)["vocab_sha256"])


# ---- comparison --------------------------------------------------------------------------------------------------------


class Reference:
    """An undisturbed answer, with the distance of the two best tokens at each position."""

    def __init__(self, url, *options, **how):
        with tempfile.TemporaryDirectory() as folder:
            trace = pathlib.Path(folder) / "trace"
            self.answer = self.generate(url, "--trace", trace, *options, **how)
            assert self.answer.code == 0, self.answer
            lines = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
        self.gaps = [self.gap(line["best_after"]) for line in lines]

    @staticmethod
    def generate(url, *options, **how):
        return generate(url, *options, **how)

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
            self.fail(f"{note}: another answer: {answer.text!r} instead of {reference.answer.text!r}")

    def assert_cloud_error(self, answer, pattern=None):
        """Exit code 6 with one line that says what happened."""
        self.assertEqual(answer.code, EXIT_CLOUD, answer)
        lines = [line for line in answer.err.splitlines() if line.startswith("costeer:")]
        self.assertEqual(len(lines), 1, answer)
        if pattern:
            self.assertRegex(lines[0], pattern)


def main():
    unittest.main(module=sys.modules["__main__"], verbosity=2)
