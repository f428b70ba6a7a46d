/* llama.cpp with our patches: a matrix times many columns gives each column what it gives alone, to the last bit, for every type
 * of weights that models use and in llama.cpp's repacked layout too. So a sequence's logits do not depend on what else is
 * computed with it. */
#include "random.h"

#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_IN = 512, N_OUT = 48, N_COLUMNS = 40 };

static const enum ggml_type types[] = {
    GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1,  GGML_TYPE_Q8_0,
    GGML_TYPE_Q3_K, GGML_TYPE_Q4_K, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K,  GGML_TYPE_F16,
    GGML_TYPE_BF16, GGML_TYPE_F32,  GGML_TYPE_Q2_K, GGML_TYPE_MXFP4, GGML_TYPE_IQ4_NL,
};
static const int column_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 33, N_COLUMNS};

static float weights[N_OUT * N_IN], inputs[N_COLUMNS * N_IN], expected[N_COLUMNS * N_OUT];
static ggml_backend_t backend;

/* Where llama.cpp puts weights that it stores in another order; NULL without. */
static ggml_backend_buffer_type_t repacked_buffers(void)
{
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    void *address = ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts");
    ggml_backend_dev_get_extra_bufts_t extra_bufts;
    memcpy(&extra_bufts, &address, sizeof extra_bufts); /* ISO C has no conversion */
    for (ggml_backend_buffer_type_t *type = extra_bufts ? extra_bufts(device) : NULL; type && *type; type++) {
        if (strcmp(ggml_backend_buft_name(*type), "CPU_REPACK") == 0) {
            return *type;
        }
    }
    return NULL;
}

static struct ggml_context *create_context(void)
{
    const struct ggml_init_params params = {.mem_size = ggml_tensor_overhead() * 8 + ggml_graph_overhead(), .no_alloc = true};
    return ggml_init(params);
}

/* `n` columns from the first-th on. */
static void multiply(struct ggml_tensor *matrix, int first, int n, float *out)
{
    struct ggml_context *context = create_context();
    struct ggml_tensor *columns = ggml_new_tensor_2d(context, GGML_TYPE_F32, N_IN, n);
    struct ggml_tensor *product = ggml_mul_mat(context, matrix, columns);
    struct ggml_cgraph *graph = ggml_new_graph(context);
    ggml_build_forward_expand(graph, product);
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors_from_buft(context, ggml_backend_cpu_buffer_type());
    ggml_backend_tensor_set(columns, inputs + (size_t)first * N_IN, 0, ggml_nbytes(columns));
    assert_int_equal(ggml_backend_graph_compute(backend, graph), GGML_STATUS_SUCCESS);
    ggml_backend_tensor_get(product, out, 0, ggml_nbytes(product));
    ggml_backend_buffer_free(buffer);
    ggml_free(context);
}

/* A column alone is right: within what eight bits of the inputs allow, against the weights as they are stored. */
static void check_values(enum ggml_type type, const uint8_t *stored)
{
    const size_t row_size = ggml_row_size(type, N_IN);
    float row[N_IN];
    for (size_t r = 0; r < N_OUT; r++) {
        if (type == GGML_TYPE_F32) {
            memcpy(row, stored + row_size * r, row_size);
        } else {
            ggml_get_type_traits(type)->to_float(stored + row_size * r, row, N_IN);
        }
        for (size_t c = 0; c < N_COLUMNS; c++) {
            double sum = 0.0, squares = 0.0;
            for (size_t i = 0; i < N_IN; i++) {
                const double product = (double)row[i] * inputs[c * N_IN + i];
                sum += product;
                squares += product * product;
            }
            assert_true(fabs(sum - expected[c * N_OUT + r]) < 0.1 * sqrt(squares));
        }
    }
}

static void check_columns(struct ggml_tensor *matrix, const uint8_t *stored)
{
    static float out[N_COLUMNS * N_OUT];
    for (int threads = 1; threads <= 2; threads++) {
        ggml_backend_cpu_set_n_threads(backend, threads);
        for (int c = 0; threads == 1 && c < N_COLUMNS; c++) {
            multiply(matrix, c, 1, expected + (size_t)c * N_OUT);
        }
        if (threads == 1) {
            check_values(matrix->type, stored);
        }
        for (size_t i = 0; i < sizeof column_counts / sizeof column_counts[0]; i++) {
            const int n = column_counts[i];
            multiply(matrix, 0, n, out);
            if (memcmp(out, expected, sizeof(float) * N_OUT * (size_t)n) != 0) {
                fail_msg("%s: %d columns, %d threads: not what each column gives alone", ggml_type_name(matrix->type), n,
                         threads);
            }
        }
    }
}

/* IQ4_NL in its own layout, and Q2_K repacked, have two orders of additions: patches/ says so. */
static bool is_left_out(enum ggml_type type, bool is_repacked)
{
    return (type == GGML_TYPE_IQ4_NL && !is_repacked) || (type == GGML_TYPE_Q2_K && is_repacked);
}

static int check_type(enum ggml_type type, ggml_backend_buffer_type_t buffers, bool is_repacked)
{
    struct ggml_context *context = create_context();
    struct ggml_tensor *matrix = ggml_new_tensor_2d(context, type, N_IN, N_OUT);
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors_from_buft(context, buffers);
    const bool is_used = (!is_repacked || matrix->extra) && !is_left_out(type, is_repacked); /* extra: there is a repacked form */
    if (is_used) {
        uint8_t *stored = malloc(ggml_nbytes(matrix));
        assert_non_null(stored);
        ggml_quantize_chunk(type, weights, stored, 0, N_OUT, N_IN, NULL);
        ggml_backend_tensor_set(matrix, stored, 0, ggml_nbytes(matrix));
        check_columns(matrix, stored);
        free(stored);
    }
    ggml_backend_buffer_free(buffer);
    ggml_free(context);
    return is_used;
}

static void test_columns__many_give_each_what_it_gives_alone(void **state)
{
    (void)state;
#ifndef COSTEER_TEST_LLAMA_IS_PATCHED
    skip(); /* an installed llama.cpp, without our patches */
#endif
    if (!ggml_cpu_has_avx2() || !ggml_cpu_has_fma()) {
        skip(); /* the patch is for x86 with AVX2 */
    }
    struct test_random random = {12};
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) {
        weights[i] = (float)test_random_between(&random, -0.5, 0.5);
    }
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        inputs[i] = (float)test_random_between(&random, -0.5, 0.5);
    }
    backend = ggml_backend_cpu_init();
    assert_non_null(backend);
    ggml_backend_buffer_type_t repacked = repacked_buffers();
    int n_repacked = 0;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        check_type(types[i], ggml_backend_cpu_buffer_type(), false);
        n_repacked += repacked ? check_type(types[i], repacked, true) : 0;
    }
    assert_true(n_repacked >= 4); /* Q4_0, Q4_K, IQ4_NL, MXFP4 */
    ggml_backend_free(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns__many_give_each_what_it_gives_alone),
    };
    return cmocka_run_group_tests_name("columns", tests, NULL, NULL);
}
