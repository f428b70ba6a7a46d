#!/usr/bin/env python3
"""Run the program under conditions that a shell cannot set up, and print what it wrote.

    drive.py interrupt [--twice] [--signal NAME] -- COMMAND…   a signal in the middle of an answer
    drive.py no-reader -- COMMAND…                              standard output is a pipe that nobody reads any more
    drive.py terminal [--columns N] [--type TEXT] [--interrupt-at TEXT] -- COMMAND…   all three streams are a terminal
    drive.py talk STEP… -- COMMAND…   on a terminal, one thing after the other: "wait:TEXT" until TEXT was written since the step before,
                                      "type:TEXT" into the line editor, with \\n, \\x04 and other escapes of Python, "press:TEXT" at once,
                                      "more:N" until N more characters came, "columns:N" makes the terminal narrower or wider, "suspend:"
                                      does what Ctrl-Z and fg do

The exit code is the program's; 128 + n and a line "killed by signal n" when a signal killed it.
"""
import argparse
import array
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

DEADLINE_S = 600  # ends a hang


def restore_signals():
    """A shell's background jobs ignore SIGINT; the program under test must not inherit that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)


def finish(process):
    code = process.wait(timeout=DEADLINE_S)
    if code < 0:
        print(f"killed by signal {-code}", flush=True)
        code = 128 - code
    sys.exit(code)


def n_waiting(fd):
    n = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, n)
    return n[0]


def interrupt(args):
    """The pipe is nearly full, so that the program blocks long before its answer ends, however fast it is."""
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, 1031, 4096)  # F_SETPIPE_SZ
    padding = 4096 - 200
    os.write(write_end, b"x" * padding)
    process = subprocess.Popen(args.command, stdout=write_end, stdin=subprocess.DEVNULL, preexec_fn=restore_signals)
    os.close(write_end)
    deadline = time.monotonic() + DEADLINE_S
    before = padding
    while process.poll() is None and time.monotonic() < deadline:
        now = n_waiting(read_end)
        if now > padding and now == before:
            break  # nothing came for a while: it is blocked
        before = now
        time.sleep(0.25)
    process.send_signal(getattr(signal, args.signal))
    if args.twice:
        time.sleep(0.2)
        process.send_signal(getattr(signal, args.signal))
    data = b""
    while chunk := os.read(read_end, 65536):
        data += chunk
    sys.stdout.buffer.write(data[padding:])
    sys.stdout.flush()
    finish(process)


def no_reader(args):
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = subprocess.Popen(args.command, stdout=write_end, stdin=subprocess.DEVNULL, preexec_fn=restore_signals)
    os.close(write_end)
    finish(process)


def terminal(args):
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, args.columns, 0, 0))
    environment = dict(os.environ, TERM="xterm-256color")
    process = subprocess.Popen(args.command, stdin=follower, stdout=follower, stderr=follower, env=environment,
                               preexec_fn=restore_signals, start_new_session=True)
    os.close(follower)
    data = b""
    if args.type:
        os.write(leader, args.type.encode() + b"\n\x04")
    interrupted = not args.interrupt_at
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # Linux tells the end of a terminal so
            break
        if not chunk:
            break
        data += chunk
        if not interrupted and args.interrupt_at.encode() in data:
            interrupted = True
            process.send_signal(signal.SIGINT)
    sys.stdout.buffer.write(data.replace(b"\r\n", b"\n"))
    sys.stdout.flush()
    finish(process)


class Talk:
    """A person at a terminal. What is waited for must come after what was waited for before."""

    def __init__(self, command):
        self.leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self.shells = termios.tcgetattr(follower)
        environment = dict(os.environ, TERM="xterm-256color")
        self.process = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=environment,
                                        preexec_fn=own_terminal, start_new_session=True)
        os.close(follower)
        self.data, self.seen = b"", 0

    def read(self):
        """False: the terminal is closed."""
        ready, _, _ = select.select([self.leader], [], [], DEADLINE_S)
        if not ready:
            sys.exit(f"nothing was written for {DEADLINE_S} s; so far: {self.data.decode('utf-8', 'replace')}")
        try:
            chunk = os.read(self.leader, 65536)
        except OSError:
            chunk = b""
        self.data += chunk
        return bool(chunk)

    def wait(self, text):
        while (at := self.data.find(text.encode(), self.seen)) < 0:
            if not self.read():
                sys.exit(f"it ended before \"{text}\": {self.data.decode('utf-8', 'replace')}")
        self.seen = at + len(text.encode())

    def more(self, n):
        while len(self.data) < self.seen + int(n):
            if not self.read():
                sys.exit(f"it ended before {n} characters: {self.data.decode('utf-8', 'replace')}")
        self.seen = len(self.data)

    def type(self, text):
        """To the line editor: what comes before it reads keys would be held back until a line end."""
        end = time.monotonic() + DEADLINE_S
        while termios.tcgetattr(self.leader)[3] & termios.ICANON and time.monotonic() < end:
            time.sleep(0.01)
        self.press(text)

    def press(self, text):
        os.write(self.leader, text.encode().decode("unicode_escape").encode("latin-1"))

    def columns(self, text):
        fcntl.ioctl(self.leader, termios.TIOCSWINSZ, struct.pack("HHHH", 50, int(text), 0, 0))  # the kernel sends SIGWINCH

    def suspend(self, _):
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)
        termios.tcsetattr(self.leader, termios.TCSADRAIN, self.shells)
        self.process.send_signal(signal.SIGCONT)


def own_terminal():
    restore_signals()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C is a signal


def talk(args):
    person = Talk(args.command)
    for step in args.steps:
        what, _, text = step.partition(":")
        getattr(person, what)(text)
    while person.read():
        pass
    sys.stdout.buffer.write(person.data.replace(b"\r\n", b"\n"))
    sys.stdout.flush()
    finish(person.process)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["interrupt", "no-reader", "terminal", "talk"])
    parser.add_argument("steps", nargs="*")
    parser.add_argument("--twice", action="store_true")
    parser.add_argument("--signal", default="SIGINT")
    parser.add_argument("--columns", type=int, default=80)
    parser.add_argument("--type", default="")
    parser.add_argument("--interrupt-at", default="")
    split = sys.argv.index("--")
    args = parser.parse_args(sys.argv[1:split])
    args.command = sys.argv[split + 1:]
    {"interrupt": interrupt, "no-reader": no_reader, "terminal": terminal, "talk": talk}[args.mode](args)


main()
