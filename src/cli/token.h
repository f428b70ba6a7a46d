/* The token that a node asks for, read from a file: command lines can be seen by others. */
#ifndef CS_CLI_TOKEN_H
#define CS_CLI_TOKEN_H

/**
 * Read a token: the first line of a file, 8 to 512 printable ASCII characters without a space.
 *
 * @param[out] out  free with cs_token_free(); NULL on failure
 * @return an exit code; the message names the file and shows nothing of the token
 */
int cs_token_read(const char *path, char **out);

/** Overwrite and free a token; NULL is fine. */
void cs_token_free(char *token);

#endif
