"""A device made by hand, for node.bats: `device.py PORT ACTION [OPTION...]`, with tests/net's WebSocket client and codec.

TLS_CA (trust this CA and use TLS), TOKEN and HOST come from the environment. Prints what a test compares; a failed expectation is
an AssertionError.
"""
import os
import pathlib
import socket
import ssl
import struct
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "net"))
import wire  # noqa: E402
import ws  # noqa: E402

HOST = os.environ.get("HOST", "127.0.0.1")
TOKEN = os.environ.get("TOKEN")
TLS = ws.tls_client(os.environ["TLS_CA"]) if "TLS_CA" in os.environ else None
PORT = int(sys.argv[1])
N_VOCAB = 1024
PROMPT = list(range(300, 320))
N_TOKENS = 24
if ":" in HOST:  # tests/net keeps to IPv4
    ws.connect_tcp = lambda host, port, tls=None, timeout=60, *_: socket.create_connection((host, port), timeout=timeout)


class Device:
    def __init__(self, **how):
        self.stream = ws.connect(HOST, PORT, tls=TLS, **({"token": TOKEN, "timeout": 600} | how))
        self.frames = []
        self.hello = self.next("hello")

    def account(self):
        """What the node says when an answer was closed; distributions may have been on their way."""
        while (frame := self.next())["type"] == "distribution":
            pass
        assert frame["type"] == "close", frame
        return frame

    def next(self, kind=None):
        while not self.frames:
            self.frames += wire.decode(self.stream.recv(), N_VOCAB)
        frame = self.frames.pop(0)
        assert kind is None or frame["type"] == kind, frame
        return frame

    def send(self, *frames):
        self.stream.send(b"".join(frames))

    def open(self, **how):
        self.send(wire.open_(N_VOCAB, how.pop("prompt", PROMPT), **({"max_tokens": N_TOKENS} | how)))

    def error(self, code):
        frame = self.next("error")
        assert frame["code"] == code, frame
        return frame

    def ends(self, code, pattern):
        """The connection ends with this error, and no other word."""
        messages, end = self.stream.wait_closed()
        frames = self.frames + [frame for message in messages for frame in wire.decode(message, N_VOCAB)]
        assert frames[-1]["type"] == "error" and frames[-1]["code"] == code and pattern in frames[-1]["message"], (frames[-1:], pattern)
        assert end.code == 1008, end


def lockstep(device, **how):
    """All tokens of an answer, the node's own."""
    device.open(**how)
    tokens = []
    for position in range(N_TOKENS):
        frame = device.next("distribution")
        assert frame["position"] == position and frame["epoch"] == 0, frame
        tokens.append(frame["own_token"])
        device.send(wire.commit(position))
        if frame["own_token"] in (1, 3):
            break
    device.send(wire.close())
    account = device.account()
    assert account["n_steps"] == len(tokens) and account["n_wasted"] == 0, account
    return tokens


# ---- actions -----------------------------------------------------------------------------------------------------------


def answer():
    """Lockstep, streamed and drafted give the same tokens."""
    device = Device()
    tokens = lockstep(device)
    device.open(mode=wire.STREAMED, window=4)
    streamed = []
    while len(streamed) < len(tokens):
        streamed.append(device.next("distribution")["own_token"])
        device.send(wire.commit(len(streamed) - 1))
    assert streamed == tokens, (streamed, tokens)
    device.send(wire.close())
    device.account()
    device.open(mode=wire.DRAFTED)
    first = device.next("distribution")["own_token"]
    device.send(wire.commit(0), wire.draft(N_VOCAB, 1, tokens[1:4]))
    assert [first] + [device.next("distribution")["own_token"] for _ in range(4)] == tokens[:5]
    device.send(wire.close())
    account = device.account()
    assert account["n_steps"] == 5, account
    print(*tokens)


def correct():
    """A correction begins an epoch; what comes after it belongs to it."""
    device = Device()
    device.open(mode=wire.STREAMED, window=8)
    while device.next("distribution")["position"] < 5:
        pass
    device.send(wire.correct(1, 2, 77))
    while (frame := device.next("distribution"))["epoch"] == 0:
        pass
    assert (frame["epoch"], frame["position"]) == (1, 3), frame
    device.send(wire.close())
    account = device.account()
    assert account["n_rollbacks"] == 1 and account["n_wasted"] >= 3, account


def forms():
    """Half when welcome, exact else; a deepening is never half; all is dense, normalised."""
    device = Device()
    device.open(top_k=16, half=True)
    frame = device.next("distribution")
    assert frame["form"] == wire.HALF and len(frame["ids"]) == 16, frame
    device.send(wire.deepen(0, 0, 32))
    deeper = device.next("distribution")
    assert deeper["form"] == wire.EXACT and deeper["ids"][:16] == frame["ids"] and len(deeper["ids"]) == 32, deeper
    assert all(abs(a - b) <= 1 / 4096 + 1e-6 for a, b in zip(deeper["values"], frame["values"]))
    device.send(wire.deepen(0, 0, 0))
    dense = device.next("distribution")
    assert dense["form"] == wire.DENSE
    assert abs(sum(2.718281828459045**value for value in dense["values"]) - 1) < 1e-4
    assert max(dense["values"]) == dense["values"][frame["own_token"]]
    device.send(wire.close(), wire.open_(N_VOCAB, PROMPT, top_k=0, max_tokens=4))
    device.account()
    assert device.next("distribution")["form"] == wire.DENSE


def messages():
    device = Device()

    def ask(*pairs):
        body = b"".join(wire.text(role) + wire.text(text) for role, text in pairs)
        device.send(bytes([2, 0, 2]) + bytes([0, 8, 20]) + wire.varint(len(pairs)) + body + wire.varint(0))

    turns = [("user", "Hello"), ("assistant", "Hi."), ("user", "Bye")]
    for pairs in (turns[:1], [("system", "Be kind."), *turns[:1]], turns, [("system", "Be kind."), *turns]):
        ask(*pairs)
        device.next("distribution")
        device.send(wire.close())
        device.account()
    for pairs in (turns[:2], [("user", "a"), ("tool", "b"), ("user", "c")], [("user", "a"), ("system", "b"), ("user", "c")], [("system", "a")], [("user", "")]):
        ask(*pairs)
        error = device.error(wire.PROTOCOL)
        assert error["message"].startswith("messages: "), error
    lockstep(device)  # and the connection is still of use


def resume():
    """An answer taken up again goes on where it was."""
    device = Device()
    tokens = lockstep(device)
    device.open(accepted=tokens[:3])
    frame = device.next("distribution")
    assert frame["position"] == 3 and frame["own_token"] == tokens[3], frame


def pipelined():
    """Close and open in one message: the account of the one stands before the other."""
    device = Device()
    device.open(mode=wire.STREAMED, window=8)
    device.next("distribution")
    for _ in range(20):
        device.send(wire.close(), wire.open_(N_VOCAB, PROMPT, mode=wire.STREAMED, window=8), wire.ping(7))
        while (frame := device.next())["type"] == "distribution":
            pass
        assert frame["type"] == "close", frame
        kinds = set()
        while kinds != {"distribution", "ping"}:
            kinds.add(device.next()["type"])


def protocol_errors():
    return float(ws.http_get(HOST, PORT, "/metrics")[2].decode().split("\ncosteer_protocol_errors_total ")[1].split()[0])


def flood(code, messages):
    """Send more than the node takes. It may close while bytes are on the way: TCP then drops its error with them."""
    before = protocol_errors()
    device = Device()
    try:
        for message in messages:
            device.send(message)
    except OSError:
        pass
    received, _ = device.stream.wait_closed()
    frames = [frame for message in received for frame in wire.decode(message, N_VOCAB)]
    assert all(frame["code"] == code for frame in frames if frame["type"] == "error"), frames[-1]
    assert protocol_errors() == before + 1


def violations():
    cases = [
        (wire.commit(0), "commit: no answer is open"),
        (wire.close(), "close: no answer is open"),
        (b"\xff", "unknown"),
        (b"\x04", "commit"),
        (wire.hello(N_VOCAB, bytes(32)), "hello"),
        (wire.open_(N_VOCAB, PROMPT, mode=wire.STREAMED, window=33), "window 33 is more than this node's 32"),
        (wire.open_(N_VOCAB, PROMPT) * 2, "open: an answer is open already"),
        (wire.open_(N_VOCAB, PROMPT) + wire.commit(5), "commit: position 5"),
        (wire.open_(N_VOCAB, PROMPT) + wire.correct(2, 0, 5), "correct: epoch 2"),
        (wire.open_(N_VOCAB, PROMPT) + wire.deepen(0, 3, 5), "deepen: position 3"),
        (wire.open_(N_VOCAB, PROMPT) + wire.draft(N_VOCAB, 3, [5]), "draft: "),
    ]
    for message, pattern in cases:
        device = Device()
        device.send(message)
        device.ends(wire.PROTOCOL, pattern)
    device = Device()
    device.stream.send_frame(ws.TEXT, b"hello")
    device.ends(wire.PROTOCOL, "text")
    flood(wire.TOOLONG, [bytes(300000)])
    flood(wire.RATE, [b"".join(wire.ping(i, is_reply=True) for i in range(15000))] * 8)
    device = Device()
    device.open(prompt=PROMPT * 51)
    device.error(wire.TOOLONG)
    lockstep(device)
    device = Device()
    device.send(*[wire.ping(i) for i in range(5000)])
    device.ends(wire.RATE, "is not read")


def fragments():
    """A message in pieces, with a ping of the WebSocket between them."""
    device = Device()
    message = wire.open_(N_VOCAB, PROMPT)
    device.stream.send_frame(ws.BINARY, message[:7], fin=False)
    device.stream.send_frame(ws.PING, b"ping")
    for byte in message[7:-1]:
        device.stream.send_frame(ws.CONTINUATION, bytes([byte]), fin=False)
    device.stream.send_frame(ws.CONTINUATION, message[-1:])
    device.next("distribution")


def upgrades():
    """Ways off the path: no reply that invites to go on, and the node lives."""
    for head in ("GET / HTTP/1.1\r\nUpgrade: nonsense", "GET / HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
                 "CONNECT a:1 HTTP/1.1"):  # fmt: skip
        for _ in range(10):
            stream = ws.Stream(ws.connect_tcp(HOST, PORT, TLS), True)
            more = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
            stream.send_raw(f"{head}\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\r\n{more}".encode())
            try:
                while True:
                    stream.read_some()
            except ws.Closed:
                pass
            assert b"101" not in stream.data[:12] and b"200 OK" not in stream.data[:40], stream.data
    for subprotocol in (None, "costeer.v2"):
        refused(400, subprotocol=subprotocol)
    lockstep(Device())


def refused(status, **how):
    try:
        Device(**how)
    except ws.Refused as end:
        assert end.status == status, end
        return end.head
    raise AssertionError("not refused")


def tokens():
    for token in (None, "wrong-token", TOKEN[:-1], TOKEN + "x", ""):
        assert 'www-authenticate: bearer realm="costeer"' in refused(401, token=token).lower()
        for path in ("/metrics", "/v1/model"):
            assert ws.http_get(HOST, PORT, path, tls=TLS, token=token)[0] == 401
        assert ws.http_get(HOST, PORT, "/health", tls=TLS, token=token)[0] == 200
    for path in ("/metrics", "/v1/model"):
        assert ws.http_get(HOST, PORT, path, tls=TLS, token=TOKEN)[0] == 200
    lockstep(Device())


def tls():
    lockstep(Device())
    other = ssl.create_default_context()
    for context in (other, legacy()):
        try:
            ws.connect_tcp(HOST, PORT, context)
        except (ssl.SSLError, OSError):
            continue
        raise AssertionError("TLS that must fail did not")
    try:
        assert ws.http_get(HOST, PORT, "/health")[0] == 0
    except (ws.Closed, OSError):
        pass


def legacy():
    context = ws.tls_client(os.environ["TLS_CA"])
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def busy():
    """A node for one: the second is told to wait, and can have its turn on the same connection."""
    first, second = Device(), Device()
    first.open()
    first.next("distribution")
    second.open()
    second.send(wire.commit(0))  # sent before it could know
    assert second.error(wire.BUSY)["retry_after_ms"] > 0
    first.send(wire.commit(0))
    first.next("distribution")
    first.send(wire.close())
    first.next("close")
    lockstep(second)


def waits():
    """More answers than are computed together: all of them are made."""
    devices = [Device() for _ in range(6)]
    for device in devices:
        device.open()
    results = {tuple(finish(device)) for device in devices}
    assert len(results) == 1, results


def finish(device):
    out = []
    for position in range(N_TOKENS):
        frame = device.next("distribution")
        out.append(frame["own_token"])
        device.send(wire.commit(position))
        if frame["own_token"] in (1, 3):
            break
    device.send(wire.close())
    device.account()
    return out


def silent():
    """Nothing is said after the open, or a distribution: the node ends it."""
    device = Device()
    device.open()
    device.ends(wire.TIMEDOUT, "nothing was heard")
    device = Device()
    lockstep(device)
    device.ends(wire.TIMEDOUT, "nothing was heard")


def crowd():
    """Connections that say nothing, more than the node takes, while one answer goes on; the node takes new ones afterwards."""
    device = Device()
    before = lockstep(device)
    stop = threading.Event()
    crowd_sockets = []

    def come():
        for _ in range(1000):
            if stop.is_set():
                return
            try:
                crowd_sockets.append(ws.connect_tcp(HOST, PORT, timeout=5))
            except OSError:
                pass

    thread = threading.Thread(target=come)
    thread.start()
    for _ in range(20):
        assert lockstep(device) == before
    thread.join()
    assert lockstep(device) == before
    for sock in crowd_sockets:
        sock.close()
    end = time.monotonic() + 600
    while True:
        try:
            assert lockstep(Device()) == before
            return
        except (OSError, ws.Closed):
            assert time.monotonic() < end
            time.sleep(0.1)


def deaf():
    """A device that asks for much and reads nothing: it is dropped, and others do not notice."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((HOST, PORT))
    stream = ws.Stream(sock, True)
    stream.send_raw(ws.request_head(HOST, PORT).encode())
    stream.read_head()
    stream.send(wire.open_(N_VOCAB, PROMPT, mode=wire.STREAMED, window=256, top_k=0, max_tokens=400))
    other = Device()
    before = lockstep(other)
    end = time.monotonic() + 600
    while b'"sessions":0' not in ws.http_get(HOST, PORT, "/health")[2]:
        assert time.monotonic() < end
        time.sleep(0.1)
    while (number := ws.http_get(HOST, PORT, "/metrics")[2].decode().split("costeer_connections ")[-1].split()[0]) != "1":
        assert time.monotonic() < end, number
        time.sleep(0.1)
    assert lockstep(Device()) == before
    sock.close()


def drain(pid):
    """SIGTERM with an answer open: it goes on, others are refused, and the node ends after it."""
    device, other = Device(), Device()
    device.open()
    first = device.next("distribution")["own_token"]
    os.kill(int(pid), 15)
    while ws.http_get(HOST, PORT, "/health")[0] != 503:
        time.sleep(0.02)
    assert b'"draining"' in ws.http_get(HOST, PORT, "/health")[2]
    other.open()
    other.error(wire.DRAINING)
    device.send(wire.commit(0))
    assert device.next("distribution")["position"] == 1 and first >= 0
    device.send(wire.close())
    device.account()


def drained(pid):
    """One that does not come to an end within the limit is ended."""
    device = Device()
    device.open()
    device.next("distribution")
    os.kill(int(pid), 15)
    device.error(wire.DRAINING)
    try:
        device.next()
    except ws.Closed as end:
        assert end.code == 1001, end


def metrics():
    lockstep(Device())
    status, head, body = ws.http_get(HOST, PORT, "/metrics")
    assert status == 200 and "text/plain; version=0.0.4" in head, head
    lines = body.decode().splitlines()
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert names == [line.split()[2] for line in lines if line.startswith("# HELP")] and len(set(names)) == len(names)
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    for name in values:
        assert any(name.startswith(known) for known in names), name
    number = {name: float(value) for name, value in values.items()}
    assert number["costeer_sessions_opened_total"] == 1 and number["costeer_sessions"] == 0
    assert 1 <= number["costeer_tokens_total"] <= N_TOKENS
    assert number["costeer_steps_total"] >= number["costeer_tokens_total"]
    assert number["costeer_step_seconds_count"] == number["costeer_steps_total"] == number['costeer_step_seconds_bucket{le="+Inf"}']
    assert number["costeer_queue_seconds_count"] == 1
    assert number["costeer_bytes_sent_total"] > 500 and number["costeer_bytes_received_total"] > 50
    for path, expected in (("/", 404), ("/metricsx", 404), ("/v1/model/", 404), ("/health?x=1", 200)):
        assert ws.http_get(HOST, PORT, path)[0] == expected, path
    for method in ("POST", "HEAD", "PUT", "DELETE", "OPTIONS"):
        with ws.Stream(ws.connect_tcp(HOST, PORT), True) as stream:
            stream.send_raw(f"{method} /health HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode())
            head = stream.read_head()
            assert head.split()[1] == "405" and "allow: GET" in head, head


def close_status():
    """The node's half of the closing handshake."""
    device = Device()
    device.stream.send_frame(ws.CLOSE, struct.pack(">H", 1000))
    _, end = device.stream.wait_closed()
    assert end.code == 1000, end


if __name__ == "__main__":
    globals()[sys.argv[2]](*sys.argv[3:])
