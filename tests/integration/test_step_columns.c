/* A step of several sequences of the built-in models gives each its own step's logits, to the last bit. Kernels:
 * unit/test_columns.c. */
#include "support/columns.h"
#include "support/models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_step_columns__a_sequence_does_not_depend_on_the_others(void **state)
{
    (void)state;
#ifndef COSTEER_TEST_LLAMA_IS_PATCHED
    skip();
#endif
    static const int n_sequences[] = {2, 3, 5, 8, 0};
    assert_columns_are_independent(SLM_PATH, n_sequences, 1);
    assert_columns_are_independent(LLM_PATH, n_sequences, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step_columns__a_sequence_does_not_depend_on_the_others),
    };
    return cmocka_run_group_tests_name("step columns", tests, NULL, NULL);
}
