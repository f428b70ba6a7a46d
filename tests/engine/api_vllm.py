"""vLLM's HTTP API, as far as a completion client sees it. Read from vllm-project/vllm (main, 2026):

    vllm/entrypoints/openai/completion/{protocol,serving}.py   requests, answers, streams, how log-probabilities are written
    vllm/entrypoints/openai/engine/protocol.py                 ErrorResponse, ModelCard, UsageInfo
    vllm/entrypoints/openai/models/serving.py                  /v1/models, the 404 for an unknown model
    vllm/entrypoints/serve/tokenize/protocol.py                /tokenize, /detokenize (not below /v1: never guarded)
    vllm/entrypoints/serve/utils/error_response.py             which error is which status
    vllm/sampling_params.py, vllm/exceptions.py                the refusal of too many log-probabilities, and its text

Seen of a real 0.32.0 (tests/vllm): sampling parameters are checked when the engine is asked, so that inside a stream the refusal of too
many log-probabilities is an event behind status 200; -1 asks for as many as the output is wide; what /metrics says of the cache.

Second-hand (excerpts in other repositories) or from memory: the key guards paths below /v1 only (openai/server_utils.py); what
--logprobs-mode takes before and after processing (v1/sample/sampler.py); the token that ends is
told of, without its text.
"""
import json
import time
import uuid

import engine_model

MINUS_INFINITY = -9999.0  # completion/serving.py: max(logprob, -9999.0)


class Vllm:
    unauthorized = {"error": "Unauthorized"}

    @staticmethod
    def add_options(parser):
        parser.add_argument("--max-logprobs", type=int, default=20, help="vllm; -1: no limit")
        parser.add_argument("--max-logprobs-of-streams", type=int, help="vllm: as if a router sent streams to a replica with another limit")
        parser.add_argument("--logprobs-mode", default="raw_logprobs",
                            choices=["raw_logprobs", "processed_logprobs", "raw_logits", "processed_logits"])  # fmt: skip
        parser.add_argument("--default-repetition-penalty", type=float, default=1.0, help="vllm: the model's generation_config.json")
        parser.add_argument("--default-temperature", type=float, default=1.0, help="vllm: the same")
        parser.add_argument("--enable-prompt-tokens-details", action="store_true", help="vllm: cached_tokens in usage")
        parser.add_argument("--block-size", type=int, default=16, help="vllm: of the prefix cache; 128 on a CPU")
        parser.add_argument("--no-enable-prefix-caching", action="store_true", help="vllm")
        parser.add_argument("--no-metrics", action="store_true", help="vllm: a router that hides them")
        parser.add_argument("--output-padding", type=int, default=0, help="vllm: ids of the model's output beyond its vocabulary")
        parser.add_argument("--return-tokens-as-token-ids", action="store_true", help="vllm: the default of the request's field")
        parser.add_argument("--no-token-ids-field", action="store_true", help="vllm: before 0.10.2, without return_token_ids")
        parser.add_argument("--no-tokenize", action="store_true", help="vllm, sglang: without /tokenize")

    def __init__(self, options, model, answer, stream, refused):
        self.options, self.model = options, model
        self.Answer, self.Stream, self.Refused = answer, stream, refused
        self.max_len = options.max_model_len or model.n_ctx
        self.cache = engine_model.PrefixCache(options.block_size)
        self.created = int(time.time())
        self.routes = {
            ("GET", "/health"): lambda _: answer(b"", content_type=None),
            ("GET", "/ping"): lambda _: answer(b"", content_type=None),
            ("GET", "/version"): lambda _: answer({"version": "0.11.0"}),
            ("GET", "/v1/models"): self.models,
            ("POST", "/v1/completions"): self.completions,
        }
        if not options.no_metrics:
            self.routes["GET", "/metrics"] = self.metrics
        if not options.no_tokenize:
            self.routes.update({("POST", "/tokenize"): self.tokenize, ("POST", "/detokenize"): self.detokenize})

    @staticmethod
    def needs_key(path):
        return path.startswith("/v1")

    # ---- refusals --------------------------------------------------------------------------------------------------

    def refuse(self, message, param=None, value=None, status=400, kind="BadRequestError"):
        """VLLMValidationError puts parameter and value behind its message (vllm/exceptions.py)."""
        extras = [f"parameter={param}"] if param and status == 400 else []
        extras += [f"value={value}"] if value is not None else []
        text = f"{message} ({', '.join(extras)})" if extras else message
        raise self.Refused(status, {"error": {"message": text, "type": kind, "param": param, "code": status}})

    def read(self, request):
        try:
            body = json.loads(request.body)
        except ValueError as error:
            message = f"[{{'type': 'json_invalid', 'loc': ('body', 0), 'msg': 'JSON decode error', 'ctx': {{'error': '{error}'}}}}]"
            self.refuse(message, kind="Bad Request")
        if not isinstance(body, dict):
            self.refuse("[{'type': 'model_attributes_type', 'loc': ('body',)}]", kind="Bad Request")
        name = body.get("model")
        if name and name != self.options.served_model_name:
            self.refuse(f"The model `{name}` does not exist.", "model", status=404, kind="NotFoundError")
        return body

    # ---- small paths -----------------------------------------------------------------------------------------------

    def models(self, _):
        permission = {"id": f"modelperm-{uuid.uuid4().hex}", "object": "model_permission", "created": self.created,
                      "allow_create_engine": False, "allow_sampling": True, "allow_logprobs": True, "allow_search_indices": False,
                      "allow_view": True, "allow_fine_tuning": False, "organization": "*", "group": None,
                      "is_blocking": False}  # fmt: skip
        card = {"id": self.options.served_model_name, "object": "model", "created": self.created, "owned_by": "vllm",
                "root": self.options.model.name, "parent": None, "max_model_len": self.max_len,
                "permission": [permission]}  # fmt: skip
        return self.Answer({"object": "list", "data": [card]})

    def metrics(self, _):
        caching = not self.options.no_enable_prefix_caching
        line = f'vllm:cache_config_info{{block_size="{self.options.block_size}",enable_prefix_caching="{caching}",engine="0"}} 1.0\n'
        return self.Answer(line, content_type="text/plain; version=0.0.4")

    def tokenize(self, request):
        body = self.read(request)
        if not isinstance(body.get("prompt"), str):
            self.refuse("[{'type': 'missing', 'loc': ('body', 'prompt')}]", kind="Bad Request")
        ids = self.model.tokenize(body["prompt"], body.get("add_special_tokens", True))
        names = [self.model.tokens[i].name for i in ids] if body.get("return_token_strs") else None
        return self.Answer({"count": len(ids), "max_model_len": self.max_len, "tokens": ids, "token_strs": names})

    def detokenize(self, request):
        body = self.read(request)
        ids = body.get("tokens")
        if not isinstance(ids, list) or not all(isinstance(i, int) and 0 <= i < self.model.n_vocab for i in ids):
            self.refuse("[{'type': 'list_type', 'loc': ('body', 'tokens')}]", kind="Bad Request")
        return self.Answer({"prompt": self.model.detokenize(ids)})

    # ---- a request -------------------------------------------------------------------------------------------------

    def prompts(self, body):
        prompt = body.get("prompt")
        if prompt is None or prompt in ("", []):
            self.refuse("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
        prompts = prompt if isinstance(prompt, list) and not isinstance(prompt[0], int) else [prompt]
        special = body.get("add_special_tokens", True)
        prompts = [self.model.tokenize(p, special) if isinstance(p, str) else p for p in prompts]
        for ids in prompts:
            if not isinstance(ids, list) or not ids or not all(type(i) is int and i >= 0 for i in ids):
                self.refuse("[{'type': 'list_type', 'loc': ('body', 'prompt')}]", kind="Bad Request")
            if (worst := max(ids)) >= self.model.n_vocab:
                self.refuse(f"Token id {worst} is out of vocabulary", "prompt")
            n = 16 if body.get("max_tokens") is None else body["max_tokens"]
            if len(ids) + n > self.max_len:
                self.refuse(f"This model's maximum context length is {self.max_len} tokens. However, you requested {n} output tokens "
                            f"and your prompt contains at least {len(ids)} input tokens, for a total of at least {len(ids) + n} "
                            "tokens. Please reduce the length of the input prompt or the number of requested output tokens.",
                            "input_tokens", len(ids))  # fmt: skip
        return prompts

    def n_logprobs(self, body, name):
        """Entries asked for, None for none; -1 means all (protocol.py check_logprobs, sampling_params.py _validate_logprobs)."""
        asked = body.get(name)
        if asked is None:
            return None
        if not isinstance(asked, (int, float)):
            self.refuse(f"`{name}` must be an integer.", name, asked)
        if asked < 0 and asked != -1:
            self.refuse(f"`{name}` must be a positive value or -1.", name, asked)
        width = self.model.n_vocab + self.options.output_padding
        asked = width if asked == -1 else asked
        limit = self.options.max_logprobs
        if body.get("stream") and self.options.max_logprobs_of_streams is not None:
            limit = self.options.max_logprobs_of_streams
        limit = width if limit == -1 else limit
        if asked > limit:
            kind = "sample" if name == "logprobs" else "prompt"
            self.refuse(f"Requested {kind} logprobs of {asked}, which is greater than max allowed: {limit}", name, asked)
        return asked

    def sampling(self, body):
        def get(name, default):
            return default if body.get(name) is None else body[name]

        max_tokens = get("max_tokens", 16)
        if max_tokens < (0 if body.get("echo") else 1):
            self.refuse(f"max_tokens must be at least 1, got {max_tokens}.", "max_tokens", max_tokens)
        if get("n", 1) != 1:
            self.refuse("n > 1 is not part of this test server")
        bias = {int(token): max(-100.0, min(100.0, value)) for token, value in get("logit_bias", {}).items()}
        if wrong := [token for token in bias if not 0 <= token < self.model.n_vocab]:
            self.refuse(f"token_id(s) {wrong} in logit_bias contain out-of-vocab token ids.", "logit_bias", wrong)
        return engine_model.Sampling(
            max_tokens, get("temperature", self.options.default_temperature), max(0, get("top_k", 0)), get("top_p", 1.0),
            get("min_p", 0.0), get("repetition_penalty", self.options.default_repetition_penalty), get("frequency_penalty", 0.0),
            get("presence_penalty", 0.0), bias, get("ignore_eos", False), tuple(get("stop_token_ids", ())), get("seed", 0),
        )  # fmt: skip

    def values(self, sampling):
        """What --logprobs-mode reports, of (raw logits, penalised ones, normaliser of the raw ones)."""
        mode = self.options.logprobs_mode

        def values_of(raw, penalised, normaliser):
            values = [max(value, MINUS_INFINITY) for value in values_in(raw, penalised, normaliser)]
            return values + [sorted(values)[len(values) // 2]] * self.options.output_padding

        def values_in(raw, penalised, normaliser):
            if mode == "raw_logprobs":
                return engine_model.logprobs(raw, normaliser)
            if mode == "raw_logits":
                return raw
            processed = sampling.warm(penalised)
            return processed if mode == "processed_logits" else engine_model.logprobs(processed)

        return values_of

    # ---- an answer -------------------------------------------------------------------------------------------------

    def key(self, token, as_ids):
        if as_ids or not 0 <= token < self.model.n_vocab:
            return f"token_id:{token}"
        return self.model.tokens[token].text

    def logprobs(self, steps, body, offset, make_key):
        """The object of one event: sampled token first, then the best; equal strings fall together, the later one stays."""
        asked = body.get("return_tokens_as_token_ids")
        as_ids = self.options.return_tokens_as_token_ids if asked is None else asked
        out = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}
        for step in steps:
            token = self.key(step.token, as_ids)
            out["text_offset"].append(offset)
            offset += len(token)
            out["tokens"].append(token)
            out["token_logprobs"].append(step.logprob)
            if step.top is None:  # the first token of an echoed prompt
                out["top_logprobs"].append(None)
                continue
            entries = [(step.token, step.logprob)] + [entry for entry in step.top if entry[0] != step.token]
            if make_key is not str:
                entries = step.top  # a fault: the same key twice
            out["top_logprobs"].append({make_key(self.key(i, as_ids)): value for i, value in entries})
        return out

    def prompt_logprobs(self, steps):
        """vllm/logprobs.py Logprob, by id."""
        out = [None]
        for step in steps[1:]:
            ids = dict([*step.top, (step.token, step.logprob)])
            out.append({str(i): {"logprob": value, "rank": rank + 1, "decoded_token": self.model.tokens[i].text}
                        for rank, (i, value) in enumerate(ids.items())})  # fmt: skip
        return out

    def completions(self, request):
        body = self.read(request)
        try:
            k, n_prompt_logprobs = self.n_logprobs(body, "logprobs"), self.n_logprobs(body, "prompt_logprobs")
        except self.Refused as refused:
            if body.get("stream"):
                return self.Stream(iter([refused.answer.body]))
            raise
        if body.get("stream_options") and not body.get("stream"):
            self.refuse("Stream options can only be defined when `stream=True`.", "stream_options")
        if body.get("stream") and n_prompt_logprobs:
            self.refuse("`prompt_logprobs` are not available when `stream=True`.", "prompt_logprobs")
        sampling, prompts = self.sampling(body), self.prompts(body)
        job = Job(self, request, body, k, n_prompt_logprobs, sampling, prompts)
        return self.Stream(job.events()) if body.get("stream") else self.Answer(job.whole())


class Job:
    """One request to /v1/completions: a batch of prompts."""

    def __init__(self, api, request, body, k, n_prompt_logprobs, sampling, prompts):
        self.api, self.request, self.body, self.k, self.sampling, self.prompts = api, request, body, k, sampling, prompts
        self.n_prompt_logprobs = n_prompt_logprobs
        self.values_of = api.values(sampling)
        self.key = request.faults.key()
        self.with_ids = body.get("return_token_ids") and not api.options.no_token_ids_field
        uses_cache = n_prompt_logprobs is None and not api.options.no_enable_prefix_caching
        self.n_cached = [api.cache.find(prompt) if uses_cache else 0 for prompt in prompts]
        self.head = {"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": int(time.time()),
                     "model": api.options.served_model_name}  # fmt: skip
        self.n_out = 0

    def generation(self, prompt):
        return engine_model.Generation(self.api.model, prompt, self.sampling, self.k or 0, self.values_of)

    def echo(self, prompt):
        if not self.body.get("echo"):
            return [], ""
        steps = [engine_model.Step(token, None, None, "") for token in prompt]
        if self.k is not None:
            steps = engine_model.prompt_steps(self.api.model, prompt, self.k, self.values_of)
        return steps, "" if self.with_ids else self.api.model.detokenize(prompt)

    def choice(self, index, steps, text, offset):
        """stop_reason is the id of a token of stop_token_ids; the model's own end leaves it null."""
        last = steps[-1] if steps else None
        logprobs = None if self.k is None else self.api.logprobs(steps, self.body, offset, self.key)
        stop = last.matched if last is not None and not last.is_end else None
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": last.finish if last else None,
                "stop_reason": stop}  # fmt: skip

    def usage(self, n_out, is_whole):
        n_in = sum(map(len, self.prompts))
        usage = {"prompt_tokens": n_in, "total_tokens": n_in + n_out, "completion_tokens": n_out}
        if self.api.options.enable_prompt_tokens_details:
            usage["prompt_tokens_details"] = {"cached_tokens": self.n_cached[-1 if is_whole else 0]}
        elif is_whole:
            usage["prompt_tokens_details"] = None
        return usage

    def whole(self):
        choices, n_out = [], 0
        for index, prompt in enumerate(self.prompts):
            generation = self.generation(prompt)
            echoed, text = self.echo(prompt)
            steps = list(self.request.watch(generation, False))
            choice = self.choice(index, echoed + steps, text + generation.text, 0)
            choice["finish_reason"] = choice["finish_reason"] or "length"
            choice["token_ids"] = generation.output if self.with_ids else None
            choice["prompt_logprobs"] = None
            if self.n_prompt_logprobs is not None:
                told = engine_model.prompt_steps(self.api.model, prompt, self.n_prompt_logprobs, self.values_of)
                choice["prompt_logprobs"] = self.api.prompt_logprobs(told)
            choice["prompt_token_ids"] = prompt if self.with_ids else None
            choices.append(choice)
            n_out += len(steps)
            self.api.cache.add(prompt + generation.output)
        return {**self.head, "choices": choices, "service_tier": None, "system_fingerprint": None, "usage": self.usage(n_out, True),
                "kv_transfer_params": None}  # fmt: skip

    def stream_one(self, index, prompt):
        generation = self.generation(prompt)
        echoed, text = self.echo(prompt)
        offset, is_first = 0, True
        for steps in self.request.groups(self.request.watch(generation, True)):
            delta = text + "".join(step.text for step in steps)
            choice = self.choice(index, echoed + steps, delta, offset)
            offset += len(delta)
            choice["prompt_token_ids"] = prompt if self.with_ids and is_first else None
            choice["token_ids"] = [step.token for step in steps] if self.with_ids else None
            self.n_out += len(steps)
            chunk = {**self.head, "choices": [choice]}
            if (self.body.get("stream_options") or {}).get("continuous_usage_stats"):
                n = len(generation.output)
                chunk["usage"] = {"prompt_tokens": len(prompt), "total_tokens": len(prompt) + n, "completion_tokens": n}
            echoed, text, is_first = [], "", False
            yield chunk
        self.api.cache.add(prompt + generation.output)

    def events(self):
        """The choices of a batch take turns."""
        running = [self.stream_one(index, prompt) for index, prompt in enumerate(self.prompts)]
        while running:
            for stream in list(running):
                event = next(stream, None)
                if event is None:
                    running.remove(stream)
                else:
                    yield event
        if (self.body.get("stream_options") or {}).get("include_usage"):
            yield {**self.head, "choices": [], "usage": self.usage(self.n_out, False)}

