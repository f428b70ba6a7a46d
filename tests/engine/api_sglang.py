"""SGLang's native HTTP API. Read from sgl-project/sglang (main, 2026):

    python/sglang/srt/entrypoints/http_server.py                   paths, errors, streams, who needs the key
    python/sglang/srt/entrypoints/openai/{protocol,serving_tokenize}.py   ModelCard, ErrorResponse, /tokenize
    python/sglang/srt/managers/io_struct.py                        GenerateReqInput and its defaults
    python/sglang/srt/managers/tokenizer_manager.py                meta_info, cumulative and incremental streams, limits
    python/sglang/srt/managers/scheduler_output_processor_mixin.py input log-probabilities: null first, the last one left out
    python/sglang/srt/managers/scheduler.py                        logprob_start_len, and its refusal

Second-hand (excerpts in other repositories) or from memory: finish reasons but abort (schedule_batch.py); log-probabilities after
or before the temperature (layers/sampler.py); that logprob_start_len bounds what the radix cache gives; fields of server_info; 500
for an unknown sampling parameter; the finish reason of a request that /abort_request ended.

A stream repeats all output in every event, unless the server runs with --incremental-streaming-output (--stream-output until
#20614). Between #20614 and #21583 text and output_ids were incremental and log-probabilities cumulative: --stream-shape mixed.
"""
import json
import time
import uuid

import engine_model

STREAM_SHAPES = ("cumulative", "incremental", "mixed")
SAMPLING = {"max_new_tokens", "stop", "stop_token_ids", "stop_regex", "temperature", "top_p", "top_k", "min_p", "frequency_penalty",
            "presence_penalty", "repetition_penalty", "min_new_tokens", "n", "json_schema", "regex", "ebnf", "structural_tag",
            "ignore_eos", "skip_special_tokens", "spaces_between_special_tokens", "no_stop_trim", "custom_params",
            "stream_interval", "logit_bias", "sampling_seed"}  # fmt: skip


class Sglang:
    unauthorized = {"error": "Unauthorized"}

    @staticmethod
    def add_options(parser):
        parser.add_argument("--stream-shape", choices=STREAM_SHAPES, default="cumulative", help="sglang")
        parser.add_argument("--return-original-logprob", action="store_true", help="sglang: SGLANG_RETURN_ORIGINAL_LOGPROB")
        parser.add_argument("--no-output-ids", action="store_true", help="sglang: as before output_ids came with text")
        parser.add_argument("--disable-radix-cache", action="store_true", help="sglang: cached_tokens stays 0")
        parser.add_argument("--stream-interval", type=int, default=1, help="sglang: tokens an event")

    def __init__(self, options, model, answer, stream, refused):
        self.options, self.model = options, model
        self.Answer, self.Stream, self.Refused = answer, stream, refused
        self.max_len = options.max_model_len or model.n_ctx
        self.cache = engine_model.PrefixCache(1)
        self.created = int(time.time())
        self.aborted = set()
        self.routes = {("GET", path): lambda _: answer(b"", content_type=None) for path in ("/health", "/health_generate", "/ping")}
        self.routes.update({("GET", path): self.model_info for path in ("/get_model_info", "/model_info")})
        self.routes.update({("GET", path): self.server_info for path in ("/get_server_info", "/server_info")})
        self.routes.update({(method, "/generate"): self.generate for method in ("POST", "PUT")})
        self.routes[("GET", "/v1/models")] = self.models
        self.routes[("POST", "/abort_request")] = self.abort
        if not options.no_tokenize:
            for path in ("/tokenize", "/v1/tokenize"):
                self.routes[("POST", path)] = self.tokenize
            for path in ("/detokenize", "/v1/detokenize"):
                self.routes[("POST", path)] = self.detokenize

    @staticmethod
    def needs_key(path):
        """utils/common.py add_api_key_middleware."""
        return not path.startswith(("/health", "/metrics"))

    # ---- small paths -----------------------------------------------------------------------------------------------

    def model_info(self, _):
        path = str(self.options.model.name)
        return self.Answer({"model_path": path, "tokenizer_path": path, "is_generation": True, "preferred_sampling_params": None,
                            "weight_version": "default"})  # fmt: skip

    def server_info(self, _):
        """The server's arguments and more; the fields that matter here."""
        return self.Answer({
            "model_path": str(self.options.model.name), "served_model_name": self.options.served_model_name,
            "context_length": self.max_len, "disable_radix_cache": self.options.disable_radix_cache,
            "incremental_streaming_output": self.options.stream_shape != "cumulative", "stream_interval": self.options.stream_interval,
            "max_total_num_tokens": 8 * self.max_len, "max_req_input_len": self.max_len - 6, "version": "0.5.9",
            "internal_states": [{}],
        })  # fmt: skip

    def models(self, _):
        name = self.options.served_model_name
        card = {"id": name, "object": "model", "created": self.created, "owned_by": "sglang", "root": name, "parent": None,
                "max_model_len": self.max_len}  # fmt: skip
        return self.Answer({"object": "list", "data": [card]})

    def invalid(self, message):
        """What FastAPI's own validation finds."""
        error = {"object": "error", "message": message, "type": "Bad Request", "param": None, "code": 400}
        raise self.Refused(400, error)

    def read(self, request):
        try:
            body = json.loads(request.body)
        except ValueError as error:
            self.invalid(f"1 validation error: {{'type': 'json_invalid', 'loc': ('body', 0), 'msg': 'JSON decode error: {error}'}}")
        if not isinstance(body, dict):
            self.invalid("1 validation error: {'type': 'dataclass_type', 'loc': ('body',)}")
        return body

    def tokenize(self, request):
        """max_model_len is the tokenizer's model_max_length, which has nothing to do with the server's context."""
        body = self.read(request)
        prompt, special = body.get("prompt"), body.get("add_special_tokens", True)
        texts = prompt if isinstance(prompt, list) else [prompt]
        if not all(isinstance(text, str) for text in texts):
            self.invalid("1 validation error: {'type': 'string_type', 'loc': ('body', 'prompt')}")
        ids = [self.model.tokenize(text, special) for text in texts]
        if not isinstance(prompt, list):
            return self.Answer({"tokens": ids[0], "count": len(ids[0]), "max_model_len": 131072})
        return self.Answer({"tokens": ids, "count": [len(one) for one in ids], "max_model_len": 131072})

    def detokenize(self, request):
        body = self.read(request)
        ids, skip = body.get("tokens"), body.get("skip_special_tokens", True)
        if not isinstance(ids, list) or not all(isinstance(i, int) and 0 <= i < self.model.n_vocab for i in ids):
            self.invalid("Invalid input: 'tokens' must be a list of integers.")
        return self.Answer({"text": self.model.detokenize(ids, skip)})

    def abort(self, request):
        body = self.read(request)
        self.aborted.add("*" if body.get("abort_all") else body.get("rid", ""))
        return self.Answer(b"", content_type=None)

    def is_aborted(self, rid):
        return bool(self.aborted & {rid, "*"})

    # ---- /generate -------------------------------------------------------------------------------------------------

    def generate(self, request):
        """A ValueError is HTTP 400, but an event of HTTP 200 when the request asked for a stream."""
        body = self.read(request)
        try:
            jobs = self.jobs(request, body)
            if body.get("stream"):
                return self.Stream(stream_all(jobs))
            for job in jobs:
                job.check()
            answers = [job.whole() for job in jobs]
            return self.Answer(answers if is_batch(body) else answers[0])
        except ValueError as error:
            refusal = {"error": {"message": str(error)}}
            return self.Stream(iter([refusal])) if body.get("stream") else self.Answer(refusal, 400)

    def jobs(self, request, body):
        if (body.get("text") is None) == (body.get("input_ids") is None):
            raise ValueError("Either text, input_ids or input_embeds should be provided.")
        given = body.get("input_ids") if body.get("text") is None else body["text"]
        if given == []:
            raise ValueError("input_ids cannot be empty.")
        prompts = given if is_batch(body) else [given]
        prompts = [self.model.tokenize(p) if isinstance(p, str) else p for p in prompts]
        for ids in prompts:
            if not isinstance(ids, list) or not ids or not all(type(i) is int and i >= 0 for i in ids):
                self.invalid("1 validation error: {'type': 'int_type', 'loc': ('body', 'input_ids')}")
            if max(ids) >= self.model.n_vocab:
                raise ValueError(f"The input_ids {ids} contains values greater than the vocab size ({self.model.n_vocab}).")
        return [GenerateJob(self, request, body, prompt, index, len(prompts)) for index, prompt in enumerate(prompts)]

    def values(self, sampling):
        def values_of(_, penalised, __):
            return engine_model.logprobs(penalised if self.options.return_original_logprob else sampling.warm(penalised))

        return values_of


def is_batch(body):
    given = body.get("input_ids") if body.get("text") is None else body["text"]
    return isinstance(given, list) and bool(given) and not isinstance(given[0], int)


def stream_all(jobs):
    """The requests of a batch take turns; each event tells its index."""
    running = [job.events() for job in jobs]
    while running:
        for index, stream in enumerate(list(running)):
            event = next(stream, None)
            if event is None:
                running.remove(stream)
            else:
                yield {**event, "index": jobs[index].index} if len(jobs) > 1 else event


class GenerateJob:
    def __init__(self, api, request, body, prompt, index, n_jobs):
        def get(name, default):
            value = body.get(name)
            value = value[index] if isinstance(value, list) and n_jobs > 1 else value
            return default if value is None else value

        self.api, self.request, self.prompt, self.index = api, request, prompt, index
        self.rid = get("rid", uuid.uuid4().hex)
        self.with_logprobs, self.k = get("return_logprob", False), get("top_logprobs_num", 0)
        self.with_text = body.get("return_text_in_logprobs", False)
        self.start = get("logprob_start_len", -1)
        if not self.with_logprobs or self.start == -1:
            self.start = len(prompt) - 1
        self.sampling = self.read_sampling(get("sampling_params", {}))
        self.n_cached = 0
        if not api.options.disable_radix_cache:  # schedule_policy.py: what is asked about the prompt is computed again
            self.n_cached = api.cache.find(prompt, self.start if self.with_logprobs else None)

    def read_sampling(self, params):
        if unknown := set(params) - SAMPLING:
            name = sorted(unknown)[0]
            message = f"SamplingParams.__init__() got an unexpected keyword argument '{name}'"
            raise self.api.Refused(500, message)  # a TypeError that nobody catches
        max_new, n = params.get("max_new_tokens", 128), len(self.prompt)
        max_len = self.api.max_len
        if n >= max_len:
            raise ValueError(f"The input ({n} tokens) is longer than the model's context length ({max_len} tokens).")
        if max_new is not None and n + max_new > max_len:
            raise ValueError(f"Requested token count exceeds the model's maximum context length of {max_len} tokens. You requested a "
                             f"total of {n + max_new} tokens: {n} tokens from the input messages and {max_new} tokens for the "
                             "completion. Please reduce the number of tokens in the input messages or the completion to fit within "
                             "the limit.")  # fmt: skip
        temperature = params.get("temperature", 1.0)
        if temperature < 0:
            raise ValueError(f"temperature must be non-negative, got {temperature}.")
        bias = {int(token): value for token, value in (params.get("logit_bias") or {}).items()}
        return engine_model.Sampling(
            max_len - n if max_new is None else max_new, temperature, max(0, params.get("top_k", 0)), params.get("top_p", 1.0),
            params.get("min_p", 0.0), params.get("repetition_penalty", 1.0), params.get("frequency_penalty", 0.0),
            params.get("presence_penalty", 0.0), bias, params.get("ignore_eos", False), tuple(params.get("stop_token_ids") or ()),
            params.get("sampling_seed") or 0,
        )  # fmt: skip

    def too_far(self):
        if self.start < len(self.prompt):
            return None
        return (f"req.logprob_start_len={self.start} is higher than the number of input tokens "
                f"len(req.origin_input_ids)={len(self.prompt)}. Please use a smaller logprob_start_len.")  # fmt: skip

    def check(self):
        if self.too_far():
            raise ValueError(self.too_far())

    # ---- log-probabilities -----------------------------------------------------------------------------------------

    def entry(self, token, value):
        """[logprob, id, text or null]; orjson writes what is not finite as null. Faults put other things here."""
        text = None
        if self.with_text and 0 <= token < self.api.model.n_vocab:
            text = self.api.model.tokens[token].text
        return [None if value == float("-inf") and not self.request.faults.find("infinity") else value, token, text]

    def input_logprobs(self):
        """Entry i tells of prompt[start + i], from what stands before it; the first has no value: it is not computed."""
        tokens, tops = [[None, self.prompt[self.start], self.entry(self.prompt[self.start], 0.0)[2]]], [None]
        values_of = self.api.values(engine_model.Sampling(temperature=0))
        for position, at in enumerate(range(self.start + 1, len(self.prompt))):
            raw, normaliser, _ = self.api.model.logits(self.prompt[:at])
            values = values_of(raw, raw, normaliser)
            token = self.prompt[at]
            step = engine_model.Step(token, values[token], engine_model.best(values, self.k), "")
            self.request.faults.change_step(step, position, False)
            tokens.append(self.entry(token, step.logprob))
            tops.append([self.entry(i, value) for i, value in step.top])
        return {"input_token_logprobs": tokens, **({"input_top_logprobs": tops} if self.k > 0 else {})}

    def output_logprobs(self, steps):
        out = {"output_token_logprobs": [self.entry(step.token, step.logprob) for step in steps]}
        if self.k > 0:
            out["output_top_logprobs"] = [[self.entry(i, value) for i, value in step.top] for step in steps]
        return out

    # ---- answers ---------------------------------------------------------------------------------------------------

    def generation(self):
        k = self.k if self.with_logprobs else 0
        return engine_model.Generation(self.api.model, self.prompt, self.sampling, k, self.api.values(self.sampling))

    def event(self, steps, text, inputs, finish, begin):
        """steps: all so far; with an incremental stream, those before `begin` are left out of some of the fields."""
        meta = {"id": self.rid, "finish_reason": finish, "prompt_tokens": len(self.prompt), "weight_version": "default",
                "num_retractions": 0}  # fmt: skip
        if self.with_logprobs:
            meta.update(inputs)
            shape = self.api.options.stream_shape
            meta.update(self.output_logprobs(steps[begin if shape == "incremental" else 0 :]))
            meta["output_token_logprobs_length"] = len(steps)
        meta.update({"reasoning_tokens": 0, "completion_tokens": len(steps), "cached_tokens": self.n_cached})
        if finish:
            meta["e2e_latency"] = 0.25
        out = {"text": text, "output_ids": [step.token for step in steps[begin:]], "meta_info": meta}
        if self.api.options.no_output_ids:
            del out["output_ids"]
        return out

    def finish(self, steps):
        if self.api.is_aborted(self.rid):
            return {"type": "abort", "message": "Aborted", "status_code": None, "err_type": None}
        if not steps:
            return {"type": "length", "length": 0}
        last = steps[-1]
        if last.finish == "stop":
            return {"type": "stop", "matched": last.matched}
        return {"type": "length", "length": len(steps)} if last.finish else None

    def inputs(self):
        return self.input_logprobs() if self.with_logprobs else {}

    def whole(self):
        generation, inputs, steps = self.generation(), self.inputs(), []
        for step in self.request.watch(generation, False):
            steps.append(step)
            if self.api.is_aborted(self.rid):
                break
        self.api.cache.add(self.prompt + generation.output)
        out = self.event(steps, generation.text, inputs, self.finish(steps), 0)
        return out

    def events(self):
        """Events are built when they are sent: what is in between may be left out of a cumulative stream."""
        if self.too_far():
            reason = {"type": "abort", "message": self.too_far(), "status_code": 400, "err_type": "BadRequestError"}
            self.start = len(self.prompt) - 1
            yield self.event([], "", {"input_token_logprobs": []}, reason, 0)
            return
        generation, inputs, steps, text = self.generation(), self.inputs(), [], ""
        incremental = self.api.options.stream_shape != "cumulative"
        for group in self.grouped(self.request.groups(self.request.watch(generation, True))):
            begin = len(steps) if incremental else 0
            steps += group
            delta = "".join(step.text for step in group)
            text += delta
            finish = self.finish(steps)
            yield self.event(steps, delta if incremental else text, inputs, finish, begin)
            if finish:
                break
        self.api.cache.add(self.prompt + generation.output)

    def grouped(self, groups):
        """--stream-interval: the first token at once, then that many an event (scheduler_output_processor_mixin.py)."""
        interval, held, is_first = self.api.options.stream_interval, [], True
        for group in groups:
            held += group
            if is_first or len(held) >= interval or held[-1].finish or self.api.is_aborted(self.rid):
                yield held
                held, is_first = [], False
