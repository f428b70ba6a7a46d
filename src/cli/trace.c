/* A position as JSON. Every token comes with its id and its text; a text that is not UTF-8 by itself also as "bytes". */
#include "cli/trace.h"

#include "cli/json.h"

static int set_token(json_t *object, const costeer_vocab *vocab, int32_t token)
{
    char piece[COSTEER_PIECE_MAX];
    size_t n_bytes = vocab->token_to_piece(vocab->model, token, piece);
    return json_object_set_new(object, "token", json_integer(token)) | cs_json_set_piece(object, piece, n_bytes);
}

static json_t *make_best(const costeer_vocab *vocab, const int32_t *tokens, const double *logprobs, int32_t n)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < n && list != NULL; i++) {
        json_t *entry = json_object();
        if ((set_token(entry, vocab, tokens[i]) | json_object_set_new(entry, "logprob", cs_json_number(logprobs[i])) |
             json_array_append_new(list, entry)) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

static json_t *make_weights(const costeer_position *p)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < p->n_weights && list != NULL; i++) {
        if (json_array_append_new(list, cs_json_number(p->weights[i])) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

static int set_certificate(json_t *object, const costeer_position *p)
{
    int failed = json_object_set_new(object, "certified", json_boolean(p->certified));
    failed |= json_object_set_new(object, "margin", cs_json_number(p->margin));
    failed |= json_object_set_new(object, "near_tie", json_boolean(p->near_tie));
    failed |= json_object_set_new(object, "n_deepened", json_integer(p->n_deepened));
    failed |= json_object_set_new(object, "n_entries", json_integer(p->n_entries));
    failed |= json_object_set_new(object, "unsent_mass", cs_json_number(p->unsent_mass));
    return failed;
}

static int set_times(json_t *object, const costeer_position *p)
{
    int failed = json_object_set_new(object, "slm_us", json_integer(p->slm_us));
    failed |= json_object_set_new(object, "llm_wait_us", json_integer(p->cloud_wait_us));
    failed |= json_object_set_new(object, "fuse_us", json_integer(p->fuse_us));
    return failed;
}

bool cs_trace_write(cs_output *out, const char *method, const costeer_vocab *vocab, const costeer_position *p)
{
    json_t *line = json_object();
    int failed = json_object_set_new(line, "position", json_integer(p->position));
    failed |= method != NULL ? json_object_set_new(line, "method", json_string(method)) : 0;
    failed |= set_token(line, vocab, p->token);
    failed |= json_object_set_new(line, "is_end", json_boolean(p->is_end));
    failed |= json_object_set_new(line, "steered", json_boolean(p->steered));
    failed |= json_object_set_new(line, "base_token", json_integer(p->base_token));
    failed |= json_object_set_new(line, "base_logprob", cs_json_number(p->base_logprob));
    failed |= json_object_set_new(line, "policy_logprob", cs_json_number(p->policy_logprob));
    failed |= json_object_set_new(line, "delta", cs_json_number(p->delta));
    failed |= json_object_set_new(line, "gain", cs_json_number(p->gain));
    failed |= json_object_set_new(line, "weights", make_weights(p));
    failed |= json_object_set_new(line, "best_before", make_best(vocab, p->best_before, p->best_before_logprob, p->n_best));
    failed |= json_object_set_new(line, "best_after", make_best(vocab, p->best_after, p->best_after_logprob, p->n_best));
    failed |= set_certificate(line, p);
    failed |= json_object_set_new(line, "gated", json_boolean(p->gated));
    failed |= json_object_set_new(line, "is_local", json_boolean(p->is_local));
    failed |= set_times(line, p);
    if (failed != 0) {
        json_decref(line);
        return false;
    }
    return cs_json_print(out, line) == 0 && out->error == 0;
}
