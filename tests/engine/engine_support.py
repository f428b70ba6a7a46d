"""What tests against the conformance servers share: a server as a process, requests to it, its event streams.

Environment: ENGINE_LOGITS (logits_pipe.c), COSTEER (the program), COSTEER_MODELS_DIR.
"""
import contextlib
import http.client
import json
import os
import pathlib
import ssl
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent.parent
COSTEER = os.environ.get("COSTEER", str(REPO / "build" / "costeer"))
ENGINE_LOGITS = os.environ.get("ENGINE_LOGITS", str(REPO / "build" / "tests" / "engine_logits"))
MODELS = pathlib.Path(os.environ.get("COSTEER_MODELS_DIR", str(REPO / "models")))
PATIENCE_S = 600  # ends a hang
QUERY = "Write a short bio of me."

os.environ["COSTEER_MODELS_DIR"] = str(MODELS)
os.environ["LC_ALL"] = "C.UTF-8"


class Engine:
    """engine_server.py on a port of its own; a context manager that kills it."""

    def __init__(self, api, *options, model="costeer-llm.gguf", tls=None, ca=None, key=None):
        command = [sys.executable, str(HERE / "engine_server.py"), "--api", api, "--model", str(MODELS / model), "--logits",
                   ENGINE_LOGITS, "--watch-stdin", *map(str, options)]  # fmt: skip
        command += ["--tls", str(tls[0]), str(tls[1])] if tls else []
        command += ["--api-key", key] if key else []
        self.key = key
        self.tls = ssl.create_default_context(cafile=str(ca)) if tls else None
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self.process.stdout.readline()
        assert line, f"the server ended with {self.process.wait()}"
        self.port, self.url = json.loads(line)["port"], json.loads(line)["url"]

    def connect(self):
        if self.tls:
            return http.client.HTTPSConnection("localhost", self.port, timeout=PATIENCE_S, context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def send(self, connection, method, path, body=None, key=None):
        headers = {"Content-Type": "application/json"}
        if key or self.key:
            headers["Authorization"] = f"Bearer {key or self.key}"
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        return connection.getresponse()

    def ask(self, method, path, body=None, key=None):
        """(status, headers, bytes)"""
        with contextlib.closing(self.connect()) as connection:
            answer = self.send(connection, method, path, body, key)
            return answer.status, answer.headers, answer.read()

    def get(self, path):
        return self.json("GET", path)

    def post(self, path, body):
        return self.json("POST", path, body)

    def json(self, method, path, body=None):
        status, _, data = self.ask(method, path, body)
        assert status == 200, (status, data[:500])
        return json.loads(data)

    def events(self, path, body):
        """The objects of an event stream; the last is None where [DONE] came."""
        _, headers, data = self.ask("POST", path, {**body, "stream": True})
        assert headers["Content-Type"].startswith("text/event-stream"), (headers, data[:500])
        lines = [line[6:] for line in data.decode().split("\n") if line.startswith("data: ")]
        return [None if line == "[DONE]" else json.loads(line) for line in lines]

    def stats(self):
        return self.get("/_test/stats")

    def arm(self, *faults):
        self.post("/_test/faults", list(faults))

    def reset(self):
        self.post("/_test/reset", {})

    def prompt(self, query=QUERY):
        return self.post("/_test/prompt", {"query": query})["tokens"]

    def base(self, ids):
        return self.post("/_test/base", {"ids": ids})["logprobs"]

    def wait(self, condition, what):
        end = time.monotonic() + PATIENCE_S
        while not condition(self.stats()):
            assert time.monotonic() < end, f"still not: {what}; {self.stats()}"
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
