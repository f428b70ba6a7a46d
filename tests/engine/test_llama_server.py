#!/usr/bin/env python3
"""The program with a real llama-server as its cloud: keys, TLS, losses, several devices, compare and eval, interruption.

Environment: LLAMA_SERVER (the program; without it all is skipped), and that of tests/net/support.py.
"""
import atexit
import concurrent.futures
import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "net"))

import support  # noqa: E402
import ws  # noqa: E402

LLAMA_SERVER = os.environ.get("LLAMA_SERVER", "")
EXIT_USAGE, EXIT_DATA, EXIT_MODEL, EXIT_CLOUD, EXIT_SIGINT = 2, 3, 4, 6, 130
SLOW_PATH = ("--bandwidth", 150000)  # an answer of 60 tokens has half a megabyte: some seconds
BOTH_MODES = ("streamed", "lockstep")

support.CLOSE_NATS = 1e-2  # an engine's batches, and 16 bits for what it remembers: see tests/integration/test_llama_server.c
for variable in ("http_proxy", "https_proxy", "all_proxy"):
    os.environ.pop(variable, None)
    os.environ.pop(variable.upper(), None)


def setUpModule():
    if not LLAMA_SERVER:
        raise unittest.SkipTest("LLAMA_SERVER is not set: tests against a real llama-server are skipped")


# ---- the server --------------------------------------------------------------------------------------------------------


def die_with_parent():
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Server:
    """llama-server on a port of its own; a context manager that kills it."""

    def __init__(self, *options, parallel=2, model="costeer-llm.gguf", n_ctx=512, ca=None, key=None, wait=True):
        self.port = support.free_port()
        self.tls = ws.tls_client(ca) if ca else None
        self.key = key
        self.command = [LLAMA_SERVER, "-m", str(support.MODELS / model), "-t", "1", "--parallel", str(parallel), "-c",
                        str(n_ctx * parallel), "--host", "127.0.0.1", "--port", str(self.port), "--no-ui", "--log-disable",
                        "--no-cache-idle-slots", "--slot-prompt-similarity", "0", *map(str, options)]  # fmt: skip
        self.process = None
        atexit.register(self.kill)
        self.start(wait)

    def start(self, wait=True):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)  # fmt: skip
        if wait:
            support.wait_until(lambda: self.status("/health") == 200, "llama-server is up")

    def get(self, path):
        """(status, body); (None, b"") when nobody listens."""
        assert self.process.poll() is None, f"llama-server ended with {self.process.returncode}"
        try:
            status, _, body = ws.http_get("127.0.0.1", self.port, path, tls=self.tls, token=self.key)
            return status, body
        except (OSError, ws.Closed):
            return None, b""

    def status(self, path):
        return self.get(path)[0]

    def n_busy(self):
        return sum(slot["is_processing"] for slot in json.loads(self.get("/slots")[1]))

    def url(self, port=None, scheme=None):
        return f"llama-server+{scheme or ('https' if self.tls else 'http')}://127.0.0.1:{port or self.port}"

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        atexit.unregister(self.kill)


class Local(support.Reference):
    """The answer without a cloud: the same LLM in the program's own process."""

    def __init__(self, *options, query=support.QUERY, notes=support.NOTES, max_tokens=60):
        with tempfile.TemporaryDirectory() as folder:
            trace, context = pathlib.Path(folder) / "trace", pathlib.Path(folder) / "notes"
            context.write_text(notes)
            command = [support.COSTEER, "generate", "--json", "--trace", trace, "--context", context, "--max-tokens",
                       str(max_tokens), *options, query]  # fmt: skip
            start = time.monotonic()
            done = subprocess.run(command, capture_output=True, text=True, timeout=support.PATIENCE_S)
            assert done.returncode == 0, done.stderr
            self.answer = support.Answer(0, done.stdout, done.stderr, time.monotonic() - start)
            lines = [json.loads(line) for line in trace.read_text().splitlines()]
        self.gaps = [self.gap(line["best_after"]) for line in lines]
        self.pieces = [line["text"] for line in lines]

    def explains_text(self, text):
        """The same of a text; it may have been cut at another token."""
        so_far = ""
        for piece, gap in zip(self.pieces, self.gaps):
            if not text.startswith((so_far + piece).strip()):
                return gap < support.CLOSE_NATS
            so_far += piece
        return text.strip() == self.answer.text.strip()


class TestCase(support.TestCase):
    @classmethod
    def serve(cls, *options, **how):
        """A server for all tests of the class."""
        cls.server = Server(*options, **how)
        cls.addClassCleanup(cls.server.__exit__)

    def run_costeer(self, *arguments, code=0):
        done = subprocess.run([support.COSTEER, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=support.PATIENCE_S)  # fmt: skip
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def folder(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return pathlib.Path(folder.name)

    def notes(self, text=support.NOTES):
        path = self.folder() / "notes"
        path.write_text(text)
        return path


# ---- answers -----------------------------------------------------------------------------------------------------------


class AnswerTest(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.serve(parallel=2)
        cls.local = Local()

    def test_answer__is_that_of_the_llm_in_this_process(self):
        for mode in BOTH_MODES:
            with self.subTest(mode=mode):
                answer = support.generate(self.server.url(), "--cloud-mode", mode)
                self.assert_same(self.local, answer)
                self.assertEqual(answer.err, "")
                cloud = answer.json["cloud"]
                self.assertEqual((cloud["engine"], cloud["mode"]), ("llama-server", mode))
                self.assertIn("costeer-llm.gguf", cloud["llm"])
                self.assertGreater(cloud["corrections"], 0)
                self.assertEqual(cloud["reconnects"], 0)

    def test_answer__a_plain_url_is_found_out_and_told(self):
        answer = support.generate(f"http://127.0.0.1:{self.server.port}")
        self.assert_same(self.local, answer)
        self.assertRegex(answer.err, r"^costeer: the cloud is llama-server with the model \".*costeer-llm\.gguf\"\n$")

    def test_answer__methods_that_upload_the_context(self):
        for method in ("context-steering", "llm+context"):
            with self.subTest(method=method):
                refused = support.generate(self.server.url(), "--method", method)
                self.assertEqual(refused.code, EXIT_USAGE, refused)
                answer = support.generate(self.server.url(), "--method", method, "--allow-context-upload")
                self.assert_same(Local("--method", method), answer)
                self.assertTrue(answer.json["shows_context"])

    def test_answer__across_vocabularies(self):
        options = ("--llm", support.MODELS / "costeer-llm.gguf", "--slm", support.MODELS / "costeer-slm-other.gguf",
                   "--vocab", "byte")  # fmt: skip
        for more in ((), ("--base-top-k", 0)):
            with self.subTest(more=more):
                self.assert_same(Local(*options), support.generate(self.server.url(), *options, *more))

    def test_answer__compare(self):
        done = self.run_costeer("compare", "--cloud", self.server.url(), "--context", self.notes(), "--json", "--max-tokens",
                                60, support.QUERY)  # fmt: skip
        methods = {m["name"]: m for m in json.loads(done.stdout)["methods"]}
        self.assertEqual(list(methods), ["llm", "slm+context", "costeer"])
        self.assertTrue(self.local.explains(methods["costeer"]["token_ids"]))
        self.assertTrue(Local("--method", "llm").explains(methods["llm"]["token_ids"]))
        self.assertEqual(methods["costeer"]["cloud"]["engine"], "llama-server")

    def test_answer__eval_with_two_jobs(self):
        folder = self.folder()
        rows = (support.MODELS / "eval" / "prompts.jsonl").read_text().splitlines()[:3]
        (folder / "data.jsonl").write_text("\n".join(rows) + "\n")
        self.run_costeer("eval", "--task", "generic", "--data", folder / "data.jsonl", "--max-tokens", 40, "--method", "llm",
                         "--method", "costeer", "--jobs", 2, "--cloud", self.server.url(), "--out", folder / "run")  # fmt: skip
        results = [json.loads(line) for line in (folder / "run" / "results.jsonl").read_text().splitlines()]
        self.assertEqual([(r["row"], r["label"]) for r in results], [(r, m) for r in "012" for m in ("llm", "costeer")])
        for result in results:
            row = json.loads(rows[int(result["row"])])
            local = Local("--method", result["label"], query=row["query"], notes=row["context"], max_tokens=40)
            self.assertTrue(local.explains_text(result["answer"]), (result["answer"], local.answer.text))

    def test_answer__ends_with_a_token_that_only_the_template_knows(self):
        folder = self.folder()
        edit = pathlib.Path(__file__).resolve().parent.parent / "cli" / "helpers" / "gguf.py"
        for name in ("costeer-llm.gguf", "costeer-slm.gguf"):
            subprocess.run([sys.executable, edit, "end-of-turn", support.MODELS / name, folder / name, "<fin>"], check=True)
        how = dict(query="Write a toast.", notes="name: Desmond\nMy pet is Juniper.\n")
        local = Local(max_tokens=120, **how)
        with Server(parallel=1, model=folder / "costeer-llm.gguf") as server:
            for mode in BOTH_MODES:
                with self.subTest(mode=mode):
                    answer = support.generate(server.url(), "--cloud-mode", mode, "--slm", folder / "costeer-slm.gguf",
                                              "--max-tokens", 120, **how)  # fmt: skip
                    self.assert_same(local, answer)
                    self.assertEqual(answer.json["finish"], "end")

    def test_answer__what_does_not_fit_is_told_before(self):
        # costeer-slm's own context is longer than a slot of the server's
        answer = support.generate(self.server.url(), query="my sister likes to walk along the river in the morning " * 30)
        self.assertNotEqual(answer.code, 0, answer)
        self.assertRegex(answer.err, r"(?m)^costeer: .*\b512\b.*")
        self.assertRegex(answer.err, "shorten|fewer")
        self.assertEqual(self.server.n_busy(), 0)

    def test_answer__two_devices_at_once(self):
        for parallel in (1, 2):
            with self.subTest(parallel=parallel), Server(parallel=parallel) as server:
                others = [dict(query="Write a toast.", notes="name: Desmond\nMy pet is Juniper.\n"), {}]
                locals_ = [Local(**others[0]), self.local]
                with concurrent.futures.ThreadPoolExecutor(2) as pool:
                    for mode in BOTH_MODES:
                        runs = [pool.submit(support.generate, server.url(), "--cloud-mode", mode, **how) for how in others]
                        for local, run in zip(locals_, runs):
                            self.assert_same(local, run.result(), f"{mode}, {parallel} slots")

    def test_answer__interrupted_it_ends_and_so_does_the_server(self):
        # "named named named …", for as long as one likes
        endless = dict(query="Write a short bio of me. Zoë 🙂", notes="name: Zoë Øster 你好 🙂\ncity: Malmö\n")
        options = ("--base-top-k", 0, "--max-tokens", 400)
        for mode in BOTH_MODES:
            with self.subTest(mode=mode), support.Proxy(self.server.port, "--bandwidth", 1000000) as proxy:
                device = support.Device(self.server.url(proxy.port), "--cloud-mode", mode, *options, **endless)
                support.wait_until(lambda: proxy.tell("count")[2] > 700000, "an answer is under way")
                self.assertIsNone(device.process.poll())
                if mode == "streamed":
                    support.wait_until(lambda: self.server.n_busy() == 1, "the server computes")  # not so while it is corrected
                device.process.send_signal(signal.SIGINT)
                answer = device.wait()
                self.assertEqual(answer.code, EXIT_SIGINT, answer)
                self.assertEqual(answer.json["finish"], "cancelled")
                support.wait_until(lambda: self.server.n_busy() == 0, "the server has stopped")


class TurnsTest(support.TestCase):
    """A conversation: the server reads of a later turn what is new."""

    def n_computed(self, server):
        lines = [line.split() for line in server.get("/metrics")[1].decode().splitlines()]
        return next(int(float(line[1])) for line in lines if line[0] == "llamacpp:prompt_tokens_total")

    def chat(self, server, *questions):
        with tempfile.TemporaryDirectory() as folder:
            context = pathlib.Path(folder) / "notes"
            context.write_text(support.NOTES)
            before = self.n_computed(server)
            done = subprocess.run([support.COSTEER, "chat", "--cloud", server.url(), "--context", context, "--max-tokens", "20"],
                                  input="".join(f"{question}\n" for question in questions), text=True, capture_output=True,
                                  check=True, timeout=support.PATIENCE_S)  # fmt: skip
            self.assertEqual(done.stderr, "")
            return self.n_computed(server) - before

    def test_turns__a_later_one_is_not_read_anew(self):
        long = "We met in spring. " * 60 + support.QUERY
        for options in (("--parallel", 1), ("--parallel", 3, "--slot-prompt-similarity", 0.9)):
            with Server("--metrics", *options, parallel=4, n_ctx=1024) as server:
                self.chat(server, "Hi.")  # connecting costs a few tokens, the first time more
                one = self.chat(server, long)
                three = self.chat(server, "To begin with: " + long, "Shorter, please.", "And once more.")
                self.assertGreater(one, 300)
                self.assertLess(three, one + one // 2, options)  # each token of the answers may be a correction: 1 token


class RefusalTest(TestCase):
    def test_refusal__another_vocabulary(self):
        with Server(model="costeer-slm-other.gguf") as server:
            answer = support.generate(server.url())
        self.assertEqual(answer.code, EXIT_MODEL, answer)
        self.assertRegex(answer.err, "another vocabulary than the SLM: ")
        self.assertRegex(answer.err, r"768 tokens, and 1024|token \d+ of a text is \d+ there and \d+ here")
        self.assertRegex(answer.err, "--llm")

    def test_refusal__drafts(self):
        with Server() as server:
            answer = support.generate(server.url(), "--cloud-mode", "drafted")
        self.assertEqual(answer.code, EXIT_USAGE, answer)
        self.assertRegex(answer.err, "drafts.*streamed")

    def test_refusal__nobody_listens(self):
        answer = support.generate(f"llama-server+http://127.0.0.1:{support.free_port()}")
        self.assert_cloud_error(answer, "cannot be reached")


# ---- keys and certificates ---------------------------------------------------------------------------------------------


class KeyTest(TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.right, cls.wrong = pathlib.Path(folder.name) / "right", pathlib.Path(folder.name) / "wrong"
        cls.right.write_text("sk-the-right-key\n")
        cls.wrong.write_text("sk-some-other-key\n")
        cls.serve("--api-key-file", cls.right, key="sk-the-right-key")

    def test_key__the_right_one(self):
        self.assert_same(Local(), support.generate(self.server.url(), "--cloud-key-file", self.right))

    def test_key__another_one(self):
        answer = support.generate(self.server.url(), "--cloud-key-file", self.wrong)
        self.assert_cloud_error(answer, r"does not accept the key \(HTTP 401\): check --cloud-key-file")
        self.assertNotIn("sk-some", answer.err)

    def test_key__none(self):
        answer = support.generate(self.server.url())
        self.assert_cloud_error(answer, r"wants a key \(HTTP 401\): give one with --cloud-key-file")


class TlsTest(TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.ca, certificate, key = support.init_tls(pathlib.Path(folder.name) / "right")
        cls.other_ca = support.init_tls(pathlib.Path(folder.name) / "wrong")[0]
        cls.serve("--ssl-cert-file", certificate, "--ssl-key-file", key, ca=cls.ca)

    def test_tls__the_right_ca(self):
        local = Local()
        for mode in BOTH_MODES:
            with self.subTest(mode=mode):
                self.assert_same(local, support.generate(self.server.url(), "--cloud-ca", self.ca, "--cloud-mode", mode))

    def test_tls__far_away(self):
        """Connections for corrections stand ready: a handshake for each would take three more round trips."""
        audit = self.folder() / "audit"
        with support.Proxy(self.server.port, "--delay-ms", 20) as proxy:
            answer = support.generate(self.server.url(proxy.port), "--cloud-ca", self.ca, "--audit", audit)
        self.assert_same(Local(), answer)
        lines = [json.loads(line) for line in audit.read_text().splitlines()]
        spare = [line for line in lines if line["kind"] == "check" and line["path"] == "/v1/models"][1:]
        self.assertGreaterEqual(len(spare), answer.json["cloud"]["corrections"] // 2)
        self.assertTrue(all(line["bytes"] == 0 and line["text"] == "" for line in spare))

    def test_tls__another_ca(self):
        answer = support.generate(self.server.url(), "--cloud-ca", self.other_ca)
        self.assert_cloud_error(answer, "certificate is not accepted .*--cloud-ca")

    def test_tls__the_systems_cas(self):
        answer = support.generate(self.server.url())
        self.assert_cloud_error(answer, "certificate is not accepted .*--cloud-ca")

    def test_tls__no_ca_in_the_file(self):
        answer = support.generate(self.server.url(), "--cloud-ca", self.notes())
        self.assertIn(answer.code, (EXIT_DATA, EXIT_CLOUD), answer)
        self.assertRegex(answer.err, "no PEM certificate in it")

    def test_tls__http_to_a_tls_port(self):
        answer = support.generate(self.server.url(scheme="http"))
        self.assert_cloud_error(answer)

    def test_tls__https_to_a_plain_port(self):
        with Server() as server:
            refuse = lambda ms: self.assert_cloud_error(  # it waits for the end of a line
                support.generate(server.url(scheme="https"), "--cloud-ca", self.ca, timeout_ms=ms), "TLS|said nothing for")  # fmt: skip
            support.with_patience(refuse, 2000)


# ---- losses ------------------------------------------------------------------------------------------------------------


class LossTest(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.serve()
        cls.local = Local()

    def setUp(self):
        if self.server.process.poll() is not None:
            self.server.start()

    def disturb(self, what, *options, **how):
        """Run a device on a slow path and do something in the middle of its answer."""
        with support.Proxy(self.server.port, *SLOW_PATH) as proxy:
            device = support.Device(self.server.url(proxy.port), *options, **how)
            support.wait_until(lambda: proxy.tell("count")[2] > 60000 or device.process.poll() is not None, "an answer is under way")
            self.assertIsNone(device.process.poll(), "the answer is too short for this test")
            try:
                what(proxy)
            finally:
                answer = device.wait()
            return answer

    def test_loss__killed_and_started_again(self):
        def restart(proxy):
            self.server.kill()
            n_connections = proxy.tell("count")[0]
            support.wait_until(lambda: proxy.tell("count")[0] > n_connections + 1, "the device has noticed")
            self.server.start(wait=False)

        for mode in BOTH_MODES:
            with self.subTest(mode=mode):
                answer = self.disturb(restart, "--cloud-mode", mode)
                self.assert_same(self.local, answer)
                self.assertGreaterEqual(answer.json["cloud"]["reconnects"], 1)

    def test_loss__cut_again_and_again(self):
        def cut(proxy):
            for _ in range(4):
                proxy.tell("cut")
                time.sleep(0.3)

        answer = self.disturb(cut)
        self.assert_same(self.local, answer)
        self.assertGreaterEqual(answer.json["cloud"]["reconnects"], 2)

    def test_loss__it_stays_away(self):
        support.with_patience(self.stays_away, 2000)

    def stays_away(self, timeout_ms):
        self.setUp()
        answer = self.disturb(lambda _: self.server.kill(), timeout_ms=timeout_ms)
        self.assert_cloud_error(answer, r"within \d+ ms \(--timeout-ms\)")
        self.assertGreaterEqual(answer.seconds, 0.9 * timeout_ms / 1000)

    def test_loss__the_slm_finishes_alone(self):
        support.with_patience(self.finishes_alone, 1000)

    def finishes_alone(self, timeout_ms):
        self.setUp()
        answer = self.disturb(lambda _: self.server.kill(), "--on-cloud-failure", "local", timeout_ms=timeout_ms)
        self.assertEqual(answer.code, 0, answer)
        self.assertGreater(answer.json["n_local"], 0)
        self.assertLess(answer.json["n_local"], answer.json["n_tokens"])
        self.assertEqual(answer.tokens[: answer.json["local_from"]], self.local.answer.tokens[: answer.json["local_from"]])

    def test_loss__the_slm_does_all_alone(self):
        answer = support.generate(f"llama-server+http://127.0.0.1:{support.free_port()}", "--on-cloud-failure", "local")
        self.assertEqual(answer.code, 0, answer)
        self.assertEqual(answer.json["n_local"], answer.json["n_tokens"])

    def test_loss__it_stops_without_a_word(self):
        """Neither an answer nor an end of the connection."""
        support.with_patience(self.stops_without_a_word, 1500)

    def stops_without_a_word(self, timeout_ms):
        stop = lambda _: self.server.process.send_signal(signal.SIGSTOP)  # noqa: E731
        try:
            answer = self.disturb(stop, timeout_ms=timeout_ms)
        finally:
            self.server.process.send_signal(signal.SIGCONT)
        self.assert_cloud_error(answer, r"\(--timeout-ms\)")

    def test_loss__between_two_answers(self):
        """compare asks for two answers with one cloud."""
        command = [support.COSTEER, "compare", "--context", str(self.notes()), "--json", "--max-tokens", "60", "--timeout-ms",
                   str(support.TIMEOUT_MS)]  # fmt: skip
        with support.Proxy(self.server.port, *SLOW_PATH) as proxy:
            with subprocess.Popen([*command, "--cloud", self.server.url(proxy.port), support.QUERY], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE) as process:  # fmt: skip
                for wanted in (100000, 350000):
                    support.wait_until(lambda: proxy.tell("count")[2] > wanted or process.poll() is not None, "bytes")
                    self.server.kill()
                    self.server.start(wait=False)
                out, err = process.communicate(timeout=support.PATIENCE_S)
        self.assertEqual(process.returncode, 0, err)
        methods = {m["name"]: m for m in json.loads(out)["methods"]}
        self.assertTrue(self.local.explains(methods["costeer"]["token_ids"]))


class LoadingTest(TestCase):
    @unittest.skipUnless(hasattr(fcntl, "F_SETLEASE"), "a lease on a file is Linux's")
    def test_loading__is_waited_for(self):
        """A lease keeps the server from opening its model: until then it says 503."""
        model = self.folder() / "costeer-llm.gguf"
        shutil.copy(support.MODELS / "costeer-llm.gguf", model)
        previous = signal.signal(signal.SIGIO, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGIO, previous)
        with contextlib.closing(open(model, "r+b")) as file:
            try:
                fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            except OSError as error:
                self.skipTest(f"no lease on this file system: {error}")
            with Server(model=model, wait=False) as server:
                support.wait_until(lambda: server.status("/health") == 503, "it is loading")
                support.with_patience(lambda ms: self.assert_cloud_error(support.generate(server.url(), timeout_ms=ms), "503"), 700)
                device = support.Device(server.url())
                time.sleep(1)
                self.assertIsNone(device.process.poll())
                fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
                self.assert_same(Local(), device.wait())


if __name__ == "__main__":
    support.main()
