/*
 * A model's files in memory: one, or several of a model that is split.
 *
 * llama.cpp maps a model's file and copies what it repacks for the CPU's kernels. Mapped weights are the page cache's: several
 * processes share them, and the system can drop them. What was copied need not be there a second time.
 */
#ifndef CS_CORE_MAPPING_H
#define CS_CORE_MAPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Called with the share of the files that was read, in [0, 1]; return false to stop. */
typedef bool (*cs_mapping_progress_fn)(float share, void *user);

/**
 * Path of one of the files of a split model, in llama.cpp's naming: "NAME-00002-of-00004.gguf".
 *
 * @param first    path of the first of them (of the only one when n_files is 1)
 * @param index    0 to n_files - 1
 * @param out      [size]
 * @return false: the first is not named so, or the path is too long
 */
bool cs_mapping_file(const char *first, uint32_t index, uint32_t n_files, char *out, size_t size);

/**
 * Read a model's files into the page cache, so that mapping them does not block for as long as a disk takes. A file that cannot
 * be read, or not to its end, is left to whoever maps it.
 *
 * @param first     as of cs_mapping_file()
 * @param progress  may be NULL
 * @return false: progress stopped it
 */
bool cs_mapping_warm(const char *first, uint32_t n_files, cs_mapping_progress_fn progress, void *user);

/**
 * Give back the pages of all mappings of a model's files. They stay in the page cache; what is used again comes back without a
 * copy. Does nothing where the system does not list a process's mappings (all but Linux).
 */
void cs_mapping_release(const char *first, uint32_t n_files);

#endif
