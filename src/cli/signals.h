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

/** Wait for that, but no longer than `ms`. 1: it can be read; 0: not yet; −1: a signal came. */
int cs_interrupt_wait_readable_for(int fd, int ms);

/** From now on no number of SIGINTs kills: cs_interrupt_take() goes on after each. Other signals are what they were. */
void cs_interrupt_keep_asking(void);

/** From now on a terminal that changes its size, or is ours again (after Ctrl-Z and fg), ends a waiting as a signal does. */
void cs_terminal_watch(void);

/** True when it did since the last call. */
bool cs_terminal_changed(void);

/** True when all that came is SIGINT, and it is forgotten; false: nothing came, or another signal did and stays. */
bool cs_interrupt_take(void);

/** 128 + the number of the signal that came; 130 when none did. */
int cs_interrupt_exit_code(void);

#endif
