/*
 * Server-sent events, read incrementally (HTML standard, section 9.2.6 "Interpreting an event stream"): lines that end in LF, CR
 * LF or CR, comments, fields; an empty line ends an event. Only the data is of interest. Pure.
 */
#ifndef CS_CLOUD_API_SSE_H
#define CS_CLOUD_API_SSE_H

#include "util/buffer.h"

typedef struct cs_sse {
    cs_buffer line;   /* the line that is coming in */
    cs_buffer data;   /* of the event that is coming in, or that was just completed */
    bool is_complete; /* the event in `data` was handed out; the next byte begins another */
    bool skips_lf;    /* a line ended in CR: an LF right behind it belongs to it */
    bool has_begun;   /* anything was read: a byte order mark can only be at the beginning */
    bool has_data;    /* a data field was there, be it empty */
} cs_sse;

typedef enum cs_sse_result {
    CS_SSE_MORE,    /* all bytes were taken, no event is complete */
    CS_SSE_EVENT,   /* cs_sse.data is an event's data */
    CS_SSE_TOO_LONG /* a line or an event's data exceeds the cap, or memory */
} cs_sse_result;

/** Begin a stream, with events of at most `cap` bytes. Buffers of an earlier one are kept. */
void cs_sse_reset(cs_sse *sse, size_t cap);
void cs_sse_dispose(cs_sse *sse);

/**
 * Take bytes up to the end of the next event.
 *
 * @param[out] n_taken  how many: the rest is for the next call
 */
cs_sse_result cs_sse_feed(cs_sse *sse, const char *bytes, size_t n, size_t *n_taken);

#endif
