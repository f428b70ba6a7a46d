#!/usr/bin/env python3
"""The node is killed at each phase of an answer: the device says so in time, or goes on when the node is back."""
import json
import pathlib
import socket
import subprocess
import tempfile
import threading

import support
import wire
import ws

SLOW_STEPS = ("--bench-step-ms", "15")  # so that an answer takes long enough to die in


class DeathTest(support.TestCase):
    def setUp(self):
        self.node = support.Node(*SLOW_STEPS)
        self.addCleanup(self.node.__exit__)

    def disturb(self, phase, back, *options, **how):
        """Run a device and kill the node when phase(bytes up, bytes down) holds."""
        with ws.Recorder(self.node.port) as recorder:
            device = support.Device(self.node.url(recorder.port), *options, **how)
            support.wait_until(lambda: device.process.poll() is not None or
                               recorder.connections and phase(*map(bytes, recorder.connections[0])), "the phase")  # fmt: skip
            self.node.kill()
            if back:
                self.node.start()
            return device.wait()

    @staticmethod
    def has_opened(up, _):
        return any(m[:1] == b"\x02" for m in ws.split_stream(up)[1])

    @staticmethod
    def is_streaming(_, down):
        return sum(m[:1] == b"\x03" for m in ws.split_stream(down)[1]) >= 5

    def test_death__comes_back(self):
        for mode in ("streamed", "lockstep", "drafted"):
            reference = support.Reference(self.node.url(), "--cloud-mode", mode)
            for phase in (self.has_opened, self.is_streaming):
                with self.subTest(mode=mode, phase=phase.__name__):
                    answer = self.disturb(phase, True, "--cloud-mode", mode)
                    self.assert_same(reference, answer)
                    self.assertGreater(answer.json["cloud"]["reconnects"], 0)

    def test_death__stays_away(self):
        for phase in (self.has_opened, self.is_streaming):
            with self.subTest(phase=phase.__name__):
                support.with_patience(lambda ms, phase=phase: self.stays_away(phase, ms), 1500)

    def stays_away(self, phase, timeout_ms):
        try:
            answer = self.disturb(phase, False, timeout_ms=timeout_ms)
            self.assert_cloud_error(answer)
            self.assertGreaterEqual(answer.seconds, 0.9 * timeout_ms / 1000)  # it had tried for as long as it was told to
        finally:
            self.node.kill()
            self.node.start()

    def test_death__the_slm_finishes_alone(self):
        support.with_patience(self.finishes_alone, 1000)

    def finishes_alone(self, timeout_ms):
        try:
            answer = self.disturb(self.is_streaming, False, "--on-cloud-failure", "local", timeout_ms=timeout_ms)
            self.assertEqual(answer.code, 0, answer)
            self.assertGreater(answer.json["n_local"], 0)
            self.assertLess(answer.json["n_local"], answer.json["n_tokens"])
        finally:
            self.node.kill()
            self.node.start()

    def test_death__between_two_answers(self):
        """compare asks for two answers over one connection; the node dies after the first."""
        def compare(port):
            return [support.COSTEER, "compare", "--cloud", self.node.url(port), "--context", str(notes), "--json", "--max-tokens",
                    "30", "--timeout-ms", str(support.TIMEOUT_MS), support.QUERY]  # fmt: skip

        with tempfile.TemporaryDirectory() as folder:
            notes = pathlib.Path(folder) / "notes"
            notes.write_text(support.NOTES)
            whole = subprocess.run(compare(self.node.port), check=True, capture_output=True, timeout=support.PATIENCE_S)
            wanted = {m["name"]: m["token_ids"] for m in json.loads(whole.stdout)["methods"]}
            with ws.Recorder(self.node.port) as recorder:
                with subprocess.Popen(compare(recorder.port), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                    support.wait_until(lambda: recorder.connections and self.has_closed(recorder.connections[0][0]), "a close")
                    self.node.kill()
                    self.node.start()
                    out, err = process.communicate(timeout=support.PATIENCE_S)
            self.assertEqual(process.returncode, 0, err)
            self.assertEqual({m["name"]: m["token_ids"] for m in json.loads(out)["methods"]}, wanted)

    @staticmethod
    def has_closed(up):
        return any(m[-4:] == wire.close() for m in ws.split_stream(bytes(up))[1])


class NoNodeTest(support.TestCase):
    """Before the hello."""

    def setUp(self):
        self.done = threading.Event()

    def serve(self, handler, upgrade=False):
        server = ws.Server(handler, upgrade=upgrade)
        self.addCleanup(server.__exit__)
        self.addCleanup(self.done.set)
        return f"ws://127.0.0.1:{server.port}"

    def test_no_node__nobody_listens(self):
        answer = support.generate(f"ws://127.0.0.1:{support.free_port()}", timeout_ms=1500)
        self.assert_cloud_error(answer)

    def test_no_node__it_closes_before_the_handshake(self):
        self.assert_cloud_error(support.generate(self.serve(lambda stream, _: None), timeout_ms=1500))

    def test_no_node__it_closes_before_the_hello(self):
        self.assert_cloud_error(support.generate(self.serve(lambda stream, _: None, upgrade=True), timeout_ms=1500))

    def test_no_node__it_says_nothing_at_all(self):
        for upgrade in (False, True):
            with self.subTest(upgrade=upgrade):
                answer = support.generate(self.serve(lambda *_: self.done.wait(60), upgrade), timeout_ms=1000)
                self.assert_cloud_error(answer)
                self.assertGreaterEqual(answer.seconds, 0.9)

    def test_no_node__its_backlog_is_full(self):
        """TCP connections hang: neither refused nor accepted."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            port = listener.getsockname()[1]
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            self.assert_cloud_error(support.generate(f"ws://127.0.0.1:{port}", timeout_ms=1000))
            for filler in fillers:
                filler.close()


if __name__ == "__main__":
    support.main()
