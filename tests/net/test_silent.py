#!/usr/bin/env python3
"""Connections that only take up room: they say nothing, or do not finish a handshake."""
import resource
import select
import socket
import tempfile
import time

import support
import ws

N_SILENT = 1000
HANDSHAKE_S = 10  # docs/protocol.md, section 8
MEMORY_KIB = 128 * 1024  # of a node, on top of what it has for a single device; sanitizers keep freed memory for a while


class SilentTest(support.TestCase):
    def node(self, *options, **how):
        node = support.Node(*options, **how)
        self.addCleanup(node.__exit__)
        return node

    def assert_bounded(self, node, before):
        self.assertLess(node.rss_kib() - before, MEMORY_KIB * (4 if support.IS_SANITIZED else 1))

    def silent(self, node, i):
        """A connection that says nothing; every other one has finished its handshake. None: it was not let in."""
        try:
            sock = socket.create_connection(("127.0.0.1", node.port), timeout=support.PATIENCE_S)
            if i % 2:
                sock.sendall(ws.request_head("127.0.0.1", node.port).encode())
            return sock
        except OSError:
            return None

    @staticmethod
    def wait_gone(socks, n_left):
        """Wait until the other side has closed all but some; how many it has not."""
        left, end, poll = {sock.fileno(): sock for sock in socks}, time.monotonic() + support.PATIENCE_S, select.poll()
        for number in left:
            poll.register(number, select.POLLIN)
        while len(left) > n_left and time.monotonic() < end:
            for number, _ in poll.poll(100):
                try:
                    gone = not left[number].recv(4096)
                except OSError:
                    gone = True
                if gone:
                    poll.unregister(number)
                    del left[number]
        return len(left)

    def test_silent__a_thousand_silent_connections(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096) if hard > 0 else 4096, hard))
        node = self.node("--bench-step-ms", 20)
        reference = support.Reference(node.url())
        before = node.rss_kib()
        device = support.Device(node.url())
        support.wait_until(lambda: node.metrics()["costeer_sessions"] == 1, "the real answer is open")
        started = time.monotonic()
        socks = [sock for i in range(N_SILENT) if (sock := self.silent(node, i)) is not None]
        self.assert_same(reference, device.wait())  # while they are there
        self.assert_bounded(node, before)
        self.assertEqual(self.wait_gone(socks, 0), 0)
        self.assertGreater(time.monotonic() - started, HANDSHAKE_S - 1)  # some were let in and had their time
        for sock in socks:
            sock.close()
        self.assert_same(reference, support.generate(node.url()))
        self.assert_bounded(node, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def test_silent__half_tls_handshakes_are_counted_and_closed(self):
        """A TLS node counts what has not finished its handshake, and no more than it has counted."""
        with tempfile.TemporaryDirectory() as folder:
            ca, *tls = support.init_tls(folder)
            node = self.node("--max-sessions", 8, tls=tls, ca=ca)  # 264 connections
            n_connections = lambda: node.metrics()["costeer_connections"]
            for _ in range(300):  # they come and go within the handshake
                sock = socket.create_connection(("127.0.0.1", node.port))
                sock.sendall(b"\x16\x03\x01\x02\x00\x01")
                sock.close()
            support.wait_until(lambda: n_connections() == 1, "only the one that asks is counted")
            socks = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(400)]
            self.assertLessEqual(self.wait_gone(socks, 264), 264)  # what is too much is closed first
            self.assertEqual(self.wait_gone(socks, 0), 0)
            support.wait_until(lambda: n_connections() == 1, "they are gone")
            for sock in socks:
                sock.close()
            self.assertEqual(support.generate(node.url(), "--cloud-ca", ca).code, 0)


if __name__ == "__main__":
    support.main()
