/* A session between fakes: see session_bench.h. */
#include "support/session_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char *const plain_pieces[] = {"", "", "Hello", " ", "world", "!", "\n\n", "Q:", NULL};
const int32_t prompt[3] = {10, 11, 12};

static bool on_text(const char *text, size_t n, void *user)
{
    bench *b = user;
    memcpy(b->text + b->n_text, text, n);
    b->n_text += n;
    return !b->refuse_text;
}

static bool on_position(const costeer_position *position, void *user)
{
    bench *b = user;
    b->positions[b->n_positions++] = *position;
    if (position->position == b->cancel_at) {
        atomic_store(&b->cancel, true);
    }
    return position->position != b->stop_at;
}

void reset(bench *b)
{
    memset(b, 0, sizeof *b);
    fake_cloud_init(&b->cloud, &b->journal);
    fake_deltas_init(&b->deltas, &b->journal, 1);
    b->vocab = fake_vocab(plain_pieces);
    b->params = COSTEER_SESSION_DEFAULTS;
    b->params.strength = 1.0;
    b->params.max_tokens = 8;
    b->params.on_text = on_text;
    b->params.on_position = on_position;
    b->params.user = b;
    b->stop_at = b->cancel_at = -1;
}

int set_up(void **state)
{
    static bench b;
    reset(&b);
    *state = &b;
    return 0;
}

costeer_err run_with(bench *b, costeer_delta_source *deltas)
{
    costeer_session *session;
    b->n_positions = 0;
    assert_int_equal(costeer_session_create(&b->cloud.cloud, deltas, &b->vocab, &b->params, &session, &b->err), COSTEER_OK);
    const costeer_err code = costeer_session_run(session, prompt, 3, &b->report, &b->err);
    const int32_t *tokens = costeer_session_tokens(session, &b->n_tokens);
    memcpy(b->tokens, tokens, b->n_tokens * sizeof *tokens);
    costeer_session_free(session);
    assert_false(b->cloud.is_open);
    return code;
}

costeer_err run(bench *b)
{
    return run_with(b, &b->deltas.source);
}
