/*
 * A node made of a raw socket, that says what a test's script says: right frames, wrong ones, half ones, nothing. One thread;
 * each connection is accepted, shaken hands with, and given to the script, one after the other.
 */
#ifndef CS_TEST_FAKE_NODE_H
#define CS_TEST_FAKE_NODE_H

#include <costeer/costeer.h>

typedef struct fake_node fake_node;
typedef struct fake_peer fake_peer; /* one connection */

typedef struct fake_node_params {
    const costeer_model *model; /* whose vocabulary it says it has */
    const char *reply;          /* HTTP response instead of a WebSocket handshake; NULL: the right handshake */
    const char *subprotocol;    /* NULL: the right one; "": none */
    /** Runs the connection; it is closed when this returns. `user` is the test's. */
    void (*script)(fake_peer *peer, int n_connection, void *user);
    void *user;
} fake_node_params;

fake_node *fake_node_start(const fake_node_params *params);
int fake_node_port(const fake_node *node);
int fake_node_connections(const fake_node *node);
void fake_node_stop(fake_node *node);

/* The request line and headers of this connection. */
const char *fake_peer_request(const fake_peer *peer);

/** The hello of the model, as a node of the real kind would say it; the test may change it. */
costeer_frame fake_hello(const fake_peer *peer);

/** Sparse, of n entries, all with about the same probability; own token 300 + position. */
void fake_send_distribution(fake_peer *peer, int32_t epoch, int32_t position, int32_t n);

void fake_send(fake_peer *peer, const costeer_frame *frame);
void fake_send_bytes(fake_peer *peer, uint8_t first_byte, const uint8_t *bytes, size_t n); /* one WebSocket frame; 0x82: binary */
void fake_send_raw(fake_peer *peer, const void *bytes, size_t n);                          /* as they are */

/** Wait for the next frame of the device. False: the connection ended, or the test is over. */
bool fake_receive(fake_peer *peer, costeer_frame *out);

/** Wait until the device has gone, or the test is over. */
void fake_wait(fake_peer *peer);

#endif
