"""The tokens of prompts, by `costeer prompt` and by the tokenizers library with the same vocabulary, merges and special tokens.

    tokens.py --costeer PROGRAM --vocabularies FOLDER [MODEL…]

The pre-tokenizers are those of the models' published tokenizer.json files, chosen by the name that the GGUF file has for them. A model without a template is
given "chatml". Exit code 1 where a token differs.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import unicodedata

import gguf
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def by_regex(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"), BYTES])


PRE = {
    "qwen2": (by_regex(QWEN2), normalizers.NFC()),
    "llama-bpe": (by_regex(LLAMA3), None),
    "smollm": (pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]), None),
    "gpt-2": (pre_tokenizers.ByteLevel(add_prefix_space=False), None),
}
VOCABULARIES = ["qwen2", "llama-bpe", "gpt-2"]
CONTROL, USER_DEFINED = 3, 4

TEXTS = ["Hello there!", "  Two  blanks,\ttabs\n\n\nand lines  ", "It's 1234567 o'clock, don't WE'LL", "{\"json\": [1, 2.5e-3]}\n    def f(x):\n        return x",
         "Ünïcode: 你好世界, привет мир, שלום, 한국어, 🙂🙃👩‍👩‍👧", "a" * 300, "http://example.org/?q=1&r=%20#x", "\u00a0no\u200bbreak\u3000wide", "x</s><b>[INST]"]


def load(path):
    reader = gguf.GGUFReader(path)

    def field(name):
        found = reader.fields.get("tokenizer.ggml." + name)
        return None if found is None else found.contents()

    name = field("pre")
    if name not in PRE:
        return None
    tokens, merges, types = field("tokens"), field("merges"), field("token_type")
    out = tokenizers.Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[tuple(m.split(" ", 1)) for m in merges], ignore_merges=name == "llama-bpe"))
    out.pre_tokenizer, normalizer = PRE[name]
    if normalizer is not None:
        out.normalizer = normalizer
    out.decoder = decoders.ByteLevel()
    special = [t for t, kind in zip(tokens, types) if kind in (CONTROL, USER_DEFINED)]
    out.add_special_tokens([tokenizers.AddedToken(t, normalized=False) for t in special])
    return out, "tokenizer.chat_template" in reader.fields, special


def ask(costeer, model, messages, has_template, folder):
    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".json", encoding="utf-8") as f:
        json.dump(messages, f)
        f.flush()
        run = subprocess.run([costeer, "prompt", "--llm", model, "--messages", f.name, "--json"] + ([] if has_template else ["--template", "chatml"]),
                             capture_output=True, text=True, check=True)
    prompt = json.loads(run.stdout)["prompts"][0]
    return prompt["text"], prompt["tokens"]


def compare(costeer, path, folder):
    loaded = load(path)
    if loaded is None:
        print(f"{path.name}: its pre-tokenizer is none of {', '.join(PRE)}; left out")
        return 0
    tokenizer, has_template, special = loaded
    bad = n = 0
    for text in TEXTS:
        text = unicodedata.normalize("NFC", text)
        if any(s in text for s in special if s.strip()):
            continue  # transformers reads it as the token, CoSteer as text
        for messages in ([{"role": "user", "content": text}],
                         [{"role": "system", "content": text}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": text}, {"role": "user", "content": text}]):
            rendered, ours = ask(costeer, str(path), messages, has_template, folder)
            theirs = tokenizer.encode(rendered, add_special_tokens=False).ids
            n += 1
            if theirs not in (ours, ours[1:]):  # the beginning-of-text token
                bad += 1
                at = next((i for i, (a, b) in enumerate(zip(theirs, ours)) if a != b), min(len(theirs), len(ours)))
                print(f"{path.name}: {text[:40]!r}: at token {at}: {theirs[at:at + 5]} and {ours[at:at + 5]}")
    print(f"{path.name}: {n - bad} of {n} prompts have the same tokens")
    return bad


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--costeer", required=True)
    parser.add_argument("--vocabularies", type=pathlib.Path, required=True)
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    paths = [arguments.vocabularies / f"ggml-vocab-{name}.gguf" for name in VOCABULARIES] + arguments.models
    with tempfile.TemporaryDirectory() as folder:
        return 1 if sum(compare(arguments.costeer, p, folder) for p in paths) > 0 else 0


if __name__ == "__main__":
    sys.exit(main())
