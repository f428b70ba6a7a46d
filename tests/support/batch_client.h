/* A batcher under test, and the owner of one of its answers: keeps what it was told, and checks the order of it. */
#ifndef CS_TEST_BATCH_CLIENT_H
#define CS_TEST_BATCH_CLIENT_H

#include <costeer/batcher.h>
#include <pthread.h>

#define CLIENT_EVENTS 1024
#define BENCH_STEPS   4096

/* A distribution, copied. */
typedef struct client_event {
    int32_t epoch;
    int32_t position;
    int32_t own_token;
    bool is_deepening;
    bool is_dense;
    int32_t n;
    int32_t *ids;    /* [n] */
    float *logprobs; /* [n] */
    float tail;
} client_event;

/* One batcher and what all its callbacks told. */
typedef struct batch_bench {
    costeer_batcher *batcher;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    costeer_batch_step steps[BENCH_STEPS];
    int32_t n_steps;
} batch_bench;

typedef struct batch_client {
    batch_bench *bench;
    costeer_batch_answer *answer;
    client_event *events[CLIENT_EVENTS];
    int32_t n_events;
    int32_t n_read;
    int32_t n_ends;
    int32_t n_out_of_order;
    int32_t last_epoch;
    int32_t last_position;
    costeer_err status;
    costeer_error error;
    costeer_batch_account account;
    int32_t order; /* how many answers had got their first distribution before */
} batch_client;

/* Callbacks of the parameters are set here. */
void bench_create(batch_bench *bench, const costeer_model *model, costeer_batcher_params params);
void bench_free(batch_bench *bench);
int32_t bench_count_steps(batch_bench *bench);
/* Steps from number `from` on, for a look. */
costeer_batch_step bench_step(batch_bench *bench, int32_t number);

void client_open(batch_client *client, batch_bench *bench, const costeer_batch_request *request);
/* The next distribution, in order of arrival; the test fails when none comes for a minute. */
const client_event *client_read(batch_client *client);
/* The next one of this epoch; older ones are dropped as a device does. */
const client_event *client_read_epoch(batch_client *client, int32_t epoch);
/* No distribution is waiting to be read now. */
bool client_is_idle(batch_client *client);
void client_wait_end(batch_client *client);
/* Close, wait for the end, and check that it came once. Frees what was read. */
void client_close(batch_client *client);
void client_dispose(batch_client *client);

#endif
