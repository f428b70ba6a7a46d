/* The cloud that is one delta source's expert, and the delta source that is two clouds: order of calls, support, failures. */
#include "cloud/cloud_deltas.h"
#include "cloud/contrast.h"
#include "random.h"
#include "support/fake.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static fake_journal journal;
static fake_deltas source;
static costeer_cloud *contrast;
static char hooked[256];

static void hook_cancel(void *user, const atomic_bool *cancel)
{
    assert_ptr_equal(user, &source);
    (void)strncat(hooked, cancel != NULL ? "cancel " : "no-cancel ", sizeof hooked - strlen(hooked) - 1);
}

static void hook_end(void *user)
{
    assert_ptr_equal(user, &source);
    (void)strncat(hooked, "end ", sizeof hooked - strlen(hooked) - 1);
}

static void hook_stats(const void *user, costeer_cloud_stats *out)
{
    assert_ptr_equal(user, &source);
    out->bytes_up = 77;
}

static int set_up(void **state)
{
    (void)state;
    memset(&journal, 0, sizeof journal);
    hooked[0] = '\0';
    fake_deltas_init(&source, &journal, 1);
    const cs_contrast_hooks hooks = {.set_cancel = hook_cancel, .end = hook_end, .read_stats = hook_stats, .user = &source};
    return cs_contrast_create(&source.source, FAKE_VOCAB, &hooks, &contrast, NULL) == COSTEER_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    costeer_cloud_free(contrast);
    return 0;
}

static const int32_t prompt[] = {5, 6};

static costeer_err open_contrast(const atomic_bool *cancel)
{
    const costeer_cloud_request request = {.prompt = prompt, .n_prompt = 2, .top_k = 3, .max_tokens = 4, .cancel = cancel};
    return costeer_cloud_open(contrast, &request, NULL);
}

static costeer_distribution next(int32_t position)
{
    costeer_distribution out;
    costeer_error err = {.message = ""};
    if (costeer_cloud_next(contrast, position, &out, &err) != COSTEER_OK) {
        fail_msg("next(%d): %s", position, err.message);
    }
    assert_int_equal(out.position, position);
    return out;
}

/* ---- the contrast ------------------------------------------------------------------------------------------------ */

static void test_contrast__drives_its_source_when_a_position_is_asked_for(void **state)
{
    (void)state;
    costeer_delta_source *passive = cs_contrast_deltas(contrast);
    assert_int_equal(passive->n_deltas, 1);
    assert_int_equal(open_contrast(NULL), COSTEER_OK);
    assert_int_equal(passive->ops->begin(passive, NULL), COSTEER_OK);
    assert_string_equal(journal.text, "");
    (void)next(0);
    (void)next(0);
    assert_string_equal(journal.text, "begin ");
    assert_int_equal(costeer_cloud_commit(contrast, 0, 7, NULL), COSTEER_OK);
    assert_int_equal(passive->ops->step(passive, (const int32_t[]){7}, 1, NULL), COSTEER_OK);
    assert_string_equal(journal.text, "begin ");
    (void)next(1);
    assert_string_equal(journal.text, "begin step(7) ");
    costeer_cloud_close(contrast);
    assert_string_equal(journal.text, "begin step(7) ");
}

static void test_contrast__base_and_expert_are_one_row(void **state)
{
    (void)state;
    source.expert[0][9] = 3;
    source.amateur[9] = 1;
    assert_int_equal(open_contrast(NULL), COSTEER_OK);
    const costeer_distribution at = next(0);
    assert_null(at.base.ids);
    assert_ptr_equal(at.base.values, source.expert[0]);
    assert_int_equal(at.base.n, FAKE_VOCAB);
    assert_int_equal(at.own_token, 9);
    costeer_delta delta = {.weight = 5};
    costeer_delta_source *passive = cs_contrast_deltas(contrast);
    passive->ops->read(passive, &delta, 1);
    assert_ptr_equal(delta.expert, source.expert[0]);
    assert_ptr_equal(delta.amateur, source.amateur);
    assert_true(delta.weight == 5);
    costeer_distribution deeper;
    assert_int_equal(costeer_cloud_deepen(contrast, 0, 0, &deeper, NULL), COSTEER_OK);
    assert_ptr_equal(deeper.base.values, at.base.values);
}

/* The fewest most probable tokens that reach p, found one by one. */
static int32_t brute_support(const float *logits, double p, bool *inside)
{
    double sum = 0;
    for (int32_t t = 0; t < FAKE_VOCAB; t++) {
        sum += exp((double)logits[t]);
        inside[t] = false;
    }
    double reached = 0;
    int32_t n = 0;
    while (n < FAKE_VOCAB && (n == 0 || reached < p)) {
        int32_t best = -1;
        for (int32_t t = 0; t < FAKE_VOCAB; t++) {
            best = !inside[t] && (best < 0 || logits[t] > logits[best]) ? t : best;
        }
        inside[best] = true;
        reached += exp((double)logits[best]) / sum;
        n++;
    }
    return n;
}

static void test_contrast__support_is_the_fewest_tokens_that_reach_top_p(void **state)
{
    (void)state;
    struct test_random random = {.state = 31};
    const double top_ps[] = {1e-6, 0.1, 0.5, 0.8, 0.95, 0.9999};
    for (int round = 0; round < 60; round++) {
        const double top_p = top_ps[round % 6];
        const double spread = round % 4 == 0 ? 0.2 : 6; /* flat ones have supports of hundreds */
        for (int32_t t = 0; t < FAKE_VOCAB; t++) {
            source.expert[0][t] = (float)test_random_between(&random, -spread, spread);
            source.expert[0][t] = round % 3 == 0 ? roundf(source.expert[0][t]) : source.expert[0][t]; /* ties */
        }
        bool inside[FAKE_VOCAB];
        const int32_t n = brute_support(source.expert[0], top_p, inside);
        cs_contrast_set_top_p(contrast, top_p);
        assert_int_equal(open_contrast(NULL), COSTEER_OK);
        const costeer_base base = next(0).base;
        assert_non_null(base.ids);
        assert_int_equal(base.n, n);
        double sum = 0;
        for (int32_t i = 0; i < base.n; i++) {
            assert_true(inside[base.ids[i]]);
            assert_true(i == 0 || base.values[i] <= base.values[i - 1]);
            assert_true(base.values[i] <= 0);
            sum += exp((double)base.values[i]);
        }
        assert_true(fabs(sum - 1) < 1e-5);
        assert_true(base.tail == -INFINITY);
        uint64_t scratch[COSTEER_CERTIFY_SCRATCH_WORDS(FAKE_VOCAB)];
        costeer_certificate certificate;
        const costeer_delta delta = {.expert = source.expert[0], .amateur = source.amateur, .weight = -40};
        assert_int_equal(costeer_certify_greedy(&base, &delta, 1, FAKE_VOCAB, -500, scratch, &certificate, NULL), COSTEER_OK);
        assert_true(certificate.certified);
        costeer_cloud_close(contrast);
    }
}

static void test_contrast__a_row_that_is_no_distribution_is_an_error(void **state)
{
    (void)state;
    source.expert[0][3] = NAN;
    cs_contrast_set_top_p(contrast, 0.9);
    assert_int_equal(open_contrast(NULL), COSTEER_OK);
    costeer_distribution out;
    assert_int_equal(costeer_cloud_next(contrast, 0, &out, NULL), COSTEER_ENUMERIC);
    assert_int_equal(costeer_cloud_next(contrast, 0, &out, NULL), COSTEER_ESTATE);
}

static void test_contrast__refuses_calls_out_of_order(void **state)
{
    (void)state;
    costeer_distribution out;
    assert_int_equal(costeer_cloud_next(contrast, 0, &out, NULL), COSTEER_ESTATE);
    assert_int_equal(costeer_cloud_commit(contrast, 0, 1, NULL), COSTEER_ESTATE);
    assert_int_equal(open_contrast(NULL), COSTEER_OK);
    assert_int_equal(open_contrast(NULL), COSTEER_ESTATE);
    assert_int_equal(costeer_cloud_next(contrast, 1, &out, NULL), COSTEER_ESTATE);
    assert_int_equal(costeer_cloud_commit(contrast, 0, 1, NULL), COSTEER_ESTATE);
    assert_int_equal(costeer_cloud_deepen(contrast, 0, 0, &out, NULL), COSTEER_ESTATE);
    (void)next(0);
    assert_int_equal(costeer_cloud_commit(contrast, 0, FAKE_VOCAB, NULL), COSTEER_EINVAL);
    for (int32_t p = 0; p < 3; p++) {
        assert_int_equal(costeer_cloud_commit(contrast, p, 2, NULL), COSTEER_OK);
        assert_int_equal(costeer_cloud_commit(contrast, p, 2, NULL), COSTEER_ESTATE);
        (void)next(p + 1);
    }
    assert_int_equal(costeer_cloud_commit(contrast, 3, 2, NULL), COSTEER_ESTATE); /* max_tokens is 4 */
}

static void test_contrast__can_be_opened_again_after_its_source_failed(void **state)
{
    (void)state;
    source.step = (fake_fault){.at = 1, .code = COSTEER_ECANCELED};
    assert_int_equal(open_contrast(NULL), COSTEER_OK);
    (void)next(0);
    assert_int_equal(costeer_cloud_commit(contrast, 0, 4, NULL), COSTEER_OK);
    costeer_distribution out;
    assert_int_equal(costeer_cloud_next(contrast, 1, &out, NULL), COSTEER_ECANCELED);
    assert_int_equal(costeer_cloud_commit(contrast, 1, 4, NULL), COSTEER_ESTATE);
    costeer_cloud_close(contrast);
    assert_int_equal(open_contrast(NULL), COSTEER_OK);
    (void)next(0);
}

static void test_contrast__tells_those_behind_it_of_cancel_and_end(void **state)
{
    (void)state;
    atomic_bool cancel = false;
    assert_int_equal(open_contrast(&cancel), COSTEER_OK);
    (void)next(0);
    assert_string_equal(hooked, "cancel ");
    costeer_cloud_close(contrast);
    costeer_cloud_close(contrast);
    assert_string_equal(hooked, "cancel end no-cancel ");
    costeer_cloud_stats stats;
    costeer_cloud_read_stats(contrast, &stats);
    assert_int_equal(stats.bytes_up, 77);
}

/* A session that drops the deltas (strength 0) still gets an answer, because the cloud drives itself. */
static void test_contrast__answers_without_deltas_too(void **state)
{
    (void)state;
    static const char *const pieces[] = {NULL};
    const costeer_vocab vocab = fake_vocab(pieces);
    for (int32_t p = 0; p < 3; p++) {
        source.expert[p][10 + p] = 5;
    }
    for (int round = 0; round < 2; round++) {
        costeer_session_params params = COSTEER_SESSION_DEFAULTS;
        params.strength = round == 0 ? 0.0 : 1.0;
        params.max_tokens = 3;
        costeer_session *session = NULL;
        costeer_report report;
        journal.n = 0;
        assert_int_equal(costeer_session_create(contrast, cs_contrast_deltas(contrast), &vocab, &params, &session, NULL),
                         COSTEER_OK);
        assert_int_equal(costeer_session_run(session, prompt, 2, &report, NULL), COSTEER_OK);
        size_t n;
        const int32_t *tokens = costeer_session_tokens(session, &n);
        assert_int_equal(n, 3);
        for (int32_t p = 0; p < 3; p++) {
            assert_int_equal(tokens[p], 10 + p);
        }
        assert_string_equal(journal.text, "begin step(10) step(11) ");
        assert_int_equal(report.cloud.bytes_up, 77);
        costeer_session_free(session);
    }
}

/* ---- two clouds -------------------------------------------------------------------------------------------------- */

static fake_cloud clouds[2];
static costeer_delta_source *pair;

static int set_up_pair(void **state)
{
    (void)state;
    memset(&journal, 0, sizeof journal);
    fake_cloud_init(&clouds[0], &journal);
    fake_cloud_init(&clouds[1], &journal);
    const costeer_cloud_request requests[2] = {{.prompt = prompt, .n_prompt = 1, .top_k = 5, .max_tokens = 8},
                                               {.prompt = prompt, .n_prompt = 2, .top_k = 5, .max_tokens = 8}};
    if (cs_cloud_deltas_create(&clouds[0].cloud, &clouds[1].cloud, FAKE_VOCAB, &pair, NULL) != COSTEER_OK) {
        return -1;
    }
    cs_cloud_deltas_set_requests(pair, &requests[0], &requests[1]);
    return 0;
}

static int tear_down_pair(void **state)
{
    (void)state;
    cs_cloud_deltas_free(pair);
    return 0;
}

static void assert_rows(int32_t position)
{
    costeer_delta delta = {.weight = 2};
    pair->ops->read(pair, &delta, 1);
    assert_ptr_equal(delta.expert, position < 0 ? NULL : clouds[0].logits[position]);
    assert_ptr_equal(delta.amateur, position < 0 ? NULL : clouds[1].logits[position]);
    assert_true(delta.weight == 2);
}

static void begin_pair(void)
{
    assert_int_equal(pair->ops->begin(pair, NULL), COSTEER_OK);
    journal.n = 0;
    journal.text[0] = '\0';
}

static void test_cloud_deltas__tells_both_before_waiting_for_either(void **state)
{
    (void)state;
    assert_rows(-1);
    assert_int_equal(pair->ops->begin(pair, NULL), COSTEER_OK);
    assert_string_equal(journal.text, "close close open(1,0) open(2,0) next(0) next(0) ");
    assert_rows(0);
    journal.n = 0;
    assert_int_equal(pair->ops->step(pair, (const int32_t[]){7}, 1, NULL), COSTEER_OK);
    assert_string_equal(journal.text, "commit(0,7) commit(0,7) next(1) next(1) ");
    assert_rows(1);
    journal.n = 0;
    assert_int_equal(pair->ops->step(pair, (const int32_t[]){8, 9}, 2, NULL), COSTEER_OK);
    assert_string_equal(journal.text, "commit(1,8) commit(1,8) next(2) next(2) commit(2,9) commit(2,9) next(3) next(3) ");
    assert_rows(3);
    journal.n = 0;
    cs_cloud_deltas_end(pair);
    assert_string_equal(journal.text, "close close ");
    assert_rows(-1);
}

/* What a cloud must not send here: some of the tokens, or rounded values. */
static bool sends_some;

static costeer_err next_partly(costeer_cloud *cloud, int32_t position, costeer_distribution *out, costeer_error *err)
{
    (void)err;
    fake_cloud *self = (fake_cloud *)cloud;
    *out = (costeer_distribution){
        .position = position,
        .base = {
            .ids = sends_some ? self->ids : NULL, .values = self->values, .n = FAKE_VOCAB, .error = sends_some ? 0.0F : 1e-4F}};
    return COSTEER_OK;
}

static void test_cloud_deltas__refuses_some_of_the_tokens_and_rounded_values(void **state)
{
    (void)state;
    costeer_cloud_ops ops = *clouds[1].cloud.ops;
    ops.next = next_partly;
    clouds[1].cloud.ops = &ops;
    for (int i = 0; i < 2; i++) {
        sends_some = i == 0;
        costeer_error err = {.message = ""};
        assert_int_equal(pair->ops->begin(pair, &err), COSTEER_ECLOUD);
        assert_non_null(strstr(err.message, "a delta needs all of them"));
        assert_rows(-1);
        assert_int_equal(pair->ops->step(pair, (const int32_t[]){7}, 1, NULL), COSTEER_ESTATE);
    }
    cs_cloud_deltas_end(pair);
    fake_cloud_init(&clouds[1], &journal);
}

static void test_cloud_deltas__has_nothing_after_a_failure_of_either(void **state)
{
    (void)state;
    for (int side = 0; side < 2; side++) {
        begin_pair();
        clouds[side].commit = (fake_fault){.at = 0, .code = COSTEER_ECLOUD};
        assert_int_equal(pair->ops->step(pair, (const int32_t[]){7}, 1, NULL), COSTEER_ECLOUD);
        assert_rows(-1);
        assert_int_equal(pair->ops->step(pair, (const int32_t[]){7}, 1, NULL), COSTEER_ESTATE);
        clouds[side].commit.at = -1;
        clouds[side].next = (fake_fault){.at = 1, .code = COSTEER_ETIMEDOUT};
        begin_pair();
        assert_int_equal(pair->ops->step(pair, (const int32_t[]){7}, 1, NULL), COSTEER_ETIMEDOUT);
        assert_rows(-1);
        clouds[side].next.at = -1;
        clouds[side].open = (fake_fault){.at = 0, .code = COSTEER_ETOOLONG};
        assert_int_equal(pair->ops->begin(pair, NULL), COSTEER_ETOOLONG);
        assert_rows(-1);
        clouds[side].open.at = -1;
    }
    begin_pair();
    assert_rows(0);
}

static void test_cloud_deltas__costs_what_both_cost(void **state)
{
    (void)state;
    clouds[0].stats = (costeer_cloud_stats){.bytes_up = 5, .bytes_down = 70, .n_steps = 3, .round_trip_us = 900};
    clouds[1].stats = (costeer_cloud_stats){.bytes_up = 6, .bytes_down = 80, .n_steps = 4, .round_trip_us = 400};
    costeer_cloud_stats stats;
    cs_cloud_deltas_read_stats(pair, &stats);
    assert_int_equal(stats.bytes_up, 11);
    assert_int_equal(stats.bytes_down, 150);
    assert_int_equal(stats.n_steps, 7);
    assert_int_equal(stats.round_trip_us, 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_contrast__drives_its_source_when_a_position_is_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_contrast__base_and_expert_are_one_row, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_contrast__support_is_the_fewest_tokens_that_reach_top_p, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_contrast__a_row_that_is_no_distribution_is_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_contrast__refuses_calls_out_of_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_contrast__can_be_opened_again_after_its_source_failed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_contrast__tells_those_behind_it_of_cancel_and_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_contrast__answers_without_deltas_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cloud_deltas__tells_both_before_waiting_for_either, set_up_pair, tear_down_pair),
        cmocka_unit_test_setup_teardown(test_cloud_deltas__refuses_some_of_the_tokens_and_rounded_values, set_up_pair,
                                        tear_down_pair),
        cmocka_unit_test_setup_teardown(test_cloud_deltas__has_nothing_after_a_failure_of_either, set_up_pair, tear_down_pair),
        cmocka_unit_test_setup_teardown(test_cloud_deltas__costs_what_both_cost, set_up_pair, tear_down_pair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
