"""An HTTP proxy that refuses everything and notes what it was asked: `http_proxy.py PORT_FILE LOG`. Ends with its standard input."""
import http.server
import sys
import threading


class Proxy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(sys.argv[2], "a", encoding="utf-8") as log:
            log.write(self.requestline + "\n")
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_CONNECT = do_GET

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
threading.Thread(target=server.serve_forever, daemon=True).start()
with open(sys.argv[1], "w", encoding="utf-8") as f:
    f.write(str(server.server_port))
sys.stdin.read()
