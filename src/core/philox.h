/*
 * Philox4x32-10: a counter-based generator. A block of 128 random bits is a pure function of (key, counter): there is no state to
 * save, skip or share. Source: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC'11.
 */
#ifndef CS_CORE_PHILOX_H
#define CS_CORE_PHILOX_H

#include <stdint.h>

/** Compute the block of a counter under a key. */
void cs_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
