"""The protocol costeer.v1, by its specification (docs/protocol.md), for tests that are device or node.

Encoders check nothing: what is wrong on purpose must be possible. Numbers may be given as bytes, to write them in another form.
The decoder is strict about lengths only, for what has been recorded; its frames are dictionaries with 'type'.
"""
import math
import struct

LOCKSTEP, STREAMED, DRAFTED = 0, 1, 2
EXACT, HALF, DENSE = 0, 1, 2
PROTOCOL, BUSY, TOOLONG, DRAINING, INTERNAL, TIMEDOUT, RATE = 1, 2, 3, 4, 5, 6, 7
NAMES = ["", "hello", "open", "distribution", "commit", "correct", "draft", "deepen", "close", "error", "ping"]


# ---- writing -----------------------------------------------------------------------------------------------------------


def varint(value):
    if isinstance(value, bytes):
        return value
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return varint(len(data)) + data


def packed(ids, n_vocab):
    """All ids as one big number, the first one lowest. An id that does not fit its bits is cut."""
    width = (n_vocab - 1).bit_length()
    number = sum((token & ((1 << width) - 1)) << (width * i) for i, token in enumerate(ids))
    return number.to_bytes((width * len(ids) + 7) // 8, "little")


def hello(n_vocab, vocab_sha256, version=1, max_context=4096, max_window=32, max_drafts=8, name="fake"):
    return (
        b"\x01" + varint(version) + varint(n_vocab) + vocab_sha256 + varint(max_context) + varint(max_window)
        + varint(max_drafts) + text(name)
    )  # fmt: skip


def open_(n_vocab, prompt, mode=LOCKSTEP, window=0, top_k=8, max_tokens=64, half=False, accepted=()):
    return (
        bytes([2, mode, 1 if half else 0]) + varint(window) + varint(top_k) + varint(max_tokens)
        + varint(len(prompt)) + packed(prompt, n_vocab) + varint(len(accepted)) + packed(accepted, n_vocab)
    )  # fmt: skip


def open_messages(n_vocab, messages, mode=LOCKSTEP, window=0, top_k=8, max_tokens=64, accepted=()):
    """messages: pairs of role and text."""
    return (
        bytes([2, mode, 2]) + varint(window) + varint(top_k) + varint(max_tokens) + varint(len(messages))
        + b"".join(text(role) + text(body) for role, body in messages) + varint(len(accepted)) + packed(accepted, n_vocab)
    )  # fmt: skip


def rank(value, form):
    if form == HALF:
        return math.floor(-value * 2048 + 0.5)
    return struct.unpack("<I", struct.pack("<f", value))[0] & 0x7FFFFFFF


def coded(ranks, k, width):
    bits = [ranks[0] >> i & 1 for i in range(width)]
    for before, after in zip(ranks, ranks[1:]):
        difference = (after - before) % (1 << width)
        if difference >> k < 8:
            bits += [1] * (difference >> k) + [0] + [difference >> i & 1 for i in range(k)]
        else:
            bits += [1] * 8 + [difference >> i & 1 for i in range(width)]
    return bits


def rice(ranks, k=None, width=31):
    """The first rank, then differences: the quotient by 2^k in unary and the remainder in k bits, or eight ones and the whole, with the k that
    takes the fewest bits. Falling ranks go round as their bits do."""
    if not ranks:
        return b"\x00"
    if k is None:
        k = min(range(width), key=lambda k: (len(coded(ranks, k, width)), k))
    bits = coded(ranks, k, width)
    number = sum(bit << i for i, bit in enumerate(bits))
    return bytes([k]) + number.to_bytes((len(bits) + 7) // 8, "little")


def sorted_values(values, form):
    return rice([rank(v, form) for v in values], width=16 if form == HALF else 31)


def distribution(n_vocab, position, ids, values, epoch=0, form=EXACT, tail=None, compute_us=1000, n=None, coded=None):
    if tail is None:
        rest = 1.0 - sum(math.exp(v) for v in values if v < 50)
        tail = math.log(rest) if rest > 1e-9 else -math.inf
    head = bytes([3, form]) + varint(epoch) + varint(position) + varint(compute_us)
    if form == DENSE:
        return head + varint(ids) + b"".join(struct.pack("<f", v) for v in values)
    head += varint(len(ids) if n is None else n) + struct.pack("<f", tail) + packed(ids, n_vocab)
    return head + (sorted_values(values, form) if coded is None else coded)


def commit(position):
    return b"\x04" + varint(position)


def correct(epoch, position, token):
    return b"\x05" + varint(epoch) + varint(position) + varint(token)


def draft(n_vocab, position, tokens):
    return b"\x06" + varint(position) + varint(len(tokens)) + packed(tokens, n_vocab)


def deepen(epoch, position, top_k):
    return b"\x07" + varint(epoch) + varint(position) + varint(top_k)


def close(n_steps=0, n_wasted=0, n_rollbacks=0):
    return b"\x08" + varint(n_steps) + varint(n_wasted) + varint(n_rollbacks)


def error(code, message="", retry_after_ms=0):
    return bytes([9, code]) + varint(retry_after_ms) + text(message)


def ping(nonce=0, is_reply=False):
    return bytes([10, 1 if is_reply else 0]) + struct.pack("<I", nonce)


# ---- reading -----------------------------------------------------------------------------------------------------------


class Reader:
    def __init__(self, data, n_vocab):
        self.data, self.at, self.n_vocab = data, 0, n_vocab

    def take(self, n):
        assert len(self.data) - self.at >= n, "a frame ends too early"
        self.at += n
        return self.data[self.at - n : self.at]

    def byte(self):
        return self.take(1)[0]

    def number(self):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def float(self):
        return struct.unpack("<f", self.take(4))[0]

    def text(self):
        return self.take(self.number()).decode()

    def ids(self, n):
        width = (self.n_vocab - 1).bit_length()
        number = int.from_bytes(self.take((n * width + 7) // 8), "little")
        return [number >> (width * i) & ((1 << width) - 1) for i in range(n)]

    def list(self):
        return self.ids(self.number())

    def rice(self, n, width):
        """n rising numbers; see rice()."""
        k, bit, out = self.byte(), 0, []

        def bits(count):
            nonlocal bit
            value = 0
            for i in range(count):
                value |= (self.data[self.at + bit // 8] >> bit % 8 & 1) << i
                bit += 1
            return value

        for i in range(n):
            quotient = 0
            while i > 0 and quotient < 8 and bits(1):
                quotient += 1
            whole = i == 0 or quotient == 8
            out.append((out[-1] if out else 0) + (bits(width) if whole else (quotient << k) + bits(k)))
        self.take((bit + 7) // 8)
        return out


def read_hello(r):
    names = ("version", "n_vocab")
    out = {name: r.number() for name in names}
    out["vocab_sha256"] = r.take(32)
    return out | {name: r.number() for name in ("max_context", "max_window", "max_drafts")} | {"name": r.text()}


def read_open(r):
    out = {"mode": r.byte(), "flags": r.byte(), "window": r.number(), "top_k": r.number(), "max_tokens": r.number()}
    if out["flags"] & 2:
        out["messages"] = [(r.text(), r.text()) for _ in range(r.number())]
    else:
        out["prompt"] = r.list()
    return out | {"accepted": r.list()}


def from_rank(number, form):
    return -number / 2048 if form == HALF else -struct.unpack("<f", struct.pack("<I", number))[0]


def read_distribution(r):
    out = {"form": r.byte(), "epoch": r.number(), "position": r.number(), "compute_us": r.number()}
    if out["form"] == DENSE:
        out["own_token"] = r.number()
        return out | {"ids": None, "values": list(struct.unpack(f"<{r.n_vocab}f", r.take(4 * r.n_vocab)))}
    n = r.number()
    out |= {"tail": r.float(), "ids": r.ids(n)}
    out["own_token"] = out["ids"][0]
    return out | {"values": [from_rank(h, out["form"]) for h in r.rice(n, 16 if out["form"] == HALF else 31)]}


READERS = {
    1: read_hello,
    2: read_open,
    3: read_distribution,
    4: lambda r: {"position": r.number()},
    5: lambda r: {"epoch": r.number(), "position": r.number(), "token": r.number()},
    6: lambda r: {"position": r.number(), "tokens": r.list()},
    7: lambda r: {"epoch": r.number(), "position": r.number(), "top_k": r.number()},
    8: lambda r: {"n_steps": r.number(), "n_wasted": r.number(), "n_rollbacks": r.number()},
    9: lambda r: {"code": r.byte(), "retry_after_ms": r.number(), "message": r.text()},
    10: lambda r: {"is_reply": r.byte(), "nonce": int.from_bytes(r.take(4), "little")},
}


def decode(message, n_vocab):
    """The frames of a message."""
    r, frames = Reader(message, n_vocab), []
    while r.at < len(message):
        kind = r.byte()
        frames.append({"type": NAMES[kind]} | READERS[kind](r))
    return frames
