#!/usr/bin/env python3
"""A node that breaks the rules: the device ends with an error that names the rule, exit code 6, in time, and says one line."""
import math
import random
import struct
import time

import fake_node
import support
import wire
import ws

INF, NAN = math.inf, math.nan
V = support.N_VOCAB
OPTIONS = ("--cloud-mode", "lockstep", "--constant-k", "--max-tokens", 8)
STREAMED = ("--cloud-mode", "streamed", "--constant-k", "--max-tokens", 8)


def bad(**fields):
    """A distribution with some fields changed, at the position it is asked for."""
    return lambda position: fake_node.good(position, **fields)


RANKS = [wire.rank(value, wire.EXACT) for value in fake_node.VALUES]


def ranked(index, rank):
    """The values' bytes with a rank that no value has, and those behind it no lower."""
    ranks = list(RANKS)
    ranks[index] = rank
    return wire.rice([max(ranks[: i + 1]) for i in range(len(ranks))])


def behind_the_values():
    """The last byte's top bit set, where it belongs to no value: of lists that end lower, one that leaves it."""
    for lower in range(0, 1 << 24, 1 << 16):
        ranks = RANKS[:-1] + [RANKS[-1] + lower]
        data = wire.rice(ranks)
        if len(wire.coded(ranks, data[0], 31)) % 8 != 0:
            return data[:-1] + bytes([data[-1] | 0x80])
    raise AssertionError("every list fills its bytes")


def flat(n):
    return [math.log(0.9 / n)] * n


def dense(value_at, own_token=0):
    values = [math.log(1 / V)] * V
    for index, value in value_at.items():
        values[index] = value
    return lambda position: wire.distribution(V, position, own_token, values, form=wire.DENSE)


def behind_the_ids(position):
    """One id takes 10 bits: the other 6 of its two bytes are to be zero."""
    data = bytearray(wire.distribution(V, position, [3], [-0.1]))
    at = len(data) - len(wire.rice([wire.rank(-0.1, wire.EXACT)])) - 1
    data[at] |= 0x80
    return bytes(data)


def always(data):
    return lambda position: data


def raw(data):
    """WebSocket bytes as they are."""
    return lambda position: lambda stream: stream.send_raw(data)


def framed(opcode, payload=b"", **how):
    return raw(ws.frame(opcode, payload, **({"mask": False} | how)))


GOOD = fake_node.good(0)

# (name, what is sent for position 0, pattern of the message)
DISTRIBUTIONS = [
    ("an id twice", bad(ids=[5, 6, 7, 5, 8, 9, 10, 11]), "entry 3.*already"),
    ("NaN", bad(coded=ranked(-1, 0x7FC00000)), "lowest"),
    ("NaN first", bad(coded=ranked(0, 0x7FC00000)), "lowest"),
    ("minus infinity", bad(coded=ranked(-1, 0x7F800000)), "lowest"),
    ("a rank of 32 bits", bad(coded=ranked(-1, 2**32 - 1)), "lowest|remainder"),
    ("ranks that add up beyond 32 bits", bad(coded=b"\x1e" + b"\xff" * 40), None),
    ("another number of remainder bits", bad(coded=wire.rice(RANKS, wire.rice(RANKS)[0] - 1)), "remainder"),
    ("255 remainder bits", bad(coded=b"\xff" + bytes(300)), "remainder"),
    ("a quotient without an end", bad(coded=b"\x00" + b"\xff" * 600), None),
    ("values that are not all there", bad(coded=wire.rice(RANKS)[:-2]), "missing|ends"),
    ("bits behind the values", bad(coded=behind_the_values()), "bits behind"),
    ("a sum over 1", bad(values=[math.log(0.6), math.log(0.401)], ids=[1, 2], tail=-5.0), "add up"),
    ("a positive tail", bad(tail=0.5), "tail"),
    ("NaN as tail", bad(tail=NAN), "tail"),
    ("no entries", lambda p: wire.distribution(V, p, [], [], tail=0.0), r"\bn\b"),
    ("a count beyond the tokens", lambda p: wire.distribution(V, p, [1], [-1.0], n=V + 1), "1025"),
    ("dense unasked", dense({}), "longer|more than the"),
    ("more entries than asked for", lambda p: wire.distribution(V, p, list(range(100)), flat(100)), None),
    ("a count without entries", lambda p: wire.distribution(V, p, [1], [-1.0], n=1000), "entr|ends|missing"),
    ("16 bits unasked", bad(form=wire.HALF), None),
    ("an unknown form", bad(form=3), "form"),
    ("an epoch to come", bad(epoch=1), "epoch"),
    ("an epoch far ahead", bad(epoch=2**31 - 1), "epoch"),
    ("a position to come", lambda p: fake_node.good(p + 1), "position"),
    ("a position far ahead", lambda p: fake_node.good(500), "position"),
    ("a position beyond all", bad(), None),  # replaced below
    ("a number in more bytes than it needs", lambda p: b"\x03\x00\x80\x00" + GOOD[3:], "fewest"),
    ("a number beyond 32 bits", lambda p: b"\x03\x00\xff\xff\xff\xff\x7f" + GOOD[3:], "32 bits"),
    ("bits behind the ids", lambda p: behind_the_ids(p), "bits"),
    ("half of it", lambda p: GOOD[: len(GOOD) // 2], "missing|ends"),
    ("its type only", always(b"\x03"), "missing|ends"),
    ("a good one, then half of one", lambda p: fake_node.good(p) + GOOD[:9], "missing|ends"),
    ("the same position twice", lambda p: fake_node.good(p) + fake_node.good(p), "position"),
]
DISTRIBUTIONS = [d for d in DISTRIBUTIONS if d[0] != "a position beyond all"]
DISTRIBUTIONS.append(("a position beyond all", lambda p: wire.distribution(V, 2**32 - 1, [3], [-0.1]), "position"))

# To a device that has asked for all.
DENSE = [
    ("dense NaN", dense({7: NAN}), "entry 7"),
    ("dense and positive", dense({7: 0.5}), "entry 7|above"),
    ("dense and not the best", dense({7: -0.1}), "own_token"),
    ("dense and its own token none", dense({}, own_token=V), "own_token"),
    ("dense and too short", lambda p: dense({})(p)[:-4], "missing|ends"),
    ("sparse", fake_node.good, "all were"),
]

FRAMES = [
    ("an empty message", always(b""), None),
    ("type 0", always(b"\x00"), "unknown|type 0"),
    ("type 11", always(b"\x0b\x00\x00"), "unknown|type 11"),
    ("type 255", always(b"\xff" * 40), "unknown|type 255"),
    ("text in place of bytes", framed(ws.TEXT, GOOD[:1] + b"abc"), None),
    ("a commit", always(wire.commit(0)), "commit"),
    ("a correction", always(wire.correct(1, 0, 3)), "correct"),
    ("an open", always(wire.open_(V, [1])), "open"),
    ("a draft", always(wire.draft(V, 0, [1])), "draft"),
    ("a deepening", always(wire.deepen(0, 0, 8)), "deepen"),
    ("a second hello", lambda p: wire.hello(V, support.vocab_hash()), "hello"),
    ("an account that was not asked for", always(wire.close(1, 1, 1)), "close"),
    ("an error with control characters", always(wire.error(wire.INTERNAL, "\x1b[31mred")), "message"),
    ("an error that is not UTF-8", always(wire.error(wire.INTERNAL, b"\xff\xfe")), "UTF-8"),
    ("an error that is too long", always(wire.error(wire.INTERNAL, "x" * 257)), "message"),
    ("an error of code 0", always(wire.error(0)), "code"),
    ("an error of code 99", always(wire.error(99)), "code"),
    ("an error of the protocol", always(wire.error(wire.PROTOCOL, "open: I do not like it")), "I do not like it"),
    ("an error with a claim of more", always(b"\x09\x05\x00\xff\x01abc"), "message"),
]

# What is wrong with the WebSocket itself may look like a lost connection: the device may try again until its timeout.
WEBSOCKET = [
    ("a masked frame", framed(ws.BINARY, GOOD, mask=True)),
    ("reserved bits", framed(ws.BINARY, GOOD, rsv=7)),
    ("a reserved opcode", framed(0x3, GOOD)),
    ("a continuation of nothing", framed(ws.CONTINUATION, GOOD)),
    ("a ping that is too long", framed(ws.PING, b"x" * 126)),
    ("a ping in pieces", framed(ws.PING, b"x", fin=False)),
    ("a close of one byte", framed(ws.CLOSE, b"\x03")),
    ("a close with a reserved code", framed(ws.CLOSE, struct.pack(">H", 1005))),
    ("a claim of 2^62 bytes", framed(ws.BINARY, b"x" * 100, length=2**62)),
    ("a claim of 2^63 + 1 bytes", framed(ws.BINARY, b"x" * 100, length=2**63 + 1)),
    ("random bytes", lambda p: lambda stream: stream.send_raw(random.Random(3).randbytes(5000))),
    ("the end of the TCP connection", lambda p: lambda stream: stream.abort()),
    ("a reset", lambda p: lambda stream: stream.reset()),
    ("an error of the model", always(wire.error(wire.INTERNAL, "the model failed"))),
    ("a busy node", always(wire.error(wire.BUSY, "full", retry_after_ms=50))),
    ("a node that goes", always(wire.error(wire.DRAINING, "bye"))),
    ("a busy node, for a month", always(wire.error(wire.BUSY, "full", retry_after_ms=2**32 - 1))),
]


class MaliciousNodeTest(support.TestCase):
    def ask(self, at, *options, hello=None, timeout_ms=support.TIMEOUT_MS, **how):
        with fake_node.FakeNode(at, hello, **how) as node:
            answer = support.generate(node.url(), *options, timeout_ms=timeout_ms)
            self.assertEqual(node.errors, [])
            return answer

    def test_fake_node__that_keeps_the_rules_is_fine(self):
        for options in (OPTIONS, STREAMED, OPTIONS[2:] + ("--cloud-mode", "drafted"), OPTIONS[:2] + OPTIONS[3:]):
            answer = self.ask(None, *options)
            self.assertEqual((answer.code, len(answer.tokens or "")), (0, 8), answer)

    def broken(self, rules, options, position=0):
        for name, at, pattern in rules:
            with self.subTest(name):
                answer = self.ask(lambda p, at=at: at(p) if p >= position else None, *options)
                self.assert_cloud_error(answer, pattern)

    def test_malicious_node__a_distribution_breaks_a_rule(self):
        self.broken(DISTRIBUTIONS, OPTIONS)

    def test_malicious_node__later_and_streamed(self):
        self.broken([d for d in DISTRIBUTIONS if d[0] not in ("an epoch to come", "the same position twice")], STREAMED, position=2)

    def test_malicious_node__a_dense_distribution_breaks_a_rule(self):
        self.broken(DENSE, ("--cloud-mode", "lockstep", "--base-top-k", 0, "--max-tokens", 8))

    def test_malicious_node__a_frame_breaks_a_rule(self):
        self.broken(FRAMES, OPTIONS)

    def test_malicious_node__says_that_it_does_not_fit(self):
        answer = self.ask(always(wire.error(wire.TOOLONG, "it does not fit")), *OPTIONS)
        self.assertEqual(answer.code, 3, answer)  # the request is what must change
        self.assertRegex(answer.err, "it does not fit")

    def test_malicious_node__the_websocket_is_broken(self):
        for name, at in WEBSOCKET:
            with self.subTest(name):
                self.assert_cloud_error(self.ask(at, *OPTIONS, timeout_ms=1200))

    def test_malicious_node__a_position_that_was_asked_for_again_must_come(self):
        """A deepening is answered with another position, with fewer entries, or never."""
        options = ("--cloud-mode", "lockstep", "--max-tokens", 8, "--base-top-k", 2)
        for name, reply in (
            ("never", lambda frame: b""),
            ("another position", lambda frame: fake_node.good(frame["position"] + 1)),
            ("another epoch", lambda frame: fake_node.good(frame["position"], epoch=frame["epoch"] + 2)),
            ("fewer entries", lambda frame: wire.distribution(V, frame["position"], [300], [-0.7], epoch=frame["epoch"])),
        ):
            with self.subTest(name):
                self.assert_cloud_error(self.deepen(reply, options))

    def deepen(self, reply, options):
        class Shallow(fake_node.FakeNode):
            def on_frame(self, stream, frame, epoch):
                if frame["type"] != "deepen":
                    return super().on_frame(stream, frame, epoch)
                if made := reply(frame):
                    stream.send(made)
                return epoch

        with Shallow(lambda p: wire.distribution(V, p, [300, 301], [-3.0, -3.0])) as node:
            return support.generate(node.url(), *options, timeout_ms=1200)

    def test_malicious_node__floods(self):
        """Good frames that nobody asked for, without an end."""

        def flood(payload):
            def send(stream):
                end = time.monotonic() + support.PATIENCE_S
                while time.monotonic() < end:
                    stream.send_raw(ws.frame(ws.BINARY, payload, mask=False) * 100)

            return lambda position: send

        for name, payload in (("pings", wire.ping(1) * 50), ("replies to no ping", wire.ping(1, True) * 50), ("bytes", bytes(60000))):
            with self.subTest(name):
                answer = self.ask(flood(payload), *OPTIONS, timeout_ms=1500)
                self.assert_cloud_error(answer)

    def test_malicious_node__a_message_without_an_end(self):
        def send(stream):
            stream.send_frame(ws.BINARY, bytes(60000), fin=False)
            for _ in range(4000):
                stream.send_frame(ws.CONTINUATION, bytes(60000), fin=False)

        self.assert_cloud_error(self.ask(lambda p: send, *OPTIONS, timeout_ms=1500))


if __name__ == "__main__":
    support.main()
