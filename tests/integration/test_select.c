/* Choosing parts with a model: the built-in SLM, whose judgement means nothing, but whose numbers must be right. */
#include "core/select_internal.h"
#include "support/models.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char notes[] = "# Me\nI am Mia. I am vegetarian.\n\nBuy:\n- milk\n- bread\n\nSalary: 54,000\n我对花生过敏。\n"
                            "A.\nB.\nC.\nD.\nE.\nF.\nG.\n";
static const char query[] = "Write an invitation to my birthday.";

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

static costeer_selector *create(const costeer_selector_params *params)
{
    costeer_selector *selector;
    costeer_error err = {.code = COSTEER_OK};
    assert_ok(costeer_selector_create(model, params, &selector, &err), &err);
    return selector;
}

static costeer_selection choose(costeer_selector *selector, costeer_select_request request)
{
    costeer_selection selection = {.n_used = 0};
    costeer_error err = {.code = COSTEER_OK};
    request.query = request.query == NULL ? query : request.query;
    assert_ok(costeer_select(selector, &request, &selection, &err), &err);
    return selection;
}

static size_t find(const costeer_selection *selection, const char *context, const char *word)
{
    for (size_t i = 0; i < selection->parts.n; i++) {
        const costeer_part *part = &selection->parts.items[i];
        const char *at = strstr(context + part->begin, word);
        if (at != NULL && at < context + part->end) {
            return i;
        }
    }
    fail_msg("no part has %s", word);
    return 0;
}

/* A part's score is the same whatever else is asked about in its batches, on however many threads. */
static void test_select__a_score_depends_on_its_part_alone(void **state)
{
    (void)state;
    costeer_selector *selector = create(NULL);
    costeer_selection all = choose(selector, (costeer_select_request){.context = notes, .threshold = (double)NAN});
    costeer_selector_free(selector);
    selector = create(&(costeer_selector_params){.n_threads = 1});
    for (size_t i = 0; i < all.parts.n; i++) {
        const costeer_part *part = &all.parts.items[i];
        if (part->heading >= 0 || !costeer_part_is_choosable(part)) {
            assert_true(isnan(all.scores[i]) == !costeer_part_is_choosable(part));
            continue;
        }
        char *alone = strndup(notes + part->begin, part->end - part->begin);
        costeer_selection one = choose(selector, (costeer_select_request){.context = alone, .threshold = (double)NAN});
        assert_int_equal(one.parts.n, 1);
        assert_true(fabs(one.scores[0] - all.scores[i]) <= 4.0 * (double)LOGIT_TOLERANCE / COSTEER_SELECT_SCALE_MIN);
        costeer_selection_dispose(&one);
        free(alone);
    }
    costeer_selector_free(selector);
    costeer_selection_dispose(&all);
}

/* A score is the answer on a line through two means: of notes that no request needs, 0, and of notes that say the request, 1. */
static void test_select__scores_lie_between_the_notes_that_are_known(void **state)
{
    (void)state;
    costeer_selector *selector = create(NULL);
    const char *known = "It rained on Tuesday.\nMy cousin has a blue bicycle.\nI am annoyed with my boss.\n"
                        "The shop on the corner closes at six.\nI want this: Plan my day.\nPlan my day.\nMy name is Mia.\n";
    costeer_selection of =
        choose(selector, (costeer_select_request){.context = known, .query = "Plan my day.", .threshold = (double)NAN});
    costeer_selection other =
        choose(selector, (costeer_select_request){.context = known, .query = "Sell it!", .threshold = (double)NAN});
    assert_int_equal(of.parts.n, 7);
    double strange = 0.0;
    double sure = 0.0;
    for (size_t i = 0; i < 6; i++) {
        *(i < 4 ? &strange : &sure) += of.answers[i] / (i < 4 ? 4.0 : 2.0);
    }
    const double tolerance = 8.0 * (double)LOGIT_TOLERANCE + 1e-9;
    const double scale = fmax(of.scale, COSTEER_SELECT_SCALE_MIN);
    assert_true(fabs(of.scale - (sure - strange)) <= tolerance);
    for (size_t i = 0; i < 7; i++) {
        assert_true(fabs(of.scores[i] * scale - (of.answers[i] - strange)) <= tolerance);
        assert_true(of.answers[i] != other.answers[i]);
    }
    assert_true(of.scale != other.scale);
    costeer_selector_free(selector);
    costeer_selection_dispose(&of);
    costeer_selection_dispose(&other);
}

static void test_select__thresholds_pins_and_drops(void **state)
{
    (void)state;
    costeer_selector *selector = create(NULL);
    costeer_selection none = choose(selector, (costeer_select_request){.context = notes, .threshold = 1000.0});
    assert_string_equal(none.text, "");
    assert_int_equal(none.n_used, 0);
    costeer_selection all = choose(selector, (costeer_select_request){.context = notes, .threshold = -1000.0});
    assert_int_equal(all.n_left, 0);
    assert_int_equal(all.n_used, none.n_left);
    costeer_selection pinned = choose(selector, (costeer_select_request){.context = notes,
                                                                         .threshold = 1000.0,
                                                                         .pins = (const char *const[]){"MILK", "salary", "bread"},
                                                                         .n_pins = 3,
                                                                         .drops = (const char *const[]){"54,000", "Bread"},
                                                                         .n_drops = 2});
    assert_string_equal(pinned.text, "# Me\nBuy:\n- milk");
    assert_int_equal(pinned.reasons[find(&pinned, notes, "milk")], COSTEER_REASON_PINNED);
    assert_int_equal(pinned.reasons[find(&pinned, notes, "Salary")], COSTEER_REASON_DROPPED);
    assert_int_equal(pinned.reasons[find(&pinned, notes, "Buy")], COSTEER_REASON_HEADING);
    costeer_selection below = choose(selector, (costeer_select_request){.context = "- gin\n  - dry\n- tea\n",
                                                                        .threshold = -1000.0,
                                                                        .drops = (const char *const[]){"gin"},
                                                                        .n_drops = 1});
    assert_string_equal(below.text, "- tea");
    costeer_selector_free(selector);
    costeer_selection_dispose(&none);
    costeer_selection_dispose(&all);
    costeer_selection_dispose(&pinned);
    costeer_selection_dispose(&below);
}

/* Of too many parts those with the most words in common are asked about. */
static void test_select__words_come_first_where_there_are_too_many(void **state)
{
    (void)state;
    costeer_selector *selector = create(&(costeer_selector_params){.n_judged_max = 1});
    costeer_selection selection =
        choose(selector, (costeer_select_request){.context = notes, .query = "Buy milk!", .threshold = -1000.0});
    const size_t milk = find(&selection, notes, "milk");
    for (size_t i = 0; i < selection.parts.n; i++) {
        assert_true(isnan(selection.scores[i]) == (i != milk));
    }
    assert_int_equal(selection.reasons[find(&selection, notes, "Mia")], COSTEER_REASON_WORDS);
    assert_int_equal(selection.n_used, 1);
    costeer_selector_free(selector);
    costeer_selection_dispose(&selection);
}

static void test_select__a_context_of_nothing_asks_nothing(void **state)
{
    (void)state;
    costeer_selector *selector = create(NULL);
    costeer_selection selection = choose(selector, (costeer_select_request){.context = "\n---\n", .threshold = -1000.0});
    assert_string_equal(selection.text, "");
    assert_int_equal(selection.n_tokens, 0);
    costeer_selector_free(selector);
    costeer_selection_dispose(&selection);
}

/* What does not fit the model is judged by its beginning; a request of more than half the model is also asked about in itself. */
static void test_select__what_is_too_long_is_judged_by_its_beginning(void **state)
{
    (void)state;
    costeer_selector *selector = create(NULL);
    const size_t n_window = (size_t)costeer_model_get_info(model)->n_ctx_train;
    static const char hanzi[] = "我"; /* more than one token each: two thousand bytes do not fit */
    const size_t n = n_window * (sizeof hanzi - 1);
    char *words = calloc(n + 1, 1);
    assert_non_null(words);
    for (size_t at = 0; at < n; at += sizeof hanzi - 1) {
        memcpy(words + at, hanzi, sizeof hanzi - 1);
    }
    costeer_selection whole = choose(selector, (costeer_select_request){.context = words, .threshold = (double)NAN});
    assert_int_equal(whole.parts.n, 1);
    memset(words + n - 99, 'x', 99);
    costeer_selection other_end = choose(selector, (costeer_select_request){.context = words, .threshold = (double)NAN});
    assert_true(fabs(whole.answers[0] - other_end.answers[0]) <= 2.0 * (double)LOGIT_TOLERANCE);
    memset(words, 'x', 39);
    costeer_selection other_start = choose(selector, (costeer_select_request){.context = words, .threshold = (double)NAN});
    assert_true(fabs(whole.answers[0] - other_start.answers[0]) > 2.0 * (double)LOGIT_TOLERANCE);
    free(words);
    words = long_text(model, n_window * 2 / 3);
    costeer_selection asked =
        choose(selector, (costeer_select_request){.context = "A.", .query = words, .threshold = (double)NAN});
    assert_true(isfinite(asked.scores[0]));
    free(words);
    costeer_selector_free(selector);
    costeer_selection_dispose(&whole);
    costeer_selection_dispose(&other_end);
    costeer_selection_dispose(&other_start);
    costeer_selection_dispose(&asked);
}

/* Examples are put as a conversation, as often Yes as No, to models that have room for them. */
static void test_select__large_models_are_shown_examples(void **state)
{
    (void)state;
    size_t n;
    (void)cs_select_own_questions(CS_SELECT_EXAMPLES_WINDOW - 1, &n);
    assert_int_equal(n, 1);
    (void)cs_select_own_questions(0, &n);
    assert_int_equal(n, 2);
    const cs_select_question *own = cs_select_own_questions(CS_SELECT_EXAMPLES_WINDOW, &n);
    assert_int_equal(n, 2);
    assert_int_equal(own[0].n_turns, 0);
    size_t n_yes = 0;
    for (size_t i = 0; i < own[1].n_turns; i++) {
        const costeer_message *turn = &own[1].turns[i];
        const bool is_answer = i % 2 == 1;
        assert_string_equal(turn->role, is_answer ? "assistant" : "user");
        n_yes += strcmp(turn->content, "Yes") == 0 ? 1 : 0;
        assert_true(is_answer ? strcmp(turn->content, "Yes") == 0 || strcmp(turn->content, "No") == 0
                              : strstr(turn->content, "Request: ") != NULL && strstr(turn->content, "\nNote: ") != NULL);
    }
    assert_int_equal(4 * n_yes, own[1].n_turns);
    costeer_tokens without = {.n = 0};
    costeer_tokens with = {.n = 0};
    costeer_error err = {.code = COSTEER_OK};
    costeer_prompt prompt = {.query = query};
    assert_ok(costeer_prompt_build(model, &prompt, &without, &err), &err);
    prompt.turns = own[1].turns;
    prompt.n_turns = own[1].n_turns;
    assert_ok(costeer_prompt_build(model, &prompt, &with, &err), &err);
    assert_true(with.n > without.n + 400);
    costeer_tokens_dispose(&without);
    costeer_tokens_dispose(&with);
}

static void test_select__failures_leave_nothing_behind(void **state)
{
    (void)state;
    atomic_bool cancel = true;
    costeer_error err = {.code = COSTEER_OK};
    costeer_selection selection = {.n_used = 0};
    costeer_selector *selector = create(&(costeer_selector_params){.cancel = &cancel});
    const costeer_select_request request = {.context = notes, .query = query, .threshold = 0.0};
    assert_int_equal(costeer_select(selector, &request, &selection, &err), COSTEER_ECANCELED);
    assert_null(selection.text);
    assert_null(selection.parts.items);
    atomic_store(&cancel, false);
    assert_ok(costeer_select(selector, &request, &selection, &err), &err);
    costeer_selection_dispose(&selection);
    char *words = long_text(model, (size_t)costeer_model_get_info(model)->n_ctx_train);
    const costeer_select_request too_long = {.context = notes, .query = words, .threshold = 0.0};
    assert_int_equal(costeer_select(selector, &too_long, &selection, &err), COSTEER_ETOOLONG);
    free(words);
    costeer_selector_free(selector);
    assert_int_equal(costeer_selector_create(
                         model, &(costeer_selector_params){.questions = (const char *const[]){"{request}?"}, .n_questions = 1},
                         &selector, &err),
                     COSTEER_EINVAL);
    assert_null(selector);
    assert_non_null(strstr(err.message, "{part}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_select__a_score_depends_on_its_part_alone),
        cmocka_unit_test(test_select__scores_lie_between_the_notes_that_are_known),
        cmocka_unit_test(test_select__thresholds_pins_and_drops),
        cmocka_unit_test(test_select__words_come_first_where_there_are_too_many),
        cmocka_unit_test(test_select__a_context_of_nothing_asks_nothing),
        cmocka_unit_test(test_select__what_is_too_long_is_judged_by_its_beginning),
        cmocka_unit_test(test_select__large_models_are_shown_examples),
        cmocka_unit_test(test_select__failures_leave_nothing_behind),
    };
    return cmocka_run_group_tests_name("select", tests, load, unload);
}
