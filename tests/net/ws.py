"""WebSockets (RFC 6455) with the Python standard library only, for tests.

Stream is one connection, of either role. It keeps to the RFC where it is not told otherwise, and can be told otherwise in every
bit: frame() makes any frame, send_raw() sends any bytes, handshake() sends any request. Every wait has an end.
"""
import base64
import hashlib
import os
import socket
import ssl
import struct
import threading

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PATIENCE_S = 600  # ends a hang


class Closed(Exception):
    """The connection ended. code is the close frame's, 0 without one."""

    def __init__(self, code=0, reason=""):
        super().__init__(f"closed: {code} {reason}")
        self.code = code
        self.reason = reason


class Refused(Exception):
    """The handshake was answered with something else than 101."""

    def __init__(self, status, head, body=b""):
        super().__init__(f"handshake: {status}")
        self.status = status
        self.head = head
        self.body = body


# ---- frames ------------------------------------------------------------------------------------------------------------


def apply_mask(payload, key):
    if not payload:
        return b""
    n = len(payload)
    stream = (key * (n // 4 + 1))[:n]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(n, "big")


def frame(opcode, payload=b"", fin=True, mask=True, rsv=0, key=None, length=None):
    """The bytes of a frame; `length` is what its head claims."""
    n = len(payload) if length is None else length
    out = bytearray([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if mask else 0
    if n < 126:
        out.append(bit | n)
    elif n < 65536:
        out += bytes([bit | 126]) + struct.pack(">H", n)
    else:
        out += bytes([bit | 127]) + struct.pack(">Q", n)
    if mask:
        key = key or os.urandom(4)
        return bytes(out) + key + apply_mask(payload, key)
    return bytes(out) + payload


def parse(data, at=0):
    """The frame at data[at:]: (opcode, fin, payload, end), or None when it is not all there."""
    if len(data) < at + 2:
        return None
    first, second = data[at], data[at + 1]
    n, head = second & 0x7F, at + 2
    if n >= 126:
        size = 2 if n == 126 else 8
        if len(data) < head + size:
            return None
        n = int.from_bytes(data[head : head + size], "big")
        head += size
    key = None
    if second & 0x80:
        key = bytes(data[head : head + 4])
        head += 4
    if len(data) < head + n:
        return None
    payload = bytes(data[head : head + n])
    return first & 0x0F, bool(first & 0x80), apply_mask(payload, key) if key else payload, head + n


def split_stream(data):
    """A recorded direction of a connection: (HTTP head, payloads of its data frames, offsets at which frames begin)."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return bytes(data), [], []
    at, messages, offsets, open_message = end + 4, [], [], None
    while (one := parse(data, at)) is not None:
        opcode, fin, payload, after = one
        offsets.append(at)
        if opcode in (TEXT, BINARY):
            open_message = payload
        elif opcode == CONTINUATION and open_message is not None:
            open_message += payload
        if opcode < CLOSE and fin and open_message is not None:
            messages.append(open_message)
            open_message = None
        at = after
    return bytes(data[: end + 4]), messages, offsets + [at]


# ---- a connection ------------------------------------------------------------------------------------------------------


class Stream:
    def __init__(self, sock, is_client):
        self.sock = sock
        self.is_client = is_client
        self.data = bytearray()
        self.request = ""  # a server's: the head it was asked with

    # Bytes

    def send_raw(self, data):
        self.sock.sendall(data)

    def read_some(self):
        try:
            more = self.sock.recv(65536)
        except (ConnectionError, ssl.SSLError) as error:
            raise Closed(0, str(error)) from error
        if not more:
            raise Closed()
        self.data += more

    def read_head(self):
        while b"\r\n\r\n" not in self.data:
            self.read_some()
        head, _, rest = bytes(self.data).partition(b"\r\n\r\n")
        self.data = bytearray(rest)
        return head.decode("latin-1")

    # Frames and messages

    def send_frame(self, opcode, payload=b"", **how):
        self.send_raw(frame(opcode, payload, **({"mask": self.is_client} | how)))

    def send(self, payload):
        self.send_frame(BINARY, payload)

    def recv_frame(self):
        while (one := parse(self.data)) is None:
            self.read_some()
        opcode, fin, payload, end = one
        del self.data[:end]
        return opcode, fin, payload

    def recv(self):
        """The next data message's payload. Answers pings; raises Closed at the end."""
        message = b""
        while True:
            opcode, fin, payload = self.recv_frame()
            if opcode == PING:
                self.send_frame(PONG, payload)
            elif opcode == CLOSE:
                code = int.from_bytes(payload[:2], "big")
                raise Closed(code, payload[2:].decode("utf-8", "replace"))
            elif opcode != PONG:
                message += payload
                if fin:
                    return message

    def wait_closed(self):
        """Read until the end; what came before it."""
        messages = []
        try:
            while True:
                messages.append(self.recv())
        except Closed as end:
            return messages, end

    def close(self, code=1000):
        try:
            self.send_frame(CLOSE, struct.pack(">H", code))
        except OSError:
            pass
        self.abort()

    def abort(self):
        """End the TCP connection without a word."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    def reset(self):
        """End it with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.abort()


# ---- client ------------------------------------------------------------------------------------------------------------


def tls_client(ca_file=None):
    """A context that trusts a CA's file, or, without one, anybody."""
    context = ssl.create_default_context(cafile=ca_file)
    if ca_file is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def connect_tcp(host, port, tls=None, timeout=PATIENCE_S, receive_bytes=None):
    sock = socket.socket()
    if receive_bytes is not None:  # must be told before the window is agreed on
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    sock.settimeout(timeout)
    try:
        sock.connect((host, port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock if tls is None else tls.wrap_socket(sock, server_hostname=host)
    except OSError:
        sock.close()
        raise


def request_head(host, port, path="/", token=None, subprotocol="costeer.v1", key=None, headers=()):
    key = key or base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {path} HTTP/1.1", f"Host: {host}:{port}", "Upgrade: websocket", "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13",
    ]  # fmt: skip
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join(lines + list(headers)) + "\r\n\r\n"


def accept_key(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def connect(host, port, tls=None, timeout=PATIENCE_S, receive_bytes=None, **request):
    """A WebSocket connection; Refused when the server does not upgrade."""
    stream = Stream(connect_tcp(host, port, tls, timeout, receive_bytes), True)
    key = request.pop("key", None) or base64.b64encode(os.urandom(16)).decode()
    stream.send_raw(request_head(host, port, key=key, **request).encode())
    head = stream.read_head()
    status = int(head.split()[1])
    if status != 101:
        stream.abort()
        raise Refused(status, head, bytes(stream.data))
    assert accept_key(key) in head, head
    return stream


def http_get(host, port, path, tls=None, token=None, timeout=PATIENCE_S):
    """(status, head, body) of a plain GET."""
    with Stream(connect_tcp(host, port, tls, timeout), True) as stream:
        auth = f"Authorization: Bearer {token}\r\n" if token else ""
        stream.send_raw(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n{auth}\r\n".encode())
        head = stream.read_head()
        length = [line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length:")]
        try:
            while not length or len(stream.data) < int(length[0]):
                stream.read_some()
        except Closed:
            pass
        return int(head.split()[1]), head, bytes(stream.data)


# ---- server ------------------------------------------------------------------------------------------------------------


class Server:
    """Calls handler(stream, index) on a thread of its own for each connection; a context manager. Exceptions are kept.

    Closed, OSError and timeouts end a connection in silence: a test's peer goes when it likes.
    """

    def __init__(self, handler, tls=None, subprotocol="costeer.v1", upgrade=True, port=0):
        self.handler, self.tls, self.subprotocol, self.upgrade = handler, tls, subprotocol, upgrade
        self.listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.errors, self.threads, self.streams = [], [], []
        self.n_connections = 0
        self.acceptor = threading.Thread(target=self._accept, daemon=True)
        self.acceptor.start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            index, self.n_connections = self.n_connections, self.n_connections + 1
            sock.settimeout(PATIENCE_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(sock, index), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, sock, index):
        try:
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True)
            with Stream(sock, False) as stream:
                self.streams.append(stream)
                if self.upgrade:
                    self._handshake(stream)
                self.handler(stream, index)
        except (Closed, OSError):
            sock.close()
        except Exception as error:  # pylint: disable=broad-except
            self.errors.append(error)

    def _handshake(self, stream):
        stream.request = stream.read_head()
        fields = dict(line.split(": ", 1) for line in stream.request.split("\r\n")[1:] if ": " in line)
        key = next(v for k, v in fields.items() if k.lower() == "sec-websocket-key")
        chosen = f"Sec-WebSocket-Protocol: {self.subprotocol}\r\n" if self.subprotocol else ""
        stream.send_raw(
            f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_key(key)}\r\n{chosen}\r\n".encode()
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        for stream in list(self.streams):
            stream.abort()
        for thread in self.threads:
            thread.join(PATIENCE_S)


class Recorder:
    """A TCP proxy that keeps what passes: connections[i] = [bytes up, bytes down]."""

    def __init__(self, port, host="127.0.0.1"):
        self.target = (host, port)
        self.connections = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            try:
                out = socket.create_connection(self.target)
            except OSError:
                sock.close()
                continue
            record = [bytearray(), bytearray()]
            self.connections.append(record)
            for source, sink, way in ((sock, out, 0), (out, sock, 1)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pump, args=(source, sink, record[way]), daemon=True).start()

    @staticmethod
    def _pump(source, sink, record):
        try:
            while data := source.recv(65536):
                record += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for sock in (source, sink):
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
