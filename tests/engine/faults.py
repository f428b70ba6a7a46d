"""Faults that the conformance servers can be told to make, for any API.

A fault is an object {"fault": NAME, "times": 1, "skip": 0, "at": 1, "path": PREFIX, ...}: made by the next `times` requests (0: all)
after `skip` others whose path begins with PREFIX (default: those that generate). `at` is the event of the stream at which it
happens, from 0; a whole answer is its own event, whatever `at`. Several that match one request are made together.

Kinds: REFUSALS answer instead of the engine; VALUES change log-probabilities before they are written; OBJECTS change JSON objects;
TEXTS change an event's bytes; the rest (STREAMS) is done by the server's stream writer.
"""
import email.utils
import json
import threading
import time

GENERATING = ("/v1/completions", "/generate")
NEVER = 1 << 30


# ---- instead of an answer ----------------------------------------------------------------------------------------------

REASONS = {401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error",
           502: "Bad Gateway", 503: "Service Unavailable"}  # fmt: skip


def refusal(fault):
    """(status, headers, body) or None. `retry_after`: "1", "date" (one second from now), or any text."""
    if fault["fault"] == "redirect":
        return fault.get("status", 307), {"Location": fault.get("location", "http://127.0.0.1:9/")}, b""
    if fault["fault"] != "status":
        return None
    status = fault.get("status", 503)
    headers = {"Content-Type": "application/json"}
    if (wait := fault.get("retry_after")) is not None:
        headers["Retry-After"] = email.utils.formatdate(time.time() + 1, usegmt=True) if wait == "date" else str(wait)
    body = fault.get("body", {"error": {"message": REASONS.get(status, "fault"), "type": "fault", "param": None, "code": status}})
    return status, headers, body.encode() if isinstance(body, str) else json.dumps(body).encode()


# ---- log-probabilities: (id, value) lists, before they are written in an engine's way -----------------------------------


class TwiceKey(str):
    """A key of its own even where it is equal, so that a dict, and the JSON made of it, can hold it twice."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


def replace_value(value):
    def change(step, fault):
        entry = fault.get("entry", 0)
        if entry < len(step.top):
            step.top[entry] = (step.top[entry][0], fault.get("value", value))
        if entry == 0:
            step.logprob = fault.get("value", value)

    return change


def unsort(step, _):
    step.top.reverse()


def raise_sum(step, _):
    """Each value is allowed, but together they are more than one."""
    step.top = [(token, -0.1) for token, _ in step.top]


def other_id(step, fault):
    if step.top:
        step.top[-1] = (fault.get("id", 1 << 20), step.top[-1][1])


def twice(step, _):
    if len(step.top) > 1:
        step.top[-1] = (step.top[0][0], step.top[-1][1])


def other_token(step, fault):
    """The engine says that it went on with another token than the best."""
    step.token = fault.get("id", step.top[1][0] if len(step.top) > 1 else step.token)


def fewer(step, fault):
    del step.top[fault.get("keep", 1) :]


VALUES = {
    "nan": replace_value(float("nan")),
    "infinity": replace_value(float("-inf")),
    "plus_infinity": replace_value(float("inf")),
    "null_value": replace_value(None),
    "string_value": replace_value("-0.5"),
    "huge_value": replace_value(-1e300),
    "positive": replace_value(0.5),
    "unsorted": unsort,
    "sum": raise_sum,
    "id_range": other_id,
    "id_twice": twice,
    "own_token": other_token,
    "fewer": fewer,
}

# ---- objects -----------------------------------------------------------------------------------------------------------


def walk(value):
    if isinstance(value, dict):
        yield value
        for child in value.values():
            yield from walk(child)
    elif isinstance(value, list):
        for child in value:
            yield from walk(child)


def drop(event, fault):
    for holder in list(walk(event)):
        holder.pop(fault["key"], None)


def replace(event, fault):
    for holder in list(walk(event)):
        if fault["key"] in holder:
            holder[fault["key"]] = fault.get("value")


def shuffle_choices(event, _):
    """The choices of a batch in another order; each still tells its index."""
    if isinstance(event, dict) and isinstance(event.get("choices"), list):
        event["choices"].reverse()


OBJECTS = {"drop": drop, "replace": replace, "shuffle_choices": shuffle_choices}

# ---- an event's bytes --------------------------------------------------------------------------------------------------

TEXTS = {
    "truncated_json": lambda text: text[: len(text) * 2 // 3],
    "malformed_json": lambda text: text.replace(b":", b"=", 1),
    "not_utf8": lambda text: text[:-1] + b',"x":"\xff\xfe"}',
    "deep_json": lambda _: b"[" * 100000,
    "not_json": lambda _: b"<html>Bad gateway</html>",
    "array": lambda text: b"[" + text + b"]",
}

STREAMS = {
    "delay",  # `ms` before anything is sent
    "no_answer",  # the connection is reset instead
    "not_http",  # another protocol's greeting instead
    "close_after",  # the connection ends after the answer, which did not say so
    "event_delay",  # `ms` before each event from `at` on
    "hang",  # nothing more from event `at` on, until the client goes
    "content_type",  # `value`
    "early_end",  # the stream ends in order after `at` events, without a finish reason or [DONE]
    "no_done",  # everything but [DONE]
    "cut_event",  # the connection is reset in the middle of event `at`
    "cut_chunk",  # the connection ends in the middle of a chunk of HTTP's framing
    "bad_chunk",  # a chunk whose length is no number
    "merge",  # `n` tokens an event
    "tiny_writes",  # `n` (1) bytes a TCP segment
    "comments",  # lines that begin with a colon, before each event
    "crlf",  # CRLF instead of LF; "cr": true for CR
    "event_field",  # event:, id: and retry: fields, and data: without a space
    "split_data",  # an event's JSON over two data: lines
    "error_event",  # `value` (an error object) as event `at`, then [DONE]
    "endless",  # an event without end, `bytes` at most (0: until the client goes)
    "to_the_end",  # no chunks: the body ends where the connection does
}  # fmt: skip

NAMES = {"status", "redirect", *VALUES, *OBJECTS, *TEXTS, *STREAMS}


class Armed:
    """The faults that wait for their request; shared by all connections."""

    def __init__(self):
        self.lock = threading.Lock()
        self.waiting = []
        self.made = {}

    def arm(self, faults):
        faults = faults if isinstance(faults, list) else [faults]
        for fault in faults:
            if not isinstance(fault, dict) or fault.get("fault") not in NAMES:
                raise ValueError(f"no such fault: {fault!r}; there are {', '.join(sorted(NAMES))}")
            if fault["fault"] in OBJECTS and fault["fault"] != "shuffle_choices" and "key" not in fault:
                raise ValueError(f"which key? {fault!r}")
        with self.lock:
            self.waiting += [dict(fault) for fault in faults]

    def clear(self):
        with self.lock:
            self.waiting, self.made = [], {}

    def take(self, path):
        """The faults of one request."""
        taken = []
        with self.lock:
            for fault in list(self.waiting):
                if not path.startswith(fault.get("path", GENERATING)):
                    continue
                if fault.get("skip", 0) > 0:
                    fault["skip"] -= 1
                    continue
                taken.append(fault)
                times = fault.get("times", 1)
                if times == 1:
                    self.waiting.remove(fault)
                elif times > 1:
                    fault["times"] = times - 1
                self.made[fault["fault"]] = self.made.get(fault["fault"], 0) + 1
        return Faults(taken)


class Faults:
    """What shall go wrong with one request."""

    def __init__(self, faults):
        self.faults = [dict(fault) for fault in faults]

    def find(self, name):
        return next((fault for fault in self.faults if fault["fault"] == name), None)

    def at(self, name):
        fault = self.find(name)
        return NEVER if fault is None else fault.get("at", 1)

    def refusal(self):
        return next((found for found in map(refusal, self.faults) if found), None)

    def _now(self, table, position, default=1):
        """position: of the event or token; None: any."""
        for fault in self.faults:
            if fault["fault"] in table and (position is None or fault.get("each") or fault.get("at", default) == position):
                yield fault

    def change_step(self, step, position, is_stream):
        """position: of the token in its answer. In a whole answer the first one is changed unless `at` says otherwise."""
        for fault in self._now(VALUES, position, 1 if is_stream else 0):
            VALUES[fault["fault"]](step, fault)
        return step

    def key(self):
        """The type of keys in maps of tokens."""
        return TwiceKey if self.find("id_twice") else str

    def change_object(self, event, position):
        for fault in self._now(OBJECTS, position):
            OBJECTS[fault["fault"]](event, fault)

    def change_text(self, text, position):
        for fault in self._now(TEXTS, position):
            text = TEXTS[fault["fault"]](text)
        return text

    @property
    def steps_per_event(self):
        fault = self.find("merge")
        return fault.get("n", 3) if fault else 1
