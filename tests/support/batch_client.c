/* A batcher under test and the owner of one of its answers: see batch_client.h. */
#include "support/batch_client.h"

#include "support/models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* Far beyond what anything takes, on a loaded machine under a sanitizer too. */
#define PATIENCE_S 600 /* ends a hang */

/* ---- callbacks --------------------------------------------------------------------------------------------------- */

static client_event *copy(const costeer_batch_distribution *d)
{
    client_event *event = calloc(1, sizeof *event);
    const size_t n = (size_t)d->base.n;
    *event = (client_event){.epoch = d->epoch,
                            .position = d->position,
                            .own_token = d->own_token,
                            .is_deepening = d->is_deepening,
                            .is_dense = d->base.ids == NULL,
                            .n = d->base.n,
                            .ids = malloc(n * sizeof(int32_t)),
                            .logprobs = malloc(n * sizeof(float)),
                            .tail = d->base.tail};
    for (size_t i = 0; i < n; i++) {
        event->ids[i] = d->base.ids != NULL ? d->base.ids[i] : (int32_t)i;
        event->logprobs[i] = (float)((double)d->base.values[i] - d->log_normaliser);
    }
    return event;
}

static void on_distribution(void *answer_user, const costeer_batch_distribution *d, void *user)
{
    batch_client *client = answer_user;
    batch_bench *bench = user;
    (void)pthread_mutex_lock(&bench->mutex);
    if (!d->is_deepening || d->epoch > client->last_epoch) { /* positions follow one another within an epoch */
        const bool follows = d->epoch == client->last_epoch
                                 ? d->position == client->last_position + 1
                                 : d->epoch > client->last_epoch && d->position <= client->last_position + 1;
        client->n_out_of_order += follows ? 0 : 1;
        client->last_epoch = d->epoch;
        client->last_position = d->position;
    }
    client->n_out_of_order += client->n_ends; /* nothing comes after the end */
    if (client->n_events < CLIENT_EVENTS) {
        client->events[client->n_events++] = copy(d);
    }
    (void)pthread_cond_broadcast(&bench->changed);
    (void)pthread_mutex_unlock(&bench->mutex);
}

static void on_end(void *answer_user, costeer_err status, const costeer_error *error, const costeer_batch_account *account,
                   void *user)
{
    batch_client *client = answer_user;
    batch_bench *bench = user;
    (void)pthread_mutex_lock(&bench->mutex);
    client->n_ends++;
    client->status = status;
    client->account = *account;
    if (error != NULL) {
        client->error = *error;
    }
    (void)pthread_cond_broadcast(&bench->changed);
    (void)pthread_mutex_unlock(&bench->mutex);
}

static void on_step(const costeer_batch_step *step, void *user)
{
    batch_bench *bench = user;
    (void)pthread_mutex_lock(&bench->mutex);
    if (bench->n_steps < BENCH_STEPS) {
        bench->steps[bench->n_steps++] = *step;
    }
    (void)pthread_cond_broadcast(&bench->changed);
    (void)pthread_mutex_unlock(&bench->mutex);
}

/* ---- the batcher ------------------------------------------------------------------------------------------------- */

void bench_create(batch_bench *bench, const costeer_model *model, costeer_batcher_params params)
{
    memset(bench, 0, sizeof *bench);
    assert_int_equal(pthread_mutex_init(&bench->mutex, NULL), 0);
    assert_int_equal(pthread_cond_init(&bench->changed, NULL), 0);
    params.callbacks =
        (costeer_batch_callbacks){.on_distribution = on_distribution, .on_end = on_end, .on_step = on_step, .user = bench};
    costeer_error err = {0};
    assert_ok(costeer_batcher_create(model, &params, &bench->batcher, &err), &err);
}

void bench_free(batch_bench *bench)
{
    costeer_batcher_free(bench->batcher);
    (void)pthread_mutex_destroy(&bench->mutex);
    (void)pthread_cond_destroy(&bench->changed);
}

int32_t bench_count_steps(batch_bench *bench)
{
    (void)pthread_mutex_lock(&bench->mutex);
    const int32_t n = bench->n_steps;
    (void)pthread_mutex_unlock(&bench->mutex);
    return n;
}

static void wait_changed(batch_bench *bench, const char *what)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    if (pthread_cond_timedwait(&bench->changed, &bench->mutex, &until) != 0) {
        (void)pthread_mutex_unlock(&bench->mutex);
        fail_msg("waited %d s for %s", PATIENCE_S, what);
    }
}

costeer_batch_step bench_step(batch_bench *bench, int32_t number)
{
    (void)pthread_mutex_lock(&bench->mutex);
    while (bench->n_steps <= number) {
        wait_changed(bench, "a step");
    }
    const costeer_batch_step step = bench->steps[number];
    (void)pthread_mutex_unlock(&bench->mutex);
    return step;
}

/* ---- one answer -------------------------------------------------------------------------------------------------- */

void client_open(batch_client *client, batch_bench *bench, const costeer_batch_request *request)
{
    memset(client, 0, sizeof *client);
    client->bench = bench;
    client->last_position = (int32_t)request->n_accepted - 1;
    costeer_error err = {0};
    assert_ok(costeer_batch_open(bench->batcher, request, client, &client->answer, &err), &err);
}

const client_event *client_read(batch_client *client)
{
    (void)pthread_mutex_lock(&client->bench->mutex);
    while (client->n_read >= client->n_events && client->n_ends == 0) {
        wait_changed(client->bench, "a distribution");
    }
    const client_event *event = client->n_read < client->n_events ? client->events[client->n_read++] : NULL;
    (void)pthread_mutex_unlock(&client->bench->mutex);
    if (event == NULL) {
        fail_msg("the answer ended: %s", client->error.message);
    }
    return event;
}

const client_event *client_read_epoch(batch_client *client, int32_t epoch)
{
    const client_event *event = client_read(client);
    while (event->epoch < epoch) {
        event = client_read(client);
    }
    assert_int_equal(event->epoch, epoch);
    return event;
}

bool client_is_idle(batch_client *client)
{
    (void)pthread_mutex_lock(&client->bench->mutex);
    const bool is_idle = client->n_read == client->n_events;
    (void)pthread_mutex_unlock(&client->bench->mutex);
    return is_idle;
}

void client_wait_end(batch_client *client)
{
    (void)pthread_mutex_lock(&client->bench->mutex);
    while (client->n_ends == 0) {
        wait_changed(client->bench, "the end");
    }
    (void)pthread_mutex_unlock(&client->bench->mutex);
}

void client_dispose(batch_client *client)
{
    for (int32_t i = 0; i < client->n_events; i++) {
        free(client->events[i]->ids);
        free(client->events[i]->logprobs);
        free(client->events[i]);
    }
    client->n_events = 0;
}

void client_close(batch_client *client)
{
    costeer_batch_close(client->answer);
    client_wait_end(client);
    assert_int_equal(client->n_ends, 1);
    assert_int_equal(client->n_out_of_order, 0);
    client_dispose(client);
}
