#include "support/node_thread.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

/* libwebsockets 4.1.6 keeps the client half of a TLS server's vhost, with the system's certificates in it, when the same process
 * also has a client of its own: once, 700 kB, whichever way the client's TLS is set up. It is not counted as ours. */
static void ignore_leaks(const costeer_node_params *params, bool on)
{
#if defined(__SANITIZE_ADDRESS__)
    if (params->tls_cert != NULL) {
        (on ? __lsan_disable : __lsan_enable)();
    }
#else
    (void)params;
    (void)on;
#endif
}

struct node_thread {
    costeer_node *node;
    pthread_t thread;
    atomic_bool stop;
};

static void *run(void *user)
{
    node_thread *self = user;
    (void)costeer_node_run(self->node, &self->stop, NULL);
    return NULL;
}

node_thread *node_thread_start(const costeer_model *model, const costeer_node_params *params)
{
    costeer_error err = {0};
    node_thread *self = calloc(1, sizeof *self);
    assert_non_null(self);
    ignore_leaks(params, true);
    const costeer_err code = costeer_node_create(model, params, &self->node, &err);
    ignore_leaks(params, false);
    assert_ok(code, &err);
    assert_int_equal(pthread_create(&self->thread, NULL, run, self), 0);
    return self;
}

int node_thread_port(const node_thread *node)
{
    return costeer_node_port(node->node);
}

void node_thread_drain(node_thread *node)
{
    atomic_store(&node->stop, true);
    costeer_node_wake(node->node);
}

void node_thread_stop(node_thread *node)
{
    if (node == NULL) {
        return;
    }
    node_thread_drain(node);
    assert_int_equal(pthread_join(node->thread, NULL), 0);
    costeer_node_free(node->node);
    free(node);
}
