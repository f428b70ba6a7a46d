"""Hugging Face's own client against the same server and cache: the server speaks as the hub does, and each finds what the other pulled.

Run by scripts/test-hub, with the huggingface_hub of requirements.txt. The client reads its environment when it is imported, so it runs as
a process of its own: `call(CODE)` prints the value of the last expression as JSON.
"""
import fcntl
import json
import subprocess
import sys
import unittest

from hub_support import COSTEER, FOLDER, LLM, NAME, SLM, HubTest, sha256, wait_until

PROGRAM = """
import json, sys
import huggingface_hub as hf
from huggingface_hub.errors import HfHubHTTPError
def download(name, **more):
    return hf.hf_hub_download(%r, name, **more)
def error_of(function):
    try:
        function()
    except Exception as error:
        return type(error).__name__
    return None
print(json.dumps(eval(sys.argv[1])))
""" % NAME


class HuggingFaceTest(HubTest):
    def call(self, expression, **environment):
        return json.loads(self.run_program(sys.executable, "-c", PROGRAM, expression, HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_XET="1",
                                           **environment).splitlines()[-1])

    def test_the_server_is_a_hub(self):
        info = self.call(f"vars(hf.model_info({NAME!r}))['sha'], [s.rfilename for s in hf.model_info({NAME!r}).siblings]")
        self.assertRegex(info[0], "^[0-9a-f]{40}$")
        self.assertIn("pair-llm-Q4_K_M.gguf", info[1])
        tree = self.call(f"[[x.path, x.size, x.lfs.sha256] for x in hf.list_repo_tree({NAME!r}, recursive=True)]")
        self.assertIn(["pair-slm-Q8_0.gguf", SLM.stat().st_size, sha256(SLM)], tree)
        self.faults(page=1)
        self.assertEqual(self.call(f"[[x.path, x.size, x.lfs.sha256] for x in hf.list_repo_tree({NAME!r}, recursive=True)]"), tree)
        self.faults(token="hf_sesame")
        self.call("download('pair-slm-Q8_0.gguf')", HF_TOKEN="hf_sesame")
        self.assertEqual({x["authorization"] for x in self.requests("storage")}, {None})

    def test_errors_mean_the_same(self):
        for faults, error, code in (({"gated": True}, "GatedRepoError", 6), ({"token": "x"}, "RepositoryNotFoundError", 6),
                                    ({"api": {"status": 429, "headers": {"Retry-After": "1"}}, "resolve": {"status": 404, "headers": {"X-Error-Code": "RevisionNotFound"}}},
                                     "RevisionNotFoundError", 6)):
            self.faults(**faults)
            self.assertEqual(self.call("error_of(lambda: download('pair-slm-Q8_0.gguf'))"), error)
            self.costeer("pull", NAME, code=code)
        self.faults()
        self.assertEqual(self.call("error_of(lambda: download('none.gguf'))"), "RemoteEntryNotFoundError")
        self.costeer("pull", f"hf:{NAME}/none.gguf", code=4)

    def test_what_costeer_pulled_the_client_finds(self):
        for name, file in ((NAME, "pair-llm-Q4_K_M.gguf"), (NAME + ":Q8_0", "pair-slm-Q8_0.gguf")):
            path = self.costeer("pull", name)
            self.assertEqual(self.call(f"download({file!r}, local_files_only=True)"), path)
            n = len(self.requests("storage"))
            self.assertEqual(self.call(f"download({file!r})"), path)
            self.assertEqual(len(self.requests("storage")), n, "the client downloaded again")
        scan = self.call("[[str(w) for w in hf.scan_cache_dir().warnings], hf.scan_cache_dir().size_on_disk]")
        self.assertEqual(scan, [[], LLM.stat().st_size + SLM.stat().st_size])

    def test_what_the_client_pulled_costeer_finds(self):
        for name, file in ((NAME, "pair-llm-Q4_K_M.gguf"), (NAME + ":Q8_0", "pair-slm-Q8_0.gguf")):
            path = self.call(f"download({file!r})")
            n = len(self.requests("storage"))
            self.assertEqual(self.costeer("pull", name), path)
            self.assertEqual(self.costeer("pull", name, HF_HUB_OFFLINE="1"), path)
            self.assertEqual(len(self.requests("storage")), n, "costeer downloaded again")
        self.assertEqual([line.split()[0] for line in self.costeer("models").splitlines()[1:]], [NAME + ":Q4_K_M", NAME + ":Q8_0"])

    def test_revisions(self):
        commit = self.call(f"hf.model_info({NAME!r}).sha")
        path = self.costeer("pull", f"{NAME}@{commit}:Q8_0")
        self.assertEqual(self.call(f"download('pair-slm-Q8_0.gguf', revision={commit!r}, local_files_only=True)"), path)
        self.assertEqual(self.costeer("pull", f"{NAME}@refs/pr/1:Q8_0"), path)
        self.assertEqual(self.call("download('pair-slm-Q8_0.gguf', revision='refs/pr/1', local_files_only=True)"), path)

    def test_both_lay_the_cache_out_alike(self):
        self.costeer("pull", NAME + ":Q5_K_M")
        ours = self.layout()
        self.costeer("models", "--remove", NAME + ":Q5_K_M")
        self.call(f"hf.snapshot_download({NAME!r}, allow_patterns='parts/*')")
        self.assertEqual(self.layout(), ours)

    def test_what_costeer_removed_leaves_a_sound_cache(self):
        self.call(f"hf.snapshot_download({NAME!r})")
        self.costeer("models", "--remove", NAME + ":Q8_0")
        self.assertEqual(self.call("[str(w) for w in hf.scan_cache_dir().warnings]"), [])
        self.costeer("models", "--remove", NAME)
        self.assertEqual(self.call("[str(w) for w in hf.scan_cache_dir().warnings]"), [])

    def test_the_lock_is_one(self):
        """Who holds the client's lock is waited for; and the client waits for costeer."""
        lock = self.cache / ".locks" / FOLDER / (sha256(SLM) + ".lock")
        holder = subprocess.Popen([sys.executable, "-c", "import sys\nfrom huggingface_hub.utils import WeakFileLock\n"
                                   "with WeakFileLock(sys.argv[1]):\n    print('held', flush=True)\n    sys.stdin.read()", str(lock)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environment)
        lock.parent.mkdir(parents=True, exist_ok=True)
        with holder:
            self.assertEqual(holder.stdout.readline(), b"held\n")
            log = self.tmp / "log"
            with open(log, "wb") as stderr, subprocess.Popen([COSTEER, "pull", "-v", NAME + ":Q8_0"], env=self.environment, stderr=stderr,
                                                             stdout=subprocess.DEVNULL) as costeer:
                wait_until(lambda: b"another program is pulling this file" in log.read_bytes(), "costeer waits")
                self.assertEqual(self.requests("storage"), [])
                holder.stdin.close()
                self.assertEqual(costeer.wait(), 0)
        self.costeer("models", "--remove", NAME)
        self.faults(hold=1000)
        with subprocess.Popen([COSTEER, "pull", NAME + ":Q8_0"], env=self.environment, stdout=subprocess.DEVNULL) as costeer:
            wait_until(lambda: list(self.cache.rglob("*.incomplete")), "costeer downloads")
            with open(lock, "rb") as file:
                self.assertRaises(BlockingIOError, fcntl.flock, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (self.state / "go").touch()
            self.assertEqual(costeer.wait(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
