#!/usr/bin/env python3
"""Make a damaged or foreign copy of a GGUF file (version 3, little-endian).

    gguf.py token IN OUT ID TEXT     give a token another text
    gguf.py tokens IN OUT LETTER     give every token of text another one, of this letter and its id; drop the bytes
    gguf.py architecture IN OUT NAME say that it is of another architecture
    gguf.py no-template IN OUT       leave the chat template out
    gguf.py no-role IN OUT           do not say that it is one of this project's models
    gguf.py end-of-turn IN OUT TEXT  its turns end with another token than <|im_end|>, which nothing but the template tells
    gguf.py no-tensors IN OUT        leave the weights out: a vocabulary, as llama.cpp's ggml-vocab-*.gguf are
    gguf.py nan IN OUT TENSOR        fill a tensor of 32-bit floats with NaN
    gguf.py lora IN OUT VALUE        a LoRA adapter of rank 1 for the first layer's output, with VALUE in its second factor
"""
import struct
import sys

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, code):
        return struct.unpack("<" + code, self.take(struct.calcsize(code)))[0]

    def string(self):
        return self.take(self.number("Q"))

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            of, n = self.number("I"), self.number("Q")
            return of, [self.value(of) for _ in range(n)]
        return self.take(SIZES[kind])


def pack_string(text):
    return struct.pack("<Q", len(text)) + text


def pack_value(kind, value):
    if kind == STRING:
        return pack_string(value)
    if kind == ARRAY:
        of, items = value
        return struct.pack("<IQ", of, len(items)) + b"".join(pack_value(of, item) for item in items)
    return value


def read(path):
    r = Reader(open(path, "rb").read())
    assert r.take(4) == b"GGUF" and r.number("I") == 3
    n_tensors, n_keys = r.number("Q"), r.number("Q")
    keys = {}
    for _ in range(n_keys):
        name = r.string().decode()
        kind = r.number("I")
        keys[name] = (kind, r.value(kind))
    tensors = []
    for _ in range(n_tensors):
        name = r.string()
        shape = [r.number("Q") for _ in range(r.number("I"))]
        tensors.append([name, shape, r.number("I"), r.number("Q")])
    alignment = struct.unpack("<I", keys["general.alignment"][1])[0] if "general.alignment" in keys else 32
    start = -(-r.at // alignment) * alignment
    return keys, tensors, alignment, bytearray(r.data[start:])


def write(path, keys, tensors, alignment, data):
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for name, (kind, value) in keys.items():
        out += pack_string(name.encode()) + struct.pack("<I", kind) + pack_value(kind, value)
    for name, shape, kind, offset in tensors:
        out += pack_string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        out += struct.pack("<IQ", kind, offset)
    open(path, "wb").write(out + b"\0" * (-len(out) % alignment) + data)


def main():
    what, source, target, *rest = sys.argv[1:]
    keys, tensors, alignment, data = read(source)
    if what == "token":
        keys["tokenizer.ggml.tokens"][1][1][int(rest[0])] = rest[1].encode()
    elif what == "tokens":
        kinds = keys["tokenizer.ggml.token_type"][1][1]
        texts = keys["tokenizer.ggml.tokens"][1][1]
        for i, kind in enumerate(kinds):
            if struct.unpack("<i", kind)[0] == 1:  # normal
                texts[i] = f"{rest[0]}{i}".encode()
            elif struct.unpack("<i", kind)[0] == 6:  # byte
                kinds[i] = struct.pack("<i", 5)  # unused
    elif what == "architecture":
        old = keys["general.architecture"][1].decode()
        keys["general.architecture"] = (STRING, rest[0].encode())
        keys = {rest[0] + name[len(old):] if name.startswith(old + ".") else name: value for name, value in keys.items()}
    elif what == "end-of-turn":
        texts = keys["tokenizer.ggml.tokens"][1][1]
        texts[texts.index(b"<|im_end|>")] = rest[0].encode()
        keys["tokenizer.chat_template"] = (STRING, keys["tokenizer.chat_template"][1].replace(b"<|im_end|>", rest[0].encode()))
        keys["tokenizer.ggml.eos_token_id"] = (4, struct.pack("<I", texts.index(b"<|endoftext|>")))
        keys.pop("tokenizer.ggml.eot_token_id", None)
    elif what == "no-template":
        del keys["tokenizer.chat_template"]
    elif what == "no-role":
        del keys["costeer.role"]
    elif what == "no-tensors":
        tensors, data = [], bytearray()
    elif what == "nan":
        name, shape, kind, offset = next(t for t in tensors if t[0] == rest[0].encode())
        n = 1
        for size in shape:
            n *= size
        assert kind == 0, "not a tensor of 32-bit floats"
        data[offset:offset + 4 * n] = struct.pack("<f", float("nan")) * n
    elif what == "lora":
        architecture = keys["general.architecture"]
        _, (n_in, n_out), _, _ = next(t for t in tensors if t[0] == b"blk.0.attn_output.weight")
        keys = {
            "general.type": (STRING, b"adapter"),
            "general.architecture": architecture,
            "adapter.type": (STRING, b"lora"),
            "adapter.lora.alpha": (6, struct.pack("<f", 1.0)),
        }
        a, b = [struct.pack("<f", value) * n for value, n in ((0.1, n_in), (float(rest[0]), n_out))]
        a += b"\0" * (-len(a) % 32)
        tensors = [
            [b"blk.0.attn_output.weight.lora_a", [n_in, 1], 0, 0],
            [b"blk.0.attn_output.weight.lora_b", [1, n_out], 0, len(a)],
        ]
        alignment, data = 32, a + b + b"\0" * (-len(b) % 32)
    write(target, keys, tensors, alignment, data)


if __name__ == "__main__":
    main()
