"""The built-in pair with a byte-level vocabulary (BPE, as GPT-2's), in which no two tokens are spelled alike.

Engines that name tokens by their text can only be used with such a one. The weights stay, the tokens keep their ids; there are no
merges, so that a prompt is one token a byte. What the models then say makes no sense, which does not matter to who compares.
"""
import pathlib
import sys

from engine_support import MODELS, REPO

sys.path.insert(0, str(REPO / "tests" / "cli" / "helpers"))
import gguf  # noqa: E402  pylint: disable=wrong-import-position

NORMAL, UNKNOWN, BYTE = 1, 2, 6


def byte_characters():
    """The printable character that stands for each byte (openai/gpt-2, encoder.py)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (chr(256 + n) for n in range(256))
    return [chr(byte) if byte in printable else next(others) for byte in range(256)]


def respell(names, kinds):
    """Names of a SentencePiece vocabulary as a byte-level one's. A byte that is also a word is spelled by the word, and there is
    no token of the byte 0: libjansson takes no key of a map that holds one."""
    characters = byte_characters()

    def spell(data):
        return "".join(characters[byte] for byte in data).encode()

    words = {name.decode().replace("\u2581", " ").encode() for name, kind in zip(names, kinds) if kind == NORMAL}
    for name, kind in zip(names, kinds):
        if kind == BYTE:
            byte = bytes([int(name[3:5], 16)])
            yield name if byte in words or byte == b"\0" else spell(byte)
        else:
            yield spell(name.decode().replace("\u2581", " ").encode()) if kind == NORMAL else name


def convert(source, target):
    keys, *rest = gguf.read(str(source))
    names = keys["tokenizer.ggml.tokens"][1][1]
    of, kinds = keys["tokenizer.ggml.token_type"][1]
    numbers = [int.from_bytes(kind, "little") for kind in kinds]
    spelled = list(respell(names, numbers))
    assert len(set(spelled)) == len(spelled)
    keys["tokenizer.ggml.model"] = (gguf.STRING, b"gpt2")
    keys["tokenizer.ggml.pre"] = (gguf.STRING, b"gpt-2")
    keys["tokenizer.ggml.tokens"] = (gguf.ARRAY, (gguf.STRING, spelled))
    keys["tokenizer.ggml.merges"] = (gguf.ARRAY, (gguf.STRING, [b"\xc4\xa0 \xc4\xa0"]))  # one that never applies; none is refused
    kinds = [(NORMAL if kind in (BYTE, UNKNOWN) else kind).to_bytes(4, "little") for kind in numbers]
    keys["tokenizer.ggml.token_type"] = (gguf.ARRAY, (of, kinds))
    keys.pop("tokenizer.ggml.scores", None)
    gguf.write(str(target), keys, *rest)


def make_pair(folder):
    """The folder, with both models."""
    for name in ("costeer-llm.gguf", "costeer-slm.gguf"):
        convert(MODELS / name, pathlib.Path(folder) / name)
    return pathlib.Path(folder)
