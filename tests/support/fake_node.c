#include "support/fake_node.h"

#include <arpa/inet.h>
#include <math.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define MAX_IDS 4096

struct fake_peer {
    fake_node *node;
    int fd;
    char request[4096];
    uint8_t message[65536]; /* what is left of the device's last message */
    size_t n_message, at;
    int32_t ids[MAX_IDS];
    costeer_chat_message messages[COSTEER_WIRE_CHAT_MAX];
    costeer_wire_reader reader;
};

struct fake_node {
    fake_node_params params;
    int fd;
    int port;
    pthread_t thread;
    atomic_bool stop;
    atomic_int n_connections;
    fake_peer peer;
};

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

static bool wait_readable(fake_node *node, int fd)
{
    while (!atomic_load(&node->stop)) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        if (poll(&poll_fd, 1, 20) > 0) {
            return true;
        }
    }
    return false;
}

static bool read_exactly(fake_peer *peer, uint8_t *out, size_t n)
{
    for (size_t at = 0; at < n;) {
        if (!wait_readable(peer->node, peer->fd)) {
            return false;
        }
        const ssize_t got = recv(peer->fd, out + at, n - at, 0);
        if (got <= 0) {
            return false;
        }
        at += (size_t)got;
    }
    return true;
}

void fake_send_raw(fake_peer *peer, const void *bytes, size_t n)
{
    for (size_t at = 0; at < n;) {
        const ssize_t sent = send(peer->fd, (const char *)bytes + at, n - at, MSG_NOSIGNAL);
        if (sent <= 0) {
            return; /* the device has gone */
        }
        at += (size_t)sent;
    }
}

void fake_send_bytes(fake_peer *peer, uint8_t first_byte, const uint8_t *bytes, size_t n)
{
    uint8_t header[10] = {first_byte};
    size_t n_header = 2;
    if (n < 126) {
        header[1] = (uint8_t)n;
    } else if (n < 65536) {
        header[1] = 126;
        header[2] = (uint8_t)(n >> 8);
        header[3] = (uint8_t)n;
        n_header = 4;
    } else {
        header[1] = 127;
        for (int i = 0; i < 8; i++) {
            header[2 + i] = (uint8_t)((uint64_t)n >> (56 - 8 * i));
        }
        n_header = 10;
    }
    fake_send_raw(peer, header, n_header);
    fake_send_raw(peer, bytes, n);
}

/* A message of the device, unmasked. Control frames are passed over. */
static bool read_message(fake_peer *peer)
{
    for (;;) {
        uint8_t header[8];
        if (!read_exactly(peer, header, 2)) {
            return false;
        }
        size_t n = header[1] & 0x7F;
        const size_t n_more = n == 126 ? 2 : n == 127 ? 8 : 0;
        uint8_t length[8], mask[4];
        if (!read_exactly(peer, length, n_more) || !read_exactly(peer, mask, 4)) {
            return false;
        }
        if (n_more > 0) {
            n = 0;
            for (size_t i = 0; i < n_more; i++) {
                n = n << 8 | length[i];
            }
        }
        if (n > sizeof peer->message || !read_exactly(peer, peer->message, n)) {
            return false;
        }
        for (size_t i = 0; i < n; i++) {
            peer->message[i] ^= mask[i % 4];
        }
        if ((header[0] & 0x0F) == 2) {
            peer->n_message = n;
            peer->at = 0;
            return true;
        }
    }
}

bool fake_receive(fake_peer *peer, costeer_frame *out)
{
    if (peer->at == peer->n_message && !read_message(peer)) {
        return false;
    }
    costeer_error err = {0};
    size_t n = 0;
    if (costeer_wire_decode(&peer->reader, peer->message + peer->at, peer->n_message - peer->at, out, &n, &err) != COSTEER_OK) {
        print_error("the device sent what is no frame: %s\n", err.message);
        return false;
    }
    peer->at += n;
    return true;
}

void fake_wait(fake_peer *peer)
{
    costeer_frame frame;
    while (fake_receive(peer, &frame)) {
    }
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

void fake_send(fake_peer *peer, const costeer_frame *frame)
{
    static uint8_t bytes[1 << 20];
    size_t n = 0;
    const costeer_model_info *info = costeer_model_get_info(peer->node->params.model);
    if (costeer_wire_encode(frame, info->n_vocab, bytes, sizeof bytes, &n, NULL) == COSTEER_OK) {
        fake_send_bytes(peer, 0x82, bytes, n);
    }
}

costeer_frame fake_hello(const fake_peer *peer)
{
    const costeer_model_info *info = costeer_model_get_info(peer->node->params.model);
    costeer_frame frame = {.type = COSTEER_FRAME_HELLO,
                           .as.hello = {.version = COSTEER_WIRE_VERSION,
                                        .n_vocab = info->n_vocab,
                                        .max_context = 512,
                                        .max_window = 8,
                                        .max_drafts = 4,
                                        .name = "fake",
                                        .n_name = 4}};
    for (size_t i = 0; i < 32; i++) {
        const char digits[3] = {info->vocab_sha256[2 * i], info->vocab_sha256[2 * i + 1], '\0'};
        frame.as.hello.vocab_sha256[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return frame;
}

void fake_send_distribution(fake_peer *peer, int32_t epoch, int32_t position, int32_t n)
{
    static int32_t ids[MAX_IDS];
    static float values[MAX_IDS];
    for (int32_t i = 0; i < n; i++) {
        ids[i] = 300 + position + i;
        values[i] = -(float)log((double)n) - 0.01F - 1e-4F * (float)i;
    }
    const costeer_frame frame = {.type = COSTEER_FRAME_DISTRIBUTION,
                                 .as.distribution = {.form = COSTEER_FORM_EXACT,
                                                     .epoch = epoch,
                                                     .position = position,
                                                     .own_token = ids[0],
                                                     .tail = -4.0F,
                                                     .n = n,
                                                     .ids = ids,
                                                     .values = values}};
    fake_send(peer, &frame);
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static bool read_request(fake_peer *peer)
{
    size_t n = 0;
    while (n + 1 < sizeof peer->request && read_exactly(peer, (uint8_t *)peer->request + n, 1)) {
        peer->request[++n] = '\0';
        if (n >= 4 && memcmp(peer->request + n - 4, "\r\n\r\n", 4) == 0) {
            return true;
        }
    }
    return false;
}

const char *fake_peer_request(const fake_peer *peer)
{
    return peer->request;
}

/* RFC 6455 section 4.2.2. */
static void accept_handshake(fake_peer *peer)
{
    static const char name[] = "Sec-WebSocket-Key: ";
    const char *key = strstr(peer->request, name);
    char text[128] = "";
    if (key != NULL) {
        key += sizeof name - 1;
        (void)snprintf(text, sizeof text, "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", (int)strcspn(key, "\r"), key);
    }
    unsigned char hash[SHA_DIGEST_LENGTH], encoded[64];
    (void)SHA1((const unsigned char *)text, strlen(text), hash);
    (void)EVP_EncodeBlock(encoded, hash, sizeof hash);
    const char *subprotocol = peer->node->params.subprotocol == NULL ? COSTEER_WIRE_SUBPROTOCOL : peer->node->params.subprotocol;
    char reply[512];
    const int n = snprintf(reply, sizeof reply,
                           "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           "Sec-WebSocket-Accept: %s\r\n%s%s%s\r\n",
                           (const char *)encoded, subprotocol[0] == '\0' ? "" : "Sec-WebSocket-Protocol: ", subprotocol,
                           subprotocol[0] == '\0' ? "" : "\r\n");
    fake_send_raw(peer, reply, (size_t)n);
}

static void serve_peer(fake_node *node, int fd)
{
    fake_peer *peer = &node->peer;
    const int n_connection = atomic_fetch_add(&node->n_connections, 1);
    *peer = (fake_peer){.node = node, .fd = fd};
    peer->reader = (costeer_wire_reader){.n_vocab = costeer_model_get_info(node->params.model)->n_vocab,
                                         .max_context = 512,
                                         .ids = peer->ids,
                                         .max_ids = MAX_IDS,
                                         .messages = peer->messages};
    if (read_request(peer)) {
        if (node->params.reply != NULL) {
            fake_send_raw(peer, node->params.reply, strlen(node->params.reply));
        } else {
            accept_handshake(peer);
            node->params.script(peer, n_connection, node->params.user);
        }
    }
    (void)close(fd);
}

static void *run(void *user)
{
    fake_node *node = user;
    while (wait_readable(node, node->fd)) {
        const int fd = accept(node->fd, NULL, NULL);
        if (fd >= 0) {
            serve_peer(node, fd);
        }
    }
    return NULL;
}

fake_node *fake_node_start(const fake_node_params *params)
{
    fake_node *node = calloc(1, sizeof *node);
    assert_non_null(node);
    node->params = *params;
    node->fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof address;
    assert_int_equal(bind(node->fd, (struct sockaddr *)&address, n), 0);
    assert_int_equal(listen(node->fd, 8), 0);
    assert_int_equal(getsockname(node->fd, (struct sockaddr *)&address, &n), 0);
    node->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&node->thread, NULL, run, node), 0);
    return node;
}

int fake_node_port(const fake_node *node)
{
    return node->port;
}

int fake_node_connections(const fake_node *node)
{
    return atomic_load(&node->n_connections);
}

void fake_node_stop(fake_node *node)
{
    atomic_store(&node->stop, true);
    assert_int_equal(pthread_join(node->thread, NULL), 0);
    (void)close(node->fd);
    free(node);
}
