#!/usr/bin/env python3
"""A server that speaks the HTTP API of vLLM, SGLang or an OpenAI-compatible service, and computes with a GGUF through engine_logits.

    engine_server.py --api vllm|sglang|openai --model FILE --logits PROGRAM [--port 0] [--tls CERT KEY] [--api-key KEY] ...

What each API asks, answers and refuses is in api_*.py, written from the engines' sources; what can go wrong on request is in
faults.py. This file is the HTTP: keep-alive, event streams, clients that go away, and for the tests' eyes

    GET  /_test/stats    counters, and the last requests' bodies
    POST /_test/faults   arm a fault or a list of them       POST /_test/reset   forget faults, counters and bodies
    POST /_test/prompt   {"query"}: the ids that `costeer generate` would send
    POST /_test/base     {"ids"}: log-probabilities of all tokens behind them

It prints one line {"port": N, "url": "..."} when it listens, and ends with its standard input if --watch-stdin is given.
"""
import argparse
import collections
import http.server
import json
import os
import pathlib
import select
import socket
import ssl
import struct
import sys
import threading
import time

import api_openai
import api_sglang
import api_vllm
import engine_model
import faults as faulty

DONE = "[DONE]"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST
ENDLESS_PIECE = b"a" * 65536


class ClientGone(Exception):
    pass


def compact(value):
    """As Starlette and pydantic write it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class Refused(Exception):
    """An error answer of the engine, thrown from anywhere below a route."""

    def __init__(self, status, body, headers=None):
        super().__init__(str(body))
        self.answer = Answer(body, status, headers)


class Answer:
    def __init__(self, body, status=200, headers=None, content_type="application/json"):
        self.body, self.status, self.headers, self.content_type = body, status, headers or {}, content_type


class Stream:
    """events: an iterator of objects; [DONE] follows them."""

    def __init__(self, events, headers=None):
        self.events, self.headers = events, headers or {}


class Stats:
    COUNTERS = ("requests", "connections", "streams", "streams_finished", "cancelled", "tokens", "refused_keys")

    def __init__(self, n_bodies):
        self.lock = threading.Lock()
        self.n_bodies = n_bodies
        self.clear()

    def clear(self):
        with self.lock:
            self.counts = dict.fromkeys(self.COUNTERS, 0)
            self.paths, self.bodies = collections.Counter(), collections.deque(maxlen=self.n_bodies)

    def add(self, name, n=1):
        with self.lock:
            self.counts[name] += n

    def see(self, request):
        with self.lock:
            self.counts["requests"] += 1
            self.paths[f"{request.method} {request.path}"] += 1
            text = request.body.decode("utf-8", "replace")
            self.bodies.append({"path": request.path, "headers": list(request.headers.items()), "body": text, "time": time.time()})

    def read(self, made):
        with self.lock:
            return {**self.counts, "paths": dict(self.paths), "faults_made": dict(made), "bodies": list(self.bodies)}


class Request:
    """One request, as routes see it."""

    def __init__(self, handler, method, path, body):
        self.handler, self.method, self.path, self.body, self.headers = handler, method, path, body, handler.headers
        self.server = handler.server
        self.faults = faulty.Faults([])

    def watch(self, generation, is_stream):
        """The steps of a generation, until the client goes away: an engine stops computing then."""
        for position, step in enumerate(generation):
            self.server.stats.add("tokens")
            time.sleep(self.server.options.step_ms / 1000)
            if self.handler.client_is_gone():
                raise ClientGone
            yield self.faults.change_step(step, position, is_stream)

    def groups(self, steps):
        """Steps in lists, one an event."""
        held = []
        for step in steps:
            held.append(step)
            if len(held) == self.faults.steps_per_event or step.finish:
                yield held
                held = []
        if held:
            yield held


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_version, sys_version = "uvicorn", ""

    def setup(self):
        self.timeout = self.server.options.keep_alive_s
        super().setup()
        self.server.stats.add("connections")

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.serve("GET")

    def do_POST(self):
        self.serve("POST")

    def do_PUT(self):
        self.serve("PUT")

    # ---- the way of a request --------------------------------------------------------------------------------------

    def serve(self, method):
        request = Request(self, method, self.path.split("?")[0], self.read_body())
        try:
            if request.path.startswith("/_test/"):
                return self.send_answer(self.server.test_route(request), request.faults)
            self.server.stats.see(request)
            request.faults = self.server.armed.take(request.path)
            self.answer(request)
        except (ClientGone, BrokenPipeError, ConnectionResetError, ssl.SSLError, socket.timeout):
            self.server.stats.add("cancelled")
            self.close_connection = True

    def answer(self, request):
        if delay := request.faults.find("delay"):
            self.pause(delay.get("ms", 1000) / 1000)
        if request.faults.find("no_answer"):
            return self.cut()
        if request.faults.find("not_http"):
            self.close_connection = True
            return self.wfile.write(b"220 mail.example ESMTP\r\n")
        self.close_connection = self.close_connection or bool(request.faults.find("close_after"))
        refusal = request.faults.refusal()
        if refusal:
            status, headers, body = refusal
            content_type = headers.pop("Content-Type", "text/plain")
            return self.send_answer(Answer(body, status, headers, content_type), request.faults)
        try:
            answer = self.server.route(request)
        except Refused as refused:
            answer = refused.answer
        if isinstance(answer, Stream):
            self.send_stream(answer, request.faults)
        else:
            if not isinstance(answer.body, (bytes, str)):
                request.faults.change_object(answer.body, None)
            self.send_answer(answer, request.faults)

    def read_body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    # ---- the client ------------------------------------------------------------------------------------------------

    def client_is_gone(self):
        if not select.select([self.connection], [], [], 0)[0]:
            return False
        try:
            if not isinstance(self.connection, ssl.SSLSocket):
                return self.connection.recv(1, socket.MSG_PEEK) == b""
            self.connection.setblocking(False)
            try:
                return self.connection.recv(1) == b""  # a client that pipelines behind a stream over TLS is not provided for
            finally:
                self.connection.settimeout(self.timeout)
        except (ssl.SSLWantReadError, BlockingIOError):
            return False
        except OSError:
            return True

    def pause(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.02))
            if self.client_is_gone():
                raise ClientGone

    def cut(self):
        """End the connection with a reset, after what was written."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.server.resets.add(id(self.request))
        self.close_connection = True

    # ---- writing ---------------------------------------------------------------------------------------------------

    def begin(self, status, headers, content_type, length, faults):
        self.send_response(status)
        wrong = faults.find("content_type")
        content_type = wrong.get("value", "text/html") if wrong else content_type
        if content_type:
            self.send_header("Content-Type", content_type)
        for name, value in headers.items():
            self.send_header(name, value)
        if faults.find("to_the_end"):
            self.send_header("Connection", "close")
            self.close_connection = True
        elif length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def write(self, data, faults):
        tiny = faults.find("tiny_writes")
        size = tiny.get("n", 1) if tiny else len(data) or 1
        for at in range(0, len(data), size):
            self.wfile.write(data[at : at + size])

    def write_chunk(self, data, faults):
        self.write(data if faults.find("to_the_end") else b"%x\r\n%s\r\n" % (len(data), data), faults)

    def send_answer(self, answer, faults):
        body = answer.body
        if not isinstance(body, bytes):
            body = body.encode() if isinstance(body, str) else compact(body)
            body = faults.change_text(body, None)
        if faults.find("endless"):
            self.begin(answer.status, answer.headers, answer.content_type, None, faults)
            return self.write_endless(b'{"x":"', faults)
        if faults.find("hang"):
            self.pause(3600)
        self.begin(answer.status, answer.headers, answer.content_type, len(body), faults)
        if faults.find("cut_event") or faults.find("cut_chunk"):
            self.write(body[: len(body) // 2], faults)
            self.close_connection = True
            return self.cut() if faults.find("cut_event") else None
        self.write(body, faults)

    def write_endless(self, beginning, faults):
        left = faults.find("endless").get("bytes", 0) or 1 << 62
        self.write_chunk(beginning, faults)
        while left > 0:
            self.write_chunk(ENDLESS_PIECE, faults)
            left -= len(ENDLESS_PIECE)
        self.close_connection = True

    def frame(self, data, faults):
        """An event as it goes over the wire (WHATWG HTML, 9.2)."""
        lines = [b"data: " + data]
        if faults.find("event_field"):
            lines = [b"event: message", b"id: 7", b"retry: 1000", b"data:" + data]
        if faults.find("split_data") and data != DONE.encode():
            lines = [b"data: " + data[:1], b"data: " + data[1:]]
        if faults.find("comments"):
            lines = [b": ping", b"", b":", *lines]
        ends = faults.find("crlf")
        end = b"\n" if not ends else b"\r" if ends.get("cr") else b"\r\n"
        return end.join(lines) + end + end

    def send_stream(self, stream, faults):
        self.server.stats.add("streams")
        self.begin(200, stream.headers, "text/event-stream; charset=utf-8", None, faults)
        for position, event in enumerate(stream.events):
            if position >= faults.at("early_end"):
                return self.end_chunks(faults)
            if position >= faults.at("error_event"):
                error = {"error": {"message": "CUDA out of memory", "type": "InternalServerError", "param": None, "code": 500}}
                event = faults.find("error_event").get("value", error)
                self.write_chunk(self.frame(compact(event), faults), faults)
                break
            if not self.send_event(position, event, faults):
                return
        if not faults.find("no_done"):
            self.write_chunk(self.frame(DONE.encode(), faults), faults)
        self.end_chunks(faults)
        self.server.stats.add("streams_finished")

    def send_event(self, position, event, faults):
        """False: the connection is over."""
        if position == faults.at("hang"):
            self.pause(3600)
        if position >= faults.at("event_delay"):
            self.pause(faults.find("event_delay").get("ms", 100) / 1000)
        if position == faults.at("endless"):
            self.write_endless(b'data: {"x":"', faults)
            return False
        faults.change_object(event, position)
        data = self.frame(faults.change_text(compact(event), position), faults)
        half = data[: len(data) // 2]
        if position == faults.at("cut_event"):
            self.write_chunk(half, faults)
            self.cut()
            return False
        if position == faults.at("cut_chunk"):
            self.write(b"%x\r\n%s" % (len(data), half), faults)
            self.close_connection = True
            return False
        if position == faults.at("bad_chunk"):
            self.write(b"zz\r\n" + data + b"\r\n", faults)
            self.close_connection = True
            return False
        self.write_chunk(data, faults)
        return True

    def end_chunks(self, faults):
        if not faults.find("to_the_end"):
            self.write(b"0\r\n\r\n", faults)


APIS = {"vllm": api_vllm.Vllm, "sglang": api_sglang.Sglang, "openai": api_openai.OpenAi}


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, options):
        self.options = options
        self.stats, self.armed, self.resets = Stats(options.keep_bodies), faulty.Armed(), set()
        for fault in options.fault:
            self.armed.arm(json.loads(fault))
        self.model = engine_model.Model(options.logits, options.model)
        self.api = APIS[options.api](options, self.model, Answer, Stream, Refused)
        self.tls = None
        if options.tls:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*options.tls)
        super().__init__((options.host, options.port), Handler)

    def get_request(self):
        connection, address = super().get_request()
        if self.tls:  # the handshake is the connection's own thread's
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def shutdown_request(self, request):
        if id(request) in self.resets:
            self.resets.discard(id(request))
            request.close()
        else:
            super().shutdown_request(request)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (OSError, ValueError)):
            super().handle_error(request, client_address)

    def route(self, request):
        key = self.options.api_key
        if key and self.api.needs_key(request.path) and request.headers.get("Authorization") != f"Bearer {key}":
            self.stats.add("refused_keys")
            return Answer(self.api.unauthorized, 401)
        route = self.api.routes.get((request.method, request.path))
        if route is None:
            known = any(path == request.path for _, path in self.api.routes)
            return Answer({"detail": "Method Not Allowed" if known else "Not Found"}, 405 if known else 404)
        return route(request)

    def test_route(self, request):
        try:
            asked = json.loads(request.body) if request.body else {}
            if request.path == "/_test/stats":
                return Answer(self.stats.read(self.armed.made))
            if request.path == "/_test/faults":
                self.armed.arm(asked)
                return Answer({"armed": self.armed.waiting})
            if request.path == "/_test/reset":
                self.stats.clear()
                self.armed.clear()
                return Answer({})
            if request.path == "/_test/prompt":
                return Answer({"tokens": self.model.prompt(asked["query"])})
            if request.path == "/_test/base":
                logits, normaliser, _ = self.model.logits(asked["ids"])
                return Answer({"logprobs": engine_model.logprobs(logits, normaliser)})
        except (ValueError, KeyError, TypeError) as error:
            return Answer({"error": str(error)}, 400)
        return Answer({"error": "no such path"}, 404)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--api", choices=sorted(APIS), required=True)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--logits", default=os.environ.get("ENGINE_LOGITS"), help="engine_logits; else $ENGINE_LOGITS")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    parser.add_argument("--api-key")
    parser.add_argument("--served-model-name", default="costeer-llm")
    parser.add_argument("--max-model-len", type=int, default=0, help="0: the model's own")
    parser.add_argument("--step-ms", type=float, default=0, help="longer steps")
    parser.add_argument("--keep-alive-s", type=float, default=60, help="uvicorn: 5")
    parser.add_argument("--keep-bodies", type=int, default=1000)
    parser.add_argument("--fault", action="append", default=[], metavar="JSON")
    parser.add_argument("--watch-stdin", action="store_true")
    for api in APIS.values():
        api.add_options(parser)
    options = parser.parse_args()
    if not options.logits:
        parser.error("--logits, or ENGINE_LOGITS")
    return options


def main():
    server = Server(parse_options())
    port = server.server_address[1]
    scheme = "https" if server.tls else "http"
    print(json.dumps({"port": port, "url": f"{scheme}://127.0.0.1:{port}"}), flush=True)
    if server.options.watch_stdin:
        threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
