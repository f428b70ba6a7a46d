/* A decoder that may refuse to cut: see truncate.h. */
#include "support/truncate.h"

#include "core/decoder.h"

atomic_bool cannot_cut;
atomic_int n_cuts;
atomic_int n_lost;

int32_t __real_cs_decoder_truncate(cs_decoder *decoder, int32_t sequence, int32_t n);
int32_t __wrap_cs_decoder_truncate(cs_decoder *decoder, int32_t sequence, int32_t n);

int32_t __wrap_cs_decoder_truncate(cs_decoder *decoder, int32_t sequence, int32_t n)
{
    const bool is_lost = atomic_load(&cannot_cut) && n < cs_decoder_held(decoder, sequence);
    atomic_fetch_add(&n_cuts, 1);
    atomic_fetch_add(&n_lost, is_lost ? 1 : 0);
    return __real_cs_decoder_truncate(decoder, sequence, is_lost ? 0 : n);
}
