#!/usr/bin/env python3
"""Start a node and let many devices of one process (net_soak) at it for a time.

    tests/net/soak.py [--sessions 64] [--seconds 60] [--seed N] [--cut-ms MS] [--tls]

COSTEER and NET_SOAK name the programs; scripts/soak runs this for the ASan and TSan builds. Fails when a device saw an error or an answer that
was not its own, when a sanitizer had something to say, or when the node kept sessions or much memory afterwards.
"""
import argparse
import os
import subprocess
import tempfile

import support

NET_SOAK = os.environ.get("NET_SOAK", str(support.REPO / "build" / "tests" / "net_soak"))
MEMORY_KIB = 512 * 1024  # all of the node; a sanitizer's share is several times the program's


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    # Answers wait for their turn; what is cut more often than they come up would never end.
    parser.add_argument("--cut-ms", type=int, default=15000 if support.IS_SANITIZED else 3000)
    parser.add_argument("--tls", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ca, tls = None, None
        if args.tls:
            ca, *tls = support.init_tls(folder)
        with support.Node("--max-sessions", 2 * args.sessions, "--parallel", 8, tls=tls, ca=ca) as node:
            command = [
                NET_SOAK, "--port", node.port, "--model", support.MODELS / "costeer-slm.gguf", "--llm",
                support.MODELS / "costeer-llm.gguf", "--sessions", args.sessions, "--seconds", args.seconds, "--seed", args.seed,
                "--cut-ms", args.cut_ms, "--timeout-ms", 1000 * support.PATIENCE_S, *(("--tls-ca", ca) if ca else ()),
            ]  # fmt: skip
            run = subprocess.run(list(map(str, command)), timeout=args.seconds + 2 * support.PATIENCE_S, check=False)
            assert run.returncode == 0, f"net_soak ended with {run.returncode}"
            support.wait_until(lambda: node.metrics()["costeer_sessions"] == 0, "no session is left")
            rss, metrics = node.rss_kib(), node.metrics()
            print(f"node: {rss} KiB, " + ", ".join(f"{k[8:]} {v:.0f}" for k, v in metrics.items() if k.count("_") < 4 and "{" not in k))
            assert rss < MEMORY_KIB * (4 if support.IS_SANITIZED else 1), "the node has grown"
            assert node.stop() == 0, node.stderr()


if __name__ == "__main__":
    main()
