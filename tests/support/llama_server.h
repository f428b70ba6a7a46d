/* A real llama-server with the built-in LLM, as a child process that does not outlive the test. */
#ifndef CS_TEST_LLAMA_SERVER_H
#define CS_TEST_LLAMA_SERVER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct llama_server llama_server;

/** The program, from the environment (LLAMA_SERVER); NULL: there is none. */
const char *llama_server_program(void);

/** Start it on a free port and wait until it is healthy; the test fails when it does not come up. Stop it with
 * llama_server_stop(). */
llama_server *llama_server_start(const char *program, const char *model_path, int n_slots, int n_ctx);
void llama_server_stop(llama_server *server); /* NULL is allowed */

int llama_server_port(const llama_server *server);

/** Answers under way, as /slots tells; −1: it does not answer. */
int llama_server_n_busy(const llama_server *server);

#endif
