/*
 * Which runs of some texts appear in another one. A run counts when it is at least 16 bytes long or holds at least three words in
 * a row; it is compared as it is written, upper and lower case apart, but white space of any length is as good as one space, and
 * between words of a triple only the words count. Words are runs of ASCII letters, digits and all characters beyond ASCII.
 */
#ifndef CS_CLI_OVERLAP_H
#define CS_CLI_OVERLAP_H

#include <stdbool.h>
#include <stddef.h>

#define CS_OVERLAP_BYTES 16
#define CS_OVERLAP_WORDS 3

typedef struct cs_overlap cs_overlap;

/**
 * Index texts.
 *
 * @param texts  [n] without NUL; not needed afterwards
 * @return NULL: no memory, or more than 1 GiB in all. Free with cs_overlap_free()
 */
cs_overlap *cs_overlap_create(const char *const *texts, size_t n);

/** The same of bytes[0..n), in which a NUL ends a text. */
cs_overlap *cs_overlap_create_bytes(const char *bytes, size_t n);
void cs_overlap_free(cs_overlap *overlap);

/** Receives a run as it stands in the text that was searched, white space made one space. Return false to stop. */
typedef bool (*cs_overlap_fn)(const char *run, size_t n_bytes, void *user);

/** True when a run, as cs_overlap_find() gives it, stands somewhere in bytes[0..n). False when memory is out, too. */
bool cs_overlap_contains(const char *bytes, size_t n, const char *run, size_t n_run);

/** True when a run, as cs_overlap_find() gives it, has a part that counts as a run and of which nothing is in the indexed texts.
 * True when memory is out, too. */
bool cs_overlap_is_new(const cs_overlap *overlap, const char *run, size_t n_run);

/**
 * Find the runs of the indexed texts in bytes[0..n); those that overlap are one. A NUL ends a run.
 *
 * @return false: no memory, or `found` returned false
 */
bool cs_overlap_find(const cs_overlap *overlap, const char *bytes, size_t n, cs_overlap_fn found, void *user);

#endif
