/* The token that a node asks for, read from a file: command lines can be seen by others. */
#ifndef CS_CLI_TOKEN_H
#define CS_CLI_TOKEN_H

/** A token that is shorter can be guessed; keys of engines are what their owners made them. */
#define CS_TOKEN_BYTES_MIN 8
#define CS_KEY_BYTES_MIN   1

/**
 * Read a token or key: the first line of a file, n_min to 512 printable ASCII characters without a space.
 *
 * @param[out] out  free with cs_token_free(); NULL on failure
 * @return an exit code; the message names the file and shows nothing of the token
 */
int cs_token_read(const char *path, int n_min, char **out);

/** Overwrite and free a token; NULL is fine. */
void cs_token_free(char *token);

#endif
