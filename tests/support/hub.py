#!/usr/bin/env python3
"""A small Hugging Face hub: `hub.py ROOT STATE [CERT KEY]`. Python's standard library only.

ROOT holds owner/repo/FILE. Two servers listen on 127.0.0.1: the hub (its API, and REPO/resolve/REVISION/FILE) and the storage that it
redirects large files to, as the real one does. STATE/endpoint gets the hub's URL when both listen, STATE/requests one JSON object for
each request. With CERT and KEY (PEM) both speak TLS. The program ends with its standard input.

STATE/faults.json, read at every request, says what goes wrong; all of it may be left out:

    "token": TEXT            only this token may read; others get 401 as from the hub
    "gated": true            403 with X-Error-Code GatedRepo
    "api", "resolve", "storage": {"status": N, "headers": {NAME: TEXT}}   that answer instead
    "cut": N, "cuts": M      the first M responses of the storage break after N bytes (cuts left out: every one)
    "hold": N                a response of the storage stops after N bytes until STATE/go exists
    "pace_ms": N             the storage waits so long after every 64 KiB
    "damage": true           the storage flips a bit of every file
    "more": N                the storage sends N bytes too many, and announces them
    "no_ranges": true        the storage sends the whole file whatever part is asked for
    "wrong_range": true      the storage sends what begins one byte later
    "size": N                the list of files says that every file has so many bytes
    "page": N                the list of files comes in pages of N
    "next": URL              the list of files says that it goes on there
    "sha": TEXT              every revision is that commit
    "items": [...]           more items at the head of the list of files
    "commits": {REPO: COMMIT}   the commit of a repository; without, it follows from its files
    "moved": {FROM: TO}      these repositories redirect to others of the same hub
    "redirect": URL          the hub redirects files there
"""
import hashlib
import http.server
import json
import pathlib
import ssl
import sys
import threading
import time
import urllib.parse

LFS_MIN = 4096  # smaller files are Git's own
ROOT = pathlib.Path(sys.argv[1])
STATE = pathlib.Path(sys.argv[2])
lock = threading.Lock()
n_cut = 0


def faults():
    try:
        return json.loads((STATE / "faults.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def oid_of(data):
    if len(data) >= LFS_MIN:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def files_of(repo):
    folder = ROOT / repo
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def commit_of(repo, files, f):
    if repo in f.get("commits", {}):
        return f["commits"][repo]
    return hashlib.sha1("".join(f"{path} {oid_of(data)}\n" for path, data in files.items()).encode()).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    role = ""

    def log_message(self, *_):
        pass

    def note(self):
        entry = {"server": self.role, "method": self.command, "path": self.path, "authorization": self.headers.get("Authorization"),
                 "range": self.headers.get("Range")}
        with lock, open(STATE / "requests", "a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")

    def answer(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_json(self, value, headers=None):
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"} | (headers or {}))

    def refuse(self, status, code, message="\x1b[31mno\x1b[0m"):
        self.answer(status, json.dumps({"error": message}).encode(), {"X-Error-Code": code, "X-Error-Message": message})

    def stands_in(self, fault):
        """Answer with what a fault says instead."""
        if fault:
            self.answer(fault["status"], b"\x1b[2J<html>", fault.get("headers"))
        return bool(fault)


class Hub(Handler):
    role = "hub"

    def do_GET(self):
        self.note()
        f = faults()
        path = urllib.parse.urlsplit(self.path).path
        if "token" in f and self.headers.get("Authorization") != "Bearer " + f["token"]:
            return self.refuse(401, "RepoNotFound")
        if f.get("gated"):
            return self.refuse(403, "GatedRepo")
        if path.startswith("/api/models/"):
            return self.stands_in(f.get("api")) or self.api(path[len("/api/models/"):], f)
        if len(path.split("/")) < 6 or path.split("/")[3] != "resolve":
            return self.refuse(404, "")
        return self.stands_in(f.get("resolve")) or self.resolve(path[1:], f)

    do_HEAD = do_GET

    def find(self, repo, f):
        if repo in f.get("moved", {}):
            self.answer(307, headers={"Location": self.path.replace(repo, f["moved"][repo])})
        elif not (ROOT / repo).is_dir():
            self.refuse(404, "RepoNotFound")
        else:
            return files_of(repo)
        return None

    def api(self, path, f):
        owner, name, what, *rest = path.split("/") if path.count("/") > 1 else [*path.split("/"), "revision", "main"]
        repo = f"{owner}/{name}"
        files = self.find(repo, f)
        if files is None:
            return
        commit = commit_of(repo, files, f)
        if what == "refs":
            self.answer_json({"branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": commit}], "tags": [], "converts": []})
        elif what == "revision" and "sha" in f:
            self.answer_json({"sha": f["sha"]})
        elif urllib.parse.unquote("/".join(rest)) not in ("main", "v1.0", "refs/pr/1", commit):
            self.refuse(404, "RevisionNotFound")
        elif what == "revision":
            self.answer_json({"id": repo, "modelId": repo, "sha": commit, "private": False, "gated": False, "downloads": 0, "likes": 0,
                              "tags": [], "siblings": [{"rfilename": path} for path in files]})
        elif what == "tree":
            self.tree(repo, files, f)
        else:
            self.refuse(404, "EntryNotFound")

    def tree(self, repo, files, f):
        items = list(f.get("items", []))
        for path, data in files.items():
            item = {"type": "file", "oid": oid_of(data) if len(data) < LFS_MIN else hashlib.sha1(data).hexdigest(),
                    "size": f.get("size", len(data)), "path": path}
            if len(data) >= LFS_MIN:
                item["lfs"] = {"oid": oid_of(data), "size": f.get("size", len(data)), "pointerSize": 134}
            items.append(item)
        url = urllib.parse.urlsplit(self.path)
        begin = int(urllib.parse.parse_qs(url.query).get("cursor", ["0"])[0])
        end = begin + f.get("page", len(items))
        link = {"Link": f'<{endpoint}{url.path}?recursive=true&cursor={end}>; rel="next"'} if end < len(items) else {}
        self.answer_json(items[begin:end], {"Link": f'<{f["next"]}>; rel="next"'} if "next" in f else link)

    def resolve(self, path, f):
        owner, name, _, *rest = path.split("/")
        repo = f"{owner}/{name}"
        files = self.find(repo, f)
        if files is None:
            return
        commit = commit_of(repo, files, f)
        revision, file = rest[0], urllib.parse.unquote("/".join(rest[1:]))
        if revision not in ("main", commit):
            return self.refuse(404, "RevisionNotFound")
        if file not in files:
            return self.refuse(404, "EntryNotFound")
        data = files[file]
        head = {"X-Repo-Commit": commit, "ETag": f'"{oid_of(data)}"', "Accept-Ranges": "bytes"}
        if len(data) < LFS_MIN:
            return self.answer(200, data, head)
        location = f.get("redirect", f"{storage}/{repo}/{urllib.parse.quote(file)}?signature=secret")
        self.answer(302, headers=head | {"X-Linked-Etag": head["ETag"], "X-Linked-Size": str(len(data)), "Location": location})


class Storage(Handler):
    role = "storage"

    def do_GET(self):
        self.note()
        f = faults()
        if self.stands_in(f.get("storage")):
            return
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)[1:]
        data = bytearray((ROOT / path).read_bytes())
        if f.get("damage"):
            data[len(data) // 2] ^= 1
        data += bytes(f.get("more", 0))
        head = {"ETag": '"of-the-storage"', "Accept-Ranges": "bytes"}
        begin = 0
        asked = self.headers.get("Range")
        if asked and not f.get("no_ranges"):
            begin = int(asked.removeprefix("bytes=").split("-")[0]) + (1 if f.get("wrong_range") else 0)
            if begin >= len(data):
                return self.answer(416, headers={"Content-Range": f"bytes */{len(data)}"})
            head["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        body = bytes(data[begin:])
        self.send_response(206 if "Content-Range" in head else 200)
        for name, value in (head | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.send(body, f)

    do_HEAD = do_GET

    def send(self, body, f):
        global n_cut
        with lock:
            is_cut = "cut" in f and n_cut < f.get("cuts", sys.maxsize)
            n_cut += is_cut
        if is_cut:
            body = body[:f["cut"]]
            self.close_connection = True
        hold = f.get("hold", len(body))
        try:
            self.wfile.write(body[:hold])
            self.wfile.flush()
            while hold < len(body) and not (STATE / "go").exists():
                time.sleep(0.01)
            step = 65536 if "pace_ms" in f else max(len(body), 1)
            for i in range(hold, len(body), step):
                self.wfile.write(body[i:i + step])
                time.sleep(f.get("pace_ms", 0) / 1000)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


def serve(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if len(sys.argv) > 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[3], sys.argv[4])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"{'https' if len(sys.argv) > 3 else 'http'}://127.0.0.1:{server.server_port}"


storage = serve(Storage)
endpoint = serve(Hub)
(STATE / "endpoint.part").write_text(endpoint, encoding="utf-8")
(STATE / "endpoint.part").rename(STATE / "endpoint")
sys.stdin.read()
