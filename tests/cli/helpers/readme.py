#!/usr/bin/env python3
"""Print the README's commands that make what the program reads or run it, one a line: indented ones with costeer or umask."""
import re
import sys

lines = re.sub(r"\\\n", " ", open(sys.argv[1], encoding="utf-8").read()).split("\n")
for line in lines:
    if line.startswith("    ") and re.search(r"(^|[ /(])(costeer|umask) ", line):
        print(re.sub(r"  +", " ", line.strip()))
