/* Cutting a sequence, as models with recurrent states answer to it: everything is gone. Linked with --wrap=cs_decoder_truncate.
 */
#ifndef CS_TEST_TRUNCATE_H
#define CS_TEST_TRUNCATE_H

#include <stdatomic.h>
#include <stdbool.h>

extern atomic_bool cannot_cut; /* from now on a cut loses the sequence */
extern atomic_int n_cuts;      /* calls so far */
extern atomic_int n_lost;      /* calls that lost the sequence */

#endif
