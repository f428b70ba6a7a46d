#!/usr/bin/env python3
"""Device and node that do not go together: version, token, certificate, vocabulary. Each says which it was."""
import os
import pathlib
import ssl
import subprocess
import tempfile

import fake_node
import support
import wire
import ws

OPTIONS = ("--cloud-mode", "lockstep", "--constant-k", "--max-tokens", 4)
VALID = ("200101000000Z", "490101000000Z")
TOKEN = "correct-horse-battery"


class HelloTest(support.TestCase):
    """What a node says of itself."""

    def ask(self, hello, **how):
        with fake_node.FakeNode(hello=hello, **how) as node:
            return support.generate(node.url(), *OPTIONS)

    def hello(self, **fields):
        return wire.hello(**({"n_vocab": support.N_VOCAB, "vocab_sha256": support.vocab_hash()} | fields))

    def test_hello__another_version_is_refused(self):
        self.assert_cloud_error(self.ask(self.hello(version=9)), "version")
        self.assert_cloud_error(self.ask(self.hello(version=0)), "version")

    def test_hello__another_subprotocol_is_refused(self):
        self.assert_cloud_error(self.ask(None, subprotocol="costeer.v9"))
        self.assert_cloud_error(self.ask(None, subprotocol=None))

    def test_hello__another_vocabulary_is_no_pair(self):
        for hello in (self.hello(vocab_sha256=bytes(32)), self.hello(n_vocab=support.N_VOCAB + 1)):
            answer = self.ask(hello)
            self.assertEqual(answer.code, 4, answer)
            self.assertRegex(answer.err, "vocabular")

    def test_hello__that_breaks_a_rule_is_named(self):
        good = self.hello()
        for hello, pattern in (
            (self.hello(n_vocab=0), "n_vocab"),
            (self.hello(n_vocab=2**31 - 1), "n_vocab"),
            (self.hello(max_context=0), "max_context"),
            (self.hello(max_window=257), "max_window"),
            (self.hello(max_drafts=33), "max_drafts"),
            (self.hello(name="x" * 129), "name"),
            (self.hello(name="a\x1b[2Jb"), "name"),
            (self.hello(name=b"\xc3\x28"), "name"),
            (good[:20], "hello"),
            (good[:1], "hello"),
            (wire.commit(0), "commit"),
            (fake_node.good(0), "vocabulary|hello"),
            (wire.error(wire.PROTOCOL, "go away"), "go away"),
            (b"", None),
            (b"\xff" * 50, "unknown|type"),
            (bytes(70000), None),
        ):
            with self.subTest(hello=hello[:24]):
                self.assert_cloud_error(self.ask(hello), pattern)


class SubprotocolTest(support.TestCase):
    """What a device asks a node for."""

    def test_node__refuses_another_subprotocol(self):
        with support.Node() as node:
            for subprotocol in ("costeer.v9", "chat", "", "costeer.v1x", None):
                with self.subTest(subprotocol=subprotocol):
                    self.assert_no_hello(node, subprotocol)
            stream, _ = node.connect(subprotocol="chat, costeer.v1")  # one of several
            stream.close()

    def assert_no_hello(self, node, subprotocol):
        try:
            with ws.connect("127.0.0.1", node.port, subprotocol=subprotocol) as stream:
                messages, _ = stream.wait_closed()
                self.assertEqual(messages, [])
        except (ws.Refused, ws.Closed):
            pass


class TokenTest(support.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.right = cls.write("right", TOKEN + "\n")
        cls.node = support.Node("--token-file", cls.right, token=TOKEN)

    @classmethod
    def tearDownClass(cls):
        cls.node.__exit__()
        cls.folder.cleanup()

    @classmethod
    def write(cls, name, text):
        path = pathlib.Path(cls.folder.name) / name
        path.write_text(text)
        os.chmod(path, 0o600)
        return str(path)

    def test_token__the_right_one_opens(self):
        answer = support.generate(self.node.url(), *OPTIONS, "--cloud-token-file", self.right)
        self.assertEqual(answer.code, 0, answer)

    def test_token__a_wrong_one_is_refused_at_once(self):
        for text in (TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "x" * 512):
            answer = support.generate(self.node.url(), *OPTIONS, "--cloud-token-file", self.write("wrong", text))
            self.assert_cloud_error(answer, "token")
            self.assertNotIn(text, answer.err)

    def test_token__none_is_refused_at_once(self):
        self.assert_cloud_error(support.generate(self.node.url(), *OPTIONS), "token")

    def test_token__nothing_is_said_without_it(self):
        for token in (None, "", " ", TOKEN + " ", "Bearer " + TOKEN, TOKEN[:5], "\t" + TOKEN[1:], "x" * 3000):
            with self.subTest(token=token), self.assertRaises((ws.Refused, ws.Closed)) as caught:
                with ws.connect("127.0.0.1", self.node.port, token=token) as stream:
                    stream.recv()
            if isinstance(caught.exception, ws.Refused):
                self.assertIn(caught.exception.status, (400, 401, 403, 431), token)

    def test_token__is_in_no_log(self):
        self.test_token__a_wrong_one_is_refused_at_once()
        self.assertNotIn(TOKEN, self.node.stderr())


class CertificateTest(support.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        root = pathlib.Path(cls.folder.name)
        cls.ca, cls.cert, cls.key = support.init_tls(root / "ours")
        cls.other_ca = support.init_tls(root / "other")[0]

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def make_certificate(self, name, dates, names):
        """A certificate that signs itself: (ca, cert, key)."""
        root = pathlib.Path(self.folder.name) / name
        root.mkdir()
        (root / "index").touch()
        (root / "config").write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={root}/index\nnew_certs_dir={root}\ndefault_md=sha256\npolicy=p\nrand_serial=yes\n"
            f"x509_extensions=e\n[p]\ncommonName=supplied\n[e]\nbasicConstraints=CA:TRUE\nsubjectAltName={names}\n"
        )
        key, request, cert = root / "key", root / "request", root / "cert"
        subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                        "-out", request, "-subj", "/CN=test"], check=True, capture_output=True)  # fmt: skip
        subprocess.run(["openssl", "ca", "-batch", "-selfsign", "-notext", "-config", root / "config", "-keyfile", key, "-in", request,
                        "-out", cert, "-startdate", dates[0], "-enddate", dates[1]], check=True, capture_output=True)  # fmt: skip
        return cert, cert, key

    def ask(self, cert, key, ca, **how):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        for name, value in how.items():
            setattr(context, name, value)
        with fake_node.FakeNode(tls=context) as node:
            options = ("--cloud-ca", ca) if ca else ()
            answer = support.generate(node.url(), *OPTIONS, *options)
            self.assertNotIn(b"GET ", b"".join(s.request.encode() for s in node.streams if answer.code != 0))
            return answer

    def test_certificate__of_the_given_ca_is_fine(self):
        self.assertEqual(self.ask(self.cert, self.key, self.ca).code, 0)

    def test_certificate__that_signs_itself_is_fine_when_it_is_given(self):
        ca, cert, key = self.make_certificate("self", VALID, "IP:127.0.0.1")
        self.assertEqual(self.ask(cert, key, ca).code, 0)

    def test_certificate__of_another_ca_is_refused(self):
        self.assert_cloud_error(self.ask(self.cert, self.key, self.other_ca), "certificate")

    def test_certificate__of_no_known_ca_is_refused(self):
        self.assert_cloud_error(self.ask(self.cert, self.key, None), "certificate")

    def test_certificate__of_another_host_is_refused(self):
        ca, cert, key = self.make_certificate("host", VALID, "DNS:other.example,IP:127.0.0.2")
        self.assert_cloud_error(self.ask(cert, key, ca), "certificate|host")

    def test_certificate__that_is_over_is_refused(self):
        ca, cert, key = self.make_certificate("over", ("200101000000Z", "200201000000Z"), "IP:127.0.0.1")
        self.assert_cloud_error(self.ask(cert, key, ca), "certificate|expired")

    def test_certificate__old_tls_is_refused(self):
        self.assert_cloud_error(self.ask(self.cert, self.key, self.ca, maximum_version=ssl.TLSVersion.TLSv1_1))

    def test_tls__a_plain_node_at_wss_is_refused(self):
        with fake_node.FakeNode() as node:
            answer = support.generate(node.url().replace("ws:", "wss:"), *OPTIONS, "--cloud-ca", self.ca)
        self.assert_cloud_error(answer)

    def test_tls__a_tls_node_at_ws_is_refused(self):
        with support.Node(tls=(self.cert, self.key), ca=self.ca) as node:
            answer = support.generate(node.url().replace("wss:", "ws:"), *OPTIONS)
        self.assert_cloud_error(answer)


if __name__ == "__main__":
    support.main()
