/* URLs of cloud nodes: what is taken apart, and what is refused with its reason. */
#include "cloud/native_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static cs_native_url parse(const char *text)
{
    cs_native_url url;
    costeer_error err = {0};
    if (cs_native_url_parse(text, &url, &err) != COSTEER_OK) {
        fail_msg("%s: %s", text, err.message);
    }
    return url;
}

static void assert_refused(const char *text, const char *why)
{
    cs_native_url url;
    costeer_error err = {0};
    assert_int_equal(cs_native_url_parse(text, &url, &err), COSTEER_EINVAL);
    if (strstr(err.message, why) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.message, why);
    }
}

static cs_native_url parse_http(const char *text)
{
    cs_native_url url;
    costeer_error err = {0};
    if (cs_native_url_parse_http(text, &url, &err) != COSTEER_OK) {
        fail_msg("%s: %s", text, err.message);
    }
    return url;
}

static void assert_http_refused(const char *text, const char *why)
{
    cs_native_url url;
    costeer_error err = {0};
    assert_int_equal(cs_native_url_parse_http(text, &url, &err), COSTEER_EINVAL);
    if (strstr(err.message, why) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.message, why);
    }
}

static void test_native_url__is_taken_apart(void **state)
{
    (void)state;
    const cs_native_url url = parse("wss://node.example.org:8790/llm/v1?x=1");
    assert_true(url.is_tls);
    assert_false(url.is_address || url.is_loopback);
    assert_string_equal(url.host, "node.example.org");
    assert_int_equal(url.port, 8790);
    assert_string_equal(url.path, "/llm/v1?x=1");
    assert_int_equal(parse("ws://a").port, 80);
    assert_int_equal(parse("WSS://a/").port, 443);
    assert_string_equal(parse("ws://a:1").path, "/");
}

static void test_native_url__knows_addresses_and_loopback(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host, *header;
        bool is_address, is_ipv6, is_loopback;
    } cases[] = {{"ws://127.0.0.1:1", "127.0.0.1", "127.0.0.1:1", true, false, true},
                 {"ws://127.9.8.7:1", "127.9.8.7", "127.9.8.7:1", true, false, true},
                 {"ws://128.0.0.1:1", "128.0.0.1", "128.0.0.1:1", true, false, false},
                 {"ws://[::1]:1", "::1", "[::1]:1", true, true, true},
                 {"ws://[2001:db8::1]:1", "2001:db8::1", "[2001:db8::1]:1", true, true, false},
                 {"ws://LocalHost:1", "LocalHost", "LocalHost:1", false, false, true},
                 {"ws://localhost.example.org:1", "localhost.example.org", "localhost.example.org:1", false, false, false},
                 {"ws://127.0.0.1.example.org:1", "127.0.0.1.example.org", "127.0.0.1.example.org:1", false, false, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const cs_native_url url = parse(cases[i].text);
        char header[300];
        cs_native_url_host_header(&url, header, sizeof header);
        assert_string_equal(url.host, cases[i].host);
        assert_string_equal(header, cases[i].header);
        assert_int_equal(url.is_address, cases[i].is_address);
        assert_int_equal(url.is_ipv6, cases[i].is_ipv6);
        assert_int_equal(url.is_loopback, cases[i].is_loopback);
    }
}

static void test_native_url__refuses_what_it_does_not_know(void **state)
{
    (void)state;
    assert_refused(NULL, "is missing");
    assert_refused("", "neither wss:// nor ws://");
    assert_refused("https://a:1", "neither wss:// nor ws://");
    assert_refused("wss:/a:1", "neither wss:// nor ws://");
    assert_refused("ws://", "no host");
    assert_refused("ws://:80", "no host");
    assert_refused("ws://[]:80", "no host");
    assert_refused("ws://[::1:80", "without a ']'");
    assert_refused("ws://::1:80", "no host");
    assert_refused("ws://[127.0.0.1]:80", "neither a name nor an address");
    assert_refused("ws://a b:80", "neither a name nor an address");
    assert_refused("ws://a\r\nX: y:80", "neither a name nor an address");
    assert_refused("ws://user:secret@a:80", "user name");
    assert_refused("ws://a:", "port");
    assert_refused("ws://a:0", "port");
    assert_refused("ws://a:65536", "port");
    assert_refused("ws://a:+80", "port");
    assert_refused("ws://a:80x", "port");
    assert_refused("ws://a:80?x", "no '/'");
    assert_refused("ws://a:80/x#y", "path");
    assert_refused("ws://a:80/x y", "path");
    assert_refused("ws://[::1]x:80", "behind its host");
    char text[2000];
    (void)snprintf(text, sizeof text, "ws://%0254d:80", 0);
    assert_refused(text, "253");
    (void)snprintf(text, sizeof text, "ws://a:80/%01024d", 0);
    assert_refused(text, "1,024");
}

static void test_native_url__an_engines_is_http(void **state)
{
    (void)state;
    const cs_native_url url = parse_http("https://api.example.org:8443/v1/?x=1");
    assert_true(url.is_http && url.is_tls);
    assert_false(url.is_address || url.is_loopback);
    assert_string_equal(url.host, "api.example.org");
    assert_int_equal(url.port, 8443);
    assert_string_equal(url.path, "/v1/?x=1");
    assert_int_equal(parse_http("HTTPS://a").port, 443);
    assert_int_equal(parse_http("http://a/").port, 80);
    assert_false(parse_http("http://a").is_tls);
    assert_string_equal(parse_http("http://a:1").path, "/");
    assert_true(parse_http("http://127.0.0.1:8080").is_loopback);
    const cs_native_url six = parse_http("http://[::1]:30000/base");
    assert_true(six.is_http && six.is_address && six.is_ipv6 && six.is_loopback);
    assert_string_equal(six.host, "::1");
    assert_false(parse("ws://a").is_http || parse("wss://a").is_http);
}

static void test_native_url__each_protocol_has_its_own_schemes(void **state)
{
    (void)state;
    assert_http_refused(NULL, "is missing; write https://host:port or http://host:port");
    assert_http_refused("", "neither https:// nor http://");
    assert_http_refused("ws://a:1", "neither https:// nor http://");
    assert_http_refused("wss://a:1", "neither https:// nor http://");
    assert_http_refused("http:/a:1", "neither https:// nor http://");
    assert_http_refused("vllm+http://a:1", "neither https:// nor http://");
    assert_refused("http://a:1", "neither wss:// nor ws://");
    assert_http_refused("http://", "no host");
    assert_http_refused("http://key@a:80", "user name; a token or key comes from a file; write https://");
    assert_http_refused("http://a:70000", "port");
    assert_http_refused("http://a:80?x", "no '/'");
    assert_http_refused("http://a/x#y", "path");
    assert_http_refused("http://a/x\r\nX: y", "path");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_native_url__is_taken_apart),
        cmocka_unit_test(test_native_url__knows_addresses_and_loopback),
        cmocka_unit_test(test_native_url__refuses_what_it_does_not_know),
        cmocka_unit_test(test_native_url__an_engines_is_http),
        cmocka_unit_test(test_native_url__each_protocol_has_its_own_schemes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
