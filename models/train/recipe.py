"""What identifies a recipe and a vocabulary: hashes over the files that decide what is trained."""

import hashlib
import os

HERE = os.path.dirname(os.path.abspath(__file__))
FILES = ["data.py", "model.py", "notes.py", "phrasings.py", "planting.py", "tokenizer.json", "tokenizer.py", "train.py", "values.py", "words.py"]


# What the second SLM takes in addition: its vocabulary.
OTHER_FILES = FILES + ["build_other_tokenizer.py", "other/tokenizer.json", "train_other.py"]


def recipe_hash(files=FILES):
    """SHA-256 over the names and contents of the files."""
    digest = hashlib.sha256()
    for name in files:
        with open(os.path.join(HERE, name), "rb") as file:
            digest.update(name.encode() + b"\0" + file.read() + b"\0")
    return digest.hexdigest()


def other_recipe_hash():
    return recipe_hash(OTHER_FILES)


def vocabulary_hash(pieces):
    """SHA-256 over the pieces in id order."""
    return hashlib.sha256("\0".join(pieces).encode("utf-8")).hexdigest()
