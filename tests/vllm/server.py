"""An unmodified vLLM as a process of the tests.

Environment: VLLM_PYTHON (of its virtual environment), VLLM_MODELS (folders that convert.py made); scripts/test-vllm sets both. VLLM_LOG: a
file for what the last server wrote.
"""
import contextlib
import ctypes
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

MODELS = pathlib.Path(os.environ.get("VLLM_MODELS", "."))
# A core is left for the devices; threads that wait for each other do not spin, which stalls all of them on a busy machine.
N_THREADS = max(1, (os.cpu_count() or 2) - 1)
START_S = 900  # two to three minutes on two idle cores
OPTIONS = ("--enforce-eager", "--max-model-len", "2048", "--max-num-seqs", "16")


def die_with_parent():
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


running = []


def stop_all(*_):
    """For a signal that ends the tests: no server outlives them."""
    for server in list(running):
        server.kill()
    os._exit(143)


class Vllm:
    """A context manager; `log` is what the server has written."""

    def __init__(self, model, *options, dtype="float32", tls=None, ca=None, key=None):
        with contextlib.closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.model, self.key = model, key
        self.tls = ssl.create_default_context(cafile=str(ca)) if tls else None
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        command = [os.environ["VLLM_PYTHON"], "-m", "vllm.entrypoints.openai.api_server", "--model", MODELS / model, "--dtype", dtype,
                   "--served-model-name", model, "--host", "127.0.0.1", "--port", self.port, *OPTIONS, *options]  # fmt: skip
        command += ["--ssl-certfile", tls[0], "--ssl-keyfile", tls[1]] if tls else []
        command += ["--api-key", key] if key else []
        path = os.environ.get("VLLM_LOG")
        self.file = open(path, "w+b") if path else tempfile.TemporaryFile()
        environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
                       "HF_HUB_OFFLINE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(N_THREADS),
                       "OMP_WAIT_POLICY": "passive"}  # fmt: skip
        start = time.monotonic()
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=self.file, stderr=self.file,
                                        env=environment, preexec_fn=die_with_parent)  # fmt: skip
        running.append(self)
        try:
            while not self.is_up():
                assert self.process.poll() is None, f"vLLM ended with {self.process.returncode}:\n{self.log()[-4000:]}"
                assert time.monotonic() < start + START_S, f"vLLM does not start:\n{self.log()[-4000:]}"
                time.sleep(0.5)
        except BaseException:
            self.stop()
            raise
        self.start_s = time.monotonic() - start

    def connect(self):
        if self.tls:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=120, context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def ask(self, method, path, body=None):
        """(status, text)"""
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def is_up(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.ask("GET", "/health")[0] == 200
        return False

    def complete(self, prompt, **more):
        """The answer's object; of a stream, the list of its events."""
        body = {"model": self.model, "prompt": prompt, "temperature": 0, "max_tokens": 1, "return_tokens_as_token_ids": True,
                "repetition_penalty": 1.0, "top_p": 1.0, "top_k": -1, **more}  # fmt: skip
        status, text = self.ask("POST", "/v1/completions", body)
        if not more.get("stream"):
            return status, json.loads(text)
        lines = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
        return status, [None if line == "[DONE]" else json.loads(line) for line in lines]

    def metric(self, name):
        """Sum of a counter or gauge over its labels."""
        lines = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", self.ask("GET", "/metrics")[1], re.M)
        assert lines, f"no metric {name}"
        return sum(map(float, lines))

    def log(self):
        self.file.seek(0)
        text = self.file.read().decode("utf-8", "replace")
        self.file.seek(0, os.SEEK_END)
        return text

    def kill(self):
        """The server and the processes that it has started: they are of one session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def stop(self):
        if self not in running:
            return
        running.remove(self)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
        self.kill()
        self.process.wait()
        self.file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
