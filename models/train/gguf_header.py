"""Read the header of a GGUF file: metadata and tensor sizes. Standard library only."""

import struct

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
TYPE_NAMES = {0: "F32", 1: "F16", 8: "Q8_0"}


class Reader:
    """Little-endian fields of an open file, one after the other."""

    def __init__(self, file):
        self.file = file

    def scalar(self, code):
        size = struct.calcsize("<" + code)
        raw = self.file.read(size)
        if len(raw) != size:
            raise ValueError("the file ends within its header")
        return struct.unpack("<" + code, raw)[0]

    def string(self):
        length = self.scalar("Q")
        return self.file.read(length).decode("utf-8")

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            element, count = self.scalar("I"), self.scalar("Q")
            return [self.value(element) for _ in range(count)]
        return self.scalar(SCALARS[kind])


def read_header(path):
    """(metadata by key, {tensor name: (type, sizes with the row length last)})."""
    with open(path, "rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError(f"{path}: not a GGUF file")
        reader = Reader(file)
        reader.scalar("I")
        n_tensors, n_pairs = reader.scalar("Q"), reader.scalar("Q")
        metadata = {}
        for _ in range(n_pairs):
            key = reader.string()
            metadata[key] = reader.value(reader.scalar("I"))
        tensors = {}
        for _ in range(n_tensors):
            name, n_sizes = reader.string(), reader.scalar("I")
            sizes = tuple(reversed([reader.scalar("Q") for _ in range(n_sizes)]))
            kind = reader.scalar("I")
            reader.scalar("Q")
            tensors[name] = (TYPE_NAMES.get(kind, str(kind)), sizes)
    return metadata, tensors
