#!/usr/bin/env python3
"""Many at once: slow readers, a full node, a node that is being shut down."""
import signal

import support
import wire
import ws

V = support.N_VOCAB
PROMPT = [300, 625, 494, 439]
MEMORY_KIB = 128 * 1024  # of a node, on top of what it has for a single device; sanitizers keep freed memory for a while


def open_(**fields):
    return wire.open_(V, **({"prompt": PROMPT} | fields))


class CrowdTest(support.TestCase):
    def node(self, *options, **how):
        node = support.Node(*options, **how)
        self.addCleanup(node.__exit__)
        return node

    def assert_bounded(self, node, before):
        self.assertLess(node.rss_kib() - before, MEMORY_KIB * (4 if support.IS_SANITIZED else 1))

    def test_crowd__who_says_nothing_in_an_answer_is_told_and_closed(self):
        support.with_patience(self.say_nothing, 1000)

    def say_nothing(self, timeout_ms):
        node = self.node("--idle-timeout-ms", timeout_ms)
        opened, _ = node.connect()
        opened.send(open_())
        self.assertEqual(wire.decode(opened.recv(), V)[0]["type"], "distribution")
        between, _ = node.connect()
        between.send(open_() + wire.close())
        for stream in (opened, between):
            with stream:
                messages, end = stream.wait_closed()
                last = wire.decode(messages[-1], V)[-1]
                self.assertEqual((last["type"], last.get("code")), ("error", wire.TIMEDOUT), end)

    def test_crowd__slow_readers_are_bounded(self):
        """They ask for all of every distribution and read nothing; others go on. Each holds one of --parallel until its timeout."""
        node = self.node("--idle-timeout-ms", 4000, "--parallel", 48)
        reference = support.Reference(node.url())
        before = node.rss_kib()
        readers = []
        for _ in range(40):
            stream, _ = node.connect(receive_bytes=4096)
            stream.send(open_(mode=wire.STREAMED, window=32, top_k=0, max_tokens=900))
            readers.append(stream)
        for epoch in range(1, 3):
            self.assert_same(reference, support.generate(node.url()))
            for stream in readers:  # position 0 has been delivered, whether they have read it or not
                try:
                    stream.send(wire.correct(epoch, epoch - 1, 5))
                except OSError:
                    pass
        self.assert_bounded(node, before)
        support.wait_until(lambda: node.metrics()["costeer_sessions"] == 0, "they are gone")
        self.assert_same(reference, support.generate(node.url()))
        self.assert_bounded(node, before)
        for stream in readers:
            stream.abort()

    def test_crowd__a_full_node_says_so_and_later_has_room(self):
        node = self.node("--max-sessions", 2)
        reference = support.Reference(node.url())
        held = []
        for _ in range(2):
            stream, _ = node.connect()
            stream.send(open_(max_tokens=500))
            self.assertEqual(wire.decode(stream.recv(), V)[0]["type"], "distribution")
            held.append(stream)
        stream, _ = node.connect()
        stream.send(open_())
        reply = wire.decode(stream.recv(), V)[0]
        self.assertEqual((reply["type"], reply["code"]), ("error", wire.BUSY))
        self.assertGreater(reply["retry_after_ms"], 0)
        ask = lambda ms: self.assert_cloud_error(support.generate(node.url(), timeout_ms=ms), "busy|open|full")
        support.with_patience(ask, 1500)
        device = support.Device(node.url())
        n_refused = lambda: node.metrics()['costeer_sessions_refused_total{reason="busy"}']
        first = n_refused()
        support.wait_until(lambda: n_refused() > first or node.metrics()["costeer_sessions"] > 2, "the device was refused")
        held[0].send(wire.commit(0))  # a running answer is never dropped
        self.assertEqual(wire.decode(held[0].recv(), V)[0]["position"], 1)
        held[0].send(wire.close())
        self.assert_same(reference, device.wait())
        for one in (*held, stream):
            one.abort()

    def test_crowd__a_node_that_is_shut_down_lets_answers_finish(self):
        node = self.node("--bench-step-ms", 15)
        reference = support.Reference(node.url())
        device = support.Device(node.url())
        support.wait_until(lambda: node.metrics()["costeer_tokens_total"] > len(reference.answer.tokens) + 5, "it runs")
        node.process.send_signal(signal.SIGTERM)
        self.assert_same(reference, device.wait())
        self.assertEqual(node.process.wait(support.PATIENCE_S), 0)

    def test_crowd__a_node_that_is_shut_down_takes_nothing_new(self):
        node = self.node("--drain-timeout-ms", support.TIMEOUT_MS)
        stream, _ = node.connect()
        stream.send(open_(max_tokens=500))
        stream.recv()
        idle, _ = node.connect()
        node.process.send_signal(signal.SIGTERM)
        support.wait_until(lambda: self.is_draining(node), "it drains")
        try:
            idle.send(open_())
            reply = wire.decode(idle.recv(), V)[0]
            self.assertEqual((reply["type"], reply["code"]), ("error", wire.DRAINING))
        except (OSError, ws.Closed):
            pass  # closed at once is as good
        self.assert_cloud_error(support.generate(node.url(), timeout_ms=1500))
        stream.send(wire.commit(0))
        self.assertEqual(wire.decode(stream.recv(), V)[0]["position"], 1)
        stream.send(wire.close())
        stream.wait_closed()
        idle.abort()
        self.assertEqual(node.process.wait(support.PATIENCE_S), 0)

    @staticmethod
    def is_draining(node):
        try:
            return ws.http_get("127.0.0.1", node.port, "/health")[0] == 503
        except (OSError, ws.Closed):
            return True


if __name__ == "__main__":
    support.main()
