#!/usr/bin/env python3
"""Stand-in for frpc, Gradio's tunnel program, with the same arguments and output.

Its "public" address is a port on loopback that forwards to the page. The file `behaviour` beside it
contains "works", "refuses" (as the share server would) or "hangs".
"""

import argparse
import http.server
import sys
import time
import urllib.request
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("type", choices=["http"])
for option in ("-n", "-l", "-i", "--sd", "--server_addr"):
    parser.add_argument(option, required=True)
for option in ("--uc", "--ue", "--disable_log_color"):
    parser.add_argument(option, action="store_true", required=True)
words = sys.argv[1:]
token = words.index("-n")  # argparse only accepts a value that begins with "-" if it is joined
words[token : token + 2] = ["-n" + words[token + 1]]
options = parser.parse_args(words)


class Forward(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        page = f"http://{options.i}:{options.l}{self.path}"
        with urllib.request.urlopen(page) as response:
            content = response.read()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def log(level, text):
    print(f"{time.strftime('%Y/%m/%d %H:%M:%S')} [{level}] {text}", flush=True)


behaviour = Path(__file__).with_name("behaviour").read_text()
Path(__file__).with_name("started").touch()
if behaviour == "refuses":
    log("W", "[service.go:128] login to server failed: connection refused")
    sys.exit(1)
if behaviour == "hangs":
    time.sleep(120)
    sys.exit(1)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forward)
log("I", "[service.go:301] [0a1b] login to server success, get run id [0a1b]")
log(
    "I",
    f"[control.go:172] [0a1b] [{options.n}] start proxy success: http://127.0.0.1:{server.server_port}",
)
server.serve_forever()
