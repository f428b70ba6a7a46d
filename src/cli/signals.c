/*
 * The process's environment at start: signals, standard streams, no crash dumps.
 *
 * The handler only sets a flag. It is installed without SA_RESTART, so that a read from a terminal or pipe ends, and with
 * SA_RESETHAND, so that a second Ctrl-C kills a program that is busy elsewhere.
 */
#include "cli/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <unistd.h>

/* A signal handler can reach nothing but file scope. */
static atomic_bool interrupted;
static volatile sig_atomic_t last_signal;
static atomic_bool changed; /* the terminal */

static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
#define N_NUMBERS (sizeof numbers / sizeof numbers[0])

static void on_signal(int number)
{
    last_signal = number == SIGINT && atomic_load(&interrupted) ? last_signal : number;
    atomic_store(&interrupted, true);
}

static void on_change(int number)
{
    (void)number;
    atomic_store(&changed, true);
}

/*
 * A file opened while a standard stream is closed would get its number, and messages would land in it. The stand-in is opened the
 * wrong way round, so that reading standard input or writing standard output still fails with EBADF.
 */
static void occupy_closed_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) == -1) {
            int got = open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
            (void)got;
        }
    }
}

/*
 * A crash dump would hold the context. A limit of 1 byte is too small for any dump file, and unlike 0 it also stops Linux from
 * piping the dump to a collector (coredump.c takes 1 as "never"). Where the hard limit is 0 it stays 0.
 */
static void forbid_core_dumps(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_CORE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max < 1 ? limit.rlim_max : 1;
        limit.rlim_max = limit.rlim_cur;
        (void)setrlimit(RLIMIT_CORE, &limit);
    }
}

void cs_signals_install(void)
{
    forbid_core_dumps();
    occupy_closed_streams();
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGXFSZ, &action, NULL); /* a file that grows beyond ulimit -f: an error like a full disk */
    action.sa_handler = on_signal;
    action.sa_flags = (int)SA_RESETHAND;
    for (size_t i = 0; i < N_NUMBERS; i++) {
        struct sigaction before;
        /* What nohup or a shell's background job ignores stays ignored. */
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
            sigaction(numbers[i], &action, NULL);
        }
    }
}

const atomic_bool *cs_interrupt_flag(void)
{
    return &interrupted;
}

bool cs_interrupted(void)
{
    return atomic_load(&interrupted);
}

static void block_ours(sigset_t *before)
{
    sigset_t ours;
    sigemptyset(&ours);
    for (size_t i = 0; i < N_NUMBERS; i++) {
        sigaddset(&ours, numbers[i]);
    }
    pthread_sigmask(SIG_BLOCK, &ours, before);
}

/* A signal between the check of the flag and a blocking read would be lost: they are let through only inside pselect(). */
static int wait_readable(int fd, const struct timespec *timeout)
{
    sigset_t before;
    block_ours(&before);
    int result = cs_interrupted() ? -1 : 1;
    if (result > 0 && fd < FD_SETSIZE) {
        fd_set readable;
        FD_ZERO(&readable);
        FD_SET(fd, &readable);
        const int n = pselect(fd + 1, &readable, NULL, NULL, timeout, &before);
        result = n > 0 || (n < 0 && errno != EINTR) ? 1 : n;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

bool cs_interrupt_wait_readable(int fd)
{
    return wait_readable(fd, NULL) > 0;
}

int cs_interrupt_wait_readable_for(int fd, int ms)
{
    const struct timespec timeout = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    return wait_readable(fd, &timeout);
}

void cs_interrupt_keep_asking(void)
{
    struct sigaction action;
    if (sigaction(SIGINT, NULL, &action) == 0 && action.sa_handler == on_signal) {
        action.sa_flags &= ~(int)SA_RESETHAND;
        sigaction(SIGINT, &action, NULL);
    }
}

void cs_terminal_watch(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = on_change;
    action.sa_flags = SA_RESTART; /* pselect() ends all the same */
    sigaction(SIGCONT, &action, NULL);
    sigaction(SIGWINCH, &action, NULL);
}

bool cs_terminal_changed(void)
{
    return atomic_exchange(&changed, false);
}

bool cs_interrupt_take(void)
{
    sigset_t before;
    block_ours(&before);
    const bool is_taken = cs_interrupted() && last_signal == SIGINT;
    if (is_taken) {
        atomic_store(&interrupted, false);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return is_taken;
}

int cs_interrupt_exit_code(void)
{
    return 128 + (last_signal != 0 ? (int)last_signal : SIGINT);
}
