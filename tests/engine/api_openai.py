"""An OpenAI-compatible /v1/completions as hosted services have it: less of everything.

The legacy object {text_offset, token_logprobs, tokens, top_logprobs}, with one more entry for the sampled token where it is not
among the best, is the OpenAI API reference's ("Completions"). Not checked against a source, so to be taken as kinds of answer and
not as any one service's: token_ids beside it and {"content": [...]} with ids (said of Fireworks), limits of 5 and 20, the texts
of refusals.

Tokens are strings, which say little: parts of characters become U+FFFD, or "bytes:\\xe2\\x80" as OpenAI writes them
(--openai-strings bytes), and equal strings fall together in a map.
"""
import json
import time
import uuid

import engine_model

FIELDS = {"model", "prompt", "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "n", "presence_penalty",
          "seed", "stop", "stream", "stream_options", "suffix", "temperature", "top_p", "user"}  # fmt: skip
SHAPES = ("legacy", "token_ids", "content", "content_ids", "none")


class OpenAi:
    unauthorized = {"error": {"message": "Incorrect API key provided.", "type": "invalid_request_error", "param": None,
                              "code": "invalid_api_key"}}  # fmt: skip

    @staticmethod
    def add_options(parser):
        parser.add_argument("--openai-max-logprobs", type=int, default=5, help="openai")
        parser.add_argument("--openai-over", choices=["cut", "refuse"], default="cut", help="openai: what more than that does")
        parser.add_argument("--openai-logprobs", choices=SHAPES, default="legacy", help="openai: shape, or none at all")
        parser.add_argument("--openai-strings", choices=["replace", "bytes"], default="replace", help="openai: parts of characters")
        parser.add_argument("--openai-refuse-ids", action="store_true", help="openai: prompts must be text")
        parser.add_argument("--openai-hide-end", action="store_true", help="openai: the token that ends is not told of")
        parser.add_argument("--openai-no-echo", action="store_true", help="openai: echo is refused")
        parser.add_argument("--openai-strict", action="store_true", help="openai: fields that OpenAI does not have are refused")
        parser.add_argument("--openai-no-models", action="store_true", help="openai: without /v1/models")

    def __init__(self, options, model, answer, stream, refused):
        self.options, self.model = options, model
        self.Answer, self.Stream, self.Refused = answer, stream, refused
        self.max_len = options.max_model_len or model.n_ctx
        self.created = int(time.time())
        self.routes = {("POST", "/v1/completions"): self.completions}
        if not options.openai_no_models:
            self.routes[("GET", "/v1/models")] = self.models

    @staticmethod
    def needs_key(_):
        return True

    def refuse(self, message, param=None, status=400, code=None):
        raise self.Refused(status, {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}})

    def models(self, _):
        card = {"id": self.options.served_model_name, "object": "model", "created": self.created, "owned_by": "system"}
        return self.Answer({"object": "list", "data": [card]})

    # ---- a request -------------------------------------------------------------------------------------------------

    def read(self, request):
        try:
            body = json.loads(request.body)
        except ValueError:
            self.refuse("We could not parse the JSON body of your request.")
        if not isinstance(body, dict):
            self.refuse("The body of your request must be an object.")
        if self.options.openai_strict and (unknown := sorted(set(body) - FIELDS)):
            self.refuse(f"Unrecognized request argument supplied: {unknown[0]}")
        if self.options.openai_no_echo and body.get("echo"):
            self.refuse("Unsupported value: 'echo' does not support true with this model.", "echo")
        if body.get("model") != self.options.served_model_name:
            name = body.get("model")
            self.refuse(f"The model `{name}` does not exist or you do not have access to it.", "model", 404, "model_not_found")
        return body

    def prompt(self, body):
        prompt = body.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], (str, list)):
            prompt = prompt[0]
        if isinstance(prompt, str) and prompt:
            return self.model.tokenize(prompt)
        if not isinstance(prompt, list) or not prompt or not all(type(i) is int for i in prompt):
            self.refuse("Invalid type for 'prompt': expected one string.", "prompt")
        if self.options.openai_refuse_ids:
            self.refuse("Invalid type for 'prompt': expected a string, but got an array of integers instead.", "prompt")
        if not 0 <= min(prompt) <= max(prompt) < self.model.n_vocab:
            self.refuse("Invalid token in 'prompt'.", "prompt")
        return prompt

    def n_logprobs(self, body):
        asked = body.get("logprobs")
        if asked is None or self.options.openai_logprobs == "none":
            return None
        if isinstance(asked, bool):
            asked = int(asked) if not asked else body.get("top_logprobs", 0)
        if not isinstance(asked, int) or asked < 0:
            self.refuse("Invalid type for 'logprobs'.", "logprobs")
        limit = self.options.openai_max_logprobs
        if asked > limit and self.options.openai_over == "refuse":
            self.refuse(f"Invalid value for 'logprobs': must be less than or equal to {limit}.", "logprobs")
        return min(asked, limit)

    def sampling(self, body, prompt):
        n = body.get("max_tokens", 16)
        if not isinstance(n, int) or n < 1 or len(prompt) + n > self.max_len:
            self.refuse(f"This model's maximum context length is {self.max_len} tokens, however you requested {len(prompt) + n} "
                        f"tokens ({len(prompt)} in your prompt; {n} for the completion).", "max_tokens")  # fmt: skip
        bias = {int(token): value for token, value in (body.get("logit_bias") or {}).items()}
        return engine_model.Sampling(n, body.get("temperature", 1.0), 0, body.get("top_p", 1.0), logit_bias=bias,
                                     frequency_penalty=body.get("frequency_penalty", 0.0),
                                     presence_penalty=body.get("presence_penalty", 0.0), seed=body.get("seed") or 0)  # fmt: skip

    def completions(self, request):
        body = self.read(request)
        prompt, k = self.prompt(body), self.n_logprobs(body)
        sampling = self.sampling(body, prompt)
        generation = engine_model.Generation(self.model, prompt, sampling, k or 0, raw_logprobs)
        head = {"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": int(time.time()),
                "model": self.options.served_model_name}  # fmt: skip
        steps = request.watch(generation, bool(body.get("stream")))
        if body.get("stream"):
            return self.Stream(self.events(request, head, steps, k, generation, body))
        steps, text = list(steps), generation.text
        if body.get("echo"):  # of a whole answer only
            steps = engine_model.prompt_steps(self.model, prompt, k or 0, raw_logprobs) + steps
            text = self.model.detokenize(prompt) + text
        choice = self.choice(steps, k, text, 0, request.faults.key())
        return self.Answer({**head, "choices": [choice], "usage": usage(generation)})

    # ---- an answer -------------------------------------------------------------------------------------------------

    def events(self, request, head, steps, k, generation, body):
        offset = 0
        for group in request.groups(steps):
            text = "".join(step.text for step in group)
            yield {**head, "choices": [self.choice(group, k, text, offset, request.faults.key())]}
            offset += len(text)
        if (body.get("stream_options") or {}).get("include_usage"):
            yield {**head, "choices": [], "usage": usage(generation)}

    def choice(self, steps, k, text, offset, make_key):
        finish = steps[-1].finish
        if self.options.openai_hide_end:
            steps = [step for step in steps if not step.is_end]
        logprobs = None if k is None or not steps else self.logprobs(steps, offset, make_key)
        return {"text": text, "index": 0, "logprobs": logprobs, "finish_reason": finish}

    def string(self, token):
        if not 0 <= token < self.model.n_vocab:
            return f"<{token}>"
        known = self.model.tokens[token]
        if self.options.openai_strings == "bytes" and not known.is_special and "\ufffd" in known.text:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in known.piece)
        return known.text

    def logprobs(self, steps, offset, make_key):
        shape = self.options.openai_logprobs
        if shape.startswith("content"):
            return {"content": [self.content(step, shape == "content_ids") for step in steps]}
        out = {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}
        for step in steps:
            out["text_offset"].append(offset)
            offset += len(step.text)
            out["tokens"].append(self.string(step.token))
            out["token_logprobs"].append(step.logprob)
            if step.top is None:
                out["top_logprobs"].append(None)
                continue
            top = step.top if any(i == step.token for i, _ in step.top) else [*step.top, (step.token, step.logprob)]
            out["top_logprobs"].append({make_key(self.string(i)): value for i, value in top})
        if shape == "token_ids":
            out["token_ids"] = [step.token for step in steps]
        return out

    def content(self, step, with_ids):
        def entry(token, value):
            known = self.model.tokens[token] if 0 <= token < self.model.n_vocab else None
            piece = (known.name.encode() if known.is_special else known.piece) if known else b""
            out = {"token": self.string(token), "bytes": list(piece), "logprob": value}
            return {**out, "token_id": token} if with_ids else out

        return {**entry(step.token, step.logprob), "top_logprobs": [entry(i, value) for i, value in step.top or []]}


def raw_logprobs(raw, _, normaliser):
    return engine_model.logprobs(raw, normaliser)


def usage(generation):
    n_in, n_out = len(generation.prompt), len(generation.output)
    return {"prompt_tokens": n_in, "completion_tokens": n_out, "total_tokens": n_in + n_out}
