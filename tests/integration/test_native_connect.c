/* Connecting to a cloud node: every reason why it does not work has its own message, and the token goes nowhere it should not. */
#include "support/fake_node.h"
#include "support/gguf_edit.h"
#include "support/node_thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMEOUT_MS 600000 /* no test waits for it */

static costeer_model *model;

static int load(void **state)
{
    (void)state;
    model = load_model(SLM_PATH);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    costeer_model_free(model);
    return 0;
}

static costeer_native_params to(const char *scheme, const char *host, int port)
{
    static char url[128];
    (void)snprintf(url, sizeof url, "%s://%s:%d", scheme, host, port);
    costeer_native_params params = COSTEER_NATIVE_DEFAULTS;
    params.url = url;
    params.timeout_ms = TIMEOUT_MS;
    return params;
}

static void assert_refused(const costeer_native_params *params, costeer_err code, const char *why)
{
    costeer_cloud *cloud = NULL;
    costeer_error err = {0};
    const costeer_err got = costeer_cloud_create_native(model, params, NULL, &cloud, &err);
    if (got != code || strstr(err.message, why) == NULL) {
        fail_msg("%s: \"%s\" is not %s with \"%s\"", costeer_err_name(got), err.message, costeer_err_name(code), why);
    }
    assert_null(cloud);
}

static void assert_accepted(const costeer_native_params *params)
{
    costeer_cloud *cloud = NULL;
    costeer_error err = {0};
    assert_ok(costeer_cloud_create_native(model, params, NULL, &cloud, &err), &err);
    costeer_cloud_free(cloud);
}

/* ---- parameters --------------------------------------------------------------------------------------------------- */

static void test_native__refuses_bad_parameters(void **state)
{
    (void)state;
    costeer_native_params params = to("ws", "127.0.0.1", 1);
    params.window = 0;
    assert_refused(&params, COSTEER_EINVAL, "window");
    params = to("ws", "127.0.0.1", 1);
    params.n_drafts = COSTEER_WIRE_DRAFTS_MAX + 1;
    assert_refused(&params, COSTEER_EINVAL, "n_drafts");
    params = to("ws", "127.0.0.1", 1);
    params.timeout_ms = 0;
    assert_refused(&params, COSTEER_EINVAL, "timeout_ms");
    params = to("http", "127.0.0.1", 1);
    assert_refused(&params, COSTEER_EINVAL, "wss://");
    params = to("ws", "127.0.0.1", 1);
    params.token = "a\r\nb";
    assert_refused(&params, COSTEER_EINVAL, "cannot be sent");
    params = to("ws", "192.0.2.1", 1);
    params.token = "secret";
    assert_refused(&params, COSTEER_EINVAL, "not sent over plain ws://");
    params = to("wss", "127.0.0.1", 1);
    params.ca_file = TMP_PATH("no-such.pem");
    assert_refused(&params, COSTEER_EIO, "no-such.pem");
}

/* ---- no node ------------------------------------------------------------------------------------------------------- */

static void say_nothing(fake_peer *peer, int n_connection, void *user)
{
    (void)n_connection;
    (void)user;
    fake_wait(peer);
}

static void test_native__tells_who_answers_instead_of_a_node(void **state)
{
    (void)state;
    static const struct {
        const char *reply, *why;
    } cases[] = {
        {"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "bearer token"},
        {"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "bearer token"},
        {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP 404"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP 200"},
        {"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", ""},
        {"SSH-2.0-OpenSSH_9.2\r\n", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fake_node *node = fake_node_start(&(fake_node_params){.model = model, .reply = cases[i].reply});
        const costeer_native_params params = to("ws", "127.0.0.1", fake_node_port(node));
        assert_refused(&params, COSTEER_ECLOUD, cases[i].why);
        assert_int_equal(fake_node_connections(node), 1);
        fake_node_stop(node);
    }
    fake_node *node = fake_node_start(&(fake_node_params){.model = model, .subprotocol = "", .script = say_nothing});
    costeer_native_params params = to("ws", "127.0.0.1", fake_node_port(node));
    assert_refused(&params, COSTEER_ECLOUD, "subprotocol");
    params.timeout_ms = 300;
    fake_node_stop(node);
    assert_refused(&params, COSTEER_ECLOUD, "cannot be reached");
    params = to("ws", "no-such-host.invalid", 1);
    assert_refused(&params, COSTEER_ECLOUD, "no such host");
}

static void test_native__a_node_that_says_no_hello_times_out(void **state)
{
    (void)state;
    fake_node *node = fake_node_start(&(fake_node_params){.model = model, .script = say_nothing});
    costeer_native_params params = to("ws", "127.0.0.1", fake_node_port(node));
    params.timeout_ms = 200;
    assert_refused(&params, COSTEER_ETIMEDOUT, "--timeout-ms");
    fake_node_stop(node);
}

static void say_wrong_hello(fake_peer *peer, int n_connection, void *user)
{
    (void)n_connection;
    costeer_frame hello = fake_hello(peer);
    const char *what = user;
    if (strcmp(what, "vocabulary") == 0) {
        hello.as.hello.vocab_sha256[0] ^= 0xFF;
        fake_send(peer, &hello);
    } else if (strcmp(what, "version") == 0) {
        fake_send_bytes(peer, 0x82, (const uint8_t[]){COSTEER_FRAME_HELLO, 2, 1}, 3);
    } else {
        fake_send_distribution(peer, 0, 0, 4);
    }
    fake_wait(peer);
}

static void test_native__another_vocabulary_or_version_is_named(void **state)
{
    (void)state;
    static const struct {
        char what[16];
        costeer_err code;
        const char *why;
    } cases[] = {{"vocabulary", COSTEER_EPAIR, "different vocabularies"},
                 {"version", COSTEER_ECLOUD, "hello: version"},
                 {"no hello", COSTEER_ECLOUD, "distribution"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char what[16];
        memcpy(what, cases[i].what, sizeof what);
        fake_node *node = fake_node_start(&(fake_node_params){.model = model, .script = say_wrong_hello, .user = what});
        const costeer_native_params params = to("ws", "127.0.0.1", fake_node_port(node));
        assert_refused(&params, cases[i].code, cases[i].why);
        fake_node_stop(node);
    }
}

static void test_native__a_real_node_with_another_vocabulary_is_refused(void **state)
{
    (void)state;
    gguf_edit *edit = gguf_edit_open(SLM_PATH);
    gguf_edit_rename_token(edit, 500, "another");
    gguf_edit_write(edit, TMP_PATH("native-other-vocab.gguf"), false);
    costeer_model *other = load_model(TMP_PATH("native-other-vocab.gguf"));
    costeer_node_params node_params = COSTEER_NODE_DEFAULTS;
    node_params.port = 0;
    node_params.drain_timeout_ms = 100;
    node_thread *node = node_thread_start(other, &node_params);
    const costeer_native_params params = to("ws", "127.0.0.1", node_thread_port(node));
    assert_refused(&params, COSTEER_EPAIR, "different vocabularies");
    node_thread_stop(node);
    costeer_model_free(other);
}

/* ---- token and TLS ------------------------------------------------------------------------------------------------- */

static bool keep_line(const char *line, size_t n, void *user)
{
    char *out = user;
    const size_t used = strlen(out);
    assert_true(used + n + 2 < 65536);
    memcpy(out + used, line, n);
    out[used + n] = '\n';
    out[used + n + 1] = '\0';
    return true;
}

static void test_native__the_token_is_shown_to_the_node_and_to_nobody_else(void **state)
{
    (void)state;
    costeer_node_params node_params = COSTEER_NODE_DEFAULTS;
    node_params.port = 0;
    node_params.token = "correct-horse";
    node_params.drain_timeout_ms = 100;
    node_thread *node = node_thread_start(model, &node_params);
    static char audit[65536];
    costeer_native_params params = to("ws", "127.0.0.1", node_thread_port(node));
    params.audit = keep_line;
    params.audit_user = audit;
    assert_refused(&params, COSTEER_ECLOUD, "wants a bearer token");
    params.token = "wrong-horse";
    assert_refused(&params, COSTEER_ECLOUD, "does not accept the bearer token");
    params.token = "correct-horse";
    assert_accepted(&params);
    assert_non_null(strstr(audit, "\"token_shown\":true"));
    assert_null(strstr(audit, "horse"));
    node_thread_stop(node);
}

/* Trust and names, against a node with a development certificate. */
static void test_native__tls_is_verified(void **state)
{
    (void)state;
    costeer_error err = {0};
    char folder[] = TMP_PATH("native-tls-XXXXXX"), other_folder[] = TMP_PATH("native-tls-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_non_null(mkdtemp(other_folder));
    assert_ok(costeer_node_init_tls(folder, &err), &err);
    assert_ok(costeer_node_init_tls(other_folder, &err), &err);
    char ca[256], other_ca[256], cert[256], key[256];
    (void)snprintf(ca, sizeof ca, "%s/ca.pem", folder);
    (void)snprintf(other_ca, sizeof other_ca, "%s/ca.pem", other_folder);
    (void)snprintf(cert, sizeof cert, "%s/node.pem", folder);
    (void)snprintf(key, sizeof key, "%s/node-key.pem", folder);
    costeer_node_params node_params = COSTEER_NODE_DEFAULTS;
    node_params.port = 0;
    node_params.address = "0.0.0.0";
    node_params.tls_cert = cert;
    node_params.tls_key = key;
    node_params.drain_timeout_ms = 100;
    node_thread *node = node_thread_start(model, &node_params);
    const int port = node_thread_port(node);
    costeer_native_params params = to("wss", "127.0.0.1", port);
    params.ca_file = ca;
    assert_accepted(&params); /* an address in the certificate */
    params = to("wss", "localhost", port);
    params.ca_file = ca;
    assert_accepted(&params); /* a name */
    params.ca_file = other_ca;
    assert_refused(&params, COSTEER_ECLOUD, other_ca);
    params.ca_file = NULL;
    assert_refused(&params, COSTEER_ECLOUD, "--cloud-ca");
    params = to("wss", "127.0.0.2", port);
    params.ca_file = ca;
    assert_refused(&params, COSTEER_ECLOUD, "another host than 127.0.0.2");
    params = to("ws", "127.0.0.1", port);
    assert_refused(&params, COSTEER_ECLOUD, "a node with TLS is reached with wss://");
    node_thread_stop(node);
    node_params.tls_cert = node_params.tls_key = NULL;
    node_params.address = "127.0.0.1";
    node = node_thread_start(model, &node_params);
    params = to("wss", "127.0.0.1", node_thread_port(node));
    params.ca_file = ca;
    assert_refused(&params, COSTEER_ECLOUD, "a node without TLS is reached with ws://");
    node_thread_stop(node);
}

/* A program's environment is not the library's business: a proxy named there would see everything that ws:// carries. */
static void test_native__the_environments_proxy_is_not_used(void **state)
{
    (void)state;
    costeer_node_params node_params = COSTEER_NODE_DEFAULTS;
    node_params.port = 0;
    node_params.drain_timeout_ms = 100;
    node_thread *node = node_thread_start(model, &node_params);
    assert_int_equal(setenv("http_proxy", "127.0.0.1:1", 1), 0);
    const costeer_native_params params = to("ws", "127.0.0.1", node_thread_port(node));
    assert_accepted(&params);
    assert_int_equal(unsetenv("http_proxy"), 0);
    node_thread_stop(node);
}

/* ---- between answers ---------------------------------------------------------------------------------------------- */

static void answer_a_word(costeer_cloud *cloud, costeer_cloud_stats *stats)
{
    const int32_t prompt[] = {300, 301, 302};
    const costeer_cloud_request request = {.prompt = prompt, .n_prompt = 3, .max_tokens = 2, .top_k = 8};
    costeer_distribution got;
    costeer_error err = {0};
    assert_ok(costeer_cloud_open(cloud, &request, &err), &err);
    assert_ok(costeer_cloud_next(cloud, 0, &got, &err), &err);
    costeer_cloud_read_stats(cloud, stats);
    costeer_cloud_close(cloud);
}

/* Two answers, with a pause of three times what a node waits for a word. How often the second had to connect anew. */
static int32_t count_reconnects(int32_t idle_ms, bool keeps)
{
    costeer_node_params node_params = COSTEER_NODE_DEFAULTS;
    node_params.port = 0;
    node_params.drain_timeout_ms = 100;
    node_params.idle_timeout_ms = idle_ms;
    node_thread *node = node_thread_start(model, &node_params);
    const costeer_native_params params = to("ws", "127.0.0.1", node_thread_port(node));
    costeer_cloud *cloud = NULL;
    costeer_cloud_stats stats;
    costeer_error err = {0};
    assert_ok(costeer_cloud_create_native(model, &params, NULL, &cloud, &err), &err);
    answer_a_word(cloud, &stats);
    assert_int_equal(stats.n_reconnects, 0);
    for (int i = 0; i < 30; i++) {
        if (keeps) {
            costeer_cloud_keep(cloud);
        }
        const struct timespec pause = {.tv_sec = idle_ms / 10000, .tv_nsec = (long)(idle_ms % 10000) * 100000};
        (void)nanosleep(&pause, NULL);
    }
    answer_a_word(cloud, &stats);
    costeer_cloud_free(cloud);
    node_thread_stop(node);
    return stats.n_reconnects;
}

static void test_native__a_connection_that_is_kept_outlasts_the_idle_timeout(void **state)
{
    (void)state;
    assert_int_equal(count_reconnects(500, false), 1); /* given up by the node; the next answer comes all the same */
    /* A machine too busy to say a word in half a second gets more time. */
    assert_true(count_reconnects(500, true) == 0 || count_reconnects(20000, true) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_native__refuses_bad_parameters),
        cmocka_unit_test(test_native__tells_who_answers_instead_of_a_node),
        cmocka_unit_test(test_native__a_node_that_says_no_hello_times_out),
        cmocka_unit_test(test_native__another_vocabulary_or_version_is_named),
        cmocka_unit_test(test_native__a_real_node_with_another_vocabulary_is_refused),
        cmocka_unit_test(test_native__the_token_is_shown_to_the_node_and_to_nobody_else),
        cmocka_unit_test(test_native__tls_is_verified),
        cmocka_unit_test(test_native__the_environments_proxy_is_not_used),
        cmocka_unit_test(test_native__a_connection_that_is_kept_outlasts_the_idle_timeout),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
