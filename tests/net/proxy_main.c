/*
 * The proxy as a program, for tests that are scripts: prints its port, runs until it is killed. With --control it obeys its
 * standard input and ends with it, and so with the script that started it.
 */
#include "tests/net/proxy.h"
#include "util/parse.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: net_proxy --target HOST:PORT [--port P] [--delay-ms X] [--bandwidth BYTES_PER_SECOND]\n"
    "                 [--direction up|down|both] [--cut-at N] [--corrupt-at N] [--stall-at N] [--connections N] [--reorder]\n"
    "                 [--event-ms S [--step-clock]] [--control]\n"
    "Delay and bandwidth are for both ways. Faults are for --direction (down), the first --connections N (all).\n"
    "--event-ms holds the events of streamed answers to POST requests, and answers as a whole, as if an LLM's step took S; with\n"
    "--step-clock in steps that all requests share, and which run to their end.\n"
    "With --control, commands on standard input: 'cut', 'refuse' (cut, and refuse new connections), 'accept' (again), 'clean' "
    "(no\n"
    "faults any more), 'count'. Each is answered with the connections and the bytes up and down so far.\n";

typedef struct arguments {
    char host[64];
    net_proxy_params params;
    net_path fault;
    double delay_ms, event_ms;
    bool up, down, control;
} arguments;

static bool read_number(const char *text, int64_t max, int64_t *out)
{
    return cs_parse_int64(text, out) == CS_PARSE_OK && *out >= 0 && *out <= max;
}

static bool read_ms(const char *text, double *out)
{
    return cs_parse_double(text, out) == CS_PARSE_OK && *out >= 0 && *out <= 60000;
}

static bool read_target(const char *text, arguments *out)
{
    const char *colon = strrchr(text, ':');
    int64_t port;
    if (colon == NULL || (size_t)(colon - text) >= sizeof out->host || !read_number(colon + 1, 65535, &port)) {
        return false;
    }
    memcpy(out->host, text, (size_t)(colon - text));
    out->params.target_host = out->host;
    out->params.target_port = (int)port;
    return true;
}

static bool read_option(const char *name, const char *value, arguments *out)
{
    int64_t number = 0;
    if (strcmp(name, "--target") == 0) {
        return read_target(value, out);
    }
    if (strcmp(name, "--direction") == 0) {
        out->up = strcmp(value, "down") != 0;
        out->down = strcmp(value, "up") != 0;
        return strcmp(value, "up") == 0 || strcmp(value, "down") == 0 || strcmp(value, "both") == 0;
    }
    if (strcmp(name, "--delay-ms") == 0) {
        return read_ms(value, &out->delay_ms);
    }
    if (strcmp(name, "--event-ms") == 0) {
        return read_ms(value, &out->event_ms);
    }
    if (!read_number(value, INT64_MAX, &number)) {
        return false;
    }
    if (strcmp(name, "--port") == 0 && number <= 65535) {
        out->params.port = (int)number;
    } else if (strcmp(name, "--bandwidth") == 0) {
        out->fault.bytes_per_second = number;
    } else if (strcmp(name, "--cut-at") == 0) {
        out->fault.cut_at = number;
    } else if (strcmp(name, "--corrupt-at") == 0) {
        out->fault.corrupt_at = number;
    } else if (strcmp(name, "--stall-at") == 0) {
        out->fault.stall_at = number;
    } else if (strcmp(name, "--connections") == 0 && number <= INT32_MAX) {
        out->params.n_connections_affected = (int32_t)number;
    } else {
        return false;
    }
    return true;
}

static bool read_arguments(int argc, char **argv, arguments *out)
{
    *out = (arguments){.fault = NET_PATH_CLEAN, .down = true};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--reorder") == 0) {
            out->params.reorder = true;
        } else if (strcmp(argv[i], "--step-clock") == 0) {
            out->params.step_clock = true;
        } else if (strcmp(argv[i], "--control") == 0) {
            out->control = true;
        } else if (i + 1 >= argc || !read_option(argv[i], argv[i + 1], out)) {
            return false;
        } else {
            i++;
        }
    }
    const int32_t delay_us = (int32_t)(out->delay_ms * 1000 + 0.5);
    const net_path clean = {delay_us, out->fault.bytes_per_second, -1, -1, -1};
    out->fault.delay_us = delay_us;
    out->params.up = out->up ? out->fault : clean;
    out->params.down = out->down ? out->fault : clean;
    out->params.event_us = (int32_t)(out->event_ms * 1000 + 0.5);
    return out->params.target_host != NULL && (out->params.event_us > 0 || !out->params.step_clock);
}

static void obey(net_proxy *proxy, net_proxy_params *params, const char *line)
{
    if (strcmp(line, "cut\n") == 0) {
        net_proxy_cut(proxy, false);
    } else if (strcmp(line, "refuse\n") == 0) {
        net_proxy_cut(proxy, true);
    } else if (strcmp(line, "accept\n") == 0) {
        net_proxy_set(proxy, params);
    } else if (strcmp(line, "clean\n") == 0) {
        params->up.cut_at = params->up.corrupt_at = params->up.stall_at = -1;
        params->down.cut_at = params->down.corrupt_at = params->down.stall_at = -1;
        net_proxy_set(proxy, params);
    } else if (strcmp(line, "count\n") != 0) {
        fprintf(stderr, "net_proxy: no such command: %s", line);
        return;
    }
    printf("%" PRIi32 " %" PRIi64 " %" PRIi64 "\n", net_proxy_connections(proxy), net_proxy_bytes(proxy, NET_UP),
           net_proxy_bytes(proxy, NET_DOWN));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    arguments given;
    if (!read_arguments(argc, argv, &given)) {
        fputs(usage, stderr);
        return 2;
    }
    net_proxy *proxy = net_proxy_start(&given.params);
    if (proxy == NULL) {
        fprintf(stderr, "net_proxy: cannot start: %s\n", strerror(errno));
        return 1;
    }
    printf("%d\n", net_proxy_port(proxy));
    fflush(stdout);
    char line[64];
    while (!given.control) {
        pause();
    }
    while (fgets(line, sizeof line, stdin) != NULL) {
        obey(proxy, &given.params, line);
    }
    net_proxy_stop(proxy);
    return 0;
}
