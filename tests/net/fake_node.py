"""A node of our own that keeps to the protocol, except where a test tells it not to.

It computes nothing: every position has the same distribution, whose best token goes on through a fixed list.
"""
import math

import support
import wire
import ws

VALUES = [math.log(p) for p in (0.5, 0.2, 0.1, 0.05, 0.04, 0.03, 0.02, 0.01)]


def good(position, **other):
    """A distribution that breaks no rule."""
    first = 300 + position % 50
    fields = {"ids": [first, *range(400, 407)], "values": VALUES} | other
    return wire.distribution(support.N_VOCAB, position, **fields)


class FakeNode(ws.Server):
    """`at(position)` gives the bytes for a position, or None for a good distribution; `hello` the first message."""

    def __init__(self, at=None, hello=None, **how):
        self.at = at or (lambda position: None)
        self.hello = wire.hello(support.N_VOCAB, support.vocab_hash()) if hello is None else hello
        super().__init__(self.serve, **how)

    def url(self):
        return f"ws{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def serve(self, stream, _):
        stream.send(self.hello)
        epoch = 0
        stream.n_ahead = stream.max_tokens = 0
        while True:
            for frame in wire.decode(stream.recv(), support.N_VOCAB):
                epoch = self.on_frame(stream, frame, epoch)

    def on_frame(self, stream, frame, epoch):
        """A streamed answer is short enough to be sent at once, and again from a correction on."""
        kind = frame["type"]
        if kind == "open":
            epoch, stream.n_ahead, stream.max_tokens = 0, frame["window"], frame["max_tokens"]
            self.send_from(stream, len(frame["accepted"]), epoch)
        elif kind == "commit" and stream.n_ahead == 0:
            self.send_from(stream, frame["position"] + 1, epoch)
        elif kind == "correct":
            epoch = frame["epoch"]
            self.send_from(stream, frame["position"] + 1, epoch)
        elif kind == "draft":
            for position in range(frame["position"] + 1, frame["position"] + 1 + len(frame["tokens"])):
                self.send(stream, position, epoch)
        elif kind == "deepen":
            k = frame["top_k"]
            values = [math.log(1 / support.N_VOCAB)] * (k or support.N_VOCAB)
            form, ids = (wire.EXACT, list(range(k))) if k else (wire.DENSE, 0)
            stream.send(wire.distribution(support.N_VOCAB, frame["position"], ids, values, epoch=epoch, form=form))
        elif kind == "close":
            stream.send(wire.close(1))
        elif kind == "ping" and not frame["is_reply"]:
            stream.send(wire.ping(frame["nonce"], True))
        return epoch

    def send_from(self, stream, position, epoch):
        for ahead in range(position, min(position + stream.n_ahead + 1, stream.max_tokens)):
            self.send(stream, ahead, epoch)

    def send(self, stream, position, epoch):
        made = self.at(position)
        if made is None:
            stream.send(good(position, epoch=epoch))
        elif isinstance(made, bytes):
            stream.send(made)
        else:
            made(stream)
