/* The table of recommended pairs, and names that stand in it. */
#ifndef CS_HUB_PAIRS_H
#define CS_HUB_PAIRS_H

#include "hub/hub_name.h"
#include "util/error.h"

#include <costeer/hub.h>

/** What a recommended model's or pair's name stands for; any other text as it is. */
const char *cs_hub_expand(const char *name, bool is_slm);

/** Read a model's name, a recommended one too. COSTEER_EINVAL. */
costeer_err cs_hub_name_read(const char *text, bool is_slm, cs_hub_name *out, costeer_error *err);

#endif
