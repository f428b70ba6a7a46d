/* A real node in the test's process, on a thread of its own, and a session that talks to a cloud. */
#ifndef CS_TEST_NODE_THREAD_H
#define CS_TEST_NODE_THREAD_H

#include "support/models.h"

typedef struct node_thread node_thread;

/** Start a node; the test fails when that fails. A port of 0 is set to the one it listens on. */
node_thread *node_thread_start(const costeer_model *model, const costeer_node_params *params);
int node_thread_port(const node_thread *node);

/** Ask it to drain, without waiting for it. */
void node_thread_drain(node_thread *node);
void node_thread_stop(node_thread *node);

#endif
