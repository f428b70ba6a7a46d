"""One cache for two programs: what costeer pulled llama.cpp finds, and the other way round; both choose the same file."""
import os
import random
import subprocess
import unittest

from hub_support import FOLDER, NAME, PATIENCE_S, HubTest

LLAMA_HUB = os.environ["LLAMA_HUB"]


class LlamaTest(HubTest):
    def llama(self, *arguments):
        return self.run_program(LLAMA_HUB, *arguments)

    def test_what_costeer_pulled_llama_finds(self):
        for name in (NAME, NAME + ":Q8_0", NAME + ":Q5_K_M"):
            path = self.costeer("pull", name)
            self.assertEqual(self.llama("find", name), path)
        self.assertEqual(set(self.llama("list").splitlines()), {NAME + ":Q4_K_M", NAME + ":Q8_0", NAME + ":Q5_K_M"})
        n = len(self.requests("storage"))
        self.assertEqual(self.llama("pull", NAME + ":Q8_0"), self.costeer("pull", NAME + ":Q8_0"))
        self.assertEqual(len(self.requests("storage")), n, "llama.cpp downloaded again")

    def test_what_llama_pulled_costeer_finds(self):
        for name in (NAME, NAME + ":Q8_0", NAME + ":Q5_K_M"):
            path = self.llama("pull", name)
            n = len(self.requests("storage"))
            self.assertEqual(self.costeer("pull", name), path)
            self.assertEqual(self.costeer("pull", name, HF_HUB_OFFLINE="1"), path)
            self.assertEqual(len(self.requests("storage")), n, "costeer downloaded again")
        names = [line.split()[0] for line in self.costeer("models").splitlines()[1:]]
        self.assertEqual(names, sorted(self.llama("list").splitlines()))

    def test_both_lay_the_cache_out_alike(self):
        self.costeer("pull", NAME + ":Q5_K_M")
        ours = self.layout()
        self.costeer("models", "--remove", NAME + ":Q5_K_M")
        self.assertFalse((self.cache / FOLDER).exists())
        self.llama("pull", NAME + ":Q5_K_M")
        self.assertEqual(self.layout(), ours)

    def test_what_costeer_removed_llama_does_not_list(self):
        self.llama("pull", NAME)
        self.llama("pull", NAME + ":Q8_0")
        self.costeer("models", "--remove", NAME + ":Q8_0")
        self.assertEqual(self.llama("list"), NAME + ":Q4_K_M")

    def test_both_choose_the_same_file(self):
        """Random repositories: quantisations in names and folders, in both cases, parts, companions, other kinds of files."""
        seed = random.SystemRandom().randrange(1 << 32)
        pick = random.Random(seed)
        quants = ["Q4_K_M", "q4_k_m", "Q8_0", "q8_0", "IQ4_XS", "Q4_K", "UD-Q4_K_XL", "F16", "BF16", "MXFP4", "Q4_K_Mx", "xQ8_0"]
        stems = ["model", "mmproj-model", "model-imatrix", "mtp-model", "eagle3-m", "dflash-m", "dspark-m", "model.v1", "7B"]
        cases = []
        for i in range(300):
            repo = self.cache / f"models--r--n{i}"
            commit = f"{i:040x}"
            for _ in range(pick.randrange(1, 9)):
                quant, stem = pick.choice(quants), pick.choice(stems)
                name = pick.choice([f"{stem}-{quant}.gguf", f"{stem}.{quant}.gguf", f"{stem}.gguf", f"{quant}/{stem}-{quant}.gguf",
                                    f"{stem}-{quant}/x.gguf", f"{stem}-{quant}-0000{pick.randrange(1, 4)}-of-00003.gguf",
                                    f"{stem}-{quant}.safetensors", f"{stem}-{quant}-00001-of-00001.gguf", f"{quant}.gguf"])
                path = repo / "snapshots" / commit / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            (repo / "refs").mkdir()
            (repo / "refs" / "main").write_text(commit)
            cases += [f"r/n{i} {tag}" for tag in ["-"] + pick.sample(quants, 4)]
        done = subprocess.run([LLAMA_HUB, "choose"], input="\n".join(cases), env=self.environment, stdout=subprocess.PIPE, text=True,
                              timeout=PATIENCE_S, check=True)
        results = [line.split("\t") for line in done.stdout.split("\n")[:-1]]
        self.assertEqual(len(results), len(cases))
        for case, (theirs, ours) in zip(cases, results):
            self.assertEqual(ours, theirs, f"seed {seed}: {case}")
        n_found = sum(theirs != "" for theirs, _ in results)
        self.assertTrue(len(cases) // 10 < n_found < len(cases), f"seed {seed}: {n_found} of {len(cases)} found")


if __name__ == "__main__":
    unittest.main(verbosity=2)
