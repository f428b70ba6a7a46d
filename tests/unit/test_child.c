/* Work in a child process: what it may take, what it must not do to the program (util/child). */
#include "util/child.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)

static cs_child_end run(cs_child_work *work, const char *request, cs_buffer *out)
{
    *out = (cs_buffer){.cap = 4 * MIB};
    return cs_child_run(work, request, strlen(request), 64 * MIB, out);
}

static void assert_stopped(cs_child_work *work)
{
    cs_buffer out;
    assert_int_equal(run(work, "", &out), CS_CHILD_STOPPED);
    assert_int_equal(out.n_bytes, 0);
}

static bool echo(const char *request, size_t n, cs_buffer *out)
{
    return cs_buffer_append(out, request, n);
}

static void assert_works(void)
{
    cs_buffer out;
    assert_int_equal(run(echo, "some text", &out), CS_CHILD_DONE);
    assert_string_equal(out.bytes, "some text");
    cs_buffer_dispose(&out);
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

static void test_child__gives_its_bytes_back(void **state)
{
    (void)state;
    cs_buffer out;
    assert_works();
    assert_int_equal(run(echo, "", &out), CS_CHILD_DONE);
    assert_int_equal(out.n_bytes, 0);
    cs_buffer_dispose(&out);
    char *large = malloc(4 * MIB + 1);
    assert_non_null(large);
    memset(large, 'x', 4 * MIB);
    large[4 * MIB] = '\0';
    assert_int_equal(run(echo, large, &out), CS_CHILD_DONE);
    assert_string_equal(out.bytes, large);
    cs_buffer_dispose(&out);
    free(large);
}

static bool write_too_much(const char *request, size_t n, cs_buffer *out)
{
    (void)request;
    (void)n;
    out->cap = 5 * MIB;
    char *text = calloc(5, MIB);
    const bool ok = text != NULL && cs_buffer_append(out, text, 5 * MIB);
    free(text);
    return ok;
}

static bool give_up(const char *request, size_t n, cs_buffer *out)
{
    return echo(request, n, out) && false;
}

static void test_child__no_result_counts_as_stopped(void **state)
{
    (void)state;
    assert_stopped(give_up);
    assert_stopped(write_too_much);
    assert_works();
}

/* ---- limits ------------------------------------------------------------------------------------------------------ */

static bool crash(const char *request, size_t n, cs_buffer *out)
{
    (void)request;
    (void)n;
    (void)out;
    return raise(SIGKILL) == 0;
}

static bool run_without_end(const char *request, size_t n, cs_buffer *out)
{
    volatile bool has_ended = false;
    while (!has_ended) {
    }
    return cs_buffer_append(out, request, n);
}

static bool take_memory(const char *request, size_t n, cs_buffer *out)
{
    char *volatile memory = malloc(512 * MIB + n); /* volatile: or a compiler leaves it out */
    const bool is_there = memory != NULL;
    free(memory);
    return is_there && cs_buffer_append(out, request, n);
}

static void test_child__that_crashes_is_stopped(void **state)
{
    (void)state;
    assert_stopped(crash);
    assert_works();
}

static void test_child__that_runs_without_end_is_stopped(void **state)
{
    (void)state;
    assert_stopped(run_without_end);
    assert_works();
}

static void test_child__that_takes_memory_is_stopped(void **state)
{
    (void)state;
#if defined(__linux__)
    assert_stopped(take_memory);
    assert_works();
#else
    (void)take_memory;
    skip();
#endif
}

/* ---- the program ------------------------------------------------------------------------------------------------- */

static bool tell_parent(const char *request, size_t n, cs_buffer *out)
{
    (void)request;
    (void)n;
    const pid_t parent = getppid();
    return cs_buffer_append(out, (const char *)&parent, sizeof parent);
}

static pid_t find_helper(void)
{
    cs_buffer out;
    pid_t helper;
    assert_int_equal(run(tell_parent, "", &out), CS_CHILD_DONE);
    assert_int_equal(out.n_bytes, sizeof helper);
    memcpy(&helper, out.bytes, sizeof helper);
    cs_buffer_dispose(&out);
    return helper;
}

static void test_child__a_killed_helper_is_replaced(void **state)
{
    (void)state;
    const pid_t helper = find_helper();
    assert_int_not_equal(helper, getpid());
    assert_int_equal(kill(helper, SIGKILL), 0);
    assert_works();
    assert_int_not_equal(find_helper(), helper);
}

static void test_child__a_program_that_ignores_its_children_is_no_obstacle(void **state)
{
    (void)state;
    assert_int_equal(kill(find_helper(), SIGKILL), 0);
    void (*before)(int) = signal(SIGCHLD, SIG_IGN);
    assert_works();
    assert_stopped(crash);
    assert_int_equal(kill(find_helper(), SIGKILL), 0);
    assert_works();
    (void)signal(SIGCHLD, before);
}

static void test_child__a_forked_program_gets_a_helper_of_its_own(void **state)
{
    (void)state;
    const pid_t helper = find_helper();
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        cs_buffer out = {.cap = MIB};
        pid_t other = helper;
        const bool ok = cs_child_run(tell_parent, "", 0, MIB, &out) == CS_CHILD_DONE;
        if (ok) {
            memcpy(&other, out.bytes, sizeof other);
        }
        (void)kill(other, other != helper ? SIGKILL : 0);
        _exit(ok && other != helper ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(find_helper(), helper);
}

static bool see_descriptor(const char *request, size_t n, cs_buffer *out)
{
    const bool is_open = fcntl((int)strtol(request, NULL, 10), F_GETFD) >= 0;
    (void)n;
    return cs_buffer_append(out, is_open ? "open" : "closed", is_open ? 4 : 6);
}

static void test_child__has_no_descriptor_of_the_program(void **state)
{
    (void)state;
    const int high = fcntl(STDOUT_FILENO, F_DUPFD, 200);
    assert_int_equal(high, 200);
    assert_int_equal(kill(find_helper(), SIGKILL), 0); /* the next one is forked while it is open */
    cs_buffer out;
    assert_int_equal(run(see_descriptor, "200", &out), CS_CHILD_DONE);
    assert_string_equal(out.bytes, "closed");
    cs_buffer_dispose(&out);
    close(high);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_child__gives_its_bytes_back),
        cmocka_unit_test(test_child__no_result_counts_as_stopped),
        cmocka_unit_test(test_child__that_crashes_is_stopped),
        cmocka_unit_test(test_child__that_runs_without_end_is_stopped),
        cmocka_unit_test(test_child__that_takes_memory_is_stopped),
        cmocka_unit_test(test_child__a_killed_helper_is_replaced),
        cmocka_unit_test(test_child__a_program_that_ignores_its_children_is_no_obstacle),
        cmocka_unit_test(test_child__a_forked_program_gets_a_helper_of_its_own),
        cmocka_unit_test(test_child__has_no_descriptor_of_the_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
