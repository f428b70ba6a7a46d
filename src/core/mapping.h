/*
 * A model's file in memory.
 *
 * llama.cpp maps a model's file and copies what it repacks for the CPU's kernels. Mapped weights are the page cache's: several
 * processes share them, and the system can drop them. What was copied need not be there a second time.
 */
#ifndef CS_CORE_MAPPING_H
#define CS_CORE_MAPPING_H

#include <stdbool.h>

/** Called with the share of the file that was read, in [0, 1]; return false to stop. */
typedef bool (*cs_mapping_progress_fn)(float share, void *user);

/**
 * Read a file into the page cache, so that mapping it does not block for as long as a disk takes. A file that cannot be read, or
 * not to its end, is left to whoever maps it.
 *
 * @param progress  may be NULL
 * @return false: progress stopped it
 */
bool cs_mapping_warm(const char *path, cs_mapping_progress_fn progress, void *user);

/**
 * Give back the pages of all mappings of a file. They stay in the page cache; what is used again comes back without a copy.
 * Does nothing where the system does not list a process's mappings (all but Linux).
 */
void cs_mapping_release(const char *path);

#endif
