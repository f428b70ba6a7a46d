/* Methods, settings and sweeps become the items of a run, each with its label and strength. */
#include <costeer/eval.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* needs the ones above before it */

static const costeer_method *methods[16];
static costeer_eval_sweep sweeps[4];

/* Parameters with the methods of a list that ends with NULL. */
static costeer_eval_items_params params_of(const char *const *names)
{
    size_t n = 0;
    for (; names[n] != NULL; n++) {
        methods[n] = costeer_method_find(names[n]);
        assert_non_null(methods[n]);
    }
    return (costeer_eval_items_params){
        .methods = methods, .n_methods = n, .settings = COSTEER_METHOD_SETTINGS_NONE, .top_p = NAN, .sweeps = sweeps};
}

static void add_sweep(costeer_eval_items_params *params, const char *text)
{
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_eval_sweep_parse(text, &sweeps[params->n_sweeps++], &err) != COSTEER_OK) {
        fail_msg("%s", err.message);
    }
}

static costeer_eval_item *create(const costeer_eval_items_params *params, size_t n_wanted)
{
    costeer_eval_item *items;
    size_t n;
    costeer_error err = {.code = COSTEER_OK};
    if (costeer_eval_items_create(params, &items, &n, &err) != COSTEER_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(n, n_wanted);
    return items;
}

static void refuse(const costeer_eval_items_params *params, const char *part)
{
    costeer_eval_item *items;
    size_t n;
    costeer_error err = {.code = COSTEER_OK};
    assert_int_equal(costeer_eval_items_create(params, &items, &n, &err), COSTEER_EINVAL);
    assert_null(items);
    if (strstr(err.message, part) == NULL) {
        fail_msg("\"%s\" does not tell \"%s\"", err.message, part);
    }
}

static void test_items__are_the_methods_with_their_published_weights(void **state)
{
    (void)state;
    const char *const names[] = {"llm", "costeer", "lightcosteer", "linear-alignment", "amulet", NULL};
    const double strengths[] = {0.0, 1.78325684, 0.47619048, 2.0, 4.64869901};
    const costeer_eval_items_params params = params_of(names);
    costeer_eval_item *items = create(&params, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(items[i].label, names[i]);
        assert_true(fabs(items[i].strength - strengths[i]) < 1e-8);
        assert_null(items[i].parameter);
    }
    assert_true(items[3].top_p == 0.95 && items[4].top_p == 1.0);
    free(items);
}

static void test_items__settings_go_to_the_methods_that_have_them(void **state)
{
    (void)state;
    const char *const names[] = {"llm", "costeer", "lightcosteer", "linear-alignment", NULL};
    costeer_eval_items_params params = params_of(names);
    params.settings.T = 1;
    params.top_p = 0.8;
    costeer_eval_item *items = create(&params, 4);
    assert_true(fabs(items[1].strength - 1.0 / 2.1) < 1e-12);
    assert_true(fabs(items[2].strength - 1.0 / 2.1) < 1e-12);
    assert_true(items[3].strength == 2.0 && items[3].top_p == 0.8 && items[1].top_p == 1.0);
    free(items);
    params.settings = COSTEER_METHOD_SETTINGS_NONE;
    params.settings.weight = 0.5;
    items = create(&params, 4);
    assert_true(items[0].strength == 0.0 && items[1].strength == 0.5 && items[2].strength == 0.5 && items[3].strength == 0.5);
    free(items);
}

static void test_sweep__gives_a_label_and_a_strength_for_each_value(void **state)
{
    (void)state;
    const char *const names[] = {"llm", "costeer", NULL};
    costeer_eval_items_params params = params_of(names);
    add_sweep(&params, "strength=0:0.3:0.1");
    add_sweep(&params, "T=1:21:20");
    costeer_eval_item *items = create(&params, 7);
    const char *const labels[] = {
        "llm",         "costeer strength=0", "costeer strength=0.1", "costeer strength=0.2", "costeer strength=0.3",
        "costeer T=1", "costeer T=21"};
    for (size_t i = 0; i < 7; i++) {
        assert_string_equal(items[i].label, labels[i]);
    }
    assert_true(items[4].value == 0.3 && items[4].strength == 0.3);
    assert_string_equal(items[4].parameter, "strength");
    assert_true(fabs(items[5].strength - 1.0 / 2.1) < 1e-12 && items[5].value == 1.0);
    free(items);
}

static void test_sweep__of_alpha_reaches_costeer_and_amulet(void **state)
{
    (void)state;
    const char *const names[] = {"costeer", "amulet", "context-steering", NULL};
    costeer_eval_items_params params = params_of(names);
    add_sweep(&params, "alpha=0:1:1");
    costeer_eval_item *items = create(&params, 5);
    assert_string_equal(items[1].label, "costeer alpha=1");
    assert_string_equal(items[3].label, "amulet alpha=1");
    assert_string_equal(items[4].label, "context-steering");
    free(items);
}

static void test_sweep__of_a_limit_goes_with_a_strength(void **state)
{
    (void)state;
    const char *const names[] = {"costeer", "costeer-plausible", "costeer-whole", "amulet", NULL};
    costeer_eval_items_params params = params_of(names);
    params.settings.weight = 2.0;
    add_sweep(&params, "plausibility=0.1:0.3:0.2");
    add_sweep(&params, "divergence=0.5:0.5:1");
    costeer_eval_item *items = create(&params, 8);
    const char *const labels[] = {"costeer",
                                  "costeer-plausible plausibility=0.1",
                                  "costeer-plausible plausibility=0.3",
                                  "costeer-plausible divergence=0.5",
                                  "costeer-whole plausibility=0.1",
                                  "costeer-whole plausibility=0.3",
                                  "costeer-whole divergence=0.5",
                                  "amulet"};
    for (size_t i = 0; i < 8; i++) {
        assert_string_equal(items[i].label, labels[i]);
        assert_true(items[i].strength == 2.0);
    }
    assert_true(items[0].limits.plausibility == 0 && items[7].limits.divergence == 0);
    assert_true(items[2].limits.plausibility == 0.3 && items[2].limits.divergence == 0);
    assert_true(items[3].limits.plausibility == 0.1 && items[3].limits.divergence == 0.5);
    assert_true(items[5].limits.plausibility == 0.3 && items[5].limits.divergence == 0.5);
    free(items);
    const char *const published[] = {"costeer", NULL};
    params = params_of(published);
    params.settings.plausibility = 0.1;
    refuse(&params, "plausibility is set, but none of the methods has it");
}

static void test_sweep__text_is_checked(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"strength", "no sweep"},         {"strength=1", "no sweep"},
        {"strength=0:1", "no sweep"},     {"strength=0:1:x", "no sweep"},
        {"strength=0:1:1:1", "no sweep"}, {"temperature=0:1:1", "no sweep"},
        {"strength=0:1:0", "step"},       {"strength=0:1:-1", "step"},
        {"strength=1:0:1", "step"},       {"strength=0:1:0.001", "values"},
        {"T=0:5:1", "whole numbers"},     {"T=1:5:0.5", "whole numbers"},
        {"strength=0:inf:1", "no sweep"}, {"", "no sweep"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        costeer_eval_sweep sweep;
        costeer_error err = {.code = COSTEER_OK};
        assert_int_equal(costeer_eval_sweep_parse(bad[i][0], &sweep, &err), COSTEER_EINVAL);
        if (strstr(err.message, bad[i][1]) == NULL) {
            fail_msg("\"%s\" does not tell \"%s\"", err.message, bad[i][1]);
        }
    }
}

static void test_items__what_has_no_effect_is_refused(void **state)
{
    (void)state;
    const char *const plain[] = {"llm", "slm+context", NULL};
    costeer_eval_items_params params = params_of(plain);
    params.settings.weight = 1.0;
    refuse(&params, "strength is set, but none of the methods has it");
    params = params_of(plain);
    add_sweep(&params, "T=1:2:1");
    refuse(&params, "T is swept, but none of the methods has it");
    const char *const twice[] = {"costeer", "llm", "costeer", NULL};
    params = params_of(twice);
    refuse(&params, "costeer is named twice");
    const char *const one[] = {"costeer", NULL};
    params = params_of(one);
    params.settings.weight = 1.0;
    add_sweep(&params, "T=1:2:1");
    refuse(&params, "takes the place of T");
    params = params_of(one);
    params.settings.T = 3;
    add_sweep(&params, "strength=1:2:1");
    refuse(&params, "strength is swept and given");
    params = params_of(one);
    add_sweep(&params, "strength=1:2:1");
    add_sweep(&params, "strength=1:2:1");
    refuse(&params, "swept twice");
    params.n_methods = 0;
    refuse(&params, "no method");
}

static void test_items__are_bounded(void **state)
{
    (void)state;
    const char *const names[] = {"costeer", "adacosteer", "lightcosteer", "amulet", "context-steering", NULL};
    costeer_eval_items_params params = params_of(names);
    add_sweep(&params, "strength=1:256:1");
    refuse(&params, "more than 1024");
    params.n_methods = 4;
    costeer_eval_item *items = create(&params, 1024);
    free(items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_items__are_the_methods_with_their_published_weights),
        cmocka_unit_test(test_items__settings_go_to_the_methods_that_have_them),
        cmocka_unit_test(test_sweep__gives_a_label_and_a_strength_for_each_value),
        cmocka_unit_test(test_sweep__of_alpha_reaches_costeer_and_amulet),
        cmocka_unit_test(test_sweep__of_a_limit_goes_with_a_strength),
        cmocka_unit_test(test_sweep__text_is_checked),
        cmocka_unit_test(test_items__what_has_no_effect_is_refused),
        cmocka_unit_test(test_items__are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
