/* SIGINT, SIGTERM and SIGHUP end an answer in good order: the first sets a flag, the second kills. SIGPIPE is an error like
 * others. */
#ifndef CS_CLI_SIGNALS_H
#define CS_CLI_SIGNALS_H

#include <stdatomic.h>
#include <stdbool.h>

/** Install the handlers and put something harmless in the place of closed standard streams; call once, before anything opens a
 * file. */
void cs_signals_install(void);

/** The flag that the first signal sets: give it to the session. */
const atomic_bool *cs_interrupt_flag(void);

bool cs_interrupted(void);

/** Wait until a descriptor can be read; false when a signal came, also one that came just before the call. */
bool cs_interrupt_wait_readable(int fd);

/** 128 + the number of the signal that came; 130 when none did. */
int cs_interrupt_exit_code(void);

#endif
