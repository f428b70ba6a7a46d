/*
 * Many devices at one node at once, for a given time: random modes, tokens, deepenings, drafts, early ends, and connections that
 * are cut all together every few seconds. Meant for a node and a soak of an ASan or TSan build.
 *
 *     net_soak --port P --model costeer-slm.gguf --llm costeer-llm.gguf [--tls-ca FILE] [--sessions 64] [--seconds 60] [--seed S]
 *              [--cut-ms 3000] [--timeout-ms 60000]
 *
 * Every third answer is a witness: its tokens are known from a model in this process, so an answer that is mixed up with another
 * one shows. Exit code 0: no error, no witness off. One line of counts goes to standard output.
 */
#include "tests/net/proxy.h"
#include "util/clock.h"
#include "util/parse.h"

#include <costeer/cloud.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SESSIONS_MAX   256
#define WITNESS_TOKENS 24
#define WITNESS_PROMPT 12
#define WITNESS_TOP_K  8
#define PROMPT_MAX     60
#define ANSWER_MAX     80
#define DRAFTS_MAX     8

/* Two best entries so close may change places: other batch sizes change the last bits. */
#define CLOSE_NATS 1e-3

typedef struct options {
    int64_t port, n_sessions, seconds, seed, cut_ms, timeout_ms;
    const char *model, *llm, *ca_file;
} options;

typedef struct witness {
    int32_t prompt[WITNESS_PROMPT];
    int32_t own[WITNESS_TOKENS];   /* the LLM's choice */
    int32_t token[WITNESS_TOKENS]; /* what is committed: here and there the second best */
    bool is_close[WITNESS_TOKENS]; /* the choice may differ */
    int32_t n;
} witness;

typedef struct counts {
    int64_t answers, tokens, corrections, deepenings, early_ends, reconnects, witnesses, cut_at_first, failures;
} counts;

typedef struct soak {
    options options;
    const costeer_model *model;
    int32_t n_vocab;
    char url[64];
    net_proxy *proxy;
    int64_t end_us;
} soak;

typedef struct device {
    soak *soak;
    pthread_t thread;
    int32_t number;
    uint64_t random;
    witness witness;
    counts counts;
} device;

/* ---- chance ------------------------------------------------------------------------------------------------------ */

/* xorshift64*: the same run again from the same seed, as far as the network allows. */
static uint32_t draw(device *d, uint32_t n)
{
    d->random ^= d->random >> 12;
    d->random ^= d->random << 25;
    d->random ^= d->random >> 27;
    return (uint32_t)((d->random * UINT64_C(2685821657736338717)) >> 32) % n;
}

static bool one_in(device *d, uint32_t n)
{
    return draw(d, n) == 0;
}

/* ---- what must hold ---------------------------------------------------------------------------------------------- */

static void fail(device *d, const char *what, costeer_err code, const costeer_error *err)
{
    if (d->counts.failures++ < 3) {
        fprintf(stderr, "net_soak: device %" PRId32 ": %s: %s: %s\n", d->number, what, costeer_err_name(code), err->message);
    }
}

static bool check(device *d, const costeer_distribution *got, int32_t position)
{
    const costeer_base *base = &got->base;
    const char *wrong = NULL;
    if (got->position != position) {
        wrong = "another position than asked for";
    } else if (base->n < 1 || (base->ids != NULL && base->n > d->soak->n_vocab)) {
        wrong = "a strange number of entries";
    } else if (got->own_token < 0 || got->own_token >= d->soak->n_vocab) {
        wrong = "its own token is none";
    }
    for (int32_t i = 1; wrong == NULL && base->ids != NULL && i < base->n; i++) {
        if (!isfinite(base->values[i]) || base->values[i] > base->values[i - 1]) {
            wrong = "entries out of order";
        }
    }
    if (wrong != NULL) {
        fail(d, wrong, COSTEER_EINTERNAL, &(costeer_error){.message = "a rule of the protocol is broken"});
    }
    return wrong == NULL;
}

/* ---- one answer -------------------------------------------------------------------------------------------------- */

static int32_t pick_token(device *d, const costeer_distribution *got)
{
    const int32_t kind = (int32_t)draw(d, 100);
    if (kind < 80) {
        return got->own_token;
    }
    d->counts.corrections++;
    if (kind < 95 && got->base.ids != NULL) {
        return got->base.ids[draw(d, (uint32_t)got->base.n)];
    }
    return (int32_t)draw(d, (uint32_t)d->soak->n_vocab);
}

static costeer_err commit(device *d, costeer_cloud *cloud, int32_t position, int32_t token, costeer_error *err)
{
    int32_t drafts[DRAFTS_MAX];
    int32_t n = costeer_cloud_wants_drafts(cloud, position, token);
    n = n < DRAFTS_MAX ? n : DRAFTS_MAX;
    n = n > 0 ? (int32_t)draw(d, (uint32_t)n + 1) : 0;
    for (int32_t i = 0; i < n; i++) {
        drafts[i] = (int32_t)draw(d, (uint32_t)d->soak->n_vocab);
    }
    return n > 0 ? costeer_cloud_commit_drafts(cloud, position, token, drafts, n, err)
                 : costeer_cloud_commit(cloud, position, token, err);
}

/* One position of a wild answer. False: it is over. */
static bool wild_position(device *d, costeer_cloud *cloud, int32_t position, bool is_last)
{
    static const int32_t depths[] = {16, 64, 512, 1000, 0};
    costeer_error err = {0};
    costeer_distribution got;
    costeer_err code = costeer_cloud_next(cloud, position, &got, &err);
    for (bool deepen = one_in(d, 16); code == COSTEER_OK && deepen && got.base.ids != NULL; deepen = one_in(d, 3)) {
        const int32_t depth = depths[draw(d, 5)];
        if (depth != 0 && depth <= got.base.n) {
            break;
        }
        d->counts.deepenings++;
        code = costeer_cloud_deepen(cloud, position, depth, &got, &err);
    }
    if (code != COSTEER_OK) {
        fail(d, "next or deepen", code, &err);
        return false;
    }
    if (!check(d, &got, position) || is_last) {
        return false;
    }
    d->counts.tokens++;
    if (one_in(d, 60)) {
        d->counts.early_ends++;
        return false;
    }
    const int32_t token = pick_token(d, &got);
    if (costeer_model_is_end(d->soak->model, token)) {
        return false;
    }
    code = commit(d, cloud, position, token, &err);
    if (code != COSTEER_OK) {
        fail(d, "commit", code, &err);
    }
    return code == COSTEER_OK;
}

static void wild_answer(device *d, costeer_cloud *cloud)
{
    static const int32_t depths[] = {1, 8, 8, 64, 64, 64, 0};
    int32_t prompt[PROMPT_MAX];
    costeer_error err = {0};
    costeer_cloud_request request = {.prompt = prompt, .n_prompt = 1 + draw(d, PROMPT_MAX), .top_k = depths[draw(d, 7)]};
    request.max_tokens = 1 + (int32_t)draw(d, ANSWER_MAX);
    for (size_t i = 0; i < request.n_prompt; i++) {
        prompt[i] = (int32_t)draw(d, (uint32_t)d->soak->n_vocab);
    }
    const costeer_err code = costeer_cloud_open(cloud, &request, &err);
    if (code != COSTEER_OK) {
        fail(d, "open", code, &err);
        return;
    }
    for (int32_t p = 0; wild_position(d, cloud, p, p + 1 == request.max_tokens); p++) {
    }
    d->counts.answers++;
}

static costeer_cloud_request witness_request(const witness *w)
{
    return (costeer_cloud_request){
        .prompt = w->prompt, .n_prompt = WITNESS_PROMPT, .top_k = WITNESS_TOP_K, .max_tokens = WITNESS_TOKENS + 1};
}

static void witness_answer(device *d, costeer_cloud *cloud)
{
    const witness *w = &d->witness;
    const costeer_cloud_request request = witness_request(w);
    costeer_error err = {0};
    costeer_err code = costeer_cloud_open(cloud, &request, &err);
    for (int32_t p = 0; code == COSTEER_OK && p < w->n; p++) {
        costeer_distribution got;
        code = costeer_cloud_next(cloud, p, &got, &err);
        if (code == COSTEER_OK && got.own_token != w->own[p] && !w->is_close[p]) {
            fail(d, "witness", COSTEER_EINTERNAL, &(costeer_error){.message = "the LLM's choice is not that of its prompt"});
            break;
        }
        if (code == COSTEER_OK) {
            code = commit(d, cloud, p, w->token[p], &err);
        }
    }
    if (code != COSTEER_OK) {
        fail(d, "witness", code, &err);
    }
    d->counts.witnesses++;
}

/* ---- devices ----------------------------------------------------------------------------------------------------- */

static void *run_device(void *user)
{
    device *d = user;
    while (cs_clock_us() < d->soak->end_us) {
        costeer_native_params params = COSTEER_NATIVE_DEFAULTS;
        params.url = d->soak->url;
        params.ca_file = d->soak->options.ca_file;
        params.timeout_ms = (int32_t)d->soak->options.timeout_ms;
        params.mode = (costeer_cloud_mode)draw(d, 3);
        params.window = 1 + (int32_t)draw(d, 32);
        params.n_drafts = 1 + (int32_t)draw(d, 6);
        params.drafts_with_corrections = one_in(d, 2);
        params.half = one_in(d, 2);
        costeer_cloud *cloud;
        costeer_error err = {0};
        const costeer_err code = costeer_cloud_create_native(d->soak->model, &params, NULL, &cloud, &err);
        if (code == COSTEER_ECLOUD && d->soak->options.cut_ms > 0) {
            d->counts.cut_at_first++; /* the first connection is not tried again by itself */
            continue;
        }
        if (code != COSTEER_OK) {
            fail(d, "connect", code, &err);
            break;
        }
        for (uint32_t n = 1 + draw(d, 4); n > 0 && cs_clock_us() < d->soak->end_us; n--) {
            if (one_in(d, 3)) {
                witness_answer(d, cloud);
            } else {
                wild_answer(d, cloud);
            }
            costeer_cloud_stats stats;
            costeer_cloud_read_stats(cloud, &stats);
            d->counts.reconnects += stats.n_reconnects;
            costeer_cloud_close(cloud);
        }
        costeer_cloud_free(cloud);
    }
    return NULL;
}

/* What a model in this process says to the witness's prompt. */
static bool prepare_witness(device *d, costeer_cloud *local)
{
    witness *w = &d->witness;
    for (size_t i = 0; i < WITNESS_PROMPT; i++) {
        w->prompt[i] = (int32_t)draw(d, (uint32_t)d->soak->n_vocab);
    }
    const costeer_cloud_request request = witness_request(w);
    costeer_error err = {0};
    costeer_err code = costeer_cloud_open(local, &request, &err);
    for (w->n = 0; code == COSTEER_OK && w->n < WITNESS_TOKENS; w->n++) {
        costeer_distribution got;
        code = costeer_cloud_next(local, w->n, &got, &err);
        if (code != COSTEER_OK) {
            break;
        }
        w->own[w->n] = got.own_token;
        w->is_close[w->n] = got.base.values[0] - got.base.values[1] < CLOSE_NATS;
        w->token[w->n] = (w->n + d->number) % 5 == 0 ? got.base.ids[1] : got.base.ids[0];
        if (costeer_model_is_end(d->soak->model, w->token[w->n])) {
            break;
        }
        code = costeer_cloud_commit(local, w->n, w->token[w->n], &err);
    }
    costeer_cloud_close(local);
    if (code != COSTEER_OK) {
        fail(d, "the model in this process", code, &err);
    }
    return code == COSTEER_OK;
}

static bool prepare_devices(soak *s, device *devices)
{
    costeer_model *llm;
    costeer_cloud *local;
    costeer_error err = {0};
    const costeer_local_params params = {.n_threads = 1};
    if (costeer_model_load(s->options.llm, NULL, &llm, &err) != COSTEER_OK) {
        fprintf(stderr, "net_soak: %s\n", err.message);
        return false;
    }
    bool ok = costeer_cloud_create_local(llm, &params, &local, &err) == COSTEER_OK;
    for (int32_t i = 0; ok && i < (int32_t)s->options.n_sessions; i++) {
        devices[i] = (device){.soak = s, .number = i};
        devices[i].random = (uint64_t)s->options.seed * UINT64_C(1000003) + (uint64_t)i + 1;
        ok = prepare_witness(&devices[i], local);
    }
    costeer_cloud_free(local);
    costeer_model_free(llm);
    return ok;
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

static void sleep_ms(int64_t ms)
{
    nanosleep(&(struct timespec){.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}

static int report(const soak *s, const device *devices, int32_t n_started)
{
    counts sum = {0};
    for (int32_t i = 0; i < n_started; i++) {
        const counts *c = &devices[i].counts;
        sum.answers += c->answers;
        sum.tokens += c->tokens;
        sum.corrections += c->corrections;
        sum.deepenings += c->deepenings;
        sum.early_ends += c->early_ends;
        sum.reconnects += c->reconnects;
        sum.witnesses += c->witnesses;
        sum.cut_at_first += c->cut_at_first;
        sum.failures += c->failures;
    }
    printf("%" PRId32 " sessions, %" PRId64 " s: answers %" PRId64 ", witnesses %" PRId64 ", tokens %" PRId64
           ", corrections %" PRId64 ", deepenings %" PRId64 ", early ends %" PRId64 ", connections %" PRId32
           ", cut at first %" PRId64 ", reconnects %" PRId64 ", failures %" PRId64 "\n",
           n_started, s->options.seconds, sum.answers, sum.witnesses, sum.tokens, sum.corrections, sum.deepenings, sum.early_ends,
           net_proxy_connections(s->proxy), sum.cut_at_first, sum.reconnects, sum.failures);
    /* A cut falls into the first handshake of few; if it is most, something else is wrong with connecting. */
    const bool connects = sum.cut_at_first <= 2 * (sum.answers + sum.witnesses);
    const bool did_something = connects && sum.answers > 0 && sum.witnesses > 0 && (s->options.cut_ms == 0 || sum.reconnects > 0);
    return n_started == s->options.n_sessions && did_something && sum.failures == 0 ? 0 : 1;
}

static int run(soak *s)
{
    device *devices = calloc((size_t)s->options.n_sessions, sizeof *devices);
    int32_t n_started = 0;
    if (devices == NULL || !prepare_devices(s, devices)) {
        free(devices);
        return 1;
    }
    s->end_us = cs_clock_us() + s->options.seconds * 1000000;
    while (n_started < s->options.n_sessions &&
           pthread_create(&devices[n_started].thread, NULL, run_device, &devices[n_started]) == 0) {
        n_started++;
    }
    while (cs_clock_us() < s->end_us) {
        sleep_ms(s->options.cut_ms > 0 ? s->options.cut_ms : 200);
        if (s->options.cut_ms > 0 && cs_clock_us() < s->end_us) {
            net_proxy_cut(s->proxy, false);
        }
    }
    for (int32_t i = 0; i < n_started; i++) {
        pthread_join(devices[i].thread, NULL);
    }
    const int exit_code = report(s, devices, n_started);
    free(devices);
    return exit_code;
}

/* ---- command line ------------------------------------------------------------------------------------------------ */

static bool read_option(const char *name, const char *value, options *out)
{
    const struct {
        const char *name;
        int64_t *number;
        int64_t max;
    } numbers[] = {{"--port", &out->port, 65535},       {"--sessions", &out->n_sessions, SESSIONS_MAX},
                   {"--seconds", &out->seconds, 86400}, {"--seed", &out->seed, INT32_MAX},
                   {"--cut-ms", &out->cut_ms, 3600000}, {"--timeout-ms", &out->timeout_ms, 3600000}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(name, numbers[i].name) == 0) {
            return cs_parse_int64(value, numbers[i].number) == CS_PARSE_OK && *numbers[i].number >= 0 &&
                   *numbers[i].number <= numbers[i].max;
        }
    }
    const char **text = strcmp(name, "--model") == 0    ? &out->model
                        : strcmp(name, "--llm") == 0    ? &out->llm
                        : strcmp(name, "--tls-ca") == 0 ? &out->ca_file
                                                        : NULL;
    if (text != NULL) {
        *text = value;
    }
    return text != NULL;
}

int main(int argc, char **argv)
{
    soak s = {.options = {.n_sessions = 64, .seconds = 60, .seed = 1, .cut_ms = 3000, .timeout_ms = 60000}};
    bool ok = argc % 2 == 1;
    for (int i = 1; ok && i + 1 < argc; i += 2) {
        ok = read_option(argv[i], argv[i + 1], &s.options);
    }
    if (!ok || s.options.port < 1 || s.options.n_sessions < 1 || s.options.model == NULL || s.options.llm == NULL) {
        fputs("usage: net_soak --port P --model SLM --llm LLM [--tls-ca FILE] [--sessions N] [--seconds N] [--seed N]\n"
              "                [--cut-ms N] [--timeout-ms N]\n",
              stderr);
        return 2;
    }
    costeer_model *model;
    costeer_error err = {0};
    const net_proxy_params proxy = {
        .target_host = "127.0.0.1", .target_port = (int)s.options.port, .up = NET_PATH_CLEAN, .down = NET_PATH_CLEAN};
    if (costeer_model_load(s.options.model, NULL, &model, &err) != COSTEER_OK || (s.proxy = net_proxy_start(&proxy)) == NULL) {
        fprintf(stderr, "net_soak: cannot begin: %s\n", err.message);
        return 1;
    }
    s.model = model;
    s.n_vocab = costeer_model_get_info(model)->n_vocab;
    snprintf(s.url, sizeof s.url, "ws%s://127.0.0.1:%d", s.options.ca_file != NULL ? "s" : "", net_proxy_port(s.proxy));
    const int exit_code = run(&s);
    net_proxy_stop(s.proxy);
    costeer_model_free(model);
    return exit_code;
}
