/*
 * Work that may run for ever, eat memory or crash, done by a process of its own.
 *
 * fork() takes longer the more memory a program has, and a model's weights are much. So a helper is forked before they are read,
 * and forks what does the work.
 */
#ifndef CS_UTIL_CHILD_H
#define CS_UTIL_CHILD_H

#include "util/buffer.h"

#include <stdbool.h>
#include <stddef.h>

/**
 * Runs in the child: it sees the program's memory as it was when the helper was started, so that all it may rely on is `request`.
 * False: nothing came of it.
 */
typedef bool cs_child_work(const char *request, size_t n, cs_buffer *out);

typedef enum cs_child_end {
    CS_CHILD_DONE,
    CS_CHILD_STOPPED, /**< it crashed, or went over a limit */
    CS_CHILD_NONE,    /**< the system gave no process for it */
} cs_child_end;

/** Start the helper where there is none: it costs a millisecond in a small program. It ends with this process. Threads: any. */
void cs_child_prepare(void);

/**
 * Let a child do the work, and collect what it puts into `out`.
 *
 * It has no descriptor of this program, and takes none of its signals. Its processor time is limited to ten seconds, thousands of
 * times what a chat template takes.
 *
 * @param request       [n] copied to the child, followed by a NUL there
 * @param n_bytes_more  how much memory the child may take for the work (limited on Linux only)
 * @param[in,out] out   empty, with a cap: the child's bytes when it is done; a longer result counts as stopped
 * Threads: any, one child at a time. Blocks: until the child ends, two minutes at the most
 */
cs_child_end cs_child_run(cs_child_work *work, const char *request, size_t n, size_t n_bytes_more, cs_buffer *out);

#endif
