#!/usr/bin/env python3
"""Devices that break the rules: each gets an error that names the rule, its connection ends, and nobody else notices."""
import random
import struct
import threading
import time

import support
import wire
import ws

V = support.N_VOCAB
PROMPT = [300, 625, 494, 439]
BIG = 2**32 - 1


def open_(**fields):
    return wire.open_(V, **({"prompt": PROMPT} | fields))


STREAMED = {"mode": wire.STREAMED, "window": 8}
DRAFTED = {"mode": wire.DRAFTED}

# What is said without an answer.
BEFORE = [
    ("commit", wire.commit(0), "commit"),
    ("correct", wire.correct(1, 0, 5), "correct"),
    ("draft", wire.draft(V, 0, [5]), "draft"),
    ("deepen", wire.deepen(0, 0, 16), "deepen"),
    ("close", wire.close(), "close"),
]

OPENS = [
    ("mode 3", open_(mode=3), "mode"),
    ("unknown flags", bytes([2, 0, 4]) + open_()[3:], "flags"),
    ("a window in lockstep", open_(window=1), "window"),
    ("a window with drafts", open_(mode=wire.DRAFTED, window=1), "window"),
    ("no window, streamed", open_(mode=wire.STREAMED, window=0), "window"),
    ("a window beyond the granted", open_(mode=wire.STREAMED, window=33), "window"),
    ("a window beyond all", open_(mode=wire.STREAMED, window=BIG), "window"),
    ("more entries than tokens", open_(top_k=V + 1), "top_k"),
    ("no tokens wanted", open_(max_tokens=0), "max_tokens"),
    ("no prompt", open_(prompt=[]), "prompt"),
    ("a prompt beyond the context", open_(prompt=[5] * 5000), "prompt|message"),
    ("a claim of a prompt", bytes([2, 0, 0, 0, 8, 9]) + wire.varint(BIG), "prompt"),
    ("a claim of a prompt that fits", bytes([2, 0, 0, 0, 8, 9]) + wire.varint(900) + b"xx", "prompt|missing|ends"),
    ("more accepted than wanted", open_(max_tokens=3, accepted=[5, 6, 7]), "accepted"),
    ("accepted tokens that do not fit", open_(max_tokens=1000, prompt=[5] * 900, accepted=[5] * 900), "accepted|fit"),
    ("half a frame", open_()[:6], "missing|ends"),
    ("messages that are not there", bytes([2, 0, 2, 0, 8, 9, 3]), "missing|ends|messages"),
    ("no messages", bytes([2, 0, 2, 0, 8, 9, 0, 0]), "messages"),
    ("65 messages", bytes([2, 0, 2, 0, 8, 9, 65]) + b"\x04user\x02hi" * 65 + b"\x00", "messages"),
    ("a role with control characters", bytes([2, 0, 2, 0, 8, 9, 1]) + b"\x04us\ner\x02hi\x00", "role"),
    ("a text that is not UTF-8", bytes([2, 0, 2, 0, 8, 9, 1]) + b"\x04user\x02\xff\xfe\x00", "UTF-8"),
    ("a text of 2^32 bytes", bytes([2, 0, 2, 0, 8, 9, 1]) + b"\x04user" + wire.varint(BIG), "text"),
]

# What is said to an answer of which position 0 was delivered, and the window.
DURING = [
    ("a second open", {}, open_(), "open"),
    ("a commit far ahead", {}, wire.commit(500), "commit"),
    ("a commit of the next", {}, wire.commit(1), "commit"),
    ("a commit beyond all", {}, wire.commit(BIG), "commit"),
    ("a commit, streamed, far ahead", STREAMED, wire.commit(60), "commit"),
    ("an epoch that was", {}, wire.correct(0, 0, 5), "epoch"),
    ("an epoch too far", {}, wire.correct(2, 0, 5), "epoch"),
    ("an epoch far ahead", STREAMED, wire.correct(2**31 - 1, 0, 5), "epoch"),
    ("a correction far ahead", {}, wire.correct(1, 50, 5), "correct"),
    ("a token that is none", {}, wire.correct(1, 0, V), "token"),
    ("a token beyond all", {}, wire.correct(1, 0, BIG), "token"),
    ("a draft far ahead", DRAFTED, wire.commit(0) + wire.draft(V, 40, [5]), "draft"),
    ("a draft of a token that was gone on with", STREAMED, wire.draft(V, 0, [5]), "draft"),
    ("a draft beyond the answer", DRAFTED | {"max_tokens": 4}, wire.commit(0) + wire.draft(V, 1, [5] * 4), "draft"),
    ("a draft in lockstep", {}, wire.commit(0) + wire.draft(V, 1, [5]), "draft"),
    ("a draft, streamed, of its own", STREAMED, wire.draft(V, 1, [5]), "draft"),
    ("33 drafts", DRAFTED, wire.commit(0) + wire.draft(V, 1, [5] * 33), "draft"),
    ("more drafts than granted", DRAFTED, wire.commit(0) + wire.draft(V, 1, [5] * 32), "draft"),
    ("no drafts", DRAFTED, wire.commit(0) + wire.draft(V, 1, []), "draft"),
    ("a deepening of what was not delivered", {}, wire.deepen(0, 30, 16), "deepen"),
    ("a deepening in an epoch to come", {}, wire.deepen(7, 0, 16), "deepen|epoch"),
    ("a deepening of what is accepted", {}, wire.commit(0) + wire.deepen(0, 0, 16), "deepen"),
    ("a deepening beyond the vocabulary", {}, wire.deepen(0, 0, V + 1), "top_k"),
    ("a commit that was", {}, wire.commit(0) + wire.commit(0), "commit"),
    ("a correction of what is accepted", {}, wire.commit(0) + wire.correct(1, 0, 5), "correct"),
    ("a hello", {}, wire.hello(V, bytes(32)), "hello"),
    ("a distribution", {}, wire.distribution(V, 1, [5], [-0.1]), "distribution"),
    ("type 0", {}, b"\x00", "unknown|type 0"),
    ("type 11", {}, b"\x0b", "unknown|type 11"),
    ("type 255", {}, b"\xff" * 9, "unknown|type 255"),
    ("an account", {}, wire.close(1, 2, 3), "zero"),
    ("a ping of two", {}, b"\x0a\x02\x00\x00\x00\x00", "is_reply"),
    ("half a ping", {}, b"\x0a\x00\x00", "missing|ends"),
    ("a number in more bytes than it needs", {}, b"\x04\x80\x00", "fewest"),
    ("a good frame, then a bad one", {}, wire.ping(1) + b"\x00", "unknown|type 0"),
]

# A frame without a mask is not among them: libwebsockets 4.1 takes it, against RFC 6455, 5.1.
WEBSOCKET = [
    ("reserved bits", ws.frame(ws.BINARY, wire.ping(1), rsv=7)),
    ("a reserved opcode", ws.frame(0x4, wire.ping(1))),
    ("a reserved control opcode", ws.frame(0xC, b"")),
    ("a continuation of nothing", ws.frame(ws.CONTINUATION, wire.ping(1))),
    ("a ping that is too long", ws.frame(ws.PING, bytes(126))),
    ("a ping in pieces", ws.frame(ws.PING, b"x", fin=False)),
    ("a claim of 2^62 bytes", ws.frame(ws.BINARY, bytes(100), length=2**62)),
    ("a claim of 2^63 + 1 bytes", ws.frame(ws.BINARY, bytes(100), length=2**63 + 1)),
    ("text", ws.frame(ws.TEXT, wire.ping(1))),
    ("a close of one byte", ws.frame(ws.CLOSE, b"\x03")),
    ("a close that is not UTF-8", ws.frame(ws.CLOSE, struct.pack(">H", 1000) + b"\xff\xfe")),
    ("random bytes", random.Random(2).randbytes(5000)),
    ("a message without an end", ws.frame(ws.BINARY, bytes(60000), fin=False) + ws.frame(ws.CONTINUATION, bytes(60000), fin=False) * 400),
]


class Bystanders:
    """Devices that go on the whole time; each answer must be the undisturbed one."""

    def __init__(self, node, reference, n=2):
        self.node, self.reference = node, reference
        self.stop, self.answers, self.wrong = threading.Event(), 0, []
        self.threads = [threading.Thread(target=self.run, args=(mode,)) for mode in ("streamed", "lockstep")[:n]]

    def run(self, mode):
        while not self.stop.is_set():
            answer = support.generate(self.node.url(), "--cloud-mode", mode)
            self.answers += 1
            if answer.code != 0 or not self.reference.explains(answer.tokens):
                self.wrong.append(answer)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


class MaliciousDeviceTest(support.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = support.Node()
        cls.reference = support.Reference(cls.node.url())

    @classmethod
    def tearDownClass(cls):
        cls.node.__exit__()

    def setUp(self):
        self.bystanders = Bystanders(self.node, self.reference)
        self.bystanders.__enter__()

    def tearDown(self):
        self.bystanders.__exit__()
        self.assertGreater(self.bystanders.answers, 0)
        self.assertEqual(self.bystanders.wrong, [])
        self.assertIsNone(self.node.process.poll())

    def begin(self, **how):
        """A connection with an answer open, all delivered that the node may compute unasked."""
        stream, _ = self.node.connect()
        stream.send(open_(**how))
        n_got = 0
        while n_got <= how.get("window", 0):
            for frame in wire.decode(stream.recv(), V):
                self.assertEqual((frame["type"], frame["position"]), ("distribution", n_got))
                n_got += 1
        return stream

    def assert_ended(self, stream, pattern, codes=(wire.PROTOCOL, wire.TOOLONG)):
        """An error frame that names the rule, then the end of the connection."""
        messages, end = stream.wait_closed()
        frames = [frame for message in messages for frame in wire.decode(message, V)]
        errors = [frame for frame in frames if frame["type"] == "error"]
        self.assertEqual(len(errors), 1, (frames, end))
        self.assertEqual(frames[-1], errors[0])
        self.assertIn(errors[0]["code"], codes, errors)
        self.assertRegex(errors[0]["message"], pattern)

    def test_malicious_device__without_an_answer(self):
        for name, data, pattern in BEFORE:
            with self.subTest(name):
                stream, _ = self.node.connect()
                with stream:
                    stream.send(data)
                    self.assert_ended(stream, pattern)

    def test_malicious_device__opens(self):
        for name, data, pattern in OPENS:
            with self.subTest(name):
                stream, _ = self.node.connect()
                with stream:
                    stream.send(data)
                    self.assert_ended(stream, pattern)

    def test_malicious_device__is_refused_and_may_open_again(self):
        for name, data in (
            ("too long", open_(prompt=[5] * 900, max_tokens=1000)),
            ("two system messages", bytes([2, 0, 2, 0, 8, 9, 2]) + b"\x06system\x02hi" * 2 + b"\x00"),
        ):
            stream, _ = self.node.connect()
            with self.subTest(name), stream:
                stream.send(data)
                stream.send(wire.commit(0))  # it could not know yet
                self.assertEqual(wire.decode(stream.recv(), V)[0]["type"], "error")
                stream.send(open_())
                self.assertEqual(wire.decode(stream.recv(), V)[0]["type"], "distribution")

    def test_malicious_device__during_an_answer(self):
        for name, how, data, pattern in DURING:
            with self.subTest(name), self.begin(**how) as stream:
                stream.send(data)
                self.assert_ended(stream, pattern)

    def test_malicious_device__breaks_the_websocket(self):
        for name, data in WEBSOCKET:
            with self.subTest(name), self.begin() as stream:
                try:
                    stream.send_raw(data)
                    if name.startswith("a claim"):
                        for _ in range(500):
                            stream.send_raw(bytes(60000))
                except OSError:
                    pass  # ended already
                _, end = stream.wait_closed()
                self.assertIsNotNone(end)

    def test_malicious_device__breaks_http(self):
        for head in (
            b"GET / HTTP/1.1\r\n\r\n", b"\r\n\r\n", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", b"\x16\x03\x01" + bytes(300),
            b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n" + bytes(5000),
            b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(5000)) + b"\r\n",
            ws.request_head("h", 1).replace("Version: 13", "Version: 99").encode(),
            ws.request_head("h", 1).replace("Sec-WebSocket-Key: ", "Sec-WebSocket-Nokey: ").encode(),
            ws.request_head("h", 1, path="/../../etc/passwd").encode(),
        ):  # fmt: skip
            with self.subTest(head=head[:40]), ws.Stream(ws.connect_tcp("127.0.0.1", self.node.port), True) as stream:
                try:
                    stream.send_raw(head)
                    stream.sock.shutdown(1)
                    while True:
                        stream.read_some()
                except (ws.Closed, OSError):
                    pass
                self.assertNotIn(b"root:", bytes(stream.data))

    def test_malicious_device__random_frames(self):
        chance = random.Random(7)
        for seed in range(120):
            with self.subTest(seed=seed), self.begin(**chance.choice([{}, STREAMED, DRAFTED])) as stream:
                try:
                    for _ in range(20):
                        stream.send(self.random_message(chance))
                except OSError:
                    continue  # ended already
                stream.close()

    @staticmethod
    def random_message(chance):
        number = lambda: chance.choice([0, 1, 2, 3, 10, 63, 64, 1000, 2**20, 2**31 - 1, BIG])
        return chance.choice([
            lambda: wire.commit(number()), lambda: wire.correct(number(), number(), number()),
            lambda: wire.draft(V, number(), [chance.randrange(V) for _ in range(chance.randrange(34))]),
            lambda: wire.deepen(number(), number(), number()), lambda: wire.close(), lambda: wire.ping(5), lambda: open_(),
            lambda: chance.randbytes(chance.randrange(1, 200)), lambda: bytes([chance.randrange(256)]) + chance.randbytes(30),
            lambda: wire.error(chance.randrange(9), "x"),
        ])()  # fmt: skip

    def test_malicious_device__random_bytes_in_the_middle_of_good_ones(self):
        """A device that keeps to the protocol, but one byte of one message is another."""
        chance = random.Random(11)
        for seed in range(120):
            with self.subTest(seed=seed), self.begin(**STREAMED) as stream:
                messages = [wire.correct(1, 0, 9), wire.correct(2, 1, 10) + wire.draft(V, 2, [4, 5]), wire.close(), open_(**STREAMED)]
                victim = chance.randrange(len(messages))
                changed = bytearray(messages[victim])
                changed[chance.randrange(len(changed))] = chance.randrange(256)
                messages[victim] = bytes(changed)
                try:
                    for message in messages:
                        stream.send(message)
                except OSError:
                    continue
                stream.close()

    def test_malicious_device__floods(self):
        for name, payload in (("pings", wire.ping(1) * 400), ("deepenings", wire.deepen(0, 0, 64) * 400)):
            with self.subTest(name), self.begin() as stream:
                reader = threading.Thread(target=self.swallow, args=(stream,))
                reader.start()
                end = time.monotonic() + support.PATIENCE_S
                try:
                    while time.monotonic() < end:
                        stream.send(payload)
                    self.fail("it may send on and on")
                except OSError:
                    pass
                reader.join()

    @staticmethod
    def swallow(stream):
        try:
            stream.wait_closed()
        except OSError:
            pass

    def test_malicious_device__opens_and_goes(self):
        """A thousand answers that are begun and left: by a close, by the end of the connection, by a reset."""
        stream = None
        for i in range(1000):
            stream = stream or self.node.connect()[0]
            stream.send(open_(**(STREAMED if i % 2 else {}), max_tokens=500))
            if i % 50 == 49:
                stream.reset()
                stream = None
            elif i % 10 == 9:
                stream.abort()
                stream = None
            else:
                stream.send(wire.close())
                while wire.decode(stream.recv(), V)[-1]["type"] != "close":
                    pass
        support.wait_until(lambda: self.n_open() <= len(self.bystanders.threads), "the answers are gone")

    def n_open(self):
        return self.node.metrics()["costeer_sessions"]


if __name__ == "__main__":
    support.main()
