/* A token's logits do not depend on which other sequences are computed in the same step. */
#ifndef CS_TEST_COLUMNS_H
#define CS_TEST_COLUMNS_H

/**
 * Fail the test unless steps of several sequences give each of them, to the last bit, the logits that a step of its own gives.
 *
 * @param path          a model; loaded and freed
 * @param n_sequences   how many sequences to try, several numbers, ended by 0
 */
void assert_columns_are_independent(const char *path, const int *n_sequences, int n_threads);

#endif
