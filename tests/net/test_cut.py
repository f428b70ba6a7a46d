#!/usr/bin/env python3
"""The connection is cut at every border of a frame, and beside it, in both directions: the answer is that of an undisturbed run.

Plain ws, so that offsets in the stream are offsets in frames. Only the first connection is cut; the device's second goes through.
"""
import concurrent.futures

import support
import ws

OPTIONS = ("--max-tokens", 14)


class CutTest(support.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = support.Node()

    @classmethod
    def tearDownClass(cls):
        cls.node.__exit__()

    def record(self, *options):
        """(undisturbed answer, borders of frames up, borders down)"""
        reference = support.Reference(self.node.url(), *OPTIONS, *options)
        with ws.Recorder(self.node.port) as recorder:
            answer = support.generate(self.node.url(recorder.port), *OPTIONS, *options)
            self.assert_same(reference, answer)
            self.assertEqual(len(recorder.connections), 1)
            borders = [ws.split_stream(bytes(way))[2] for way in recorder.connections[0]]
        self.assertGreater(len(borders[0]), 2)
        self.assertGreater(len(borders[1]), 5)
        return reference, borders

    def cut(self, reference, direction, at, handshake, options):
        with support.Proxy(self.node.port, "--direction", direction, "--cut-at", at, "--connections", 1) as proxy:
            answer = support.generate(self.node.url(proxy.port), *OPTIONS, *options)
            n_connections = proxy.tell("count")[0]
        note = f"cut {direction} at {at}, {n_connections} connections"
        if at <= handshake and answer.code == support.EXIT_CLOUD:
            self.assert_cloud_error(answer)  # it had not been connected yet
            return 0
        self.assert_same(reference, answer, note)
        return answer.json["cloud"]["reconnects"]

    def check(self, offsets, *options, least=0.25):
        """Cut at offsets(borders) of both ways, some at a time."""
        reference, borders = self.record(*options)
        n_reconnects = 0
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            # What is cut before the hello has come, in either direction, is no lost answer yet: up to the end of the request, or
            # of the hello.
            runs = [
                pool.submit(self.cut, reference, direction, at, way[0 if direction == "up" else 1], options)
                for direction, way in zip(("up", "down"), borders)
                for at in offsets(way)
            ]
            for run in runs:
                n_reconnects += run.result()
        self.assertGreaterEqual(n_reconnects, least * len(runs))

    def test_cut__at_every_border_of_a_frame_and_beside_it(self):
        def offsets(borders):
            return sorted({at for b in borders[:-1] for at in (b - 1, b, b + 1, b + 3)} | {borders[-1] - 1})

        self.check(offsets)

    def test_cut__in_lockstep(self):
        self.check(lambda borders: borders[1::3] + [b + 2 for b in borders[1:-1:4]], "--cloud-mode", "lockstep")

    def test_cut__with_drafts(self):
        self.check(lambda borders: borders[1::3] + [b + 2 for b in borders[1:-1:4]], "--cloud-mode", "drafted")

    def test_cut__within_the_handshake(self):
        self.check(lambda borders: [0, 1, borders[0] // 2, borders[0] - 1, borders[0] + 40], least=0)


if __name__ == "__main__":
    support.main()
