#!/usr/bin/env python3
"""Bytes that are changed on the way, and a connection that stalls.

TLS notices a changed byte, and the device connects again. Plain ws has no integrity: a changed value may change the answer, and
only a crash, a hang, or an unknown exit code is a failure.
"""
import concurrent.futures
import random
import tempfile

import support
import ws

OPTIONS = ("--max-tokens", 14)


class DamageTest(support.TestCase):
    def test_damage__tls_connects_again(self):
        with tempfile.TemporaryDirectory() as folder:
            ca, cert, key = support.init_tls(folder)
            tls = ("--cloud-ca", ca)
            with support.Node(tls=(cert, key), ca=ca) as node:
                reference = support.Reference(node.url(), *OPTIONS, *tls)
                with support.Proxy(node.port) as proxy:
                    self.assert_same(reference, support.generate(node.url(proxy.port), *OPTIONS, *tls))
                    _, n_up, n_down = proxy.tell("count")
                n_reconnects = 0
                for direction, n in (("up", n_up), ("down", n_down)):
                    for tenth in range(1, 10):
                        at = n * tenth // 10
                        n_reconnects += self.corrupt_tls(node, reference, direction, at, tls)
                self.assertGreater(n_reconnects, 4)

    def corrupt_tls(self, node, reference, direction, at, tls):
        with support.Proxy(node.port, "--direction", direction, "--corrupt-at", at, "--connections", 1) as proxy:
            answer = support.generate(node.url(proxy.port), *OPTIONS, *tls)
        if answer.code == support.EXIT_CLOUD:  # within the handshake: it had not been connected yet
            self.assert_cloud_error(answer)
            return 0
        self.assert_same(reference, answer, f"byte {at} {direction}")
        return answer.json["cloud"]["reconnects"]

    def test_damage__plain_never_hangs_or_crashes(self):
        with support.Node() as node:
            with ws.Recorder(node.port) as recorder:
                self.assertEqual(support.generate(node.url(recorder.port), *OPTIONS).code, 0)
                sizes = [len(way) for way in recorder.connections[0]]
                borders = [ws.split_stream(bytes(way))[2] for way in recorder.connections[0]]
            chance = random.Random(1)
            runs = []
            for direction, size, heads in zip(("up", "down"), sizes, borders):
                offsets = [chance.randrange(size) for _ in range(30)]
                offsets += [at + d for at in heads[:-1:2] for d in (0, 1, 2, 3)]  # heads of frames, types, first fields
                runs += [(direction, at) for at in offsets]
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                for future in [pool.submit(self.corrupt_plain, node, *run) for run in runs]:
                    future.result()
            # The node is as it was.
            self.assert_same(support.Reference(node.url(), *OPTIONS), support.generate(node.url(), *OPTIONS))

    def corrupt_plain(self, node, direction, at):
        with support.Proxy(node.port, "--direction", direction, "--corrupt-at", at, "--connections", 1) as proxy:
            answer = support.generate(node.url(proxy.port), *OPTIONS, timeout_ms=3000)
        # 4: a flipped byte of the hello makes another vocabulary.
        self.assertIn(answer.code, (0, 4, support.EXIT_CLOUD), f"byte {at} {direction}: {answer}")


class StallTest(support.TestCase):
    def test_stall__the_timeout_is_honoured(self):
        with support.Node() as node:
            with ws.Recorder(node.port) as recorder:
                reference = support.Reference(node.url(), *OPTIONS)
                support.generate(node.url(recorder.port), *OPTIONS)
                borders = [ws.split_stream(bytes(way))[2] for way in recorder.connections[0]]
            for direction, way in zip(("up", "down"), borders):
                for at in (0, way[0] - 2, way[0], way[1] + 1, way[-1] - 1):
                    with self.subTest(direction=direction, at=at):
                        self.stall(node, reference, direction, at)

    def stall(self, node, reference, direction, at):
        with support.Proxy(node.port, "--direction", direction, "--stall-at", at) as proxy:
            answer = support.generate(node.url(proxy.port), *OPTIONS, timeout_ms=1000)
        if answer.code == 0:  # a stalled acknowledgement or close keeps no answer from being complete
            self.assert_same(reference, answer)
        else:
            self.assert_cloud_error(answer)
            self.assertGreaterEqual(answer.seconds, 0.9)

    def test_stall__that_ends_in_time_is_not_noticed(self):
        with support.Node() as node:
            reference = support.Reference(node.url(), *OPTIONS)
            with support.Proxy(node.port, "--stall-at", 2500) as proxy:
                device = support.Device(node.url(proxy.port), *OPTIONS)
                support.wait_until(lambda: proxy.tell("count")[2] == 2500, "the stall")
                proxy.tell("clean")
                self.assert_same(reference, device.wait())


if __name__ == "__main__":
    support.main()
