/*
 * Files: reading a whole one with a cap, and writing where every byte is checked.
 *
 * An output that is or becomes a regular file is written under a temporary name beside it and renamed when it is complete, so
 * that a failure never leaves half a file in the place of a good one. Pipes and devices are written directly.
 */
#ifndef CS_UTIL_FILE_H
#define CS_UTIL_FILE_H

#include <stdbool.h>
#include <stddef.h>

/** Waits until a descriptor can be read; false: give up (EINTR). */
typedef bool (*cs_file_wait_fn)(int fd);

/**
 * Read a whole file.
 *
 * @param wait        called before each read, so that a signal that comes just before one is not missed; NULL: reads just block
 * @param path        "-": standard input
 * @param max_bytes   more than this is refused with EFBIG
 * @param[out] text   malloc'ed, NUL-terminated behind its last byte; NULL on failure
 * @param[out] n_bytes  without that NUL
 * @return 0, or an errno value; EINTR when a signal handler ran meanwhile
 */
int cs_file_read(const char *path, size_t max_bytes, cs_file_wait_fn wait, char **text, size_t *n_bytes);

/** A buffered output. The first write that fails sets `error`; everything after it does nothing. */
typedef struct cs_output {
    int fd;
    int error;        /**< errno of what failed first, 0: nothing */
    const char *name; /**< for messages; not owned */
    char *target;     /**< owned; where the temporary goes when complete; NULL: written directly */
    char *temporary;  /**< owned */
    char last;        /**< last byte written, 0: none yet */
    size_t n_used;
    char buffer[8192];
} cs_output;

/** Make an output of standard output, which closing does not close. */
void cs_output_init_stdout(cs_output *out);

/**
 * Open a file for writing; what is there stays as it is until cs_output_close().
 *
 * @param path        must outlive the output; "-" is standard output
 * @param is_private  readable by the owner only, whatever the umask says and whatever was there
 * @return 0, or an errno value; the output may be closed and discarded in both cases
 */
int cs_output_open(cs_output *out, const char *path, bool is_private);

bool cs_output_write(cs_output *out, const char *bytes, size_t n_bytes);

/** Write formatted text of at most 4095 bytes; a longer one is an error (EOVERFLOW). */
bool cs_output_print(cs_output *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool cs_output_flush(cs_output *out);

/** Flush, close, and put a regular file in its place. Returns 0, or the errno of the first failure of this output. */
int cs_output_close(cs_output *out);

/** Drop the output: a regular file that was there before stays as it was. Harmless after cs_output_close(). */
void cs_output_discard(cs_output *out);

#endif
