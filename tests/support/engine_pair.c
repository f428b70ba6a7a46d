/* One server, one pair, one group of tests: what they share is at file scope here. */
#include "support/engine_pair.h"

#include "support/models.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

llama_server *server;
costeer_model *llm, *slm_model;
costeer_slm *slm;
costeer_cloud *local;

costeer_slm *create_slm(void)
{
    costeer_slm *out = NULL;
    costeer_error err = {0};
    const costeer_slm_params params = {.n_contexts = 1, .n_ctx = N_CTX, .n_threads = 1};
    assert_ok(costeer_slm_create(slm_model, &params, &out, &err), &err);
    return out;
}

int set_up(void **state)
{
    (void)state;
    costeer_error err = {0};
    server = llama_server_start(llama_server_program(), LLM_PATH, N_SLOTS, N_SLOTS * N_CTX);
    llm = load_model(LLM_PATH);
    slm_model = load_model(SLM_PATH);
    const costeer_local_params params = {.n_ctx = N_CTX, .n_threads = 1};
    assert_ok(costeer_cloud_create_local(llm, &params, &local, &err), &err);
    slm = create_slm();
    return 0;
}

int tear_down(void **state)
{
    (void)state;
    costeer_slm_free(slm);
    costeer_cloud_free(local);
    costeer_model_free(slm_model);
    costeer_model_free(llm);
    llama_server_stop(server);
    return 0;
}

const costeer_cloud_mode modes[N_MODES] = {COSTEER_MODE_LOCKSTEP, COSTEER_MODE_STREAMED};
const char *const mode_names[N_MODES] = {"lockstep", "streamed"};

costeer_engine_params to_server(const char *scheme)
{
    static char url[64];
    (void)snprintf(url, sizeof url, "%shttp://127.0.0.1:%d", scheme, llama_server_port(server));
    costeer_engine_params params = COSTEER_ENGINE_DEFAULTS;
    params.url = url;
    params.timeout_ms = TIMEOUT_MS;
    return params;
}

costeer_cloud *connect_mode(costeer_cloud_mode mode)
{
    costeer_cloud *cloud = NULL;
    costeer_error err = {0};
    costeer_engine_params params = to_server("llama-server+");
    params.mode = mode;
    assert_ok(costeer_cloud_create_engine(slm_model, &params, NULL, &cloud, &err), &err);
    return cloud;
}

static bool on_position(const costeer_position *position, void *user)
{
    answer *out = user;
    out->margin[position->position] =
        position->n_best > 1 ? position->best_after_logprob[0] - position->best_after_logprob[1] : INFINITY;
    return true;
}

costeer_session_params greedy(void)
{
    costeer_session_params params = COSTEER_SESSION_DEFAULTS;
    params.max_tokens = MAX_TOKENS;
    params.base_top_k = 64;
    params.details = true;
    return params;
}

/* One answer; asserts nothing, so that any thread may ask. `deltas` NULL: unsteered. */
costeer_err run(costeer_cloud *cloud, costeer_delta_source *deltas, const costeer_tokens *prompt, costeer_session_params params,
                answer *out, costeer_error *err)
{
    *out = (answer){.n = 0};
    params.on_position = on_position;
    params.user = out;
    const costeer_vocab vocab = costeer_model_vocab(slm_model);
    costeer_session *session = NULL;
    costeer_err code = costeer_session_create(cloud, deltas, &vocab, &params, &session, err);
    code = code == COSTEER_OK ? costeer_session_run(session, prompt->ids, prompt->n, &out->report, err) : code;
    if (session != NULL) {
        size_t n;
        const int32_t *tokens = costeer_session_tokens(session, &n);
        memcpy(out->tokens, tokens, n * sizeof *tokens);
        out->n = (int32_t)n;
        costeer_cloud_read_stats(cloud, &out->stats);
    }
    costeer_session_free(session);
    return code;
}

/* `context` NULL: unsteered. */
answer ask(costeer_cloud *cloud, const char *query, const char *context, costeer_session_params params)
{
    answer out;
    costeer_error err = {0};
    costeer_cloud_close(cloud); /* a test that failed may have left it open */
    costeer_tokens amateur = build_prompt(slm_model, NULL, query);
    if (context != NULL) {
        costeer_tokens expert = build_prompt(slm_model, context, query);
        assert_ok(costeer_slm_set_prompts(slm, &amateur, &expert, params.max_tokens, &err), &err);
        costeer_tokens_dispose(&expert);
    }
    assert_ok(run(cloud, context != NULL ? costeer_slm_delta_source(slm) : NULL, &amateur, params, &out, &err), &err);
    costeer_tokens_dispose(&amateur);
    return out;
}

/* Returns whether the answers differ, which they may at a tie. */
bool differ(const answer *a, const answer *b, const char *what)
{
    for (int32_t i = 0; i < a->n && i < b->n; i++) {
        if (a->tokens[i] != b->tokens[i]) {
            const double margin = fmin(a->margin[i], b->margin[i]);
            if (margin >= CLOSE_NATS) {
                fail_msg("%s: another token at position %d, where the best two are %g apart", what, i, margin);
            }
            print_message("%s: another token at position %d, where the best two are %g apart\n", what, i, margin);
            return true;
        }
    }
    assert_int_equal(a->n, b->n);
    return false;
}
